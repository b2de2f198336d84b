"""Dialling WebSocket: ``wss://`` and ``ws://``, for networks that let no UDP through (RFC 6455).

Each version of MoQ is offered with each framing that has credit, as a subprotocol
(draft-lcurley-qmux-websocket); what the server takes settles both. Whoever shows a certificate that
is none of those pinned is told nothing. This module must not know what the session is for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from relay.errors import ProtocolViolation, SessionLost
from relay.hosts import unreached
from relay.net.asking import refusal
from relay.net.qmux import QmuxTransport
from relay.net.qmux_frames import WIRES
from relay.net.settings import QuicLimits
from relay.net.streams import SIGNS
from relay.net.trust import DialTls
from relay.net.turns import Turns, Use
from relay.net.udp import Address, plain
from relay.net.websocket import MAX_MESSAGE
from relay.session.transport import Receiver, Transport
from relay.wire.version import INBAND

MAX_UNREAD = 1 << 20
"""Bytes that may wait to be read by the peer; what we say ourselves waits for its turn long before.
"""


def offers(protocols: Iterable[str]) -> list[Subprotocol]:
    """Every way we speak, best first."""
    return [
        Subprotocol(wire.name if each == INBAND else f"{wire.name}.{each}")
        for wire in WIRES
        if wire.has_records
        for each in protocols
    ]


class DialledSocket:
    """A session that we asked for; it waits for its receiver."""

    def __init__(
        self,
        socket: Line,
        chosen: str,
        limits: QuicLimits,
        failed: Callable[[Exception], None],
    ) -> None:
        """``chosen`` is one of `offers`; ``failed`` hears what cost the session."""
        name, _, version = chosen.partition(".")
        self.protocol = version or None
        """The agreed protocol identifier, ``None`` when the server named none."""
        self._transport = QmuxTransport(True, limits, failed)
        self.transport: Transport = self._transport
        self._socket = socket
        self._limits = limits
        self._failed = failed
        self._transport.begin(next(wire for wire in WIRES if wire.name == name))
        self._writing = asyncio.ensure_future(self._write())
        self._reading = asyncio.ensure_future(self._read())
        self._watching = asyncio.ensure_future(self._watch())

    def start(self, receiver: Receiver) -> None:
        """Set the receiver; what came before is replayed in order."""
        self._transport.start(receiver)

    async def close(self, code: int = 0, reason: str = "") -> None:
        """End the session and wait for its goodbye, no longer than `QuicLimits.close_timeout`."""
        self._transport.close(code, reason)
        self._watching.cancel()
        await asyncio.wait((self._writing,), timeout=self._limits.close_timeout)
        # The library waits for its goodbye to be written before it counts, to whom reads nothing
        # for ever.
        closing = asyncio.ensure_future(self._socket.close())
        await asyncio.wait((closing,), timeout=self._limits.close_timeout)
        self._socket.transport.abort()
        self._writing.cancel()
        await asyncio.wait((self._writing, self._reading, self._watching, closing))

    async def _read(self) -> None:
        turns, use = Turns(), Use()
        try:
            async for message in self._socket:
                if not isinstance(message, bytes):
                    self._transport.close(ProtocolViolation.session_code, "a message of text")
                    break
                await turns.through(self._transport.hear(message), use)
        except ConnectionClosed:
            pass
        except Exception as error:  # the server's answers to pings would keep it for ever
            self._failed(error)
        self._transport.lost(_ended(self._socket))

    async def _watch(self) -> None:
        """End what nobody answers: the library's own pings wait behind what nobody reads."""
        idle = self._limits.idle_timeout
        while not self._transport.is_closed:
            await asyncio.sleep(idle / SIGNS)
            self._transport.end_if_silent(self._socket.heard_at, idle)
            if not self._transport.is_believed:
                self._transport.lost("it did not introduce itself")
        self._socket.transport.abort()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self._transport.write(self._socket.send)


@dataclass(frozen=True, slots=True)
class SocketAttempt:
    """What is the same for every address."""

    target: SplitResult
    protocols: tuple[str, ...]
    tls: DialTls
    limits: QuicLimits
    on_error: Callable[[Exception], None]

    async def run(self, family: int, address: Address) -> DialledSocket:
        """Try one address. Raises `SessionLost`; cancelled, it leaves nothing behind."""
        options: dict[str, Any] = {}
        if self.target.scheme == "wss":
            options["ssl"] = self.tls.context()
        try:
            socket = await _Call(
                self.target._replace(fragment="").geturl(),
                subprotocols=offers(self.protocols),
                create_connection=_believing(self.tls),
                compression=None,
                proxy=None,
                open_timeout=None,
                ping_interval=self.limits.idle_timeout / SIGNS,
                ping_timeout=None,
                close_timeout=self.limits.close_timeout,
                max_size=MAX_MESSAGE,
                host=address[0],
                port=address[1],
                family=family,
                **options,
            )
        except InvalidStatus as error:
            status, headers = error.response.status_code, error.response.headers
            told = {name.lower(): text for name, text in headers.raw_items()}
            raise SessionLost(refusal(status, told), 0, status) from None
        except OSError as error:
            raise SessionLost(f"{plain(address)[0]}: {unreached(error)}") from None
        except (WebSocketException, ValueError) as error:
            raise SessionLost(f"{plain(address)[0]}: {error}") from None
        assert isinstance(socket, Line)
        if socket.subprotocol is None:
            socket.transport.abort()
            raise SessionLost("the server speaks none of our protocols")
        return DialledSocket(socket, socket.subprotocol, self.limits, self.on_error)


class _Call(connect):
    """The library's, which follows nobody elsewhere: a redirect is a refusal."""

    async def open_tcp_connection(self) -> ClientConnection:
        """The connection, and TLS once it is there. uvloop does both at once, and where somebody
        gives up in between what TLS comes to is nobody's, and stands in the log with its trace."""
        options = dict(self.create_connection_kwargs)
        if (context := options.pop("ssl", None)) is None:
            return await super().open_tcp_connection()
        loop = asyncio.get_running_loop()
        bare, nobody = await loop.create_connection(asyncio.Protocol, **options)
        try:
            transport = await loop.start_tls(
                bare, nobody, context, server_hostname=self.ws_uri.host
            )
        except BaseException:
            bare.abort()
            raise
        assert transport is not None
        connection = self.factory(self.ws_uri)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return connection

    def process_redirect(self, exc: Exception) -> Exception:
        """Raise it."""
        return exc


class Line(ClientConnection):
    """The library's connection, which knows when something was last heard, a pong at least."""

    heard_at = 0.0

    def connection_made(self, transport: Any) -> None:
        """It is there."""
        self.heard_at = self.loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Something came; who has us answer pings and does not read the answers is left."""
        self.heard_at = self.loop.time()
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNREAD:
            self.transport.abort()


def _ended(socket: ClientConnection) -> str:
    """Why the connection is gone, as far as the server said it."""
    code, reason = socket.close_code, socket.close_reason
    if code in (None, 1000, 1001, 1006) and not reason:
        return "the connection is gone"
    return f"the connection was closed with {code}" + (f": {reason}" if reason else "")


def _believing(tls: DialTls) -> type[Line]:
    """Connections that say nothing to whom we did not mean."""

    class Believing(Line):
        async def handshake(self, *said: Any, **more: Any) -> None:
            shown = self.transport.get_extra_info("ssl_object")
            if shown is not None and not tls.is_pinned(shown.getpeercert(True)):
                raise SessionLost("the certificate is not accepted: none of those pinned")
            await super().handshake(*said, **more)

    return Believing
