"""Who publishes and who watches: threads of the test that live in the network of a host.

A publisher sends numbered groups with the moment they were made; the machine has one monotonic
clock, so a viewer knows how long each was under way. This module must not know what is expected.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, NamedTuple, Self, TypeVar

from netlab import Host

from relay.cli.target import unless_lost
from relay.client import Client, connect
from relay.errors import RelayError, SessionLost, first_of
from relay.model.track import Demand, TrackInfo
from relay.net.trust import DialTls
from relay.peer.reading import ReadFrame

TRACK = "video"
HEAD = struct.Struct("!16sQd")
"""Who published, how many before this one, and when."""

MAX_LATENCY = 10_000
"""Milliseconds by which a group may be late and is still wanted."""

REST = 0.05
"""Seconds before whoever lost something tries again."""

STOP = 10.0
"""Seconds somebody may take to leave."""

DIAL = 20.0
"""Seconds until a dial is given up."""

STEP = 0.02
"""Seconds between two looks at what is waited for."""


P = TypeVar("P", bound="Person")


class Arrival(NamedTuple):
    """One group as a viewer saw it."""

    when: float
    group: int
    publisher: str
    serial: int
    late: float
    """Seconds since it was published."""


class Sighting(NamedTuple):
    """A broadcast appeared or disappeared."""

    when: float
    is_there: bool
    path: str


class Person:
    """Somebody who does one thing until told to stop."""

    def __init__(self, crowd: Crowd, urls: Sequence[str]) -> None:
        self.crowd = crowd
        self.urls = urls
        self.lost: list[tuple[float, str]] = []
        """When sessions ended that should not have, and why."""
        self.connected = 0
        self._leaving = False
        self._task: asyncio.Task[None] | None = None
        self._over: Future[None] = crowd.start(self._live())

    async def _live(self) -> None:
        self._task = asyncio.current_task()
        for url in itertools.cycle(self.urls):
            try:
                whole = f"{url}/?jwt={self.crowd.token}"
                async with connect(whole, tls=self.crowd.tls, timeout=DIAL) as client:
                    self.connected += 1
                    await unless_lost(client, self._act(client))
            except* SessionLost as group:
                self.lost.append((time.monotonic(), str(first_of(group))))
            await asyncio.sleep(REST)

    async def _act(self, client: Client) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """Leave in good order; raises what went wrong, if anything did."""
        self.dismiss().result(STOP)
        with suppress(CancelledError):
            self._over.result(STOP)

    def dismiss(self) -> Future[None]:
        """Begin to leave, without waiting."""
        return self.crowd.start(self._leave())

    async def _leave(self) -> None:
        assert self._task is not None
        if not self._leaving:  # a second call must not break off a goodbye
            self._leaving = True
            self._task.cancel()
        await asyncio.wait((self._task,))


class Publisher(Person):
    """Publishes numbered groups of one frame, evenly."""

    def __init__(
        self, crowd: Crowd, urls: Sequence[str], path: str, name: str, size: int, every: float
    ) -> None:
        self.path = path
        self.name = name
        self.size = size
        self.every = every
        self.serial = 0
        """Groups published so far."""
        self.announced: float | None = None
        super().__init__(crowd, urls)

    async def _act(self, client: Client) -> None:
        broadcast = client.create_broadcast(self.path)
        track = broadcast.create_track(TRACK, TrackInfo(timescale=1000), keep=64)
        self.announced = due = time.monotonic()
        while True:
            track.append_group()
            now = time.monotonic()
            head = HEAD.pack(self.name.encode(), self.serial, now)
            track.write_frame(head.ljust(self.size, b"\0"), int(now * 1000))
            track.finish_group()
            self.serial += 1
            due += self.every
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Viewer(Person):
    """Watches one broadcast, goes on when it breaks off, and goes elsewhere when it must."""

    max_latency = MAX_LATENCY

    def __init__(self, crowd: Crowd, urls: Sequence[str], path: str, resume: bool) -> None:
        self.path = path
        self.resume = resume
        self.arrivals: list[Arrival] = []
        self.breaks: list[tuple[float, str]] = []
        """When the track ended under the viewer while the session lived, and why."""
        super().__init__(crowd, urls)

    @property
    def groups(self) -> list[int]:
        """Group numbers as they came."""
        return [arrival.group for arrival in self.arrivals]

    async def _act(self, client: Client) -> None:
        while True:
            broadcast = await client.find(self.path)
            start = max(self.groups) + 1 if self.arrivals and self.resume else None
            demand = Demand(max_latency=self.max_latency, start=start)
            reason = "it ended"
            try:
                async for item in client.frames(broadcast, TRACK, demand).frames():
                    if isinstance(item, ReadFrame):
                        self._take(item)
            except SessionLost:
                raise
            except RelayError as error:
                reason = f"{type(error).__name__}: {error}"
            self.breaks.append((time.monotonic(), reason))
            await asyncio.sleep(REST)

    def _take(self, frame: ReadFrame) -> None:
        now = time.monotonic()
        who, serial, made = HEAD.unpack_from(frame.payload)
        name = who.rstrip(b"\0").decode()
        self.arrivals.append(Arrival(now, frame.group, name, serial, now - made))


class Observer(Person):
    """Sees what is announced and what is no more."""

    def __init__(self, crowd: Crowd, urls: Sequence[str]) -> None:
        self.sightings: list[Sighting] = []
        super().__init__(crowd, urls)

    def sees(self, path: str) -> bool:
        """Whether the broadcast is there as far as it was told."""
        told = [each.is_there for each in self.sightings if each.path == path]
        return bool(told) and told[-1]

    def when(self, path: str, is_there: bool = True) -> float | None:
        """When it last appeared, or disappeared; ``None``: it did not."""
        told = [each for each in self.sightings if each.path == path]
        return told[-1].when if told and told[-1].is_there == is_there else None

    async def _act(self, client: Client) -> None:
        async for is_there, path in client.announcements():
            self.sightings.append(Sighting(time.monotonic(), is_there, str(path)))


class Crowd:
    """A thread in the network of a host with everybody who is there."""

    def __init__(self, host: Host, tls: DialTls, token: str) -> None:
        self.host = host
        self.tls = tls
        self.token = token
        self.people: list[Person] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"crowd-{host.name}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for person in self.people:
                person.stop()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP)

    def dismiss(self) -> None:
        """Have everybody begin to leave, so that many crowds can be waited for together."""
        for person in self.people:
            person.dismiss()

    def _run(self) -> None:
        with self.host.inside(), asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()

    def start(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Have it done in this thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def publish(
        self, url: str, path: str, *, name: str = "", size: int = 4000, every: float = 0.05
    ) -> Publisher:
        """Publish groups of ``size`` bytes, one ``every`` so many seconds, from now on."""
        name = name or f"at-{self.host.name}"
        return self._come(Publisher(self, [url], path, name, size, every))

    def watch(self, *urls: str, path: str, resume: bool = True) -> Viewer:
        """Watch at the first of ``urls``, at the next one when that session is lost.

        ``resume``: when the track breaks off, ask for the group after the newest one seen; without
        it for the latest there is, as it must be where another publisher may take over.
        """
        return self._come(Viewer(self, urls, path, resume))

    def observe(self, url: str) -> Observer:
        """Note everything that is announced."""
        return self._come(Observer(self, [url]))

    def _come(self, person: P) -> P:
        self.people.append(person)
        return person


def until(what: Callable[[], object], patience: float, why: str = "") -> float:
    """Wait until it is so; how long that took. Raises `AssertionError` when it never is.

    ``patience`` is counted in steps slept, which grow longer where the machine is busy.
    """
    start = time.monotonic()
    for _ in range(round(patience / STEP) + 1):
        if what():
            return time.monotonic() - start
        time.sleep(STEP)
    raise AssertionError(f"not within {patience} s: {why}")
