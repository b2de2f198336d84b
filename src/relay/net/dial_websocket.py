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

from relay.errors import SessionLost
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
        socket: ClientConnection,
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
        self._patience = limits.close_timeout
        self._transport.begin(next(wire for wire in WIRES if wire.name == name))
        self._writing = asyncio.ensure_future(self._write())
        self._reading = asyncio.ensure_future(self._read())

    def start(self, receiver: Receiver) -> None:
        """Set the receiver; what came before is replayed in order."""
        self._transport.start(receiver)

    async def close(self, code: int = 0, reason: str = "") -> None:
        """End the session and wait for its goodbye, no longer than `QuicLimits.close_timeout`."""
        self._transport.close(code, reason)
        await asyncio.wait((self._writing,), timeout=self._patience)
        await self._socket.close()
        self._writing.cancel()
        await asyncio.wait((self._writing, self._reading))

    async def _read(self) -> None:
        turns, use = Turns(), Use()
        with contextlib.suppress(ConnectionClosed):
            async for message in self._socket:
                body = message if isinstance(message, bytes) else b""
                await turns.through(self._transport.hear(body), use)
        self._transport.lost("the connection is gone")

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
            socket = await connect(
                self.target._replace(fragment="").geturl(),
                subprotocols=offers(self.protocols),
                create_connection=_believing(self.tls),
                compression=None,
                proxy=None,
                open_timeout=None,
                ping_interval=self.limits.idle_timeout / SIGNS,
                ping_timeout=self.limits.idle_timeout,
                close_timeout=self.limits.close_timeout,
                max_size=MAX_MESSAGE,
                host=address[0],
                port=address[1],
                family=family,
                **options,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            raise SessionLost(refusal(status, error.response.headers), 0, status) from None
        except OSError as error:
            raise SessionLost(f"{plain(address)[0]}: {unreached(error)}") from None
        except (WebSocketException, ValueError) as error:
            raise SessionLost(f"{plain(address)[0]}: {error}") from None
        if socket.subprotocol is None:
            socket.transport.abort()
            raise SessionLost("the server speaks none of our protocols")
        return DialledSocket(socket, socket.subprotocol, self.limits, self.on_error)


def _believing(tls: DialTls) -> type[ClientConnection]:
    """Connections that say nothing to whom we did not mean."""

    class Believing(ClientConnection):
        async def handshake(self, *said: Any, **more: Any) -> None:
            shown = self.transport.get_extra_info("ssl_object")
            if shown is not None and not tls.is_pinned(shown.getpeercert(True)):
                raise SessionLost("the certificate is not accepted: none of those pinned")
            await super().handshake(*said, **more)

    return Believing
