"""Capsules on a CONNECT stream (RFC 9297, 3.2): read piece by piece, written whole.

Only the capsules this room understands are kept; all others, GREASE included, are skipped unread
whatever their size, so a stranger's capsule costs no memory. This module must not know HTTP/3
frames or what a closed session means.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.errors import DecodeError
from relay.wire.buffer import encode_varint, scan_varint

CLOSE_SESSION = 0x2843
"""WT_CLOSE_SESSION: 32-bit code, then a UTF-8 reason."""

MAX_REASON = 1024
"""Bytes of a reason (draft-ietf-webtrans-http3, "Session Termination")."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer ended the session with a code and a reason."""

    code: int
    reason: str


def close_capsule(code: int, reason: str = "") -> bytes:
    """WT_CLOSE_SESSION; a reason over `MAX_REASON` bytes is cut between characters."""
    text = clip(reason, MAX_REASON)
    body = (code & 0xFFFFFFFF).to_bytes(4, "big") + text
    return encode_varint(CLOSE_SESSION) + encode_varint(len(body)) + body


def clip(text: str, limit: int) -> bytes:
    """UTF-8 of at most ``limit`` bytes, never cut inside a character."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode()


class CapsuleReader:
    """Capsules out of a stream that may be cut anywhere."""

    def __init__(self, limit: int) -> None:
        """``limit`` is the largest body in bytes of a capsule that must be kept."""
        self._limit = limit
        self._buffer = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> Closed | None:
        """Take the next bytes; answer the end of the session when it is there.

        Raises `DecodeError` for a close that is malformed or over the limit.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._buffer += data
        while (head := self._head()) is not None:
            kind, length, start = head
            if kind == CLOSE_SESSION:
                return self._close(start, length)
            present = min(len(self._buffer) - start, length)
            self._skip = length - present
            del self._buffer[: start + present]
        return None

    def _head(self) -> tuple[int, int, int] | None:
        """Type, length and start of the body, once both varints are there."""
        kind = scan_varint(self._buffer, 0)
        if kind is None:
            return None
        length = scan_varint(self._buffer, kind[1])
        return None if length is None else (kind[0], length[0], length[1])

    def _close(self, start: int, length: int) -> Closed | None:
        if length < 4 or length > self._limit:
            raise DecodeError(f"a close capsule of {length} bytes (max_capsule {self._limit})")
        if len(self._buffer) < start + length:
            return None
        body = bytes(self._buffer[start : start + length])
        code, reason = int.from_bytes(body[:4], "big"), body[4:].decode("utf-8", "replace")
        return Closed(code, clip(reason, MAX_REASON).decode())  # it is written to the log
