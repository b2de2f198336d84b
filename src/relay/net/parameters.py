"""Transport parameters that the QUIC library does not know (RFC 9000, 18).

The law: a peer that names none of them loses nothing. This module must not know what a parameter
changes.
"""

from __future__ import annotations

from relay.wire.buffer import encode_varint, scan_varint

MIN_ACK_DELAY = 0xFF04DE1B
"""The peer can be asked for fewer acknowledgements (draft-ietf-quic-ack-frequency): its shortest
delay, in microseconds."""

RESET_STREAM_AT = 0x1D
"""The peer hears of streams that break off behind a beginning that arrives
(draft-ietf-quic-reliable-stream-reset, 3): empty."""

OLD_RESET_STREAM_AT = 0x17F7586D2CB571
"""The same up to the draft's revision 07, with the same frame."""

RESETS_AT = RESET_STREAM_AT, OLD_RESET_STREAM_AT

OURS = b"".join(encode_varint(kind) + b"\0" for kind in RESETS_AT)
"""Those of them that we say, as they are written."""


def find(parameters: bytes, kind: int) -> bytes | None:
    """The value of a parameter, the last one where there are several; ``None`` for none."""
    at, found = 0, None
    while (name := scan_varint(parameters, at)) is not None:
        size = scan_varint(parameters, name[1])
        if size is None:
            break
        at = size[1] + size[0]
        if name[0] == kind:
            found = parameters[size[1] : at]
    return found
