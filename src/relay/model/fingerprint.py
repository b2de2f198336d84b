"""The hash by which relays choose between equals, each on its own and all alike.

FNV-1a, 64 bits, as upstream's relays use it. This module must not know what is chosen.
"""

from __future__ import annotations

from relay.path import Path

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MASK = (1 << 64) - 1


def fingerprint(path: Path, hops: tuple[int, ...]) -> int:
    """FNV-1a (64 bits) of a name and a chain: the same choice between equals on every relay."""
    value = _FNV_OFFSET
    for byte in path.encode("utf-8", "surrogatepass"):
        value = (value ^ byte) * _FNV_PRIME & _MASK
    for hop in hops:
        for byte in (hop & _MASK).to_bytes(8, "big"):
            value = (value ^ byte) * _FNV_PRIME & _MASK
    return value
