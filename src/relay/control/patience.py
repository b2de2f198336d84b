"""How long an HTTP client may keep us waiting, and how many may be there at all.

Its law: whoever neither says a request nor reads the answer is cut off, and connections have a
ceiling, so that strangers who say nothing cannot lock the others out for good. This module must not
know what is asked or answered.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from relay.control.settings import PublicLimits
from relay.control.sips import Sips

SHALLOW = 1 << 15
"""Bytes that may wait in our buffer of a WebSocket connection, and as many in the kernel's beyond
what is under way."""


class Patience(H11Protocol):
    """One TCP connection of an HTTP face."""

    limits: PublicLimits
    here: set[Patience]
    """Those of one listener that are there; who has gone over to WebSocket is counted there."""
    _due: asyncio.TimerHandle | None = None
    _is_full = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody came; one of very many is not heard at all."""
        super().connection_made(transport)
        self.here.add(self)
        # Up to `max_connections` are served, as many again are told that they are too many.
        count, most = len(self.here), self.limits.max_connections
        self.limit_concurrency = None if count <= most else 0
        if count > 2 * most:
            transport.abort()
        else:
            self._wait(self.limits.request_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        self._leave()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """It is none of ours from here on."""
        self._leave()
        super().handle_websocket_upgrade(event)
        visitor = self.transport.get_protocol()
        assert isinstance(visitor, PatientSocket)
        visitor.limits = self.limits
        self.transport.set_protocol(Sips(visitor, lambda: visitor.read_paused))

    def data_received(self, data: bytes) -> None:
        """Once a request is there, its answer takes the time it takes."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete and not self._is_full:
            self._wait(None)

    def on_response_complete(self) -> None:
        """The next request is due, unless this answer is still being read."""
        super().on_response_complete()
        if not self._is_full:
            self._wait(self.limits.request_timeout)

    def pause_writing(self) -> None:
        """The client does not read as fast as we answer."""
        super().pause_writing()
        self._is_full = True
        self._wait(self.limits.answer_timeout)

    def resume_writing(self) -> None:
        """It does now."""
        super().resume_writing()
        self._is_full = False
        is_done = self.cycle is None or self.cycle.response_complete
        self._wait(self.limits.request_timeout if is_done else None)

    def _leave(self) -> None:
        self._wait(None)
        self.here.discard(self)

    def _wait(self, seconds: float | None) -> None:
        """Cut the connection after so many seconds, instead of what was planned before."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if seconds is not None and not self.transport.is_closing():
            self._due = self.loop.call_later(seconds, self.transport.abort)


class PatientSocket(WebSocketsSansIOProtocol):
    """A connection that has gone over to WebSocket.

    What waits below is kept shallow: it can no longer be dropped when something newer comes, and
    systems let megabytes wait for a slow reader.
    """

    limits: PublicLimits
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has left HTTP."""
        super().connection_made(transport)
        self._pieces = bytearray()
        self.transport.set_write_buffer_limits(high=SHALLOW)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux and macOS
            below = transport.get_extra_info("socket")
            below.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, SHALLOW)

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
        super().connection_lost(exc)

    def _relax(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


def patient(limits: PublicLimits) -> Callable[..., Sips]:
    """The protocol for one listener."""

    class Bound(Patience):
        pass

    Bound.limits, Bound.here = limits, set()

    def heard(**given: Any) -> Sips:
        inner = Bound(**given)
        return Sips(inner, lambda: inner.flow.read_paused)

    return heard
