"""How long an HTTP client may keep us waiting, and how many may be there at all.

Its law: whoever neither says a request nor reads the answer is cut off, and connections have a
ceiling, so that strangers who say nothing cannot lock the others out for good. This module must not
know what is asked or answered.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any

import h11
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

from relay.control.lobby import Lobby
from relay.control.places import Told
from relay.control.settings import PublicLimits
from relay.control.sips import Sips
from relay.net.turns import Turns
from relay.net.udp import Address

SHALLOW = 1 << 15
"""Bytes that may wait in our buffer of a WebSocket connection, and as many in the kernel's beyond
what is under way."""


BODY = b"content-length", b"transfer-encoding"
"""Fields of a request that has more than its head."""

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What the parser lets pass in the value of a field, and the library of WebSocket does not."""


class Patience(H11Protocol):
    """One TCP connection of an HTTP face."""

    limits: PublicLimits
    here: Lobby
    """Those of one listener that are there; who has gone over to WebSocket is counted there."""
    turns: Turns
    _due: asyncio.TimerHandle | None = None
    _is_full = False
    _is_over = False
    """Whether nothing more will be asked."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody came; one of very many is not heard at all."""
        super().connection_made(transport)
        may_stay = self.arrive(transport.get_extra_info("peername") or ("", 0))
        self.limit_concurrency = None if self.here.serves(self) else 0
        if may_stay:
            self._wait(self.limits.request_timeout)
        else:
            transport.abort()

    def arrive(self, address: Address) -> bool:
        """Be counted, as one in its handshake is already, and answer whether it is heard."""
        return self.here.arrive(self, address)

    def leave(self) -> None:
        """Be waited for and counted no more."""
        self._wait(None)
        self.here.leave(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        self.leave()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """It is none of ours from here on."""
        self.leave()
        self.connections.discard(self)
        visitor = PatientSocket(self.config, self.server_state, self.app_state)
        visitor.limits = self.limits
        visitor.connection_made(self.transport)
        visitor.enter(event.target, self.headers)
        self.transport.set_protocol(Sips(visitor, lambda: visitor.read_paused, self.turns))

    def data_received(self, data: bytes) -> None:
        """Once a request is there, its answer takes the time it takes."""
        was_idle = self.timeout_keep_alive_task is not None
        super().data_received(data)
        if self._is_full or self.transport.is_closing():
            return
        if self._is_answering():
            self._wait(None)
        elif was_idle:
            self._wait(self.limits.request_timeout)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Nothing more will be asked. Who has asked for something may still read its answer (over
        TLS that cannot be told from leaving); once it has begun, nobody may be there any more, and
        the connection is closed when what waits has been read."""
        waits = self._is_answering() and not (self.cycle.more_body or self.cycle.response_started)
        self._is_over = waits and self.scheme == "http"
        limits = self.limits
        self._wait(limits.request_timeout if self._is_over else limits.answer_timeout)
        return self._is_over

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP, perhaps within a body whose request has its answer or is having
        it: then nothing more can be said, and whoever still answers is heard by nobody."""
        if self._is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()
        self._wait_for_next()

    def on_response_complete(self) -> None:
        """The next request is due, unless this answer is still being read."""
        super().on_response_complete()
        if not self._is_full:
            self._wait_for_next()

    def pause_writing(self) -> None:
        """The client does not read as fast as we answer."""
        super().pause_writing()
        self._is_full = True
        self._wait(self.limits.answer_timeout)

    def resume_writing(self) -> None:
        """It does now."""
        super().resume_writing()
        self._is_full = False
        self._wait_for_next()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_next(self) -> None:
        """Not while one is answered, which may have come with the last one; until its first byte
        the connection is idle, and is closed in time by what is below. One that is being closed
        already stays for as long as the last answer is not read."""
        if self._is_over and not self._is_answering():
            self.transport.close()
        if self.transport.is_closing():
            self._wait(self.limits.answer_timeout)
        elif self._is_answering():
            self._wait(None)
        else:
            idle = 0.0 if self.conn.trailing_data[0] else self.limits.keep_alive
            self._wait(idle + self.limits.request_timeout)

    def _should_upgrade(self) -> bool:
        """Whether it goes over; what cannot is a request like any other (RFC 9110, 7.8)."""
        has_body = any(name in BODY and value != b"0" for name, value in self.headers)
        is_text = not any(_CONTROL.search(value) for _, value in self.headers)
        can = self.scope["method"] == "GET" and self.scope["http_version"] == "1.1"
        return can and is_text and not has_body and super()._should_upgrade()

    def _wait(self, seconds: float | None) -> None:
        """Cut the connection after so many seconds, instead of what was planned before."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if seconds is not None and self in self.here:
            self._due = self.loop.call_later(seconds, self.transport.abort)


class PatientSocket(WebSocketsSansIOProtocol):
    """A connection that has gone over to WebSocket.

    What waits below is kept shallow: it can no longer be dropped when something newer comes, and
    systems let megabytes wait for a slow reader.
    """

    limits: PublicLimits
    _due: asyncio.TimerHandle | None = None
    _last: asyncio.TimerHandle | None = None
    _is_stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has left HTTP."""
        super().connection_made(transport)
        self._pieces = bytearray()
        self.transport.set_write_buffer_limits(high=SHALLOW)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux and macOS
            below = transport.get_extra_info("socket")
            below.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, SHALLOW)

    def enter(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Take a request that was read. The library's own reading of one takes less than HTTP does,
        and what it does not take would be here for ever."""
        self.conn.receive_data(b"GET / HTTP/1.1\r\n\r\n")
        self.conn.events_received()
        fields = [(name.decode("ascii"), value.decode("latin-1")) for name, value in headers]
        self.handle_connect(Request(target.decode("ascii"), Headers(fields)))

    def data_received(self, data: bytes) -> None:
        """Whoever speaks before it is let in is not heard at all."""
        if self.handshake_complete:
            super().data_received(data)
        else:
            self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        """Of text nobody reads more than that it is some; it may not even be that."""
        if self.curr_msg_data_type == "text":
            self.frames = [b""]
        super().send_receive_event_to_app()

    async def send(self, message: ASGISendEvent) -> None:
        """Nobody hears what comes after the end, which the peer may have brought about."""
        await self.writable.wait()
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)

    def keepalive_timeout(self) -> None:
        """Whoever is silent may have stopped reading as well."""
        super().keepalive_timeout()
        self.transport.abort()

    def shutdown(self) -> None:
        """The listener stops: whose session ends with it hears of that first."""
        self._is_stopping = self.handshake_complete and not self.close_sent
        if not self._is_stopping:
            super().shutdown()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The session is over: what is left to be read is not waited for without end."""
        super().on_task_complete(task)
        if self._is_stopping and (self.close_sent or self.conn.state is State.OPEN):
            super().shutdown()  # else the client closed, and was answered
        if not self.disconnected:
            self._last = self.loop.call_later(self.limits.answer_timeout, self.transport.abort)

    def handle_cont(self, event: Frame) -> None:
        """Pieces of a message are kept as one: there may be any number, and each may be empty."""
        self._pieces += b"".join(self.frames) + bytes(event.data)
        self.frames = []
        if event.fin:
            self.frames, self._pieces = [bytes(self._pieces)], bytearray()
            self.send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Whoever asks without reading is not answered."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        super().pause_writing()
        self._due = self.loop.call_later(self.limits.answer_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """It does now."""
        super().resume_writing()
        self._relax()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        self._relax()
        if self._last is not None:
            self._last.cancel()
        super().connection_lost(exc)

    def _relax(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


def patient(limits: PublicLimits, proxies: Sequence[str], told: Told) -> Callable[..., Sips]:
    """The protocol for one listener, which may be behind ``proxies``; ``told`` hears of those whom
    there is no room for."""

    class Bound(Patience):
        pass

    Bound.limits, Bound.here, Bound.turns = limits, Lobby(limits, proxies, told), Turns()

    def heard(**given: Any) -> Sips:
        inner = Bound(**given)
        return Sips(inner, lambda: inner.flow.read_paused, inner.turns)

    return heard
