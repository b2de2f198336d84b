"""A client of our own: publish or watch through any MoQ relay, with the relay's own rooms.

A client is a guest turned round: a private origin, one dialled connection, and a grant over
everything, since nobody is protected from himself. This module must not know terminals.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from relay.auth.grant import Grant
from relay.errors import SessionLost
from relay.model.board import Way
from relay.model.broadcast import Broadcast, Route
from relay.model.origin import Origin
from relay.model.track import Demand
from relay.net.detour import Detour
from relay.net.dial import dial, setup_target
from relay.net.trust import DialTls
from relay.path import ROOT, Path
from relay.peer.guest import Guest
from relay.peer.house import House
from relay.peer.local import LocalBroadcast
from relay.peer.reading import Collector
from relay.server.parts import draw_id
from relay.session.lite import LiteSession
from relay.wire.version import SPOKEN

TICK = 0.1
"""Seconds between looks at what is due by time."""

LEAVE_LOOK = 0.02
"""Seconds between looks at whether the relay has heard that we take back our broadcasts."""

LEAVE_LOOKS = 25
"""Looks before we leave without knowing."""

KEEP_ALIVE = 4.0
"""Seconds between signs of life: relays may let a silent session go after ten."""

MAX_LATENCY = 10_000
"""Milliseconds by which a group may be late and is still wanted, unless the caller says so."""

AHEAD = 1 << 18
"""Bytes that may wait for the way to the relay before `Client.room` has all of them leave."""

AHEAD_GROUPS = 256
"""The same of groups: well below what a track keeps, here or at the relay."""

MOMENT = 0.005
"""Seconds between looks at whether they have."""

EVERYTHING = (ROOT,)


class Changes:
    """What appears and disappears under the root, as a queue of (is there, path)."""

    def __init__(self, origin: Origin) -> None:
        self.queue: asyncio.Queue[tuple[bool, Path]] = asyncio.Queue()
        self._watch = origin.watch(ROOT, self)

    def close(self) -> None:
        """Hear no more of it."""
        self._watch.cancel()

    def announced(self, path: Path, way: Way) -> None:
        """A broadcast appeared."""
        self.queue.put_nowait((True, path))

    def unannounced(self, path: Path) -> None:
        """A broadcast disappeared."""
        self.queue.put_nowait((False, path))


@dataclass
class Client:
    """One session with a relay. Use `connect`."""

    house: House
    guest: Guest
    routes: list[Route] = field(default_factory=list)
    lost: asyncio.Future[str] = field(default_factory=lambda: asyncio.Future())

    @property
    def origin(self) -> Origin:
        """Everything this client publishes and sees."""
        return self.house.origin

    def create_broadcast(self, path: str) -> LocalBroadcast:
        """A broadcast of ours, announced to the relay at once; fill its tracks first or later."""
        broadcast = LocalBroadcast(self.house.clock)
        route = self.origin.announce(Path(path), broadcast, (), self.house.clock())
        if route is not None:
            self.routes.append(route)
        return broadcast

    def changes(self) -> Changes:
        """Broadcasts as they come and go, those that exist first; `Changes.close` ends it."""
        return Changes(self.origin)

    async def find(self, path: str) -> Broadcast:
        """The broadcast at ``path``, as soon as it is announced. Raises `SessionLost`."""
        with contextlib.closing(self.changes()) as changes:
            while (found := self.origin.find(Path(path))) is None:
                await self._next(changes)
            return found

    async def announcements(self) -> AsyncIterator[tuple[bool, Path]]:
        """Broadcasts as they come and go, for as long as the session lives."""
        with contextlib.closing(self.changes()) as changes:
            while True:
                yield await self._next(changes)

    async def _next(self, changes: Changes) -> tuple[bool, Path]:
        """The next change. Raises `SessionLost` when the session ends first."""
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(changes.queue.get())
            await asyncio.wait((waiting, self.lost), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                waiting.cancel()
        if waiting.cancelled():
            raise SessionLost(self.lost.result())
        return waiting.result()

    def frames(self, broadcast: Broadcast, track: str, demand: Demand | None = None) -> Collector:
        """Watch a track: iterate over ``.frames()``. By default late groups are wanted as well."""
        demand = demand or Demand(max_latency=MAX_LATENCY)
        return Collector(broadcast.track(track), demand, self.house.clock)

    def withdraw(self) -> None:
        """Take back everything we announced, so that nobody waits for it to come back."""
        for route in self.routes:
            route.withdraw(self.house.clock())
        self.routes.clear()

    def hears(self, path: str) -> bool:
        """Whether the relay asked for announcements that cover ``path``."""
        listening = self.guest.hearings.answered.values()
        return any(Path(path).is_under(hearing.prefix) for hearing, _ in listening)

    async def room(self) -> None:
        """Return as soon as it is worth writing more: for whoever reads what can wait. Beyond what
        the way to the relay takes the oldest groups would be given up in time."""
        queue = self.guest.watching.queue
        if queue.is_beyond(AHEAD, AHEAD_GROUPS):
            # All of them: the newest goes first, and the oldest never where more keep coming.
            while queue.backlog:  # noqa: ASYNC110 - the queue tells nobody
                await asyncio.sleep(MOMENT)

    def idle(self) -> bool:
        """Whether everything we published has arrived at the relay."""
        watching = self.guest.watching
        has_left = watching.queue.backlog == 0 and not watching.parting
        return has_left and self.guest.transport.is_quiet()


@contextlib.asynccontextmanager
async def connect(
    url: str,
    *,
    tls: DialTls | None = None,
    versions: Sequence[str] = SPOKEN,
    log: Callable[..., None] = lambda event, **facts: None,
    timeout: float = 10.0,  # noqa: ASYNC109 - the dial has several deadlines of its own
) -> AsyncIterator[Client]:
    """A session with the relay at ``url`` (any that `dial` takes, path and query included).

    Where no UDP gets through it is one over WebSocket, as ``log`` hears then.
    Raises `SessionLost` when it cannot be had; its ``status`` is that of the relay's refusal.
    """
    house = House(Origin(draw_id(), keeps_own=True), time.monotonic, log=log)
    dialled = await dial(
        url,
        protocols=versions,
        tls=tls or DialTls(),
        timeout=timeout,
        detour=Detour(heard=lambda place: log("session over websocket", peer=place)),
    )
    session = LiteSession(
        dialled.transport,
        dialled.protocol,
        origin=house.origin.id,
        client=True,
        target=setup_target(url),
    )
    loop = asyncio.get_running_loop()
    lost: asyncio.Future[str] = loop.create_future()

    def left(guest: Guest, reason: str) -> None:
        if not lost.done():
            lost.set_result(reason)

    guest = Guest(
        house,
        dialled.transport,
        session,
        id=secrets.token_hex(4),
        grant=Grant(ROOT, EVERYTHING, EVERYTHING),
        left=left,
    )
    client = Client(house, guest, lost=lost)
    dialled.start(guest)
    guest.start()
    async with asyncio.TaskGroup() as tasks:
        ticker = tasks.create_task(_tick(client))
        try:
            yield client
        finally:
            ticker.cancel()
            await _take_leave(client)
            guest.session.close(0, "")
            await dialled.close()


async def _take_leave(client: Client) -> None:
    """Take back what we announced; closing in the same flight could overtake it."""
    if client.routes and not client.lost.done():
        client.withdraw()
        for _ in range(LEAVE_LOOKS):
            await asyncio.sleep(LEAVE_LOOK)
            if client.guest.hearings.is_behind:
                client.house.listings.tick(client.house.clock())
            elif client.guest.transport.is_quiet():
                return


async def _tick(client: Client) -> None:
    pinged = client.house.clock()
    while True:
        await asyncio.sleep(TICK)
        now = client.house.clock()
        if now - pinged > KEEP_ALIVE:
            pinged = now
            client.guest.transport.ping()
        client.origin.tick(now)
        client.guest.tick(now)
