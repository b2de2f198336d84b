"""Groups whose objects come in several subgroups: in the order of their numbers they are one.

The law: an object waits for those before it as long as these may still come, and what waits is
bounded; then it passes as if they did not exist. This module must not know streams beyond their
ids, nor drafts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from relay.errors import Cancelled
from relay.moqt.objects import Object
from relay.wire.buffer import encode_varint
from relay.wire.frame import encode_timed

MAX_MERGES = 16
"""Groups of one session at a time that come on several streams. More: the oldest breaks off."""

MAX_HELD = 4_194_304
"""Bytes of these that are held back, objects that are not whole included. More: a group passes
without what is missing, or breaks off."""

EACH_HELD = 256
"""What an object that is held back counts for beside its payload, which may be empty."""

LOOSE = -1
"""The stream of objects that come on none, but in datagrams."""

LATE = 8
"""Numbers by which such an object may be late. Then it is lost."""


class Merge:
    """One group."""

    __slots__ = (
        "_before",
        "_held",
        "_is_timed",
        "_next",
        "_order",
        "_parts",
        "_size",
        "end",
        "group",
        "is_awaited",
        "is_first",
        "is_newest",
        "is_sound",
        "is_told",
        "least",
        "seen",
        "stream",
        "subscription",
    )

    def __init__(self, subscription: int, group: int, stream: int, is_timed: bool) -> None:
        """``stream`` is that on which the session hears of it, as frames that have timestamps if it
        ``is_timed``."""
        self.subscription = subscription
        self.group = group
        self.stream = stream
        self.least: dict[int, int] = {}
        """The least number that may still come, by the open streams."""
        self.seen = 0
        """Streams so far."""
        self.end: int | None = None
        """The number behind its last object, once that is known."""
        self.is_sound = False
        """Whether any stream ended in good order."""
        self.is_awaited = True
        """Whether as many streams of it are to begin as other groups had."""
        self.is_first = False
        """Whether subgroup 0 comes from its first object on: then object 0, if nothing else has it,
        does not exist."""
        self.is_newest = True
        """Whether none that is newer has begun."""
        self.is_told = False
        """Whether the session knows of it."""
        self._is_timed = is_timed
        self._held: dict[int, Object] = {}
        self._order: list[int] = []
        """A heap of their numbers."""
        self._size = 0
        self._parts: dict[int, int] = {}
        self._next = self._before = 0
        """The number of the next object, and the timestamp of the one before."""

    @property
    def size(self) -> int:
        """Bytes that are held back."""
        return self._size + sum(self._parts.values())

    @property
    def has_begun(self) -> bool:
        """Whether any object has passed."""
        return self._next > 0

    @property
    def is_over(self) -> bool:
        """Whether nothing follows what has passed."""
        if self.end is not None and self._next >= self.end:
            return True
        return not (self.least or self._held or self.is_awaited)

    @property
    def is_lost(self) -> bool:
        """Whether its first object will not come: half a group is none."""
        has_first = self._next or 0 in self._held or (self.is_first and self._held)
        return not (has_first or self._may_come(0, 0))

    def enter(self, stream: int) -> None:
        """One more stream of it begins."""
        self.least[stream] = 0
        self.seen += 1

    def put(self, stream: int, objects: Sequence[Object], least: int, part: int) -> None:
        """A stream brings objects; those that follow have numbers from ``least`` on, and ``part``
        bytes of the next one are kept."""
        for each in objects:
            if each.number >= self._next and each.number not in self._held:
                self._held[each.number] = each
                heappush(self._order, each.number)
                self._size += len(each.payload) + EACH_HELD
        self.least[stream] = least
        self._parts[stream] = part

    def put_loose(self, found: Object) -> None:
        """An object comes in a datagram."""
        least = max(self.least.get(LOOSE, 0), found.number + 1 - LATE)
        self.put(LOOSE, (found,), least, 0)

    def leave(self, stream: int, is_sound: bool) -> None:
        """A stream has ended, in good order or not."""
        self.least.pop(stream, None)
        self._parts.pop(stream, None)
        self.is_sound = self.is_sound or is_sound

    def pass_on(self, is_full: bool = False) -> bytes:
        """The frames that may pass now, all that are held where there ``is_full``."""
        frames: list[bytes] = []
        while self._order:
            number = self._order[0]
            if number > self._next:
                is_begun = self._next or self.is_first
                if not is_begun or (self._may_come(self._next, number - 1) and not is_full):
                    break
            heappop(self._order)
            found = self._held.pop(number)
            self._next = number + 1
            self._size -= len(found.payload) + EACH_HELD
            frames += self._head(found), found.payload
        return b"".join(frames)

    def _may_come(self, first: int, last: int) -> bool:
        """Whether any object with a number from ``first`` to ``last`` may still come."""
        if self.is_awaited or any(least <= last for least in self.least.values()):
            return True
        return self.is_newest and not first

    def _head(self, found: Object) -> bytes:
        size = len(found.payload)
        if not self._is_timed:
            return encode_varint(size)
        delta, self._before = found.stamp - self._before, found.stamp
        return encode_timed(delta, size)


class Merges:
    """Those of one session."""

    def __init__(
        self,
        is_timed: bool,
        head: Callable[[int, int], bytes],
        up: Callable[[int, bytes, bool], None],
        up_reset: Callable[[int, int], None],
        far: Callable[[], int],
        stop: Callable[[int], None],
    ) -> None:
        """``head`` answers what a group of a subscription begins with for the session, which hears
        of it by ``up`` and ``up_reset``, on streams that ``far`` answers; ``stop`` has the peer
        break off one of its own."""
        self._is_timed = is_timed
        self._head = head
        self._up = up
        self._up_reset = up_reset
        self._far = far
        self._stop = stop
        self._merges: dict[tuple[int, int], Merge] = {}
        """By subscription and group."""
        self._newest: dict[int, int] = {}
        """The newest group, by subscription."""
        self._since: dict[int, int] = {}
        """From which group on they come on several streams, by subscription, where they do."""
        self._most: dict[int, int] = {}
        """How many these were at most."""
        self._trials: set[int] = set()
        """Subscriptions in whose first group it is found out."""
        self._over: dict[int, int] = {}
        """The newest group of which nothing is taken any more, by subscription."""

    def split(self, subscription: int, group: int) -> None:
        """A group of the subscription has several streams. It is too late for one that has begun on
        a single one."""
        newest = self._newest.get(subscription, -1)
        self._since.setdefault(subscription, max(group, newest + 1))
        self._most[subscription] = max(self._most.get(subscription, 0), 2)

    def begin(
        self, subscription: int, group: int, stream: int, is_numbered: bool = False
    ) -> Merge | None:
        """A stream of a group begins; answers what it is part of, ``None`` where it is all. In the
        first group there may be others beside one that ``is_numbered``."""
        newest = self._newest.get(subscription, -1)
        if group > newest:
            self._newest[subscription] = group
            self._settle(subscription, group)
            self._try(subscription, group, newest < 0 and is_numbered)
        since = self._since.get(subscription)
        if since is None or group < since:
            return None
        merge = self._merges.get((subscription, group))
        if merge is None:
            if len(self._merges) >= MAX_MERGES:
                self._drop(next(iter(self._merges.values())))
            merge = Merge(subscription, group, self._far(), self._is_timed)
            self._merges[subscription, group] = merge
        merge.enter(stream)
        most = self._most[subscription] = max(self._most.get(subscription, 0), merge.seen)
        merge.is_newest = merge.is_newest and group >= newest
        is_open = merge.seen < most or subscription in self._trials
        merge.is_awaited = merge.is_newest and is_open
        return merge

    def begin_loose(self, subscription: int, group: int) -> Merge | None:
        """The group of an object in a datagram, ``None`` where it is over."""
        merge = self._merges.get((subscription, group))
        if merge is None:
            newest = self._newest.get(subscription, -1)
            if group < newest or group <= self._over.get(subscription, -1):
                return None
            self.split(subscription, group)
            merge = self.begin(subscription, group, LOOSE)
            if merge is not None:
                merge.is_awaited = False
        elif LOOSE not in merge.least and merge.is_newest:
            merge.enter(LOOSE)
        return merge

    def go_on(self, merge: Merge) -> None:
        """Tell the session what may pass by now."""
        if self._merges.get((merge.subscription, merge.group)) is not merge:
            return
        frames = merge.pass_on()
        if self._is_full():
            frames += merge.pass_on(is_full=True)
        if merge.is_lost or self._is_full():
            self._drop(merge)
            return
        is_over = merge.is_over
        if merge.has_begun and (frames or is_over):
            if not merge.is_told:
                merge.is_told = True
                frames = self._head(merge.subscription, merge.group) + frames
            is_whole = merge.is_sound or merge.end is not None
            self._up(merge.stream, frames, is_over and is_whole)
            if is_over and not is_whole:
                self._up_reset(merge.stream, Cancelled.code)
        if is_over:
            self._remove(merge)

    def unwanted(self, stream: int) -> None:
        """The session reads no more of what it hears on a stream."""
        for merge in tuple(self._merges.values()):
            if merge.stream == stream:
                self._remove(merge)

    def ended(self, subscription: int) -> None:
        """No stream of it begins any more, but those on their way."""
        self._most.pop(subscription, None)
        self._trials.discard(subscription)
        self._settle(subscription, None)

    def forget(self, subscription: int) -> None:
        """Nothing of it is wanted any more."""
        for merge in tuple(self._merges.values()):
            if merge.subscription == subscription:
                self._drop(merge)
        for known in (self._newest, self._since, self._most, self._over):
            known.pop(subscription, None)
        self._trials.discard(subscription)

    def _try(self, subscription: int, group: int, is_open: bool) -> None:
        """A newer group begins: find out whether there are several streams of each, where that
        ``is_open``, or say so where it was."""
        if is_open and subscription not in self._since:
            self._since[subscription] = group
            self._trials.add(subscription)
        elif subscription in self._trials:
            self._trials.discard(subscription)
            if self._most.get(subscription, 0) < 2:
                del self._since[subscription]

    def _settle(self, subscription: int, before: int | None) -> None:
        """Nothing new begins of groups ``before`` one, or of any."""
        for merge in tuple(self._merges.values()):
            if merge.subscription == subscription and (before is None or merge.group < before):
                merge.is_awaited = merge.is_newest = False
                if LOOSE in merge.least:
                    merge.leave(LOOSE, True)
                self.go_on(merge)

    def _is_full(self) -> bool:
        return sum(merge.size for merge in self._merges.values()) > MAX_HELD

    def _drop(self, merge: Merge) -> None:
        if merge.is_told:
            self._up_reset(merge.stream, Cancelled.code)
        self._remove(merge)

    def _remove(self, merge: Merge) -> None:
        del self._merges[merge.subscription, merge.group]
        over = self._over.get(merge.subscription, -1)
        self._over[merge.subscription] = max(over, merge.group)
        for stream in tuple(merge.least):
            self._stop(stream)
