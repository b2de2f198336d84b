"""Objects of moq-transport and frames of moq-lite: the bytes of one group, either way.

What comes in pieces leaves in pieces: nothing is kept but the head of an object that is not
complete, of which an object's properties may be part. A frame is an object, its number is its
place, and its properties stand before its payload. This module must not know who asked for the
group.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from relay.errors import DecodeError
from relay.moqt.drafts import Draft
from relay.moqt.fetched import Place
from relay.moqt.properties import MAX_PROPERTIES, Property, kept, read, scan_kept, written
from relay.moqt.stamps import Stamps
from relay.wire.buffer import MAX_VARINT, encode_varint, scan_varint
from relay.wire.frame import NO_PROPERTIES, encode_timed

NORMAL, END_OF_GROUP, END_OF_TRACK = 0, 3, 4
"""Status of an object that is there, and of one behind the last of its group or of the track
(moq-transport-14, 10.2.1.1). Those that are not there have no number of a frame."""

_FIRST = b"\x00"
"""The number of an object that follows the one before, and of a first one that is number 0
(10.4.2)."""


class _Passage:
    """The bytes of a group on their way, head by head; what follows a head is passed on as it is,
    or skipped."""

    __slots__ = ("_draft", "_head", "_is_payload", "_left")

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._head = b""
        """What has come of numbers that are not complete."""
        self._left = 0
        """Bytes that are still to come of what is passed on, or skipped."""
        self._is_payload = True
        """Whether these are passed on."""

    def feed(self, data: bytes) -> bytes:
        """The next bytes, in the other language."""
        data = self._head + data if self._head else data
        self._head = b""
        out: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._left:
                stop = min(end, at + self._left)
                if self._is_payload:
                    out.append(data[at:stop])
                self._left -= stop - at
                at = stop
                continue
            found = self._begin(data, at, out)
            if found is None:
                self._head = data[at:]
                break
            at = found
        return b"".join(out)

    def _begin(self, data: bytes, at: int, out: list[bytes]) -> int | None:
        """The head at ``at``, or the next part of it; answers where it ends, ``None`` while it is
        incomplete."""
        raise NotImplementedError


class Inward(_Passage):
    """From objects to frames. Those of a group that begins later are not of use."""

    __slots__ = (
        "_before",
        "_front",
        "_has_properties",
        "_has_status",
        "_is_sized",
        "_stamp",
        "_stamps",
        "begins",
        "count",
        "end",
        "ends_track",
        "number",
    )

    def __init__(self, draft: Draft, has_properties: bool, stamps: Stamps | None) -> None:
        """With ``stamps`` the frames have timestamps."""
        super().__init__(draft)
        self._has_properties = has_properties
        self._has_status = True
        """Whether an object without payload says what it is."""
        self._stamps = stamps
        self._stamp = self._before = 0
        """The timestamp of the object at hand, and that of the frame before it."""
        self._front = NO_PROPERTIES
        """What stands before the payload of the object at hand."""
        self._is_sized = False
        """Whether the size of the payload comes next."""
        self.begins: int | None = None
        """Number of the first object, once it is known."""
        self.number = -1
        """That of the last one."""
        self.count = 0
        """Frames that have begun."""
        self.end: int | None = None
        """No object of the group has this number or a greater one."""
        self.ends_track = False
        """Whether one says that there is no more of the track."""

    @property
    def is_whole(self) -> bool:
        """Whether no object is cut off."""
        return not (self._left or self._head or self._is_sized)

    def _begin(self, data: bytes, at: int, out: list[bytes]) -> int | None:
        return self._size(data, at, out) if self._is_sized else self._number(data, at)

    def _number(self, data: bytes, at: int) -> int | None:
        """The head of an object with its properties, or up to them where these are too many;
        answers where that ends, ``None`` while it is incomplete."""
        delta = self._draft.scan_varint(data, at)
        if delta is None:
            return None
        return self._numbered(data, delta[1], self.number + delta[0] + 1, self._has_properties)

    def _numbered(self, data: bytes, at: int, number: int, has_properties: bool) -> int | None:
        """The rest of the head of an object whose number is known."""
        size = 0
        if has_properties:
            found = self._draft.scan_varint(data, at)
            if found is None:
                return None
            size, at = found
        properties: list[Property] = []
        if size and size <= MAX_PROPERTIES:
            if at + size > len(data):
                return None
            properties, at, size = read(self._draft, data[at : at + size]), at + size, 0
        with_times = self._stamps is None or self._stamps.is_plain
        self._front = kept(properties, with_times) if properties else NO_PROPERTIES
        if self._stamps is not None:
            self._stamp = self._stamps.read(properties)
        self.number = number
        if self.begins is None:
            self.begins = number
        self._left, self._is_payload, self._is_sized = size, False, True
        return at

    def _size(self, data: bytes, at: int, frames: list[bytes]) -> int | None:
        """The same for the size of its payload, and the status where there is none."""
        scan = self._draft.scan_varint
        size = scan(data, at)
        if size is None:
            return None
        at = size[1]
        status = NORMAL
        if not size[0] and self._has_status:
            found = scan(data, at)
            if found is None:
                return None
            status, at = found
        if status == NORMAL:
            # One larger than moq-lite can say is more than any session takes.
            front = self._front
            frames += self._frame_head(min(size[0] + len(front), MAX_VARINT)), front
            self.count += 1
        elif status in (END_OF_GROUP, END_OF_TRACK):
            self.end = self.number
            self.ends_track = self.ends_track or status == END_OF_TRACK
        self._left, self._is_payload, self._is_sized = size[0], True, False
        return at

    def _frame_head(self, size: int) -> bytes:
        if self._stamps is None:
            return encode_varint(size)
        delta, self._before = self._stamp - self._before, self._stamp
        return encode_timed(delta, size)


class FetchedInward(Inward):
    """The same for a group that was fetched, and nothing else. Raises `DecodeError` for what is
    malformed, or of another group."""

    __slots__ = ("_group", "_has_begun", "is_partial")

    def __init__(self, draft: Draft, group: int, stamps: Stamps | None) -> None:
        super().__init__(draft, True, stamps)
        self._has_status = draft.fetched.has_status
        self._group = group
        self._has_begun = False
        """Whether there is anything that the next object may refer to."""
        self.is_partial = False
        """Whether the peer does not know of some objects whether they exist."""

    def _number(self, data: bytes, at: int) -> int | None:
        fetched, before = self._draft.fetched, self.number
        head = fetched.scan(self._draft.scan_varint, data, at)
        if head is None:
            return None
        if not self._has_begun and (head.group is None or head.number is None):
            raise DecodeError("the first object does not say which it is")
        if head.is_gap:
            self.is_partial = self.is_partial or head.is_unknown
        elif head.group is not None and (
            head.group != self._group or (self._has_begun and fetched.counts_groups)
        ):
            raise DecodeError("an object of a group that was not asked for")
        number = before + 1
        if head.number is not None:
            is_distance = fetched.counts_groups and self._has_begun and head.group is None
            number = head.number + (before if is_distance else 0)
        if number <= before and not head.is_gap:
            raise DecodeError(f"object {number} after object {before}")
        end: int | None = head.next
        if head.is_gap:
            self.number = number
        else:
            end = self._numbered(data, head.next, number, head.has_properties)
        self._has_begun = self._has_begun or end is not None
        return end


class Object(NamedTuple):
    """One that has come whole."""

    number: int
    stamp: int
    """Its timestamp, where there are any."""
    payload: bytes
    """Behind its properties."""


class Collected(Inward):
    """Objects of one stream, each once it is whole."""

    __slots__ = ("_heads", "_payload")

    def __init__(self, draft: Draft, has_properties: bool, stamps: Stamps | None) -> None:
        super().__init__(draft, has_properties, stamps)
        self._heads: deque[tuple[int, int, int]] = deque()
        """Number, timestamp and size of those that have begun."""
        self._payload = bytearray()

    @property
    def kept(self) -> int:
        """Bytes of payload, and of properties, that are not passed on."""
        return len(self._payload)

    @property
    def least(self) -> int:
        """The least number of those that are still to come."""
        return self._heads[0][0] if self._heads else self.number + (not self._is_sized)

    def take(self, data: bytes) -> list[Object]:
        """Those that are whole with the next bytes."""
        self._payload += self.feed(data)
        found: list[Object] = []
        while self._heads and len(self._payload) >= self._heads[0][2]:
            number, stamp, size = self._heads.popleft()
            found.append(Object(number, stamp, bytes(self._payload[:size])))
            del self._payload[:size]
        return found

    def _frame_head(self, size: int) -> bytes:
        self._heads.append((self.number, self._stamp, size))
        return b""


class Outward(_Passage):
    """From frames to objects."""

    __slots__ = ("_has_status", "_stamp", "has_begun", "has_properties")

    def __init__(self, draft: Draft) -> None:
        """Where the draft has timestamps, so do the frames (`Layout.TIMED_OBJECTS`)."""
        super().__init__(draft)
        self._stamp = 0
        self._has_status = True
        """Whether an object without payload says that it is one."""
        self.has_begun = False
        """Whether the properties of the first object are known."""
        self.has_properties = draft.timestamps
        """Whether each says what it has: so all do in drafts with timestamps, else if the first one
        has any."""

    def _begin(self, data: bytes, at: int, out: list[bytes]) -> int | None:
        draft, stamp = self._draft, 0
        if draft.timestamps:
            delta = scan_varint(data, at)
            if delta is None:
                return None
            stamp, at = self._stamp + ((delta[0] >> 1) ^ -(delta[0] & 1)), delta[1]
        size = scan_varint(data, at)
        if size is None:
            return None
        front = scan_kept(data, size[1])
        if front is None:
            return None
        self._stamp = stamp
        properties = written(draft, front[0], stamp)
        if not self.has_begun:
            self.has_begun = True
            self.has_properties = self.has_properties or bool(properties)
        at = front[1]
        self._left = size[0] - (at - size[1])
        out += self._object(properties), draft.encode_varint(self._left)
        if not self._left and self._has_status:
            out.append(draft.encode_varint(NORMAL))
        return at

    def _object(self, properties: bytes) -> bytes:
        """What stands before the size of the next one's payload."""
        return _FIRST + (properties or NO_PROPERTIES if self.has_properties else b"")


class FetchedOutward(Outward):
    """The same for one group among those that are fetched."""

    __slots__ = ("_place", "_priority")

    def __init__(
        self, draft: Draft, group: int, first: int, before: int | None, priority: int
    ) -> None:
        """Its objects from number ``first`` on stand behind those of the group ``before``."""
        super().__init__(draft)
        self._has_status = draft.fetched.has_status
        self._place = Place(group, first, True, before)
        self._priority = priority

    def _object(self, properties: bytes) -> bytes:
        draft, place = self._draft, self._place
        self._place = Place(place.group, place.number + 1, False, place.before)
        return draft.fetched.head(draft.encode_varint, place, self._priority, properties)
