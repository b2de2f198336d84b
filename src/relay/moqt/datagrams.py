"""Objects that come in datagrams, one in each.

A number of flags says which fields it has, in all drafts alike (draft-18, 11.3.1); to draft 15 some
of these numbers mean nothing. This module must not know whose an object is.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.errors import DecodeError
from relay.moqt.objects import NORMAL
from relay.moqt.varint import Varint

_PROPERTIES, _ENDS_GROUP, _FIRST, _NO_PRIORITY, _STATUS = 0x01, 0x02, 0x04, 0x08, 0x20
_ALL = _PROPERTIES | _ENDS_GROUP | _FIRST | _NO_PRIORITY | _STATUS


class Datagram(NamedTuple):
    """One object."""

    alias: int
    group: int
    number: int
    ends_group: bool
    """No object of the group has a greater number."""
    properties: bytes
    status: int
    payload: bytes


def scan_datagram(data: bytes, varint: Varint) -> Datagram | None:
    """The object in a datagram, ``None`` for one that brings none or is cut off."""
    at = 0

    def integer() -> int:
        nonlocal at
        found = varint.scan(data, at)
        if found is None:
            raise DecodeError("cut off")
        value, at = found
        return value

    try:
        flags = integer()
        if flags & ~_ALL or (flags & _STATUS and flags & _ENDS_GROUP):
            return None
        alias, group = integer(), integer()
        number = 0 if flags & _FIRST else integer()
        at += not flags & _NO_PRIORITY
        size = integer() if flags & _PROPERTIES else 0
        properties, at = data[at : at + size], at + size
        status = integer() if flags & _STATUS else NORMAL
    except DecodeError:
        return None
    if at > len(data):
        return None
    ends_group = bool(flags & _ENDS_GROUP)
    return Datagram(alias, group, number, ends_group, properties, status, data[at:])
