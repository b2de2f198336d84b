"""Who dials a plain stream: each connection becomes a visit, like any other.

Whoever is there for no purpose is gone within the time of a handshake, and processes that may not
dial hear nothing. This module must not know why a visit is accepted.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from relay.errors import RelayError
from relay.net.allowing import Allowed, check, process_of
from relay.net.codes import turned_away
from relay.net.gate import Gate
from relay.net.settings import ListenSettings
from relay.net.streams import TCP, UNIX, StreamTransport
from relay.net.turns import Turns
from relay.net.udp import Address, plain
from relay.net.visit import Door, Headers, OpenVisit, bring
from relay.session.transport import Knock, Receiver
from relay.wire.version import INBAND

Knocking = Callable[["Caller", Sequence[str]], None]
"""Told of a caller with what is spoken, or with what it offers where that is nothing of ours."""


class Caller(StreamTransport):
    """A session that somebody asks for."""

    def __init__(
        self,
        settings: ListenSettings,
        failed: Callable[[Exception], None],
        writer: asyncio.StreamWriter,
        protocols: Sequence[str],
        knock: Knocking,
    ) -> None:
        super().__init__(False, settings.limits, failed, writer, protocols)
        self._knock = knock
        late = RelayError.session_code, "the handshake took too long"
        self._overdue = self._loop.call_later(settings.handshake_timeout, self.close, *late)

    def offered(self, protocols: Sequence[str]) -> None:
        """Take the best that both speak; whoever says nothing leaves it to the handshake inside."""
        self._overdue.cancel()
        said = protocols or (INBAND,)
        common = [each for each in self._protocols if each in said]
        self._knock(self, common[:1] or said)

    def admit(self, receiver: Receiver, protocol: str | None) -> None:
        """Let it in."""
        self.start(receiver)

    def turn_away(self, status: int, headers: Headers = ()) -> None:
        """Refuse it; what the headers say, the goodbye does."""
        self.close(*turned_away(status, headers))

    def _end(self, code: int, reason: str) -> None:
        self._overdue.cancel()
        super()._end(code, reason)


class StreamListener:
    """Takes such sessions by one of the two ways."""

    def __init__(
        self,
        door: Door,
        settings: ListenSettings,
        protocols: Sequence[str],
        failed: Callable[[Exception], None],
        gate: Gate,
        allowed: Allowed | None = None,
    ) -> None:
        """``failed`` hears of `NotAllowed` and of errors nobody foresaw; ``gate`` counts who is
        inside, by whichever way; ``allowed`` is given for a unix socket."""
        self._door = door
        self._settings = settings
        self._protocols = protocols
        self._failed = failed
        self._gate = gate
        self._allowed = allowed
        self._turns = Turns()
        self._inside: set[asyncio.Future[None]] = set()

    async def listen(self, sock: socket.socket) -> asyncio.Server:
        """Begin, at a socket that is bound. Raises `OSError`."""
        return await asyncio.start_server(self._come, sock=sock, backlog=socket.SOMAXCONN)

    async def close(self) -> None:
        """End what is still inside, after a moment for goodbyes."""
        if self._inside:
            patience = self._settings.limits.close_timeout
            _, late = await asyncio.wait(tuple(self._inside), timeout=patience)
            for each in late:
                each.cancel()

    def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(self._serve(reader, writer))
        self._inside.add(serving)
        serving.add_done_callback(self._inside.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        try:
            address, knock = self._who(writer)
            if self._gate.has_room(address):
                await self._host(reader, writer, address, knock)
        except OSError:
            pass  # they have left
        except Exception as error:
            self._failed(error)
        finally:
            writer.transport.abort()

    def _who(self, writer: asyncio.StreamWriter) -> tuple[Address, Knock]:
        """What counts as one address, and what is known of who dials. Raises `NotAllowed`, and
        `OSError` when they have left."""
        if self._allowed is None:
            address = writer.get_extra_info("peername") or ("", 0)
            return address, Knock(TCP, None, remote=plain(address))
        process = process_of(writer.get_extra_info("socket"))
        check(self._allowed, process)
        if process is None:
            return ("", 0), Knock(UNIX, None)
        return (f"uid {process.uid}", 0), Knock(UNIX, None, process=str(process))

    async def _host(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: Address,
        knock: Knock,
    ) -> None:
        has_passed = False

        def knocked(caller: Caller, offered: Sequence[str]) -> None:
            nonlocal has_passed
            has_passed = True
            self._gate.pass_through()
            knock.offered = tuple(offered)
            bring(self._door, OpenVisit(knock, caller), self._failed)

        self._gate.enter(address)
        try:
            caller = Caller(self._settings, self._failed, writer, self._protocols, knocked)
            await caller.carry(reader, self._turns)
        finally:
            self._gate.leave(address, has_passed)
