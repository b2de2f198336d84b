"""The relay, assembled: settings in, a running relay out, a clean end when told to.

The order of assembly stands in one place, `Relay.start`; everything above the sockets meets here
and nowhere else. This module must not know how anything it introduces does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import structlog

from relay.auth.decide import Request, decide
from relay.auth.explain import explained
from relay.auth.facts import NO_FACTS
from relay.auth.grant import Grant
from relay.auth.needs import needs
from relay.auth.revocation import Revocation
from relay.authority import Authority
from relay.clerk import Clerk
from relay.config import Settings
from relay.control.internal import internal_app
from relay.control.public import public_app
from relay.control.serve import HttpListener, listen
from relay.errors import ConfigError, RelayError, Unroutable
from relay.keyring import Change, Keyring
from relay.model.origin import Origin
from relay.model.track import TrackInfo
from relay.net.authority import load_roots
from relay.net.endpoint import Endpoint
from relay.net.tls import Certificates
from relay.path import ROOT, Path
from relay.peer.door import Door
from relay.peer.guest import House
from relay.peer.judgement import Judgement, Rules, is_same_holder, refusal
from relay.peer.local import collect_group
from relay.records.desk import Desk
from relay.records.opening import open_records
from relay.sidecar.client import AuthClient
from relay.sidecar.link import Link, client_tls
from relay.wire.frame import Layout, Transcoder

TICK = 0.2
"""Seconds between looks at what is due by time: grants, retention, lingering."""

CERTIFICATE_TICKS = 5
"""Ticks between looks at the certificate files."""

LEVELS = {
    "refused": "warning",
    "publish denied": "warning",
    "warning": "warning",
    "subscribe refused": "debug",
    "internal error": "error",
    "key file ignored": "warning",
    "key file not usable": "error",
    "key folder full": "error",
    "key folder not readable": "error",
    "key not used": "warning",
    "keys forgotten": "error",
    "keys not fetched": "error",
}
"""How important the events of guests and keys are; the others are ``info``."""

GOODBYE = 0.5
"""Seconds between GOAWAY and the end of the sessions when the relay stops."""


def transcode(source: Any, target: Any, info: TrackInfo) -> Callable[[bytes, float], bytes]:
    """How the model has a group written in another layout."""
    assert isinstance(source, Layout)
    assert isinstance(target, Layout)
    return Transcoder(source, target, info.timescale).feed


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement as the HTTP faces read it."""

    judgement: Judgement

    @property
    def ok(self) -> bool:
        """Whether the request may go on."""
        return bool(self.judgement.decision)

    @property
    def status(self) -> int:
        """HTTP status of a refusal."""
        return self.judgement.decision.status

    @property
    def denial_id(self) -> str:
        """Names the refusal in the log."""
        return self.judgement.id

    @property
    def grant(self) -> Grant | None:
        """What may be seen."""
        return self.judgement.grant


class Face:
    """What the HTTP faces may ask of the relay."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    def certificate_hash(self) -> str:
        """SHA-256 of the certificate that new QUIC connections get."""
        return self.relay.certificates.fingerprint

    async def decide(
        self, target: str, bearer: str | None, remote: str, origin: str | None
    ) -> Verdict:
        """The same decision as for a session."""
        request = Request(
            target=target, bearer=bearer, transport="http", origin=origin, publishes=False
        )
        return Verdict(await self.relay.door.consider(request, remote))

    async def ticket(self, bearer: str, remote: str) -> dict[str, Any]:
        """A one-time ticket for whatever the credential allows."""
        request = Request(target="/", bearer=bearer, transport="http")
        judgement = await self.relay.door.consider(request, remote)
        if judgement.grant is None:
            raise refusal(judgement)
        ticket = await self.relay.desk.make_ticket(judgement.grant)
        return {"ticket": ticket.text, "expires": ticket.expires}

    async def sessions(self, bearer: str, remote: str) -> list[dict[str, Any]]:
        """The running sessions that the credential's holder may refresh."""
        request = Request(target="/", bearer=bearer, transport="http")
        judgement = await self.relay.door.consider(request, remote)
        if judgement.grant is None:
            raise refusal(judgement)
        return [
            {"id": guest.id, "root": grant.root, "expires": grant.expires}
            for guest in self.relay.door.guests.values()
            if (grant := guest.grant) is not None and is_same_holder(grant, judgement.grant)
        ]

    async def is_admin(self, bearer: str) -> bool:
        """Whether that is the operator's key."""
        hash = self.relay.settings.admin.api_key
        return hash is not None and await self.relay.desk.matches(bearer, hash)

    async def explain(
        self, target: str, bearer: str | None, publish: list[str], subscribe: list[str]
    ) -> dict[str, Any]:
        """What would be decided, without anybody coming in or any ticket being spent."""
        relay = self.relay
        parts = urlsplit(target)
        query = f"?{parts.query}" if parts.query else ""
        request = Request(target=(parts.path or "/") + query, bearer=bearer, transport="http")
        facts = NO_FACTS
        if needs(request, relay.settings.auth).ticket is None:
            facts = await relay.door.clerk.gather(request, None)
        judge = partial(decide, facts=facts)
        rules, now = relay.door.rules, relay.wall()
        decision = judge(request, rules.keys, rules.settings, now)
        return explained(
            decision,
            request,
            rules.keys,
            rules.settings,
            now,
            publish=publish,
            subscribe=subscribe,
            judge=judge,
        )

    async def refresh(self, id: str, bearer: str, remote: str) -> dict[str, Any]:
        """Other rights for a running session."""
        judgement = await self.relay.door.refresh(id, bearer, remote)
        grant = judgement.grant
        if grant is None:
            raise refusal(judgement)
        return {
            "publish": list(grant.publish),
            "subscribe": list(grant.subscribe),
            "expires": grant.expires,
        }

    def announced(self, grant: Grant) -> Sequence[str]:
        """Every broadcast the grant may see, relative to its root."""
        seen: set[Path] = set()

        class Names:
            def announced(self, path: Path, hops: tuple[int, ...]) -> None:
                seen.add(path)

            def unannounced(self, path: Path) -> None:
                seen.discard(path)

        scope = self.relay.house.origin.scope(grant.root, (), grant.subscribe)
        scope.watch(ROOT, Names()).cancel()
        return sorted(seen)

    async def fetch(self, grant: Grant, track: str, group: int | None) -> tuple[int, list[bytes]]:
        """One whole group of the broadcast at the grant's root."""
        house = self.relay.house
        broadcast = house.origin.scope(grant.root, (), grant.subscribe).find(ROOT)
        if broadcast is None:
            raise Unroutable(f"no broadcast at {grant.root!r}")
        limit = self.relay.settings.web.limits.max_fetch_bytes
        return await collect_group(
            broadcast.track(track), group, house.transcode, house.clock, limit
        )


class Ward:
    """What the internal face may ask of the relay."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    def sessions(self, query: str) -> list[dict[str, Any]]:
        """Sessions that run on an authorization server's word."""
        authority = self.relay.authority
        return authority.sessions(query) if authority is not None else []

    def revalidate(self, query: str) -> int:
        """Have that server asked again about them."""
        authority = self.relay.authority
        return authority.revalidate(query) if authority is not None else 0


class Relay:
    """One relay process. ``wall`` is unix seconds, replaceable in tests."""

    def __init__(self, settings: Settings, wall: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.log = structlog.get_logger()
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
        self.endpoint = Endpoint(
            self.door.answer,
            settings.endpoint,
            self.certificates,
            settings.server.versions,
            self._escaped,
            load_roots(settings.server.tls.root),
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
            running = [
                tasks.create_task(each)
                for each in (self._tick(), self.desk.run(), self.keyring.run())
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
        address = self.settings.server.listen
        try:
            return await self.endpoint.start(address.host, address.port)
        except ConfigError as error:
            raise ConfigError(f"server.listen: {error}") from None

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
        """The HTTP faces: where they were asked for, or beside QUIC on the same port number."""
        web = self.settings.web
        app = public_app(Face(self), web.limits)
        self._listeners: list[HttpListener] = []
        plain = web.http.listen
        if plain is None and web.https.listen is None:
            plain = self.settings.server.listen._replace(port=self.quic_address[1])
        if plain is not None:
            sock = listen(plain.host, plain.port)
            self._listeners.append(HttpListener(app, sock, web.limits))
        if web.https.listen is not None:
            pair = (web.https.cert, web.https.key)
            if pair[0] is None or pair[1] is None:
                raise ConfigError("web.https.listen needs web.https.cert and web.https.key")
            sock = listen(web.https.listen.host, web.https.listen.port, "web.https.listen")
            self._listeners.append(HttpListener(app, sock, web.limits, (pair[0], pair[1])))
        self.http_addresses = [listener.address for listener in self._listeners]
        if (internal := self.settings.internal.listen) is not None:
            sock = listen(internal.host, internal.port, "internal.listen")
            self._listeners.append(HttpListener(internal_app(Ward(self)), sock, web.limits))
            self.internal_address = self._listeners[-1].address
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

    async def _say_goodbye(self) -> None:
        """Tell everybody, give them a moment, close."""
        self.door.close()
        if self.door.guests:
            await asyncio.sleep(GOODBYE)
        self.door.empty(Leaving("the relay is stopping"))


class Leaving(RelayError):
    """Nothing is wrong; the relay is about to stop."""

    code = 0
    session_code = 0


def draw_id() -> int:
    """A hop id: non-zero and below 2^53, so that every client can read it."""
    return secrets.randbelow(2**53 - 1) + 1


def load_certificates(settings: Settings) -> Certificates:
    """The pair of ``[server.tls]``. Raises `ConfigError`."""
    tls = settings.server.tls
    if tls.cert and tls.key:
        try:
            return Certificates.from_files(tls.cert[0], tls.key[0])
        except ConfigError as error:
            raise ConfigError(f"server.tls: {error}") from None
    return Certificates.generated(tls.generate or ("localhost", "127.0.0.1", "::1"))


def write_log(settings: Settings) -> None:
    """Send the log to standard error, as ``[log]`` says. For the whole process."""
    level = {"trace": "debug", "warn": "warning"}.get(settings.log.level, settings.log.level)
    last: Any = structlog.processors.JSONRenderer()
    if settings.log.format == "text":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


async def serve(settings: Settings, ready: Callable[[Relay], None] = lambda relay: None) -> None:
    """Run until SIGTERM or SIGINT."""
    write_log(settings)
    relay = Relay(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with relay.running():
        ready(relay)
        await stop.wait()


def run(settings: Settings, ready: Callable[[Relay], None] = lambda relay: None) -> None:
    """Run a relay in this process until it is told to stop. Raises `ConfigError`."""
    try:
        asyncio.run(serve(settings, ready))
    except* ConfigError as group:
        raise group.exceptions[0] from None
