"""The name a client asks for, read from its first TLS message before the library reads the rest.

The law: this judges nothing. What is malformed has no name here and is refused by the library. This
module must not know what a name is good for.
"""

from __future__ import annotations

_BEFORE = 1 + 3 + 2 + 32
"""Bytes of a ClientHello before what has a length: type, length, version, random."""

_LISTS = (1, 2, 1)
"""Bytes of the lengths of session id, cipher suites and compression methods, which come next."""

_SERVER_NAME = 0


def server_name(hello: bytes) -> str:
    """The host name in a ClientHello (RFC 8446, 4.1.2; RFC 6066, 3); empty when there is none."""
    at = _BEFORE
    for size in _LISTS:
        at += size + _number(hello, at, size)
    at += 2  # the length of all extensions
    while at + 4 <= len(hello):
        kind, size = _number(hello, at, 2), _number(hello, at + 2, 2)
        at += 4
        if kind == _SERVER_NAME:
            name = at + 2 + 1 + 2  # the list's length, the kind of name and its length
            return hello[name : name + _number(hello, name - 2, 2)].decode("ascii", "replace")
        at += size
    return ""


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")
