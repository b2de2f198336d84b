"""What was fetched: how objects of many groups stand on one stream, and the numbers that say why
there is none.

The law: an object says its group, its number and its priority where these do not follow from the
one before. This module must not know any draft, nor who fetches what.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.errors import DecodeError
from relay.moqt.varint import Encode, Scan
from relay.wire.buffer import MAX_VARINT

_GROUP, _NUMBER, _PRIORITY, _PROPERTIES = 0x08, 0x04, 0x10, 0x20
_SUBGROUP = b"\x00"
_END_OF_NONE, _END_OF_UNKNOWN = 0x8C, 0x10C
_END_OF_LATE = 0x20C
"""Of objects that were not had in time (draft-21, 11.4.1.2), and may exist."""
_SAYS_SUBGROUP, _LOOSE, _FLAGS_END = 0x03, 0x40, 0x80


class Place(NamedTuple):
    """An object, and what its stream had before it."""

    group: int
    number: int
    begins: bool
    """Whether it is the first of its group on the stream."""
    before: int | None
    """The group before its own there, if there is one, or was said to be unknown."""


class Head(NamedTuple):
    """What stands before an object's properties, or of some that do not come."""

    group: int | None
    """As written; ``None`` where it is that of the one before."""
    number: int | None
    """The same; ``None`` where it is the next."""
    has_properties: bool
    next: int
    """Where it ends."""
    is_gap: bool = False
    """Nothing comes up to there."""
    is_unknown: bool = False
    """Of that nobody knows whether it exists."""


class Fetched(NamedTuple):
    """One way to write it; as it stands, that of the newest drafts (draft-18, 11.4.4)."""

    has_flags: bool = True
    """Flags say which fields an object has; elsewhere it has all of them (draft-14, 10.4.4)."""
    counts_groups: bool = True
    """A group is written as the distance to the one before, less 1."""
    has_status: bool = False
    """An object without payload says its status."""
    out_of_range: int = 0x11
    """INVALID_RANGE, of a `relay.moqt.messages.RequestError`."""
    not_joined: int = 0x32
    """INVALID_JOINING_REQUEST_ID."""
    joins_paused: bool = False
    """A subscription of which nothing is sent may be joined (to draft-16); elsewhere it may not:
    draft-17 has the session closed for that, which is hard on whoever only pauses (draft-18,
    10.12.2)."""
    nothing: int | None = None
    """NO_OBJECTS; elsewhere the stream is empty, or all is unknown."""
    says_unknown: bool = True
    """There is a word for objects of which nobody knows whether they exist (draft-16, 10.4.4.2);
    elsewhere they are left out like those that do not."""

    def head(self, encode: Encode, place: Place, priority: int, properties: bytes) -> bytes:
        """What stands before the size of an object's payload; ``properties`` have their length
        before them, or are none."""
        said = bytes((priority,))
        if not self.has_flags:
            numbers = encode(place.group) + _SUBGROUP + encode(place.number)
            return numbers + said + (properties or b"\x00")
        flags = _PROPERTIES if properties else 0
        if not place.begins:
            return encode(flags) + properties
        # Unknown ones before it have no priority that it could share.
        numbers = self._group(encode, place.group, place.before) + encode(place.number)
        return encode(flags | _GROUP | _NUMBER | _PRIORITY) + numbers + said + properties

    def unknown(self, encode: Encode, group: int, end: int, before: int | None) -> bytes:
        """What says that nobody knows of the objects after those of the group ``before``, or from
        the first on, to the one before number ``end`` of ``group``; 0 for all of it."""
        numbers = self._group(encode, group, before) + encode(end - 1 if end else MAX_VARINT)
        return encode(_END_OF_UNKNOWN) + numbers

    def scan(self, scan: Scan, data: bytes, at: int) -> Head | None:
        """The head at ``at``, ``None`` while it is incomplete. Raises `DecodeError` for flags that
        mean nothing."""
        flags = _GROUP | _NUMBER | _PRIORITY | _PROPERTIES | _SAYS_SUBGROUP
        if self.has_flags:
            found = scan(data, at)
            if found is None:
                return None
            flags, at = found
        is_unknown = flags in (_END_OF_UNKNOWN, _END_OF_LATE)
        is_gap = is_unknown or flags == _END_OF_NONE
        if flags >= _FLAGS_END and not is_gap:
            raise DecodeError(f"an object with the flags {flags}")
        has_subgroup = not is_gap and flags & (_SAYS_SUBGROUP | _LOOSE) == _SAYS_SUBGROUP
        said: list[int | None] = []
        for is_said in (is_gap or flags & _GROUP, has_subgroup, is_gap or flags & _NUMBER):
            value = None
            if is_said:
                found = scan(data, at)
                if found is None:
                    return None
                value, at = found
            said.append(value)
        at += not is_gap and bool(flags & _PRIORITY)
        if at > len(data):
            return None
        has_properties = not is_gap and bool(flags & _PROPERTIES)
        return Head(said[0], said[2], has_properties, at, is_gap, is_unknown)

    def _group(self, encode: Encode, group: int, before: int | None) -> bytes:
        is_distance = before is not None and self.counts_groups
        return encode(abs(group - (before or 0)) - 1 if is_distance else group)


NEWEST = Fetched()
