"""All links of one relay: who is dialled now, and what is kept in step with whom.

The law: links follow the roster, and the roster follows the settings, a list that somebody serves
and what relays tell of themselves; nothing that one link does disturbs another. This module must
not know how a connection is dialled (whoever assembles brings `Dial`) nor what HTTP is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from relay.auth.grant import Grant
from relay.cluster.address import Address, parse
from relay.cluster.gossip import Gossip
from relay.cluster.link import Link
from relay.cluster.lists import Ask, Lists, file_of
from relay.cluster.news import News
from relay.cluster.nodes import snapshot
from relay.cluster.roster import Roster, Wish
from relay.cluster.settings import ClusterSettings
from relay.errors import SessionLost
from relay.path import ROOT
from relay.peer.door import Door
from relay.peer.guest import Guest
from relay.session.lite import LiteSession
from relay.session.transport import Receiver, Transport

TICK = 0.25
"""Seconds between looks at what is due, and at the token file."""

SIGNS = 5
"""Signs of life on a link within ``cluster.silence``."""

BEGIN = 10.0
"""Seconds that a dialled relay may take to introduce itself."""


class Dialled(Protocol):
    """A connection that we asked for; it waits for its receiver."""

    transport: Transport
    protocol: str | None
    remote: tuple[str, int]

    def start(self, receiver: Receiver) -> None:
        """Set the receiver."""

    async def close(self, code: int = 0, reason: str = "") -> None:
        """Let go of it."""


Dial = Callable[[str], Awaitable[tuple[Dialled, str | None]]]
"""Open a connection to a URL; also answers what SETUP must say of the target, where the transport
says nothing. Raises `SessionLost`, `ConfigError`."""


@dataclass(slots=True)
class OpenSession:
    """A running session of a link (`relay.cluster.link.Session`)."""

    guest: Guest
    lost: asyncio.Future[str]
    dialled: Dialled
    pinged: float

    async def close(self) -> None:
        """Let go of the connection."""
        await self.dialled.close()


class Cluster:
    """The links of one relay. ``clock`` is monotonic seconds."""

    def __init__(
        self,
        door: Door,
        settings: ClusterSettings,
        dial: Dial,
        news: News,
        clock: Callable[[], float],
        log: Callable[..., None],
        ask: Ask | None = None,
    ) -> None:
        """``ask`` asks the server of ``connect_api``. Raises `ConfigError` for a bad address."""
        self.door = door
        self.settings = settings
        self.news = news
        self.links: dict[str, Link] = {}
        self._dial = dial
        self._clock = clock
        self._log = log
        self._ask = ask
        self._roster = Roster(parse(settings.node).key if settings.node else None)
        self._roster.want(Wish.LISTED, {each.key: each for each in map(parse, settings.connect)})
        self._gossip = Gossip(door.house.origin, self._roster, self._follow, clock, log)
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._sessions: dict[str, OpenSession] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._token_seen: tuple[int, int] | None = None
        self.is_draining = False

    async def run(self) -> None:
        """Keep all links up, for ever."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._token_seen = self._token_stamp()
            if self.settings.mesh and self.settings.node is not None:
                self._gossip.begin(self.settings.node)
            self._follow()
            if (source := self.settings.connect_api) is not None:
                ask = file_of(source) or self._ask
                if ask is not None:
                    tasks.create_task(Lists(ask, self._listed, self._log).run())
            await self._tick()

    def nodes(self) -> dict[str, Any]:
        """The mesh as this relay sees it."""
        relays = [
            guest
            for guest in (*self.door.links.values(), *self.door.guests.values())
            if guest.grant is not None and guest.grant.cluster
        ]
        links = list(self.links.values())
        return snapshot(self.door.house.origin, self.settings.node, links, relays, self._clock())

    def drain(self) -> None:
        """Dial nobody any more; sessions that run go on."""
        self.is_draining = True

    # -- following the roster --------------------------------------------------------------------

    def _listed(self, addresses: dict[str, Address]) -> None:
        self._log("relay list", relays=len(addresses))
        self._roster.want(Wish.SERVED, addresses)
        self._follow()

    def _follow(self) -> None:
        """Have exactly those links run that are wanted."""
        if self._tasks is None or self.is_draining:
            return
        wanted = self._roster.wanted()
        for key in self.links.keys() - wanted.keys():
            self._log("link dropped", peer=key)
            del self.links[key]
            self._runs.pop(key).cancel()
        for key, address in wanted.items():
            link = self.links.get(key)
            if link is None:
                link = Link(address, self._open, self.settings.token, self._clock, self._log)
                self.links[key] = link
                self._runs[key] = self._tasks.create_task(link.run())
            elif link.address != address:
                link.renew(address)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            self._gossip.tick(now)
            for session in tuple(self._sessions.values()):
                if now - session.pinged >= self.settings.silence / SIGNS:
                    session.pinged = now
                    session.guest.transport.ping()
            stamp = self._token_stamp()
            if stamp != self._token_seen:
                self._token_seen = stamp
                self._log("cluster token changed")
                for link in self.links.values():
                    if link.uses_token_file:
                        link.renew()

    def _token_stamp(self) -> tuple[int, int] | None:
        """When the token file was written, and its size."""
        if self.settings.token is None:
            return None
        try:
            status = self.settings.token.stat()
        except OSError:
            return self._token_seen
        return status.st_mtime_ns, status.st_size

    # -- one session -----------------------------------------------------------------------------

    async def _open(self, url: str, cost: int | None) -> OpenSession:
        """Dial a relay and begin a session with it. Raises `SessionLost`, `ConfigError`."""
        if self.is_draining:
            raise SessionLost("this relay is about to stop")
        dialled, target = await self._dial(url)
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[str] = loop.create_future()
        begun: asyncio.Future[None] = loop.create_future()

        def left(guest: Guest, reason: str) -> None:
            self._sessions.pop(guest.id, None)
            self.door.release(guest, reason)
            if not lost.done():
                lost.set_result(reason)

        def welcomed(guest: Guest, grant: Grant) -> None:
            if not begun.done():
                begun.set_result(None)

        house = self.door.house
        guest = Guest(
            house,
            dialled.transport,
            LiteSession(
                dialled.transport,
                dialled.protocol,
                origin=house.origin.id,
                client=True,
                target=target,
                cost=cost,
                settings=self.door.sessions,
            ),
            id=secrets.token_hex(6),
            grant=Grant(
                ROOT,
                self.settings.imports,
                self.settings.exports,
                cluster=True,
                credential="link",
            ),
            cost=cost,
            welcomed=welcomed,
            left=left,
        )
        session = OpenSession(guest, lost, dialled, self._clock())
        self._sessions[guest.id] = session
        self.door.adopt(guest)
        dialled.start(guest)
        guest.start()
        await asyncio.wait((lost, begun), timeout=BEGIN, return_when=asyncio.FIRST_COMPLETED)
        if lost.done() or not begun.done():
            why = lost.result() if lost.done() else "it did not introduce itself"
            if not lost.done():
                guest.close(SessionLost(why))
            await session.close()
            raise SessionLost(why)
        return session
