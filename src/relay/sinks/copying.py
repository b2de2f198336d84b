"""Chosen tracks read from the origin as they come, and every frame handed to an outlet.

The law: nobody else waits for an outlet, and a track is read for as long as it is there: what broke
off is asked for again behind the last group that was seen. What comes by HTTP is handed over
instead, since less of it is kept than one body may bring. This module must not know what an outlet
is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from relay.errors import RelayError
from relay.model.board import Way
from relay.model.broadcast import Broadcast
from relay.model.origin import Origin
from relay.model.track import Demand
from relay.path import ROOT, Path
from relay.peer.reading import Collector, ReadFrame
from relay.sinks.choice import Choice

BACKLOG = 4_194_304
"""Bytes of one track that may wait for a turn of the loop, or those of a whole group, which comes
at once where it is cached. More: it is asked for again."""

LATENCY = 60_000
"""Milliseconds that a group may come late."""

RETRY = 0.5
"""Seconds until a track that broke off is asked for again; doubled each time, up to..."""

MAX_RETRY = 5.0

PATIENCE = 5.0
"""Seconds for which a broadcast that is gone is read on: its last groups may be on their way."""

RESTART = 5.0
"""Seconds until a sink begins again after a mistake of ours."""

Log = Callable[..., None]


class Record(NamedTuple):
    """One frame on its way out."""

    broadcast: Path
    track: str
    frame: ReadFrame


class Outlet(Protocol):
    """What takes the copies."""

    def put(self, record: Record) -> None:
        """Take one record, or count that there was no room for it. Must not raise nor wait."""

    async def run(self) -> None:
        """Send what was put, for ever; cancelled when the relay stops."""

    @property
    def waiting(self) -> int:
        """Records that were put and are neither sent nor given up."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What became of the others, by word."""


class Copying:
    """Watches for broadcasts and reads their chosen tracks (the model's `Watcher`)."""

    def __init__(
        self,
        choices: Sequence[Choice],
        outlet: Outlet,
        origin: Origin,
        clock: Callable[[], float],
        log: Log,
        max_tracks: int,
        is_handed: Callable[[Broadcast], bool] = lambda broadcast: False,
    ) -> None:
        """``is_handed`` says which broadcasts `take` is called for."""
        self.outlet = outlet
        self.refused = 0
        """Tracks that had to wait because there were too many."""
        self._choices = choices
        self._origin = origin
        self._clock = clock
        self._log = log
        self._max_tracks = max_tracks
        self._is_handed = is_handed
        self._readers: dict[tuple[Path, str], asyncio.Task[None]] = {}
        self._read_out: set[tuple[Path, str]] = set()
        """Tracks that have ended, of broadcasts that are there: not to be read a second time."""
        self._passed: dict[tuple[Path, str], None] = {}
        """Tracks that there was no room for, the next one to be copied first."""
        self._leaving: dict[asyncio.Task[None], asyncio.TimerHandle] = {}
        """Readers of broadcasts that are gone, at most ``max_tracks``, and when each gives up."""
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def tracks(self) -> int:
        """Tracks that are copied now, or waited for."""
        return len(self._readers)

    async def run(self) -> None:
        """Copy until cancelled."""
        while True:
            try:
                await self._copy()
            except Exception as error:  # a mistake of ours in one sink must not end the relay
                self._log("internal error", error=repr(error))
            for kept in (self._readers, self._read_out, self._passed):
                kept.clear()
            await asyncio.sleep(RESTART)

    def take(self, path: Path, track: str, frames: Sequence[ReadFrame]) -> None:
        """Frames that the relay publishes itself. Must not raise."""
        if not any(each.track == track and each.covers(path) for each in self._choices):
            return
        try:
            for frame in frames:
                self.outlet.put(Record(path, track, frame))
        except Exception as error:  # a mistake of ours: whoever publishes has made none
            self._log("internal error", error=repr(error))

    async def _copy(self) -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(self.outlet.run())
            async with asyncio.TaskGroup() as self._tasks:
                watch = self._origin.watch(ROOT, self)
                try:
                    await asyncio.Event().wait()
                finally:
                    watch.cancel()

    # -- the model's `Watcher` -------------------------------------------------------------------

    def announced(self, path: Path, way: Way) -> None:
        """A broadcast is there, or comes another way."""
        for key in self._chosen(path):
            if key in self._readers or key in self._read_out or key in self._passed:
                continue
            if len(self._readers) < self._max_tracks:
                self._begin(key)
            elif not self._comes_by_itself(path):
                self._passed[key] = None
                self.refused += 1
                if self.refused == 1:
                    self._log("warning", detail=f"more tracks than max_tracks: {path} has to wait")

    def unannounced(self, path: Path) -> None:
        """A broadcast is gone; what its publisher has not delivered yet is waited for."""
        loop = asyncio.get_running_loop()
        for key in self._chosen(path):
            self._read_out.discard(key)
            self._passed.pop(key, None)
            if (reader := self._readers.pop(key, None)) is None:
                continue
            self._leaving[reader] = loop.call_later(PATIENCE, self._leave, reader)
            reader.add_done_callback(self._leave)
            if len(self._leaving) > self._max_tracks:
                self._leave(next(iter(self._leaving)))
        self._look_again()

    def _chosen(self, path: Path) -> list[tuple[Path, str]]:
        """What is to be copied of a broadcast."""
        tracks = dict.fromkeys(each.track for each in self._choices if each.covers(path))
        return [(path, track) for track in tracks]

    def _comes_by_itself(self, path: Path) -> bool:
        """Whether what the broadcast has is handed over."""
        broadcast = self._origin.find(path)
        return broadcast is not None and self._is_handed(broadcast)

    def _begin(self, key: tuple[Path, str]) -> None:
        """Read a track, unless it is handed over."""
        if self._tasks is not None and not self._comes_by_itself(key[0]):
            self._readers[key] = self._tasks.create_task(self._read(*key))

    def _look_again(self) -> None:
        """Copy what there was no room for, as far as there is by now."""
        while self._passed and len(self._readers) < self._max_tracks:
            key = next(iter(self._passed))
            del self._passed[key]
            self._begin(key)

    def _leave(self, reader: asyncio.Task[None]) -> None:
        """It has read all there was, or reads no further."""
        if (timer := self._leaving.pop(reader, None)) is not None:
            timer.cancel()
        reader.cancel()

    async def _read(self, path: Path, name: str) -> None:
        """Read one track until its broadcast is gone, and what is left of it then."""
        begun: set[int] = set()
        latest, wait = -1, RETRY
        backlog = max(BACKLOG, self._origin.stock.settings.max_group_bytes)
        while self._readers.get((path, name)) is asyncio.current_task():
            if (broadcast := self._origin.find(path)) is not None:
                # What was begun and not ended is read again: twice is better than not at all.
                demand = Demand(start=min(begun, default=latest + 1), max_latency=LATENCY)
                begun.clear()
                try:
                    reading = Collector(broadcast.track(name), demand, self._clock, backlog)
                    async for item in reading.frames():
                        latest, wait = max(latest, item.group), RETRY
                        if isinstance(item, ReadFrame):
                            begun.add(item.group)
                            self.outlet.put(Record(path, name, item))
                        else:
                            begun.discard(item.group)
                except RelayError:
                    pass  # whatever it was: asked for again, behind what was seen
                else:
                    break
            await asyncio.sleep(wait)
            wait = min(MAX_RETRY, 2 * wait)
        if self._readers.get((path, name)) is asyncio.current_task():
            del self._readers[path, name]
            self._read_out.add((path, name))
            self._look_again()
