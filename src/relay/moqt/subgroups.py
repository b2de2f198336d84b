"""The head of a stream of objects: which track, group and subgroup they are of.

A number of flags says what follows it (draft-16, 10.4.2). This module must not know any draft, nor
what an object looks like.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.errors import DecodeError
from relay.moqt.varint import Varint

DEFAULT_PRIORITY = 128
"""Of a stream that does not say one (draft-16, 11.0.0.3)."""

_SUBGROUPS = 0x10
_PROPERTIES, _FIRST_ID, _EXPLICIT_ID, _ENDS_GROUP = 0x01, 0x02, 0x04, 0x08
_NO_PRIORITY, _FROM_START = 0x20, 0x40


class SubgroupHead(NamedTuple):
    """What a stream of objects begins with."""

    alias: int
    group: int
    subgroup: int | None
    """``None``: the id of its first object."""
    priority: int
    """The lower is sent first."""
    has_properties: bool
    """Each object has properties."""
    ends_group: bool
    """With the end of the stream the group has ended too."""
    from_start: bool
    """The first object is the first of the subgroup; before draft 18 nothing says it is not."""
    is_numbered: bool = False
    """Whether it says which subgroup it is, so that there may be others."""


class Heads(NamedTuple):
    """How heads are written."""

    varint: Varint
    may_omit_priority: bool
    marks_start: bool
    """A flag says that a stream has the first object of its subgroup."""

    def encode(self, alias: int, group: int, priority: int, has_properties: bool = False) -> bytes:
        """Of subgroup 0, from its start to the end of the group.

        Raises `ValueError` for a value that cannot be said.
        """
        flags = _SUBGROUPS | _ENDS_GROUP | (_FROM_START if self.marks_start else 0)
        flags |= _PROPERTIES if has_properties else 0
        numbers = b"".join(map(self.varint.encode, (flags, alias, group)))
        return numbers + bytes((priority,))

    def scan(self, data: bytes | bytearray) -> tuple[SubgroupHead, int] | None:
        """The head at the front and the position after it, ``None`` while it is incomplete.

        Raises `DecodeError` for streams of another type.
        """
        found = self.varint.scan(data, 0)
        if found is None:
            return None
        flags, pos = found
        self._check(flags)
        numbers: list[int] = []
        while len(numbers) < (3 if flags & _EXPLICIT_ID else 2):
            found = self.varint.scan(data, pos)
            if found is None:
                return None
            pos = found[1]
            numbers.append(found[0])
        priority = DEFAULT_PRIORITY
        if not flags & _NO_PRIORITY:
            if pos >= len(data):
                return None
            priority = data[pos]
            pos += 1
        alias, group, *named = numbers
        return SubgroupHead(
            alias,
            group,
            named[0] if named else None if flags & _FIRST_ID else 0,
            priority,
            bool(flags & _PROPERTIES),
            bool(flags & _ENDS_GROUP),
            not self.marks_start or bool(flags & _FROM_START),
            bool(flags & (_EXPLICIT_ID | _FIRST_ID)),
        ), pos

    def _check(self, flags: int) -> None:
        allowed = _SUBGROUPS | _PROPERTIES | _FIRST_ID | _EXPLICIT_ID | _ENDS_GROUP
        if self.may_omit_priority:
            allowed |= _NO_PRIORITY
        if self.marks_start:
            allowed |= _FROM_START
        both = _FIRST_ID | _EXPLICIT_ID
        if flags & ~allowed or not flags & _SUBGROUPS or flags & both == both:
            raise DecodeError(f"no stream of a subgroup has type {flags}")
