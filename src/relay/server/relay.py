"""One relay: the order of assembly stands in one place, `Relay.running`.

Everything above the sockets meets here and nowhere else. This module must not know how anything it
introduces does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

import structlog

from relay.auth.credentials import derivation
from relay.auth.grant import Grant
from relay.auth.revocation import Revocation
from relay.authority import Authority
from relay.clerk import Clerk
from relay.cluster.news import News
from relay.config import Settings
from relay.control.admin.guard import Guard
from relay.control.admin.routes import counter_routes
from relay.control.internal import internal_app
from relay.control.page import page_routes
from relay.control.public import public_app
from relay.control.secure import Secure
from relay.control.serve import HttpListener
from relay.control.webhook import Webhook
from relay.errors import ConfigError
from relay.ingest.station import Station
from relay.issuer import Issuer
from relay.keyring import Change, Keyring
from relay.model.origin import Origin
from relay.moqt.visit import interpreted
from relay.moqt.waits import Waits
from relay.net import udp
from relay.net.allowing import NotAllowed
from relay.net.authority import Authorities, BadCertificate
from relay.net.endpoint import Endpoint
from relay.net.local import DialledLocal, LocalTransport, listen_local
from relay.net.serving import Serving
from relay.net.steer import WHOLE
from relay.net.stray import Strays
from relay.net.streams import TCP, UNIX
from relay.net.turns import Turns, Use
from relay.net.websocket import WebSockets
from relay.peer.door import Door
from relay.peer.house import House
from relay.peer.judge import Judge
from relay.peer.judgement import Rules, address
from relay.quota import Breach, Ledger, Limits
from relay.records.desk import Desk
from relay.records.opening import open_records
from relay.server.census import Census, take, weighed
from relay.server.clockwork import every, keep_time
from relay.server.colleagues import Colleagues
from relay.server.counter import Counter
from relay.server.crowd import Crowd
from relay.server.descriptors import Descriptors
from relay.server.faces import Face, Ward, answers
from relay.server.keeping import fact, open_ciphers, open_issuer, open_seal
from relay.server.leaving import Farewell
from relay.server.links import Teller, list_fetcher, make_cluster
from relay.server.listeners import Faces, open_sockets
from relay.server.log import LEVELS
from relay.server.metrics import Lag, TenantBytes
from relay.server.outlets import open_sinks
from relay.server.parts import contained, draw_id, load_certificates
from relay.server.post import Post, common_store
from relay.server.press import Press
from relay.server.shares import Shares
from relay.server.stats import Stats
from relay.server.streaming import take_streams
from relay.session.transport import Knock, Visit
from relay.sidecar.client import AuthClient
from relay.sidecar.link import Link, client_tls, key_tls
from relay.wire.version import LITE_NEAR

CERTIFICATE_BEATS = 4
"""Beats between looks at the certificate files."""

DESCRIPTOR_BEATS = 4
"""Beats between looks whether there are file descriptors left."""

GARBAGE = 10_000, 20, 2
"""When the garbage collector looks (`gc.set_threshold`). What ends with a group or a frame goes
when nobody holds it any more; looked for as often as usual, by the hundred, it costs 3 %. The
library's connections do not: looked for ten times less often they were 100 MB after 17,000."""


class Relay:
    """One relay process. ``wall`` is unix seconds, replaceable in tests."""

    tcp_address: tuple[str, int] | None = None
    """Where plain TCP is taken."""

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
        share = post.share if post is not None else WHOLE
        if post is not None:
            self.log = self.log.bind(worker=share.index)
        self.colleagues = Colleagues(share, post.folder if post else None, self._log)
        self.certificates = load_certificates(settings)
        self.house = House(
            origin=Origin(settings.cluster.id or draw_id(), settings.cache),
            clock=time.monotonic,
            settings=settings.peer,
            log=self._log,
            ledger=Ledger(Limits(settings.quotas), share.count),
            audit=self._note,
        )
        self._keep_books()
        self.shares = Shares(self.house.ledger, self.colleagues, time.monotonic, self._escaped)
        self.authority: Authority | None = None
        self.issuer: Issuer | None = None
        self.webhook: Webhook | None = None
        self.keyring = Keyring(settings.auth, self._log, key_tls(settings.client.tls, self._log))
        self.keyring.on_change(self._rekey)
        self.wall = wall
        self.judge = Judge(self.house, Rules(self.keyring.keys, settings.auth), wall)
        self.door = Door(self.house, self.judge, settings.session, settings.server.versions)
        self.census = Census(self.door, settings.stats.prefix)
        self.draining = asyncio.Event()
        """Set when the relay is to stop in good order."""
        self.farewell = Farewell(self)
        self.authorities = Authorities.from_files(settings.server.tls.root)
        self.serving = Serving(
            self.entrance,
            settings.endpoint,
            self.certificates,
            settings.server.versions,
            self.authorities,
            share,
        )
        self.crowd = Crowd(self.serving.gate, self.judge.refusals)
        station = Station(self.house.origin, settings.ingest, self.house.clock, wall)
        self.press = Press(self, station)
        self.sinks = open_sinks(settings, self.house, station, self._log)
        self.endpoint = Endpoint(settings.endpoint, self.serving, self._escaped)
        self.began = self.house.clock()
        self.lag, self.moved = Lag(), TenantBytes()
        self.guard = Guard(self._may_be_operator, self._is_operator, self.house.clock)
        """Who may come to the operator's counter."""
        self.guard.told = self._guessed
        self.face = Face(self)
        self.quic_address: tuple[str, int] = ("", 0)
        self.internal_address: tuple[str, int] | None = None
        self.http_addresses: list[tuple[str, int]] = []

    def _log(self, event: str, **facts: Any) -> None:
        getattr(self.log, LEVELS.get(event, "info"))(event, **facts)

    def _note(self, action: str, **facts: Any) -> None:
        """Have it kept in the audit log."""
        self.desk.scribe.note(fact(action, **facts))

    def _keep_books(self) -> None:
        """Have the cache obey what tenants may keep, breaches told, long work done a little in each
        turn, and frames counted where anybody may want to know."""
        self.house.origin.reserve = self.settings.stats.reserve
        self.house.origin.stock.errands.do = partial(Turns().take, use=Use())
        if self.settings.stats.enabled:
            self.house.origin.stock.meter.weigh = weighed
        ledger, cache = self.house.ledger, self.house.origin.stock.cache
        cache.limit_of = ledger.cache_limit
        cache.overflowed = lambda tenant: ledger.overflowed(tenant, self.house.clock())
        ledger.limits_changed = cache.obey
        ledger.told = self._breached

    def _guessed(self, address: str, count: int) -> None:
        """Keys that are not the operator's were tried."""
        facts = {"remote": address, "reason": "wrong_operator_key", "count": count}
        self._log("refused", path="/admin", **facts)
        self._note("deny", target="/admin", **facts)

    def _breached(self, breach: Breach) -> None:
        self._log("over quota", **asdict(breach))
        self.house.audit(
            "breach",
            target=breach.tenant,
            tenant=breach.tenant,
            reason=breach.kind,
            count=breach.count,
        )

    def _rekey(self, change: Change) -> None:
        """Decide with the keys as they are from now on; sessions of gone ones may have to go."""
        self.judge.rules = replace(self.judge.rules, keys=self.keyring.keys)
        if self.settings.auth.on_key_removed == "close" and change.removed:
            gone = change.removed

            def struck(grant: Grant) -> str | None:
                if grant.credential != "jwt" or grant.anonymous:
                    return None
                keys = [kid for kid in (grant.kid, *grant.parent_kids) if kid in gone]
                return f"its key {keys[0]!r} was removed" if keys else None

            self.door.recheck(struck)
            self.press.recheck(struck)

    def _revoked(self, entry: Revocation) -> None:
        """A revocation came into force: whoever it strikes has to go. Nobody without a credential:
        the next decision would let them in again."""

        def struck(grant: Grant) -> str | None:
            return str(entry) if any(map(entry.strikes, grant.holders)) else None

        self.door.recheck(struck)
        self.press.recheck(struck)

    def _may_be_operator(self, bearer: str) -> bool:
        hash = self.settings.admin.api_key
        return hash is not None and derivation(bearer, (hash,)) is not None

    async def _is_operator(self, bearer: str) -> bool:
        hash = self.settings.admin.api_key
        return hash is not None and await self.desk.matches(bearer, hash)

    def _escaped(self, error: BaseException) -> None:
        """An error nobody foresaw: it cost one session, and somebody should hear of it."""
        if isinstance(error, BadCertificate):
            # This one is the peer's, who came no further than TLS.
            why, remote = f"{error}, shown by {error.remote}", error.remote
            self.judge.refusals.unheard("bad_certificate", error.status, why, remote)
            return
        if isinstance(error, NotAllowed):
            self.crowd.stranger(str(error))
            return
        self.log.error("internal error", error=repr(error), exc_info=error)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        """The relay, listening; on leaving it says goodbye and closes everything."""
        async with contextlib.AsyncExitStack() as closing:
            await self._open_records(closing)
            self._ask_elsewhere(closing)
            closing.push_async_callback(self.endpoint.close)
            faces = self._listen(closing)
            tasks = await closing.enter_async_context(asyncio.TaskGroup())
            # From the next turn on somebody may come, who may have to wait, for a key perhaps.
            self.judge.spawn = lambda work: tasks.create_task(contained(work, self._escaped))
            running = [tasks.create_task(self.keyring.run())]
            for listener in self._make_faces(faces):
                tasks.create_task(listener.serve())
            for listener in self._listeners:
                await listener.started.wait()
            links = self._join_cluster(closing)
            await self._join_crew(closing)
            await self._take_streams(faces, closing)
            work = [self._keep_time(), self.desk.run(), *links]
            if self.post is not None:
                work.append(self.shares.run())
            if self.webhook is not None:
                work.append(self.webhook.run())
            if self.is_first:
                work += self._outward_work()
            running += [tasks.create_task(each) for each in work]
            try:
                yield self
            finally:
                await self.farewell.end()
                for task in running:
                    task.cancel()
                for listener in self._listeners:
                    listener.stop()

    def _listen(self, closing: contextlib.AsyncExitStack) -> Faces:
        """Take QUIC where the settings say, or what the crew took. Answers the sockets of the
        faces. Raises `ConfigError`, one line."""
        if self.post is not None:
            strays = Strays(self.post.share, self.post.folder)
            self.quic_address = self.endpoint.listen(self.post.quic, strays)
            return self.post.faces
        buffer = self.settings.limits.socket_buffer
        quic, faces = open_sockets(self.settings, lambda host, port: [udp.bind(host, port, buffer)])
        for sock in chain(*faces.values()):
            closing.callback(sock.close)
        self.quic_address = self.endpoint.listen(quic[0])
        return faces

    def _make_stats(self) -> Stats:
        chosen = self.settings.stats
        name = chosen.node or self.settings.cluster.node or socket.gethostname()
        return Stats(
            self.door,
            name.rpartition("//")[2],
            chosen.interval,
            self.wall,
            chosen.prefix,
            chosen.depth,
            partial(take, self.census, self.colleagues),
        )

    def _join_cluster(self, closing: contextlib.AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
        """Link to other relays and tell them who is revoked; answers what is to run."""
        feed, house = self.desk.feed, self.house
        teller = Teller(self.desk, self._log)
        news = News(
            house.origin,
            house.clock,
            feed.settled,  # what it takes for ended is forgotten
            self._log,
            teller.learn,
            teller.unlearn,
        )
        feed.listeners.append(news.revoked)
        feed.withdrawals.append(news.withdrawn)
        fetcher = list_fetcher(self.settings, self._log)
        closing.push_async_callback(fetcher.close)
        self.cluster = make_cluster(self.settings, self.door, self._log, fetcher, self.post)
        return [self.cluster.run(), teller.run(), news.run(feed.index)]

    async def _join_crew(self, closing: contextlib.AsyncExitStack) -> None:
        """Let the other workers ask us, and link to us."""
        if self.post is None:
            return
        asked = await self.colleagues.listen(answers(self) | self.shares.answers)
        limits, place = self.settings.quic, self.post.place("link")
        linked = await listen_local(place, limits, self._escaped, self._linked)
        closing.callback(asked.close)
        closing.callback(linked.close)

    def _linked(self, transport: LocalTransport) -> None:
        """Another worker has dialled us."""
        self.cluster.receive(DialledLocal(transport, LITE_NEAR.identifier))

    def _ask_elsewhere(self, closing: contextlib.AsyncExitStack) -> None:
        """Have an authorization server decide, where one is configured: before anybody comes, and
        until it was told of the last who left."""
        auth, tls = self.settings.auth, self.settings.client.tls
        if auth.url is None:
            return
        link = Link(auth.url, client_tls(tls.root, tls.cert, tls.key, self._log))
        closing.push_async_callback(link.close)
        client = AuthClient(link, auth, self.wall)
        node = self.settings.cluster.node or socket.gethostname()
        self.authority = Authority(
            client, node, self.wall, lambda work: self.judge.spawn(work), self._log
        )
        self.judge.authority = self.authority

    async def _open_records(self, closing: contextlib.AsyncExitStack) -> None:
        """Open the store, know who is revoked, and only then let anybody come to the door."""
        settings = self.settings
        if settings.audit.webhook is not None:
            self.webhook = Webhook(settings.audit, self._log, self.wall)
            closing.push_async_callback(self.webhook.close)
        records = await open_records(settings.records.url)
        node = settings.cluster.node or socket.gethostname()
        self.desk = Desk(
            records, settings.auth, self._log, settings.records, self.wall, settings.audit, node
        )
        closing.push_async_callback(self.desk.close)
        if self.webhook is not None:
            self.desk.scribe.listeners.append(self.webhook.note)
        self.desk.feed.listeners.append(self._revoked)
        self.desk.notices.on("quotas", self._requota)
        self.seal = await open_seal(settings, records)
        self.issuer = await open_issuer(settings, self.desk, self.seal, self.wall, self._log)
        if self.issuer is not None:
            self.keyring.adopt(self.issuer.source)
            self.issuer.changed = self.keyring.turn
            self.desk.notices.on("keys", self.issuer.reread)
        await self.desk.refresh()
        self.press.station.keys = await open_ciphers(
            settings, self.desk, self.seal, self.wall, self._log
        )
        self.judge.clerk = Clerk(self.keyring, self.desk)

    async def _requota(self) -> None:
        """Obey what the store says of tenants now. Raises `StoreError`, and `ConfigError` at the
        end for tenants of whom it cannot be read: what was known of them holds."""
        said = await self.desk.records.quotas.all()
        ledger = self.house.ledger
        held = {tenant: known for tenant, known in ledger.limits.records.items() if tenant in said}
        held |= {tenant: one for tenant, one in said.items() if one is not None}
        ledger.obey(Limits(self.settings.quotas, held), self.house.clock())
        if garbled := sorted(tenant for tenant, one in said.items() if one is None):
            more = f" and of {len(garbled) - 1} more" if garbled[1:] else ""
            raise ConfigError(f"what is said of the tenant {garbled[0]!r}{more} cannot be read")

    @cached_property
    def waits(self) -> Waits:
        """Who speaks moq-transport and waits for something that may never come."""
        return Waits(self.house.clock, self.settings.peer.fetch_timeout)

    @cached_property
    def entrance(self) -> Callable[[Visit], None]:
        """The door, for those who speak either protocol."""
        settings = self.settings

        def denied(knock: Knock, path: str, why: str) -> None:
            self._log("publish denied", remote=address(knock), path=path, reason=why)

        ways = self.door.answer, settings.server.versions, settings.session
        return interpreted(*ways, self.waits, denied)

    def _make_faces(self, faces: Faces) -> list[HttpListener]:
        """The HTTP faces, on their sockets."""
        web = self.settings.web
        counter = counter_routes(Counter(self), self.guard)
        page = page_routes(self.quic_address[1]) if self.settings.admin.api_key else []
        app = public_app(self.face, self.press, web.limits, [*page, *counter])
        calls = WebSockets(self.entrance, self.settings.endpoint, self._escaped, self.serving.gate)
        secure = Secure.of(web.https.cert, web.https.key) if "https" in faces else None
        self._listeners: list[HttpListener] = []
        for name, sockets in faces.items():
            if name in (TCP, UNIX):
                continue
            if name == "internal":
                listener = HttpListener(internal_app(Ward(self)), sockets, web.limits)
                self.internal_address = listener.address
            else:
                tls = secure if name == "https" else None
                heard = calls if web.ws else None
                about = tls, self._log, heard, web.trusted_proxies, self.crowd.unserved
                listener = HttpListener(app, sockets, web.limits, *about)
                self.http_addresses.append(listener.address)
            self._listeners.append(listener)
        return self._listeners

    async def _take_streams(self, faces: Faces, closing: contextlib.AsyncExitStack) -> None:
        """Let people in who come without QUIC or HTTP."""
        if tcp := faces.get(TCP):
            self.tcp_address = tcp[0].getsockname()[:2]
        door, gate = self.entrance, self.serving.gate
        await take_streams(self.settings, faces, door, gate, self._escaped, closing)

    async def _keep_time(self) -> None:
        """Do what is due by time: grants, retention, lingering, certificates."""
        house = self.house
        certificates = every(CERTIFICATE_BEATS, self._reload_certificates)
        spare = every(DESCRIPTOR_BEATS, Descriptors(self._log).look)
        ticks = (house.origin.tick, house.ledger.tick, self.door.tick, self.press.tick)
        due = (*ticks, self.waits.tick, certificates, spare)
        telling = (self.guard.tick, self.crowd.tick)
        await keep_time(due, telling, house.clock, self.lag.note, self._escaped)

    def _reload_certificates(self) -> None:
        for each in self.certificates.all:
            try:
                if each.reload_if_changed():
                    self.log.info("certificate reloaded", sha256=each.fingerprint)
            except ConfigError as error:
                self.log.error("certificate not reloaded, the old one stays", why=str(error))
            if self.is_first and (why := each.doubt()):
                self.log.error("certificate not valid", why=why, sha256=each.fingerprint)
        try:
            if self.authorities is not None and self.authorities.reload_if_changed():
                self.log.info("authorities for client certificates reloaded")
        except ConfigError as error:
            self.log.error("authorities not reloaded, the old ones stay", why=str(error))

    async def serve(self, hurry: asyncio.Event, ready: Callable[[Relay], None]) -> None:
        """Run until `draining` is set, and stop in good order; ``hurry`` ends the waiting."""
        async with self.running():
            # What is there by now stays. Each full collection would go through it all again, and
            # nobody is served meanwhile: 40 ms in which even sound stutters.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GARBAGE)
            ready(self)
            await self.draining.wait()
            if not hurry.is_set():
                await self.farewell.drain(hurry)

    @property
    def is_first(self) -> bool:
        """Whether it is the only worker, or the one that does what must be done once."""
        return self.post is None or self.post.share.index == 0

    @property
    def has_store(self) -> bool:
        """Whether there is a store that outlives the relay."""
        url = self.settings.records.url
        return url is not None and (self.post is None or url != common_store(self.post.folder))

    def _outward_work(self) -> list[Coroutine[Any, Any, None]]:
        """Tracks to sinks, numbers to viewers: of several workers the first's, who sees all."""
        work = [sink.run() for sink in self.sinks.values()]
        if self.settings.stats.enabled:
            work.append(self._make_stats().run())
        return work
