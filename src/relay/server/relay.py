"""One relay: the order of assembly stands in one place, `Relay.running`.

Everything above the sockets meets here and nowhere else. This module must not know how anything it
introduces does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import structlog

from relay.auth.grant import Grant
from relay.auth.revocation import Revocation
from relay.authority import Authority
from relay.clerk import Clerk
from relay.cluster.news import News
from relay.config import Settings
from relay.control.internal import internal_app
from relay.control.public import public_app
from relay.control.serve import HttpListener
from relay.errors import ConfigError, RelayError
from relay.keyring import Change, Keyring
from relay.model.origin import Origin
from relay.net.authority import load_roots
from relay.net.endpoint import Endpoint
from relay.net.local import DialledLocal, LocalTransport, listen_local
from relay.net.steer import WHOLE
from relay.net.stray import Strays
from relay.peer.door import Door
from relay.peer.guest import House
from relay.peer.judgement import Rules
from relay.records.desk import Desk
from relay.records.opening import open_records
from relay.server.colleagues import Colleagues
from relay.server.faces import Face, Ward, answers
from relay.server.links import Announcer, list_fetcher, make_cluster
from relay.server.listeners import bind_faces
from relay.server.log import LEVELS
from relay.server.parts import draw_id, load_certificates, transcode
from relay.server.post import Post
from relay.sidecar.client import AuthClient
from relay.sidecar.link import Link, client_tls
from relay.wire.version import IDENTIFIERS

TICK = 0.2
"""Seconds between looks at what is due by time: grants, retention, lingering."""

CERTIFICATE_TICKS = 5
"""Ticks between looks at the certificate files."""

GOODBYE = 0.5
"""Seconds between GOAWAY and the end of the sessions when the relay stops at once."""

LOOK = 0.1
"""Seconds between looks at whether everybody has left a relay that is about to stop."""


class Relay:
    """One relay process. ``wall`` is unix seconds, replaceable in tests."""

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], float] = time.time,
        post: Post | None = None,
    ) -> None:
        """``post`` is given where this is one of several workers on a port."""
        self.settings = settings
        self.post = post
        self.log = structlog.get_logger()
        share = WHOLE
        if post is not None:
            share = post.share
            self.log = self.log.bind(worker=share.index)
        self.colleagues = Colleagues(share, post.folder if post else None, self._log)
        self.certificates = load_certificates(settings)
        self.house = House(
            origin=Origin(settings.cluster.id or draw_id(), settings.cache),
            transcode=transcode,
            clock=time.monotonic,
            settings=settings.peer,
            log=self._log,
        )
        self.authority: Authority | None = None
        self.keyring = Keyring.open(settings.auth, self._log)
        self.keyring.on_change(self._rekey)
        rules = Rules(self.keyring.keys, settings.auth)
        self.wall = wall
        self.door = Door(self.house, rules, settings.session, settings.server.versions, wall)
        self.draining = asyncio.Event()
        """Set when the relay is to stop in good order."""
        self._said_goodbye = False
        self.endpoint = Endpoint(
            self.door.answer,
            settings.endpoint,
            self.certificates,
            settings.server.versions,
            self._escaped,
            load_roots(settings.server.tls.root),
            share,
        )
        self.quic_address: tuple[str, int] = ("", 0)
        self.internal_address: tuple[str, int] | None = None
        self.http_addresses: list[tuple[str, int]] = []

    def _log(self, event: str, **facts: Any) -> None:
        getattr(self.log, LEVELS.get(event, "info"))(event, **facts)

    def _rekey(self, change: Change) -> None:
        """Decide with the keys as they are from now on; sessions of gone ones may have to go."""
        self.door.rules = replace(self.door.rules, keys=self.keyring.keys)
        if self.settings.auth.on_key_removed == "close" and change.removed:
            gone = change.removed

            def struck(grant: Grant) -> str | None:
                is_gone = grant.credential == "jwt" and not grant.anonymous and grant.kid in gone
                return f"its key {grant.kid!r} was removed" if is_gone else None

            self.door.recheck(struck)

    def _revoked(self, entry: Revocation) -> None:
        """A revocation came into force: whoever it strikes has to go."""
        self.door.recheck(lambda grant: str(entry) if entry.strikes(grant.holder) else None)

    def _escaped(self, error: BaseException) -> None:
        """An error nobody foresaw: it cost one session, and somebody should hear of it."""
        self.log.error("internal error", error=repr(error), exc_info=error)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        """The relay, listening; on leaving it says goodbye and closes everything."""
        async with contextlib.AsyncExitStack() as closing:
            await self._open_records(closing)
            closing.push_async_callback(self.endpoint.close)
            self.quic_address = await self._listen()
            tasks = await closing.enter_async_context(asyncio.TaskGroup())
            for listener in self._faces():
                tasks.create_task(listener.serve())
            for listener in self._listeners:
                await listener.started.wait()
            self.door.spawn = tasks.create_task
            self._ask_elsewhere(tasks, closing)
            links = self._join_cluster(tasks, closing)
            await self._join_crew(closing)
            running = [
                tasks.create_task(each)
                for each in (self._tick(), self.desk.run(), self.keyring.run(), *links)
            ]
            try:
                yield self
            finally:
                await self._say_goodbye()
                for task in running:
                    task.cancel()
                for listener in self._listeners:
                    listener.stop()

    async def _listen(self) -> tuple[str, int]:
        """Take QUIC where the settings say. Raises `ConfigError`, one line."""
        if self.post is not None:
            strays = Strays(self.post.share, self.post.folder)
            return self.endpoint.share_port(self.post.quic, strays)
        address = self.settings.server.listen
        try:
            return await self.endpoint.start(address.host, address.port)
        except ConfigError as error:
            raise ConfigError(f"server.listen: {error}") from None

    def _join_cluster(
        self, tasks: asyncio.TaskGroup, closing: contextlib.AsyncExitStack
    ) -> list[Coroutine[Any, Any, None]]:
        """Link to other relays and tell them who is revoked; answers what is to run."""
        feed, house = self.desk.feed, self.house
        teller = Announcer(self.desk, self._log, self.wall)
        news = News(
            house.origin,
            house.transcode,
            house.clock,
            self.wall,
            self._log,
            teller.learn,
            teller.unlearn,
        )
        feed.listeners.append(news.revoked)
        feed.withdrawals.append(news.withdrawn)
        fetcher = list_fetcher(self.settings)
        closing.push_async_callback(fetcher.close)
        self.cluster = make_cluster(self.settings, self.door, news, self._log, fetcher, self.post)
        return [self.cluster.run(), teller.run(), news.run(feed.index)]

    async def _join_crew(self, closing: contextlib.AsyncExitStack) -> None:
        """Let the other workers ask us, and link to us."""
        if self.post is None:
            return
        asked = await self.colleagues.listen(answers(self))
        limits, place = self.settings.quic, self.post.place("link")
        linked = await listen_local(place, limits, self._escaped, self._linked)
        closing.callback(asked.close)
        closing.callback(linked.close)

    def _linked(self, transport: LocalTransport) -> None:
        """Another worker has dialled us."""
        self.cluster.receive(DialledLocal(transport, IDENTIFIERS[0]))

    def _ask_elsewhere(self, tasks: asyncio.TaskGroup, closing: contextlib.AsyncExitStack) -> None:
        """Have an authorization server decide, where one is configured."""
        auth, tls = self.settings.auth, self.settings.client.tls
        if auth.url is None:
            return
        link = Link(auth.url, client_tls(tls.root, tls.cert, tls.key))
        closing.push_async_callback(link.close)
        client = AuthClient(link, auth.contract, auth, self.wall)
        node = self.settings.cluster.node or socket.gethostname()
        self.authority = Authority(client, node, self.wall, tasks.create_task)
        self.door.authority = self.authority

    async def _open_records(self, closing: contextlib.AsyncExitStack) -> None:
        """Open the store, know who is revoked, and only then let anybody come to the door."""
        settings = self.settings
        records = await open_records(settings.records.url)
        self.desk = Desk(records, settings.auth, self._log, settings.records, self.wall)
        closing.push_async_callback(self.desk.close)
        self.desk.feed.listeners.append(self._revoked)
        await self.desk.feed.refresh()
        self.door.clerk = Clerk(self.keyring, self.desk)

    def _faces(self) -> list[HttpListener]:
        """The HTTP faces, on sockets that were opened for us or are opened now."""
        web = self.settings.web
        if self.post is not None:
            socks = self.post.faces
        else:
            socks = bind_faces(self.settings, self.quic_address[1])
        app = public_app(Face(self), web.limits)
        pair = (web.https.cert, web.https.key) if web.https.cert and web.https.key else None
        self._listeners: list[HttpListener] = []
        for name, sock in socks.items():
            if name == "internal":
                listener = HttpListener(internal_app(Ward(self)), sock, web.limits)
                self.internal_address = listener.address
            else:
                tls = pair if name == "https" else None
                listener = HttpListener(app, sock, web.limits, tls)
                self.http_addresses.append(listener.address)
            self._listeners.append(listener)
        return self._listeners

    async def _tick(self) -> None:
        """What is due by time, a few times a second."""
        count = 0
        while True:
            await asyncio.sleep(TICK)
            count += 1
            now = self.house.clock()
            try:
                self.house.origin.tick(now)
                self.door.tick(now)
                if count % CERTIFICATE_TICKS == 0 and self.certificates.reload_if_changed():
                    self.log.info("certificate reloaded", sha256=self.certificates.fingerprint)
            except ConfigError as error:
                self.log.error("certificate not reloaded, the old one stays", why=str(error))
            except Exception as error:  # one guest's trouble must not stop the clock for all
                self._escaped(error)

    async def serve(self, hurry: asyncio.Event, ready: Callable[[Relay], None]) -> None:
        """Run until `draining` is set, and stop in good order; ``hurry`` ends the waiting."""
        async with self.running():
            ready(self)
            await self.draining.wait()
            if not hurry.is_set():
                await self.drain(hurry)

    async def drain(self, hurry: asyncio.Event) -> None:
        """Let nobody in, send everybody elsewhere, and give them ``server.drain`` seconds to go.

        Relays need not go, they have been told that no way leads on from here. ``hurry`` ends the
        waiting.
        """
        grace = self.settings.server.drain
        self._begin_goodbye()
        self.log.info("draining", sessions=self.door.visitors, seconds=grace)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self.door.visitors and not hurry.is_set():  # noqa: ASYNC110 - a few looks
                    await asyncio.sleep(LOOK)
        self.log.info("drained", sessions=self.door.visitors)

    def _begin_goodbye(self) -> None:
        self._said_goodbye = True
        self.cluster.drain()
        self.door.close(self.settings.server.goaway)

    async def _say_goodbye(self) -> None:
        """Tell everybody, give them a moment, close."""
        if not self._said_goodbye:
            self._begin_goodbye()
            if self.door.guests:
                await asyncio.sleep(GOODBYE)
        self.door.empty(Leaving("the relay is stopping"))


class Leaving(RelayError):
    """Nothing is wrong; the relay is about to stop."""

    code = 0
    session_code = 0
