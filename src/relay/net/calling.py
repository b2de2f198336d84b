"""Dialling plain streams: ``tcp://`` and ``unix://``.

This module must not know what the session is for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX

from relay.errors import SessionLost
from relay.hosts import unreached
from relay.net.settings import QuicLimits
from relay.net.streams import TCP, UNIX, StreamTransport
from relay.net.turns import Turns
from relay.net.udp import Address, plain
from relay.session.transport import Receiver, Transport
from relay.wire.version import INBAND

SCHEMES = frozenset((TCP, UNIX))


class Call(StreamTransport):
    """A session that we ask for."""

    def __init__(
        self,
        limits: QuicLimits,
        failed: Callable[[Exception], None],
        writer: asyncio.StreamWriter,
        protocols: Sequence[str],
    ) -> None:
        super().__init__(True, limits, failed, writer, protocols)
        self.agreed: asyncio.Future[str | None] = self._loop.create_future()
        """What is spoken, once both have said what they can; it may be an error."""

    def offered(self, protocols: Sequence[str]) -> None:
        """The server's order decides; where it says nothing, the handshake inside does."""
        common = [each for each in protocols if each in self._protocols]
        if self.agreed.done():
            return
        if common or (not protocols and INBAND in self._protocols):
            self.agreed.set_result(common[0] if common else None)
        else:
            self.agreed.set_exception(SessionLost("no version in common"))

    def _end(self, code: int, reason: str) -> None:
        if not self.agreed.done():
            self.agreed.set_exception(SessionLost(reason or "the peer hung up", code))
        super()._end(code, reason)


class DialledStream:
    """A session that we asked for; it waits for its receiver."""

    def __init__(
        self, transport: Call, protocol: str | None, carrying: asyncio.Future[None]
    ) -> None:
        self.transport: Transport = transport
        self.protocol = protocol
        self._transport = transport
        self._carrying = carrying

    def start(self, receiver: Receiver) -> None:
        """Set the receiver; what came before is replayed in order."""
        self._transport.start(receiver)

    async def close(self, code: int = 0, reason: str = "") -> None:
        """End the session and wait for its goodbye, no longer than `QuicLimits.close_timeout`."""
        self._transport.close(code, reason)
        await asyncio.wait((self._carrying,))


@dataclass(frozen=True, slots=True)
class StreamAttempt:
    """What is the same for every address."""

    protocols: Sequence[str]
    limits: QuicLimits
    on_error: Callable[[Exception], None]

    async def run(self, family: int, address: Address) -> DialledStream:
        """Try one address. Raises `SessionLost`; cancelled, it leaves nothing behind."""
        try:
            if family == AF_UNIX:
                reader, writer = await asyncio.open_unix_connection(address[0])
            else:
                reader, writer = await asyncio.open_connection(*address[:2], family=family)
        except OSError as error:
            place = Path(address[0]).name if family == AF_UNIX else plain(address)[0]
            raise SessionLost(f"{place}: {unreached(error)}") from None
        call = Call(self.limits, self.on_error, writer, self.protocols)
        carrying = asyncio.ensure_future(call.carry(reader, Turns()))
        try:
            return DialledStream(call, await call.agreed, carrying)
        except BaseException:
            carrying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((carrying,))
            raise
