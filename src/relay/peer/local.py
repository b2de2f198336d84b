"""Publishing and reading without a connection: the relay's own hands on what is shared.

`LocalBroadcast` is a source like a guest's, fed by plain calls; `Collector` is a viewer that hands
whole frames to one waiting coroutine. The command line, the HTTP faces and tests use them. This
module must not know why somebody publishes or reads.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from itertools import count
from typing import Any, NamedTuple

from relay.errors import Cancelled, Lagged, LimitExceeded, NotFound, RelayError, TooLarge
from relay.model.group import Group, Log
from relay.model.track import Demand, Track, TrackInfo
from relay.peer.transcode import transcode
from relay.wire.frame import Frame, FrameParser, Layout, encode_frame

LAYOUT = Layout.TIMED

MAX_GROUP = 33_554_432
"""Bytes of one published group, which is kept whole for viewers that come late."""

MAX_FRAME = 33_554_432
"""Bytes of one frame that a reader here will put together; the same as a session lets through."""

MAX_WAITING = 67_108_864
"""Bytes that may wait for a reader here, unless the caller says how many."""

MAX_FRAMES = 1 << 18
"""Frames of a group that is read whole: each takes a few hundred bytes, however short it is."""

AT_ONCE = 2048
"""Frames that one who reads takes in a turn of the loop: millions may be there when he begins."""


class LocalGroup:
    """A group being published: encoded frames, kept for viewers that come later."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.chunks: list[bytes] = []
        self.size = 0
        self.previous = 0
        self.finished = False


class LocalTrack:
    """A track published from within. ``keep`` groups stay for viewers that join late, the
    sequences begin with ``first``."""

    def __init__(self, info: TrackInfo, clock: Callable[[], float], keep: int, first: int) -> None:
        self.info = info
        self.clock = clock
        self.keep = keep
        self.groups: list[LocalGroup] = []
        self.finished = False
        self.track: Track | None = None
        self._handed = 0
        """The first group that is handed over to whoever watches, and all after it are."""
        self._open: dict[int, Group] = {}
        self._fetched: dict[int, Group] = {}
        """What somebody asked for by number while it was being published."""
        self._next = first

    def append_group(self) -> int:
        """Begin the next group (ending the one before); answers its sequence."""
        self.finish_group()
        self.groups.append(LocalGroup(self._next))
        del self.groups[: -self.keep]
        self._next += 1
        self._feed(self.groups[-1])
        return self._next - 1

    def write_frame(self, payload: bytes, timestamp: int) -> None:
        """One frame into the current group; ``timestamp`` in the track's timescale.

        Raises `LimitExceeded` when the group would grow beyond `MAX_GROUP`.
        """
        group = self.groups[-1]
        chunk = encode_frame(LAYOUT, payload, timestamp, group.previous)
        group.size += len(chunk)
        if group.size > MAX_GROUP:
            raise LimitExceeded(f"a group of more than {MAX_GROUP} bytes: begin a new one earlier")
        group.previous = timestamp
        group.chunks.append(chunk)
        for written in (self._open, self._fetched):
            if (live := written.get(group.sequence)) is not None:
                live.write(chunk, self.clock())

    def finish_group(self) -> None:
        """The current group is complete."""
        if self.groups and not self.groups[-1].finished:
            group = self.groups[-1]
            group.finished = True
            for written in (self._open, self._fetched):
                if (live := written.pop(group.sequence, None)) is not None:
                    live.finish(self.clock())

    def finish(self) -> None:
        """The track is complete."""
        self.finish_group()
        self.finished = True
        if self.track is not None:
            self.track.finish(self.clock())

    def open(self, track: Track) -> None:
        """Somebody watches: hand over what they asked for, then everything that comes."""
        self.track = track
        self._handed = self._next
        track.accept(self.info)
        self.update(track)
        if self.finished:
            track.finish(self.clock())

    def update(self, track: Track) -> None:
        """They ask for something else: hand over what they had not asked for before."""
        start = track.start_at
        if start is None and track.demand is not None:
            start = track.demand.start
        if start is None:
            start = self._next - 1
        handed = self._handed
        self._handed = min(start, handed)
        for group in tuple(self.groups):
            if start <= group.sequence < handed:
                self._feed(group)

    def fetch(self, track: Track, sequence: int) -> None:
        """Somebody wants one group: it is there if it is kept."""
        group = next((each for each in self.groups if each.sequence == sequence), None)
        if group is None:
            track.fetch_failed(sequence, NotFound(f"group {sequence} is not kept"))
        elif (fetched := track.open_fetched(sequence, LAYOUT, self.clock())) is not None:
            self._fill(group, fetched, self._fetched)

    def cancel_fetch(self, sequence: int) -> None:
        """Nobody wants that group any more."""
        self._fetched.pop(sequence, None)

    def close(self) -> None:
        """Nobody watches."""
        self.track = None
        self._open.clear()

    def _feed(self, group: LocalGroup) -> None:
        if self.track is None:
            return
        live = self.track.open_group(group.sequence, LAYOUT, self.clock())
        if live is not None:
            self._fill(group, live, self._open)

    def _fill(self, group: LocalGroup, live: Group, written: dict[int, Group]) -> None:
        """Write what there is of a group, and have it among the ``written`` until it is complete;
        whoever reads may end that at any time."""
        now = self.clock()
        written[group.sequence] = live
        for chunk in group.chunks:
            live.write(chunk, now)
        if group.finished:
            written.pop(group.sequence, None)
            live.finish(now)


class LocalBroadcast:
    """A broadcast published from within (the model's `FetchSource`)."""

    can_fetch = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.hops = (secrets.randbelow(2**53 - 1) + 1,)
        """The chain to announce it with: a publisher of its own, as each session is one. Under the
        number of the relay alone its groups would be taken for those of the broadcast before it,
        in a relay that was started again and counts from the beginning."""
        self.tracks: dict[str, LocalTrack] = {}

    def create_track(
        self, name: str, info: TrackInfo, keep: int = 16, first: int = 0
    ) -> LocalTrack:
        """A track to publish on."""
        track = self.tracks[name] = LocalTrack(info, self.clock, keep, first)
        return track

    def learn(self, track: Track) -> None:
        """Somebody wants to know the track's properties."""
        if (local := self.tracks.get(track.name)) is not None:
            track.accept(local.info)
        else:
            track.fail(NotFound(f"no track {track.name!r}"))

    def open(self, track: Track) -> None:
        """Somebody watches the track."""
        if (local := self.tracks.get(track.name)) is not None:
            local.open(track)
        else:
            track.fail(NotFound(f"no track {track.name!r}"))

    def update(self, track: Track) -> None:
        """The viewers' wishes changed."""
        if (local := self.tracks.get(track.name)) is not None:
            local.update(track)

    def close(self, track: Track) -> None:
        """Nobody watches the track any more."""
        if (local := self.tracks.get(track.name)) is not None:
            local.close()

    def fetch(self, track: Track, sequence: int, priority: int) -> None:
        """Somebody wants one group of the track."""
        if (local := self.tracks.get(track.name)) is not None:
            local.fetch(track, sequence)
        else:
            track.fetch_failed(sequence, NotFound(f"no track {track.name!r}"))

    def cancel_fetch(self, track: Track, sequence: int) -> None:
        """Nobody wants the group any more."""
        if (local := self.tracks.get(track.name)) is not None:
            local.cancel_fetch(sequence)


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
        self._left = AT_ONCE
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
        self._left = AT_ONCE
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
    track: Track, sequence: int | None, clock: Callable[[], float], limit: int = MAX_WAITING
) -> tuple[int, list[bytes]]:
    """One whole group: its sequence and the payloads of its frames. ``None`` asks for the latest.

    One that is asked for by number comes from the cache or from the source, as `Track.fetch` says.
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
            frames.setdefault(item.group, []).append(item.payload)
    raise NotFound("the track ended without that group")
