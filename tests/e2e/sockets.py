"""Our own client over WebSocket: QMux's frames, carried by the library `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay import client
from relay.client import Client
from relay.errors import SessionLost
from relay.net.dial import dial
from relay.net.qmux import QmuxTransport
from relay.net.qmux_frames import WIRES
from relay.net.settings import QuicLimits
from relay.session.transport import Receiver

DEADLINE = 10.0


class DialledSocket:
    """A session over one connection."""

    def __init__(self, socket: ClientConnection, errors: list[Exception]) -> None:
        name, _, self.protocol = (socket.subprotocol or "").partition(".")
        self.transport = QmuxTransport(True, QuicLimits(), errors.append)
        self._socket = socket
        self._name = name
        self._work: list[asyncio.Future[None]] = []

    def start(self, receiver: Receiver) -> None:
        self.transport.begin(next(wire for wire in WIRES if wire.name == self._name))
        self.transport.start(receiver)
        self._work = [asyncio.ensure_future(each) for each in (self._read(), self._write())]

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self._socket:
                assert isinstance(message, bytes)
                list(self.transport.hear(message))
        self.transport.lost("the connection is gone")

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while not self.transport.is_over:
                await self.transport.due.wait()
                while (message := self.transport.take()) is not None:
                    await self._socket.send(message)

    async def close(self, code: int = 0, reason: str = "") -> None:
        self.transport.close(code, reason)
        await asyncio.wait(self._work[1:], timeout=DEADLINE)
        await self._socket.close()
        await asyncio.wait(self._work, timeout=DEADLINE)


async def dial_socket(url: str, *, protocols: Sequence[str], **rest: Any) -> Any:
    """As `dial`, also for ``ws://`` and ``wss://``."""
    if not url.startswith("ws"):
        return await dial(url, protocols=protocols, **rest)
    offered: Any = [f"{wire.name}.{each}" for wire in WIRES[:1] for each in protocols]
    trust = None
    if url.startswith("wss"):
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    try:
        socket = await open_socket(url, subprotocols=offered, ssl=trust, compression=None)
    except InvalidStatus as error:
        answer = error.response
        raise SessionLost(str(dict(answer.headers)), status=answer.status_code) from None
    return DialledSocket(socket, [])


@asynccontextmanager
async def connect(patch: pytest.MonkeyPatch, url: str, **rest: Any) -> AsyncIterator[Client]:
    """A session, by whichever way the URL says."""
    patch.setattr(client, "dial", dial_socket)
    async with client.connect(url, **rest) as made:
        yield made
