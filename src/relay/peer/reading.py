"""Reading without a connection: a viewer that hands whole frames to one waiting coroutine.

The command line, the HTTP faces and tests use it. This module must not know why somebody reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from itertools import count
from typing import Any, NamedTuple

from relay.errors import Cancelled, Lagged, NotFound, RelayError, TooLarge
from relay.model.group import Group, Log
from relay.model.track import Demand, Track, TrackInfo
from relay.peer.local import LAYOUT
from relay.peer.transcode import transcode
from relay.wire.frame import Frame, FrameParser

MAX_FRAME = 33_554_432
"""Bytes of one frame that a reader here will put together; the same as a session lets through."""

MAX_WAITING = 67_108_864
"""Bytes that may wait for a reader here, unless the caller says how many."""

MAX_FRAMES = 1 << 18
"""Frames of a group that is read whole: each takes a few hundred bytes, however short it is."""

OVERHEAD = 64
"""Bytes a frame takes beside its payload, where it is kept."""

AT_ONCE = 256
"""Frames that one who reads takes in a turn of the loop: millions may be there when he begins, and
many may read at a time."""


class ReadFrame(NamedTuple):
    """One whole frame as it was published."""

    group: int
    number: int
    timestamp: int
    """In ``timescale`` units per second."""
    timescale: int
    payload: bytes


class GroupEnd(NamedTuple):
    """A group is complete, or broke off when there is an error."""

    group: int
    frames: int
    error: RelayError | None


class _Reading:
    """One group being read (the model's `Reader`)."""

    def __init__(self, collector: Collector, group: Group, log: Log) -> None:
        self.collector = collector
        self.sequence = group.sequence
        self.log = log
        self.frames = 0
        self.over = False
        self._parser = FrameParser(LAYOUT, MAX_FRAME)
        self._found = self._frames()

    def written(self, size: int) -> None:
        self.collector.read(self)

    def ended(self) -> None:
        self.collector.read(self)

    def evicted(self) -> None:
        """What is written stays until it is read."""

    def take(self, most: int) -> int:
        """Read so many frames at most, and answer how many: fewer are all by now."""
        info = self.collector.track.info or TrackInfo()
        for taken in range(0 if self.over else most):
            try:
                frame = next(self._found)
            except RelayError as error:  # ours alone: whoever passed it on has done nothing wrong
                self.stop()
                self.collector.give_up(error)
                return taken
            if frame is not None:
                known = self.sequence, self.frames, frame.timestamp or 0, info.timescale
                self.frames += 1
                if self.collector.put(ReadFrame(*known, frame.payload), len(frame.payload)):
                    continue
            elif not (self.log.finished or self.log.error):
                return taken
            self.stop()
            why = self.log.error if frame is None else None
            self.collector.put(GroupEnd(self.sequence, self.frames, why), 0)
            return taken
        return 0 if self.over else most

    def stop(self) -> None:
        """Read no further."""
        self.over = True
        self.log.detach(self)
        self.collector.readings.discard(self)

    def _frames(self) -> Iterator[Frame | None]:
        """Frame by frame; ``None`` where that is all by now."""
        for cursor in count():
            while cursor == len(self.log.chunks):
                yield None
            yield from self._parser.frames(self.log.chunks[cursor])


class Collector:
    """Watches one track and hands its frames to one coroutine (the model's `Viewer`).

    ``limit`` bounds the bytes that wait for the coroutine; over it reading ends with `Lagged`.
    """

    at_once = AT_ONCE

    def __init__(
        self, track: Track, demand: Demand, clock: Callable[[], float], limit: int = MAX_WAITING
    ) -> None:
        self.track = track
        self.demand = demand
        self.clock = clock
        self.limit = limit
        self.readings: set[_Reading] = set()
        self.due: dict[_Reading, None] = {}
        """Those that go on at the loop's next turn, in order; read only."""
        self._left = self.at_once
        self.error: RelayError | None = None
        self.complete = False
        self._gave_up = False
        self._waiting: list[tuple[ReadFrame | GroupEnd, int]] = []
        self._bytes = 0
        self._wake = asyncio.Event()

    def track_accepted(self, info: TrackInfo) -> None:
        """The track is known; frames follow."""

    def group_opened(self, group: Group) -> None:
        """Read it from its first frame."""
        reading = _Reading(self, group, group.log(LAYOUT, transcode))
        self.readings.add(reading)
        reading.log.attach(reading)
        self.read(reading)

    def read(self, reading: _Reading) -> None:
        """Go on with a group, at once or after those that are being read."""
        if self.due:
            self.due[reading] = None
            return
        self._left -= reading.take(self._left)
        if not self._left:
            self.due[reading] = None
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        """A new turn: go on in order."""
        self._left = self.at_once
        while self.due and self._left:
            reading = next(iter(self.due))
            self._left -= reading.take(self._left)
            if self._left:
                self.due.pop(reading, None)
        if self.due:
            asyncio.get_running_loop().call_soon(self._read_on)
        self._wake.set()  # nothing more may come

    def datagram_received(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A group of one frame that came as a datagram."""
        info = self.track.info or TrackInfo()
        self.put(ReadFrame(sequence, 0, timestamp, info.timescale, payload), len(payload))
        self.put(GroupEnd(sequence, 1, None), 0)

    def track_ended(self, error: RelayError | None) -> None:
        """Nothing more will come."""
        self._gave_up = False
        self.error = error
        self.complete = True
        self._wake.set()

    def give_up(self, error: RelayError) -> None:
        """Read no further, although more may come; the track is left when nobody calls us."""
        if self.error is None:
            self.track_ended(error)
            self._gave_up = True

    def put(self, item: ReadFrame | GroupEnd, size: int) -> bool:
        """Queue one item for the coroutine, unless one before it was lost: it gets no gaps. False
        where no more of its group is wanted."""
        if self._gave_up:
            return False
        self._bytes += size
        if self._bytes > self.limit:
            self.give_up(Lagged("frames arrived faster than they were read"))
            return False
        self._waiting.append((item, size))
        self._wake.set()
        return True

    def enter(self) -> None:
        """Begin to watch."""
        self.track.watch(self, self.clock())

    def leave(self) -> None:
        """Watch no longer."""
        self.track.unwatch(self, self.clock())

    async def frames(self) -> AsyncGenerator[ReadFrame | GroupEnd, None]:
        """Everything from the start of the subscription until the track ends.

        Raises what ended it, unless it simply completed.
        """
        self.enter()
        try:
            while True:
                waiting, self._waiting = self._waiting, []
                for item, size in waiting:
                    self._bytes -= size
                    yield item
                if waiting:
                    continue
                if self.complete and not self.due:
                    if self.error is not None:
                        raise self.error
                    return
                self._wake.clear()
                await self._wake.wait()
        finally:
            self.close()

    def close(self) -> None:
        """Stop watching."""
        for reading in tuple(self.readings):
            reading.stop()
        self.due.clear()
        if self._gave_up or not self.complete:
            self.leave()
        if not self.complete:
            self.complete = True
            self.error = Cancelled()


class _Groups(Collector):
    """Reads groups whole, each of ``limit`` bytes and `MAX_FRAMES` frames at most: a larger one
    ends with `TooLarge`, and no other for its sake."""

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self._sizes: dict[int, int] = {}

    def put(self, item: ReadFrame | GroupEnd, size: int) -> bool:
        """Queue one item for the coroutine, unless its group has ended so."""
        before = self._sizes.get(item.group, 0)
        if before > self.limit:
            return False
        is_many = isinstance(item, ReadFrame) and item.number >= MAX_FRAMES
        self._sizes[item.group] = after = self.limit + 1 if is_many else before + size
        if after > self.limit:
            self._waiting = [each for each in self._waiting if each[0].group != item.group]
            most = f"{self.limit} bytes or {MAX_FRAMES} frames"
            item = GroupEnd(item.group, 0, TooLarge(f"a group of more than {most}"))
        self._waiting.append((item, 0))
        self._wake.set()
        return after <= self.limit


class _Fetch(_Groups):
    """Reads one group that is asked for by number (the model's `Fetcher`); watches nothing."""

    def enter(self) -> None:
        assert self.demand.start is not None
        self.track.fetch(self.demand.start, self, self.clock())

    def leave(self) -> None:
        assert self.demand.start is not None
        self.track.unfetch(self.demand.start, self)

    def fetch_failed(self, error: RelayError) -> None:
        self.track_ended(error)


async def collect_group(
    track: Track,
    sequence: int | None,
    clock: Callable[[], float],
    limit: int = MAX_WAITING,
    hold: Callable[[int], None] = lambda size: None,
) -> tuple[int, list[bytes]]:
    """One whole group: its sequence and the payloads of its frames. ``None`` asks for the latest.

    One that is asked for by number comes from the cache or from the source, as `Track.fetch` says.
    ``hold`` hears of each frame how many bytes it takes, and may raise to have no more of them.
    Raises `NotFound` when there is no such group, `TooLarge` when it has more than ``limit`` bytes,
    or what ended the group or the track.
    """
    read = _Groups if sequence is None else _Fetch
    demand = Demand(start=sequence, end=sequence)
    frames: dict[int, list[bytes]] = {}
    least = sequence
    async with aclosing(read(track, demand, clock, limit).frames()) as items:
        async for item in items:
            if least is None:  # others came first, where somebody asked for what was before
                least = max(item.group, track.current or 0)
            if item.group < least:
                continue
            if isinstance(item, GroupEnd):
                if item.error is not None:
                    raise item.error
                return item.group, frames.get(item.group, [])
            hold(len(item.payload) + OVERHEAD)
            frames.setdefault(item.group, []).append(item.payload)
    raise NotFound("the track ended without that group")
