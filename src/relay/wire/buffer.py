"""Varints and bounded readers: the letters of every message.

A reader never goes past what it was given, and nothing is consumed before all of it is there.
Integers are those of RFC 9000, section 16, and need not be written in their shortest form. This
module must not know any message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from relay.errors import DecodeError

MAX_VARINT = (1 << 62) - 1
"""Largest integer a varint can carry (RFC 9000, section 16)."""


MASKS = (0x3F, 0x3FFF, 0x3FFF_FFFF, MAX_VARINT)
"""What is left of an integer of 1, 2, 4 or 8 bytes without its width."""

_SMALL = tuple(bytes((value,)) for value in range(0x40))


_SHORT = "the message ends within an integer"


def _long(left: int) -> str:
    return f"{left} bytes too many in the message"


def encode_varint(value: int) -> bytes:
    """The shortest encoding of ``value``. Raises `ValueError` outside 0..`MAX_VARINT`."""
    if 0 <= value <= 0x3F:
        return _SMALL[value]
    if 0 <= value <= 0x3FFF:
        return (value | 0x4000).to_bytes(2, "big")
    if 0 <= value <= 0x3FFF_FFFF:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if 0 <= value <= MAX_VARINT:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise ValueError(f"{value} does not fit a varint")


def encode_varints(values: Iterable[int]) -> bytes:
    """One after the other: the same as `encode_varint` of each, without a call for the usual ones.

    Raises `ValueError` as that does.
    """
    written = b""
    for value in values:
        if 0 <= value <= 0x3F:
            written += _SMALL[value]
        elif 0x3F < value <= 0x3FFF:
            written += (value | 0x4000).to_bytes(2, "big")
        else:
            written += encode_varint(value)
    return written


def scan_varint(data: bytes | bytearray, pos: int = 0) -> tuple[int, int] | None:
    """The integer at ``pos`` and the position after it, ``None`` when ``data`` ends before that."""
    if pos >= len(data):
        return None
    first = data[pos]
    if first < 0x40:
        return first, pos + 1
    stop = pos + (1 << (first >> 6))
    if stop > len(data):
        return None
    return int.from_bytes(data[pos:stop], "big") & MASKS[first >> 6], stop


def decode_varint(data: bytes | bytearray, pos: int) -> tuple[int, int]:
    """The integer at ``pos`` and the position after it. Raises `DecodeError` when short."""
    found = scan_varint(data, pos)
    if found is None:
        raise DecodeError(_SHORT)
    return found


def decode_varints(body: bytes, count: int) -> list[int]:
    """The integers of a body that is nothing else. Raises `DecodeError` unless there are so many.

    The same as `decode_varint` again and again, without a call for each: heads of groups are such.
    """
    values: list[int] = []
    at, end = 0, len(body)
    while len(values) < count:
        if at >= end:
            raise DecodeError(_SHORT)
        first = body[at]
        if first < 0x40:
            values.append(first)
            at += 1
            continue
        stop = at + (1 << (first >> 6))
        if stop > end:
            raise DecodeError(_SHORT)
        values.append(int.from_bytes(body[at:stop], "big") & MASKS[first >> 6])
        at = stop
    if at < end:
        raise DecodeError(_long(end - at))
    return values


def split_message(data: bytes, limit: int) -> tuple[bytes, bytes] | None:
    """The body of the message with a varint length that ``data`` begins with, and what follows it;
    ``None`` while it is incomplete.

    Raises `DecodeError` as soon as that length is above ``limit`` bytes.
    """
    length = scan_varint(data)
    if length is None:
        return None
    size, start = length
    stop = _end(data, start, size, limit)
    return None if stop is None else (data[start:stop], data[stop:])


def _end(data: bytes | bytearray, start: int, size: int, limit: int) -> int | None:
    """Where a message ends; ``None`` while it is incomplete."""
    if size > limit:
        raise DecodeError(f"a message of {size} bytes (at most {limit})")
    stop = start + size
    return stop if stop <= len(data) else None


class Reader:
    """Reads one complete message body, front to back; any shortness is a `DecodeError`."""

    __slots__ = ("_body", "_pos")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._pos = 0

    def varint(self) -> int:
        """The next variable-length integer."""
        value, self._pos = decode_varint(self._body, self._pos)
        return value

    def u8(self) -> int:
        """The next byte."""
        return self._take(1)[0]

    def blob(self) -> bytes:
        """A varint length and that many bytes."""
        return self._take(self.varint())

    def string(self) -> str:
        """A varint length and that many bytes of strict UTF-8."""
        try:
            return self.blob().decode()
        except UnicodeDecodeError:
            raise DecodeError("the message holds text that is not UTF-8") from None

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self._take(len(self._body) - self._pos)

    def end(self) -> None:
        """Raises `DecodeError` when bytes are left."""
        left = len(self._body) - self._pos
        if left:
            raise DecodeError(_long(left))

    def _take(self, size: int) -> bytes:
        stop = self._pos + size
        if stop > len(self._body):
            raise DecodeError("the message ends within a field")
        piece = self._body[self._pos : stop]
        self._pos = stop
        return piece


class StreamBuffer:
    """The unread bytes of one incoming stream.

    Reading methods consume what they return and nothing when they answer ``None`` (more bytes are
    needed). Deleting at the front of a `bytearray` only moves its start, so that the whole costs
    time in proportion to the bytes. What waits here is bounded by the ``limit`` of its caller.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)

    def __len__(self) -> int:
        return len(self._data)

    def append(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._data += data

    def peek_varint(self) -> int | None:
        """The next integer, left where it is."""
        found = scan_varint(self._data)
        return None if found is None else found[0]

    def varint(self) -> int | None:
        """The next integer."""
        found = scan_varint(self._data)
        if found is None:
            return None
        del self._data[: found[1]]
        return found[0]

    def message(self, limit: int) -> bytes | None:
        """The body of a message with a varint length.

        Raises `DecodeError` as soon as that length is above ``limit`` bytes.
        """
        return self._message_at(0, limit)

    def typed_message(self, limit: int) -> tuple[int, bytes] | None:
        """As `message`, with a varint type in front of the length."""
        kind = scan_varint(self._data)
        if kind is None:
            return None
        body = self._message_at(kind[1], limit)
        return None if body is None else (kind[0], body)

    def message16(self, limit: int) -> bytes | None:
        """As `message`, with a length of two bytes, big-endian (the in-band handshake)."""
        if len(self._data) < 2:
            return None
        return self._body_at(2, int.from_bytes(self._data[:2], "big"), limit)

    def typed_message16(
        self,
        limit: int,
        scan: Callable[[bytes | bytearray, int], tuple[int, int] | None] = scan_varint,
    ) -> tuple[int, bytes] | None:
        """As `message16`, with a type in front of the length, which ``scan`` reads (moq-transport).

        Raises `DecodeError` as well where ``scan`` does.
        """
        kind = scan(self._data, 0)
        if kind is None or len(self._data) < kind[1] + 2:
            return None
        start = kind[1] + 2
        size = int.from_bytes(self._data[kind[1] : start], "big")
        body = self._body_at(start, size, limit)
        return None if body is None else (kind[0], body)

    def take(self) -> bytes:
        """All that is left."""
        data = bytes(self._data)
        self._data.clear()
        return data

    def _message_at(self, pos: int, limit: int) -> bytes | None:
        length = scan_varint(self._data, pos)
        return None if length is None else self._body_at(length[1], length[0], limit)

    def _body_at(self, pos: int, size: int, limit: int) -> bytes | None:
        stop = _end(self._data, pos, size, limit)
        if stop is None:
            return None
        body = bytes(self._data[pos:stop])
        del self._data[:stop]
        return body
