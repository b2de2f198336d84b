"""All links of one relay: who is dialled now, and what is kept in step with whom.

The law: links follow the roster, and the roster follows the settings, a list that somebody serves
and what relays tell of themselves; nothing that one link does disturbs another. This module must
not know how a connection is dialled (whoever assembles brings `Dial`) nor what HTTP is.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, Protocol

from relay.auth.grant import Grant
from relay.beat import beat
from relay.cluster.address import Address, is_place, parse
from relay.cluster.gossip import Gossip
from relay.cluster.link import Link
from relay.cluster.lists import Ask, Lists, file_of
from relay.cluster.nodes import snapshot
from relay.cluster.roster import Roster, Wish
from relay.cluster.settings import ClusterSettings
from relay.cluster.twins import Twins
from relay.errors import SessionLost
from relay.path import ROOT
from relay.peer.door import Door
from relay.peer.guest import Guest
from relay.peer.settings import NEAR
from relay.session.lite import LiteSession
from relay.session.transport import Receiver, Transport

SIGNS = 5
"""Signs of life on a link within ``cluster.silence``."""

BEGIN = 10.0
"""Seconds that a dialled relay may take to introduce itself."""

RENEW_BEATS = 4
"""Beats between looks at the files of the token and the certificate."""

OURSELVES = "it has our own number: it is this relay, or cluster.id is given twice"
"""Why a session never becomes a link, or is none any more."""

ROOTS = (ROOT,)
"""Everything, as rights are written."""

Stamps = tuple[tuple[int, int], ...]
"""When each of some files was written, and its size."""


class Dialled(Protocol):
    """A connection that we asked for; it waits for its receiver."""

    transport: Transport
    protocol: str | None

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
        clock: Callable[[], float],
        log: Callable[..., None],
        ask: Ask | None = None,
        near: Sequence[Address] = (),
        shown: Sequence[File] = (),
    ) -> None:
        """``ask`` asks the server of ``connect_api``; ``near`` are other processes of this relay,
        which are dialled like relays; ``shown`` are the files of the certificate that ``dial``
        shows. Raises `ConfigError` for a bad address.
        """
        self.door = door
        self.settings = settings
        self.links: dict[str, Link] = {}
        self._dial = dial
        self._clock = clock
        self._log = log
        self._ask = ask
        self._shown = shown
        self._roster = Roster(parse(settings.node).key if settings.node else None)
        self._roster.want(Wish.LISTED, {each.key: each for each in map(parse, settings.connect)})
        self._roster.want(Wish.NEAR, {each.key: each for each in near})
        self._gossip = Gossip(door.house.origin, self._roster, self._follow, clock, log)
        self._twins = Twins(log)
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._sessions: dict[str, OpenSession] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._token_seen: Stamps = ()
        self._pair_seen: Stamps = ()
        self.is_draining = False

    async def run(self) -> None:
        """Keep all links up, for ever."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._token_seen, self._pair_seen = self._look()
            if self.settings.mesh and self.settings.node is not None:
                self._gossip.begin(self.settings.node)
            self._follow()
            if (source := self.settings.connect_api) is not None:
                ask = file_of(source) or self._ask
                if ask is not None:
                    tasks.create_task(Lists(ask, self._listed, self._log).run())
            await self._tick()

    def nodes(self, is_whole: bool = True) -> dict[str, Any]:
        """The mesh as this relay sees it; ``is_whole`` = with its other processes."""
        relays = [
            guest
            for guest in (*self.door.links.values(), *self.door.guests.values())
            if guest.grant is not None and guest.grant.cluster and (is_whole or not guest.is_near)
        ]
        links = [link for link in self.links.values() if is_whole or not link.address.is_near]
        return snapshot(self.door.house.origin, self.settings.node, links, relays, self._clock())

    @property
    def near(self) -> frozenset[int]:
        """The numbers of this relay's other processes."""
        links = self.door.links.values()
        return frozenset(
            guest.session.peer_origin for guest in links if guest.is_near and guest.opened
        )

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
        for key in self._met():
            wanted.pop(key, None)
        for key in self.links.keys() - wanted.keys():
            self._log("link dropped", peer=key)
            del self.links[key]
            self._runs.pop(key).cancel()
        for key, address in wanted.items():
            link = self.links.get(key)
            if link is None:
                token = None if address.is_near else self.settings.token
                link = Link(address, self._open, token, self._clock, self._log)
                self.links[key] = link
                self._runs[key] = self._tasks.create_task(link.run())
            elif link.address != address:
                link.renew(address)

    def _met(self) -> list[str]:
        """Relays known by hearsay only that have come to us, or to another process of this relay:
        one session serves both ways."""
        guests = self.door.guests.values()
        came = {guest.session.peer_origin for guest in guests if guest.is_relay}
        came |= self._gossip.came_to(self.near)
        heard = self._gossip.nodes.items()
        return [key for key, id in heard if id in came and self._roster.is_hearsay(key)]

    def _numbers(self) -> Iterator[tuple[int, str, str]]:
        """Whom we meet under which number, and how: by name, at our door, and where we dial."""
        for key, number in self._gossip.nodes.items():
            yield number, "name", key
        for guest in self.door.guests.values():
            if guest.is_relay:
                yield guest.session.peer_origin, "door", f"{guest.remote} ({guest.id})"
        for key, link in self.links.items():
            if (session := link.state.session) is not None and not link.address.is_near:
                yield session.guest.session.peer_origin, "link", key

    async def _tick(self) -> None:
        for turn in itertools.count():
            await beat()
            now = self._clock()
            self._gossip.tick(now)
            self._twins.tick(now, self._numbers)
            if self.settings.mesh:
                self._follow()  # who came to us may have left again
            for session in tuple(self._sessions.values()):
                if now - session.pinged >= self.settings.silence / SIGNS:
                    session.pinged = now
                    session.guest.transport.ping()
            if not turn % RENEW_BEATS:
                self._renew()

    def _renew(self) -> None:
        """Replace the links that began with a token or a certificate which is no longer in its
        file: that one may end soon, and they with it."""
        token, pair = self._look()
        is_other_token, self._token_seen = token != self._token_seen, token
        is_other_pair, self._pair_seen = pair != self._pair_seen, pair
        if is_other_token:
            self._log("cluster token changed")
        if is_other_pair:
            self._log("client certificate changed")
        for link in self.links.values():
            is_meant = is_other_pair and not link.address.is_near
            if is_meant or (is_other_token and link.uses_token_file):
                link.renew()

    def _look(self) -> tuple[Stamps, Stamps]:
        """When the file of the token was written and its size, and the same of the certificate's;
        as before while one of them is not there."""
        token = () if self.settings.token is None else (self.settings.token,)
        return _stamps(token, self._token_seen), _stamps(self._shown, self._pair_seen)

    # -- one session -----------------------------------------------------------------------------

    async def _open(self, url: str, cost: int | None) -> OpenSession:
        """Dial a relay and begin a session with it. Raises `SessionLost`, `ConfigError`."""
        if self.is_draining:
            raise SessionLost("this relay is about to stop")
        dialled, target = await self._dial(url)
        is_near = url.startswith(f"{NEAR}:")
        session, begun = self._seat(dialled, target, cost, is_near, talks=not is_place(url))
        await self._begin(session, begun)
        return session

    def receive(self, dialled: Dialled) -> None:
        """Another process of this relay has dialled us."""
        self._seat(dialled, None, 0, True, is_client=False)

    def _seat(
        self,
        dialled: Dialled,
        target: str | None,
        cost: int | None,
        is_near: bool,
        is_client: bool = True,
        talks: bool = True,
    ) -> tuple[OpenSession, asyncio.Future[None]]:
        """Begin a session with a relay; the future is done when it has introduced itself."""
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[str] = loop.create_future()
        begun: asyncio.Future[None] = loop.create_future()

        def left(guest: Guest, reason: str) -> None:
            self._sessions.pop(guest.id, None)
            self.door.release(guest)
            if not lost.done():
                lost.set_result(reason)

        def welcomed(guest: Guest, grant: Grant) -> None:
            if not begun.done():
                begun.set_result(None)

        house, settings = self.door.house, self.settings
        imports, exports = (ROOTS, ROOTS) if is_near else (settings.imports, settings.exports)
        guest = Guest(
            house,
            dialled.transport,
            LiteSession(
                dialled.transport,
                dialled.protocol,
                origin=house.origin.id,
                client=is_client,
                target=target,
                cost=cost,
                settings=self.door.sessions,
            ),
            id=secrets.token_hex(6),
            grant=Grant(ROOT, imports, exports, cluster=True, credential="link"),
            cost=cost,
            via=NEAR if is_near else "",
            welcomed=welcomed,
            left=left,
        )
        guest.talks = talks
        session = OpenSession(guest, lost, dialled, self._clock())
        self._sessions[guest.id] = session
        self.door.adopt(guest)
        dialled.start(guest)
        guest.start()
        return session, begun

    async def _begin(self, session: OpenSession, begun: asyncio.Future[None]) -> None:
        """Wait until the relay has introduced itself. Raises `SessionLost`; cancelled or not, what
        does not become a link leaves nothing behind."""
        lost, is_link = session.lost, False
        why = "the link is not wanted any more"
        try:
            await asyncio.wait((lost, begun), timeout=BEGIN, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                why = lost.result()
            elif not begun.done():
                why = "it did not introduce itself"
            elif self._is_us(session.guest):
                why = OURSELVES
            else:
                is_link = True
        finally:
            if not is_link:
                if not lost.done():
                    session.guest.close(SessionLost(why))
                await session.close()
        if not is_link:
            raise SessionLost(why)
        if session.guest.is_near:
            self._leave_ourselves()

    def _leave_ourselves(self) -> None:
        """Let go of links to other processes of this relay, which were dialled as if they were
        relays before they had introduced themselves."""
        for session in tuple(self._sessions.values()):
            guest = session.guest
            if not guest.is_near and guest.opened and self._is_us(guest):
                guest.close(SessionLost(OURSELVES))

    def _is_us(self, dialled: Guest) -> bool:
        """Whether it is this process that was dialled, or another one of this relay's."""
        ours = frozenset() if dialled.is_near else self.near
        return dialled.session.peer_origin in ours | {self.door.house.origin.id}


def _stamps(files: Sequence[File], before: Stamps) -> Stamps:
    """Those of now, or ``before`` while a file is not there."""
    try:
        found = [file.stat() for file in files]
    except OSError:
        return before
    return tuple((status.st_mtime_ns, status.st_size) for status in found)
