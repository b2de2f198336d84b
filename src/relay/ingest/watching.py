"""Reading one track for somebody without a session: whole frames, in a queue with a limit.

The law: a reader that is too slow loses whole groups, the oldest first, and is told which; nobody
else waits for it. This module must not know how frames are written out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

from relay.errors import RelayError
from relay.model.track import TrackInfo
from relay.peer.local import Collector, GroupEnd, ReadFrame

OVERHEAD = 128
"""Bytes an item is counted for beside its payload."""

PATIENCE = 10.0
"""Seconds without a group that came late, after which whatever did not come before a group will
not."""

MAX_AHEAD = 1024
"""Groups handed out before others that may still come."""


class Missed(NamedTuple):
    """A group that the reader did not get whole; nothing more of it comes."""

    group: int


class Follower(Collector):
    """A viewer whose oldest groups are dropped when it falls behind."""

    _ready: asyncio.Event
    _queue: deque[tuple[ReadFrame | GroupEnd, int]]
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
        self._opening = True  # the cache hands over what it has before the source what it kept
        self.track.watch(self, self.clock())
        self._opening = False
        self._queue = deque(sorted(self._queue, key=_group))
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

    def put(self, item: ReadFrame | GroupEnd, size: int) -> None:
        """Queue one item, and make room for it where that is needed."""
        if item.group in self._lost:
            if isinstance(item, GroupEnd):
                self._lost.discard(item.group)
            return
        self._queue.append((item, size + OVERHEAD))
        self._bytes += size + OVERHEAD
        while self._bytes > self.limit and self._queue:
            first, cost = min(self._queue, key=_group) if self._opening else self._queue[0]
            whole = isinstance(first, GroupEnd) and first.error is None
            if whole and not self._opening:  # the reader has it
                self._queue.popleft()
                self._bytes -= cost
            else:
                self._lose(first.group)
        self._wake.set()

    def _lose(self, group: int) -> None:
        kept: deque[tuple[ReadFrame | GroupEnd, int]] = deque()
        self._lost.add(group)
        for item, size in self._queue:
            if item.group != group:
                kept.append((item, size))
                continue
            self._bytes -= size
            if isinstance(item, GroupEnd):
                self._lost.discard(group)
        self._queue = kept
        self._missed.append(group)
        if len(self._missed) > 1024:
            self._missed.popleft()

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
                while self._missed or self._queue:
                    if self._missed:
                        group = self._missed.popleft()
                        self._begin(group)
                        yield Missed(group)
                        continue
                    item, size = self._queue.popleft()
                    self._bytes -= size
                    if isinstance(item, ReadFrame):
                        if not item.number:
                            self._begin(item.group)
                        yield item
                    elif item.error is not None:
                        yield Missed(item.group)
                if self.complete:
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


def _group(waiting: tuple[ReadFrame | GroupEnd, int]) -> int:
    return waiting[0].group
