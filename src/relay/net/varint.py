"""QUIC's variable-length integers (RFC 9000, 16), as far as stream heads and capsules need them.

Decoding answers "not yet" instead of raising, because a head may arrive byte by byte. This module
must not know what a number means.
"""

from __future__ import annotations


def encode(value: int) -> bytes:
    """The shortest form of a number below 2**62."""
    if value < 1 << 6:
        return value.to_bytes(1, "big")
    if value < 1 << 14:
        return (value | 1 << 14).to_bytes(2, "big")
    if value < 1 << 30:
        return (value | 2 << 30).to_bytes(4, "big")
    if value < 1 << 62:
        return (value | 3 << 62).to_bytes(8, "big")
    raise ValueError(f"{value} does not fit a varint")


def decode(data: bytes | bytearray, start: int) -> tuple[int, int] | None:
    """The number at ``start`` and where it ends; ``None`` while bytes are missing."""
    if start >= len(data):
        return None
    end = start + (1 << (data[start] >> 6))
    if end > len(data):
        return None
    value = int.from_bytes(data[start:end], "big")
    return value & ((1 << (8 * (end - start) - 2)) - 1), end
