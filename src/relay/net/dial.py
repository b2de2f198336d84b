"""Dialling out: ``https://`` for WebTransport, or WebSocket where no UDP gets through; ``moqt://``
and ``moql://`` for raw QUIC, ``wss://`` and ``ws://`` for WebSocket, ``tcp://`` and ``unix://`` for
plain streams.

Every address of the host is tried in turn, each on a socket of its own, until a session is there
or the time is up. Whatever goes wrong is one `SessionLost` in plain words. This module must not
know what the session is for.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from socket import AF_UNIX, SOCK_DGRAM, gaierror
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from aioquic.quic.configuration import QuicConfiguration

from relay.errors import ConfigError, SessionLost
from relay.hosts import look_up
from relay.net import udp
from relay.net.asking import DialledQuic, DialledWeb, Outcome, Terms, Waiting, asked_for
from relay.net.calling import SCHEMES as STREAMS
from relay.net.calling import StreamAttempt
from relay.net.connection import H3, Application, Connection
from relay.net.detour import Detour, Troubles, both
from relay.net.endpoint import Endpoint, OnError, log_error
from relay.net.engine import configure
from relay.net.quic import QuicTransport
from relay.net.settings import ListenSettings, QuicLimits
from relay.net.streams import TCP, UNIX
from relay.net.tls import load, read_authorities
from relay.net.trust import DialTls
from relay.path import within
from relay.session.transport import Receiver, Transport

RAW_SCHEMES = frozenset(("moqt", "moql"))

SOCKETS = frozenset(("wss", "ws"))

DEFAULT_PORT = 443
PLAIN_HTTP = 80


class Session(Protocol):
    """A session that we asked for; it waits for its receiver."""

    transport: Transport
    protocol: str | None

    def start(self, receiver: Receiver) -> None:
        """Set the receiver; what came before is replayed in order."""

    async def close(self, code: int = 0, reason: str = "") -> None:
        """End the session and wait for its goodbye, a moment at most."""


class Attempt(Protocol):
    """How to dial one address."""

    async def run(self, family: int, address: udp.Address) -> Session:
        """Raises `SessionLost`; cancelled, it leaves nothing behind."""


class Dialled:
    """A session over QUIC."""

    def __init__(self, transport: QuicTransport, endpoint: Endpoint) -> None:
        self.transport: Transport = transport
        self.protocol = transport.protocol
        """The agreed protocol identifier, ``None`` when the server named none."""
        self._transport = transport
        self._endpoint = endpoint

    def start(self, receiver: Receiver) -> None:
        """Set the receiver; what came before is replayed in order."""
        self._transport.start(receiver)

    async def close(self, code: int = 0, reason: str = "") -> None:
        """End the session and wait for its goodbye (at most 1.5 s)."""
        await self._endpoint.close(code, reason)


async def dial(
    url: str,
    *,
    protocols: Sequence[str],
    tls: DialTls | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109 - it spans several addresses
    limits: QuicLimits | None = None,
    bind: tuple[str, int] | None = None,
    detour: Detour | None = None,
    on_error: OnError = log_error,
) -> Session:
    """Open a session to ``url`` within ``timeout`` seconds, from the local UDP address ``bind``.
    0 is no limit: each address is tried until QUIC or TCP gives it up.

    With a ``detour`` an ``https://`` URL is dialled as ``wss://``, too, where QUIC is not answered;
    not with a client certificate, which servers ask for over QUIC only. Raises `ConfigError` for a
    URL or a file that cannot be used, `SessionLost` when there is no session, with the status of a
    refused CONNECT.
    """
    target = _parse(url)
    tls = tls or DialTls()
    limits = limits or QuicLimits()
    troubles: Troubles = {}
    attempt: Attempt

    def by_socket(target: SplitResult) -> Attempt:
        from relay.net.dial_websocket import SocketAttempt  # for few; its library takes a while

        return SocketAttempt(target, tuple(protocols), tls, limits, on_error)

    if target.scheme in STREAMS:
        attempt = StreamAttempt(tuple(protocols), limits, on_error)
    elif target.scheme in SOCKETS:
        attempt = by_socket(target)
    else:
        attempt = _Attempt(
            Terms(target, tuple(protocols), tls.pins()),
            _configure(target, protocols, tls, limits),
            ListenSettings(limits=limits),
            bind,
            on_error,
        )
    try:
        async with asyncio.timeout(timeout or None) as overall:
            if detour is None or target.scheme != "https" or tls.certificate is not None:
                return await _try_all(attempt, target, overall)
            aside = target._replace(scheme="wss")
            return await detour.race(
                target.netloc,
                lambda: _try_all(attempt, target, overall),
                lambda: _try_all(by_socket(aside), aside, overall),
                troubles,
            )
    except TimeoutError:
        silence = SessionLost(f"{target.netloc} did not answer in {timeout:g} s")
        raise both(silence, troubles) from None


async def _try_all(attempt: Attempt, target: SplitResult, overall: asyncio.Timeout) -> Session:
    addresses = await _resolve(target)
    trouble = SessionLost(f"{target.hostname} has no address")
    loop = asyncio.get_running_loop()
    for index, (family, address) in enumerate(addresses):
        end = overall.when()
        # A silent address must leave time for the others.
        share = None if end is None else (end - loop.time()) / (len(addresses) - index)
        try:
            async with asyncio.timeout(share):
                return await attempt.run(family, address)
        except SessionLost as error:
            trouble = error
            if error.status:
                break
        except TimeoutError:
            trouble = SessionLost(f"{udp.plain(address)[0]} did not answer")
    raise trouble


async def _resolve(target: SplitResult) -> list[tuple[int, udp.Address]]:
    if target.scheme == UNIX:
        return [(AF_UNIX, (unquote(target.path),))]
    port = target.port or (PLAIN_HTTP if target.scheme == "ws" else DEFAULT_PORT)
    try:
        found = await look_up(target.hostname, port, type=SOCK_DGRAM)
    except (gaierror, UnicodeError):  # the latter for labels that no name has
        raise SessionLost(f"{target.hostname} does not resolve") from None
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


def _parse(url: str) -> SplitResult:
    """The URL, without user and password, which none of these ways has a place for. Raises
    `ConfigError`, whose message never repeats the query: a token may stand there."""
    shown = url.partition("?")[0]
    try:
        target = urlsplit(url)
        port = target.port
    except ValueError as error:
        raise ConfigError(f"{shown!r} is no URL: {error}") from None
    target = target._replace(netloc=target.netloc.rpartition("@")[2])
    shown = target._replace(query="", fragment="").geturl()
    if target.scheme not in RAW_SCHEMES | STREAMS | SOCKETS | {"https"}:
        known = "https, moqt, moql, wss, ws, tcp or unix"
        raise ConfigError(f"cannot dial {target.scheme or 'no scheme'}: use {known}")
    if target.scheme == UNIX:
        if target.netloc or not target.path:
            raise ConfigError(f"{shown!r} names no socket: write unix:///path")
        return target
    if target.scheme == TCP and port is None:
        raise ConfigError(f"{shown!r} names no port")
    if not target.hostname or port == 0:
        raise ConfigError(f"{shown!r} names no host and port")
    return target if target.hostname.isascii() else _in_ascii(target, target.hostname)


def _in_ascii(target: SplitResult, host: str) -> SplitResult:
    """The same with its host as it is written in DNS, TLS and HTTP (RFC 5890)."""
    try:
        written = host.encode("idna").decode()
    except UnicodeError:
        raise ConfigError(f"{host!r} is no name of a host") from None
    return target._replace(netloc=written if target.port is None else f"{written}:{target.port}")


def _configure(
    target: SplitResult, protocols: Sequence[str], tls: DialTls, limits: QuicLimits
) -> QuicConfiguration:
    made = configure(limits, True, protocols if target.scheme in RAW_SCHEMES else (H3,))
    made.server_name = target.hostname
    if tls.disable_verify or tls.fingerprints:
        made.verify_mode = ssl.CERT_NONE
    elif tls.roots:
        made.cadata = b"\n".join(map(read_authorities, tls.roots))
    else:
        system = ssl.get_default_verify_paths()
        made.cafile, made.capath = system.cafile, system.capath
    if tls.certificate is not None and tls.key is not None:
        pair = load(tls.certificate, tls.key)
        made.certificate, made.certificate_chain = pair.chain[0], list(pair.chain[1:])
        made.private_key = pair.key
    return made


def setup_target(url: str) -> str | None:
    """Path and query, where the transport cannot carry them and SETUP must."""
    parts = urlsplit(url)
    if parts.scheme == UNIX:
        return within(parts.query)
    return asked_for(parts) if parts.scheme in RAW_SCHEMES | {TCP} else None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What is the same for every address."""

    terms: Terms
    configuration: QuicConfiguration
    settings: ListenSettings
    bind: tuple[str, int] | None
    on_error: OnError

    async def run(self, family: int, address: udp.Address) -> Dialled:
        """Try one address. Raises `SessionLost`; cancelled, it leaves nothing behind."""
        endpoint = Endpoint(self.settings, on_error=self.on_error)
        try:
            sock = udp.connect(family, address, self.settings.socket_buffer, self.bind)
        except OSError as error:
            raise SessionLost(f"{udp.plain(address)[0]}: {error.strerror}") from None
        endpoint.add_socket(sock)
        outcome: Outcome = asyncio.get_running_loop().create_future()
        configuration = replace(self.configuration)
        try:
            connection = endpoint.connect(
                sock, address, configuration, lambda line, alpn: self._begin(line, outcome)
            )
            # Without an application there is nobody to be told; `Waiting` is told of early ends.
            connection.application = Waiting(outcome)
            return Dialled(await outcome, endpoint)
        except BaseException:
            await asyncio.shield(endpoint.close(linger=0.0))
            raise

    def _begin(self, connection: Connection, outcome: Outcome) -> Application:
        if self.terms.target.scheme in RAW_SCHEMES:
            return DialledQuic(connection, self.terms, outcome)
        return DialledWeb(connection, self.terms, outcome)
