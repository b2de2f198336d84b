"""Reading one track for somebody without a session: whole frames, in a queue with a limit.

The law: a reader that is too slow loses whole groups, the oldest first, and is told which; nobody
else waits for it. This module must not know how frames are written out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from heapq import heappop, heappush
from typing import NamedTuple

from relay.errors import RelayError
from relay.model.track import TrackInfo
from relay.peer.reading import Collector, GroupEnd, ReadFrame

OVERHEAD = 128
"""Bytes an item is counted for beside its payload."""

PATIENCE = 10.0
"""Seconds without a group that came late, after which whatever did not come before a group will
not."""

MAX_AHEAD = 1024
"""Groups handed out before others that may still come."""

AT_ONCE = 32
"""Frames that one reader takes in, and as many that it gets, in a turn of the loop: there are
hundreds of readers, and the relay does nothing else meanwhile."""


class Missed(NamedTuple):
    """A group that the reader did not get whole; nothing more of it comes."""

    group: int


class _Part:
    """What waits of one group; of one that broke off and came again there are two."""

    __slots__ = ("group", "has_ended", "is_lost", "size")

    def __init__(self, group: int) -> None:
        self.group = group
        self.size = 0
        """Bytes that it is counted for."""
        self.has_ended = False
        self.is_lost = False
        """Whether it is passed over."""


Waiting = tuple[ReadFrame | GroupEnd, int, _Part]
"""An item and the bytes it is counted for."""


class Follower(Collector):
    """A viewer whose oldest groups are dropped when it falls behind.

    What is dropped is passed over where it stands, and swept when it is more than the rest: there
    may be tens of thousands of items, and one more group for each that is dropped.
    """

    at_once = AT_ONCE

    _ready: asyncio.Event
    _queue: deque[Waiting]
    """What waits, in order; the first is not lost."""
    _parts: dict[int, _Part]
    """Of those the groups that have not ended."""
    _oldest: list[tuple[int, int, _Part]]
    """A heap of the groups that were there when it began, until they are in order."""
    _dead: int
    """Bytes of what is lost and stands there still."""
    _missed: deque[int]
    _lost: set[int]
    _opening: bool
    _ahead: dict[int, float]
    """Groups handed out while earlier ones may still come, in that order, each with when."""
    _late: float
    """When a group last came after one that follows it."""
    _knows: bool
    """Whether it is known where it began; else the source knows what it has."""
    resume: int
    """The group at which whoever breaks off now has to go on: no group before it is still to come.
    Sources send the newest first, and what they have of earlier ones after it."""

    def open(self) -> None:
        """Begin to watch, with the oldest group of those that are there: whoever breaks off goes on
        behind the last one that was read."""
        self._ready = asyncio.Event()
        self._queue, self._missed, self._lost = deque(), deque(), set()
        self._parts, self._oldest, self._dead = {}, [], 0
        self._opening = True  # the cache hands over what it has before the source what it kept
        self.track.watch(self, self.clock())
        self._opening = False
        self._sweep()
        self._queue = deque(sorted(self._queue, key=_group))
        self._oldest.clear()
        self._ahead, self._late = {}, 0.0
        first = self._queue[0][0].group if self._queue else 0
        self.resume = first if self.demand.start is None else self.demand.start
        self._knows = bool(self._queue) or self.demand.start is not None

    async def known(self) -> None:
        """Wait until the track is known to exist. Raises what says that it does not."""
        await self._ready.wait()
        if self.error is not None and not self._queue:
            raise self.error

    def end(self, error: RelayError | None) -> None:
        """Nothing more is handed out, whatever still comes."""
        self.close()
        self._queue.clear()
        self.error = error
        self._wake.set()

    def track_accepted(self, info: TrackInfo) -> None:
        """It exists."""
        self._ready.set()

    def track_ended(self, error: RelayError | None) -> None:
        """Nothing more will come."""
        super().track_ended(error)
        self._ready.set()

    def put(self, item: ReadFrame | GroupEnd, size: int) -> bool:
        """Queue one item, and make room for it where that is needed; False where its group is
        lost."""
        if item.group in self._lost:
            if isinstance(item, GroupEnd):
                self._lost.discard(item.group)
            return False
        part = self._parts.get(item.group) or self._new_part(item.group)
        if isinstance(item, GroupEnd):
            del self._parts[item.group]
            part.has_ended = True
        part.size += size + OVERHEAD
        self._bytes += size + OVERHEAD
        self._queue.append((item, size + OVERHEAD, part))
        while self._bytes > self.limit and self._queue:
            self._make_room()
        self._wake.set()
        return not part.is_lost

    def _new_part(self, group: int) -> _Part:
        part = self._parts[group] = _Part(group)
        if self._opening:
            heappush(self._oldest, (group, id(part), part))
        return part

    def _make_room(self) -> None:
        item, size, part = self._queue[0]
        if self._opening:
            while self._oldest[0][2].is_lost:
                heappop(self._oldest)
            self._lose(self._oldest[0][2])
        elif isinstance(item, GroupEnd) and item.error is None:  # the reader has it
            part.size -= size
            self._bytes -= size
            self._queue.popleft()
            self._pass_over()
        else:
            self._lose(part)

    def _lose(self, part: _Part) -> None:
        part.is_lost = True
        self._bytes -= part.size
        self._dead += part.size
        if not part.has_ended:
            del self._parts[part.group]
            self._lost.add(part.group)
        self._missed.append(part.group)
        if len(self._missed) > 1024:
            self._missed.popleft()
        self._pass_over()
        if self._dead > self._bytes:
            self._sweep()

    def _pass_over(self) -> None:
        """What is lost does not come first."""
        queue = self._queue
        while queue and queue[0][2].is_lost:
            self._dead -= queue.popleft()[1]

    def _sweep(self) -> None:
        self._queue = deque(each for each in self._queue if not each[2].is_lost)
        self._dead = 0

    def _begin(self, group: int) -> None:
        """A group is handed out, or told as missed."""
        now, ahead = self.clock(), self._ahead
        if not self._knows:
            self._knows, self.resume = True, self.track.begins_at_for(self)
        if ahead and group < next(reversed(ahead)):
            self._late = now
        if group >= self.resume:
            ahead[group] = now
        while ahead:
            first, at = next(iter(ahead.items()))
            if self.resume in ahead:
                first = self.resume
            elif len(ahead) <= MAX_AHEAD and now - max(at, self._late) < PATIENCE:
                return
            del ahead[first]
            self.resume = max(self.resume, first + 1)

    async def items(self, silence: float) -> AsyncIterator[ReadFrame | Missed | None]:
        """Frames until the track ends; ``None`` after every ``silence`` seconds without any.

        Raises what ended the track, unless it completed.
        """
        try:
            while True:
                for _ in range(AT_ONCE):
                    if self._missed:
                        group = self._missed.popleft()
                        self._begin(group)
                        yield Missed(group)
                        continue
                    if not self._queue:
                        break
                    item, size, part = self._queue.popleft()
                    part.size -= size
                    self._bytes -= size
                    self._pass_over()
                    if isinstance(item, ReadFrame):
                        if not item.number:
                            self._begin(item.group)
                        yield item
                    elif item.error is not None:
                        yield Missed(item.group)
                else:
                    await asyncio.sleep(0)  # the reader may take everything without a wait
                    continue
                if self.complete and not self.due:
                    if self.error is not None:
                        raise self.error
                    return
                self._wake.clear()
                try:
                    async with asyncio.timeout(silence):
                        await self._wake.wait()
                except TimeoutError:
                    yield None
        finally:
            self.close()


def _group(waiting: Waiting) -> int:
    return waiting[0].group
