"""QUIC's variable-length integers (RFC 9000, 16), as far as stream heads and capsules need them.

They are those of every message (`relay.wire.buffer`). Decoding answers "not yet" instead of
raising, because a head may arrive byte by byte.
"""

from __future__ import annotations

from relay.wire.buffer import encode_varint as encode
from relay.wire.buffer import scan_varint as decode

__all__ = ["decode", "encode"]
