"""Integers of moq-transport: those of QUIC up to draft 16, then such of leading ones.

The count of ones that a first byte begins with is how many bytes follow it. This module must not
know which draft writes which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from relay.errors import DecodeError
from relay.wire.buffer import encode_varint, scan_varint

Encode = Callable[[int], bytes]
"""The shortest way to write an integer; raises `ValueError` for one that does not fit."""

Scan = Callable[[bytes | bytearray, int], tuple[int, int] | None]
"""The integer at a position and the position after it, ``None`` when the data ends before that."""

MAX_LEADING = 2**64 - 1
"""The largest integer of leading ones."""

_SEVEN = 6
"""Ones of the form of seven bytes."""


class Varint(NamedTuple):
    """One way to write integers."""

    encode: Encode
    scan: Scan


def encode_leading(value: int) -> bytes:
    """``value`` in 1 to 6, 8 or 9 bytes (draft-17, 1.4.1). Raises `ValueError` outside
    0..`MAX_LEADING`."""
    if not 0 <= value <= MAX_LEADING:
        raise ValueError(f"{value} does not fit a varint")
    ones = max(value.bit_length() - 1, 0) // 7
    if ones == _SEVEN:
        # Draft 17 has no form of seven bytes, and real peers never write it.
        ones += 1
    ones = min(ones, 8)
    mark = (0xFF00 >> ones) & 0xFF
    return (mark << 8 * ones | value).to_bytes(ones + 1, "big")


def scan_leading(data: bytes | bytearray, pos: int = 0) -> tuple[int, int] | None:
    """As `Scan` (draft-18, 1.4.1); longer forms than needed are taken."""
    if pos >= len(data):
        return None
    first = data[pos]
    if first < 0x80:
        return first, pos + 1
    ones = 8 - (first ^ 0xFF).bit_length()
    stop = pos + 1 + ones
    if stop > len(data):
        return None
    rest = int.from_bytes(data[pos + 1 : stop], "big")
    return (first & 0x7F >> ones) << 8 * ones | rest, stop


def scan_leading_17(data: bytes | bytearray, pos: int = 0) -> tuple[int, int] | None:
    """As `scan_leading`, without the form of seven bytes (draft-17, 1.4.1): `DecodeError`."""
    if pos < len(data) and data[pos] & 0xFE == 0xFC:
        raise DecodeError("an integer of seven bytes")
    return scan_leading(data, pos)


QUIC = Varint(encode_varint, scan_varint)
LEADING = Varint(encode_leading, scan_leading)
LEADING_17 = Varint(encode_leading, scan_leading_17)
