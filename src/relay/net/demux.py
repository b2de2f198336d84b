"""Which streams belong to a WebTransport session and which to HTTP/3.

A stream of a session begins with a type and the session's id, everything else is HTTP/3's; the
choice is made here, before the HTTP/3 library sees a byte, because it would keep state for every
stream it ever saw. At most `MAX_HEAD` bytes are kept per undecided stream. This module must not
know codes, sessions or connections.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from relay.wire.buffer import encode_varint, scan_varint

UNI = 0x54
"""Type of a one-way stream of a session."""
BIDI = 0x41
"""Frame type that begins a two-way stream of a session."""
MAX_HEAD = 16
"""Bytes of the longest head: two varints."""


class Decided(NamedTuple):
    """Whose a stream is."""

    session: int | None
    """``None``: HTTP/3's own, from its first byte on."""
    data: bytes
    """What has come, without the head of a session's."""


@lru_cache(maxsize=64)
def stream_head(uni: bool, session: int) -> bytes:
    """What a stream of ours begins with."""
    return encode_varint(UNI if uni else BIDI) + encode_varint(session)


class Demux:
    """Heads of the streams that are still undecided."""

    def __init__(self) -> None:
        self._heads: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def feed(self, stream: int, data: bytes, fin: bool) -> Decided | None:
        """Take the next bytes of an undecided stream; ``None`` while more are needed.

        A stream that ends undecided is HTTP/3's to judge.
        """
        data = self._heads.pop(stream, b"") + data
        kind = scan_varint(data, 0)
        if kind is not None:
            if kind[0] != (UNI if stream & 2 else BIDI):
                return Decided(None, data)
            session = scan_varint(data, kind[1])
            if session is not None:
                return Decided(session[0], data[session[1] :])
        if fin:
            return Decided(None, data)
        self._heads[stream] = data
        return None

    def forget(self, stream: int) -> None:
        """The stream was reset before it could be told."""
        self._heads.pop(stream, None)
