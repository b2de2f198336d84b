"""Carrying an HTTP face on sockets of our own, inside the loop that already runs.

Its law: it takes no signals, writes no access log (addresses hold tokens) and ends when told to.
This module must not know what the face answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.beat import rest
from relay.control.framing import framed
from relay.control.patience import PatientSocket, patient
from relay.control.places import Told
from relay.control.proxies import as_seen
from relay.control.secure import Secure
from relay.control.secure_door import SecureDoor
from relay.control.settings import PublicLimits
from relay.errors import ConfigError
from relay.hosts import with_port
from relay.net.listening import Listening
from relay.net.udp import Address, addresses_of, anywhere, each_of
from relay.net.websocket import MAX_MESSAGE

MAX_HEADERS = 65_536
"""Bytes of one request's line and headers; more is answered 400 by the HTTP parser."""

REASONS = {
    errno.EADDRINUSE: "another program listens there already",
    errno.EACCES: "not permitted (ports below 1024 need a privilege)",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


def listen(host: str, port: int, setting: str = "web.http.listen") -> list[socket.socket]:
    """TCP sockets that listen, for every address of ``host``; ``::`` takes IPv4 as well. Port 0
    lets the system choose, the same for all.

    Raises `ConfigError`, one line that names the setting, when an address cannot be had.
    """
    host = anywhere(host)
    try:
        addresses = addresses_of(host, port, socket.SOCK_STREAM)
    except OSError:
        raise ConfigError(f"{setting}: no such host: {host}") from None
    try:
        return each_of(addresses, port, _listening)
    except OSError as error:
        why = REASONS.get(error.errno or 0, error.strerror)
        place = with_port(host, port)
        raise ConfigError(f"{setting}: cannot listen on TCP {place}: {why}") from None


def _listening(family: int, address: Address) -> socket.socket:
    # Without the protocol's number asyncio does not take the connections for TCP, and Nagle's
    # algorithm has each small word wait for the last one's acknowledgement.
    sock = Listening(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        sock.bind(address)
        # Two may be bound to one address as long as neither listens; and whoever comes before
        # there is somebody to answer waits.
        sock.listen(socket.SOMAXCONN)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class HttpListener:
    """One face on its sockets. Run `serve` in a task of the owner's; `stop` ends it.

    ``started`` is set once requests are taken. ``secure`` makes it HTTPS; its files are followed
    meanwhile, and ``log`` hears of them.
    """

    def __init__(
        self,
        app: ASGIApp,
        sockets: Sequence[socket.socket],
        limits: PublicLimits,
        secure: Secure | None = None,
        log: Callable[..., None] = lambda event, **facts: None,
        calls: ASGIApp | None = None,
        proxies: Sequence[str] = (),
        crowded: Told = lambda why, remote: None,
    ) -> None:
        """``calls`` takes connections that are to be WebSocket; without it there are none. What
        ``proxies`` say of who asks is believed. ``crowded`` hears of whom there is no room for."""
        self.started = asyncio.Event()
        self.address: tuple[str, int] = sockets[0].getsockname()[:2]
        self._sockets = list(sockets)
        self._log = log
        config = uvicorn.Config(
            framed(app if calls is None else _by_type(app, calls)),
            http=patient(limits, proxies, crowded),  # type: ignore[arg-type]
            ws="none" if calls is None else PatientSocket,
            ws_max_size=MAX_MESSAGE,
            ws_per_message_deflate=False,
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=as_seen(proxies),
            timeout_keep_alive=limits.keep_alive,
            timeout_graceful_shutdown=limits.drain,
            h11_max_incomplete_event_size=MAX_HEADERS,
        )
        # Its warnings are about odd requests, which any stranger can cause at will.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        logging.getLogger("uvicorn.error").addFilter(_is_an_error)
        config.load()
        self._secure = secure
        tls = (secure.context, limits.request_timeout) if secure else None
        self._server = _Quiet(config, self.started, self.look, self._cut, tls)

    async def serve(self) -> None:
        """Answer requests until `stop`; closes the sockets."""
        try:
            await self._server.serve(self._sockets)
        finally:
            for sock in self._sockets:
                sock.close()

    def stop(self) -> None:
        """End soon: no new connections, answers in progress get ``drain`` seconds."""
        self._server.stop()

    def _cut(self, count: int) -> None:
        self._log("answers cut at the end", count=count)

    def look(self) -> None:
        """See whether there is another pair for connections to come; done once a second."""
        for each in self._secure.all if self._secure else ():
            try:
                if each.reload_if_changed():
                    self._log("certificate of HTTP reloaded", file=str(each.cert))
            except ConfigError as error:
                self._log("certificate of HTTP not reloaded, the old one stays", why=str(error))


def _by_type(app: ASGIApp, calls: ASGIApp) -> ASGIApp:
    """``app`` for requests, ``calls`` for what is to be WebSocket."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await (calls if scope["type"] == "websocket" else app)(scope, receive, send)

    return served


class _Quiet(uvicorn.Server):
    """uvicorn without hands on the process: it takes no signals and says when it has started."""

    def __init__(
        self,
        config: uvicorn.Config,
        started: asyncio.Event,
        look: Callable[[], None],
        cut: Callable[[int], None],
        tls: tuple[ssl.SSLContext, float] | None,
    ) -> None:
        """``look`` is called once a second, ``cut`` with how many answers were not given the time
        that they would have taken. ``tls`` comes with how many seconds a handshake may take."""
        super().__init__(config)
        self._tls = tls
        self._look = look
        self._cut = cut
        self._says_started = started
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End soon."""
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        """As before, but once a second, as often as the date in its headers changes: ten wakings a
        second are a load of their own where nobody asks."""
        tenths = 0
        while not await self.on_tick(tenths):
            tenths += 10
            self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest(1.0)):
                    await self._stopped.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the owner of the loop."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As before, or behind TLS, and tell the owner."""
        await super().startup([] if self._tls else sockets)
        if self._tls:
            doors = [SecureDoor(sock, *self._tls, self._make) for sock in sockets or ()]
            self.servers += doors  # type: ignore[arg-type]
        self._says_started.set()

    def _make(self) -> Any:
        """Who hears one more connection, as for those of its own servers."""
        given = {"server_state": self.server_state, "app_state": self.lifespan.state}
        return self.config.http_protocol_class(config=self.config, **given)  # type: ignore[call-arg]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As before, and tell the owner what was cut."""
        await super().shutdown(sockets)
        if self.server_state.tasks:
            self._cut(len(self.server_state.tasks))


NO_ERRORS = "Cancel ", "ASGI callable returned without completing handshake"
"""How lines begin that are none: answers were cut when their time was up; a caller was denied, or
had left."""


def _is_an_error(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's is about one."""
    why = record.exc_info[1] if record.exc_info else None
    is_cut = isinstance(why, asyncio.CancelledError)
    return not is_cut and not record.getMessage().startswith(NO_ERRORS)
