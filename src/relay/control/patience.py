"""How long an HTTP client may keep us waiting, and how many may be there at all.

Its law: whoever neither says a request nor reads the answer is cut off, and connections have a
ceiling, so that strangers who say nothing cannot lock the others out for good. This module must not
know what is asked or answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.h11_impl import H11Protocol

from relay.control.settings import PublicLimits
from relay.control.sips import Sips


class Patience(H11Protocol):
    """One TCP connection of an HTTP face."""

    limits: PublicLimits
    _due: asyncio.TimerHandle | None = None
    _is_full = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody came; one of very many is not heard at all."""
        super().connection_made(transport)
        # Up to `max_connections` are served, as many again are told that they are too many.
        count, most = len(self.connections), self.limits.max_connections
        self.limit_concurrency = None if count <= most else 0
        if count > 2 * most:
            transport.abort()
        else:
            self._wait(self.limits.request_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        self._wait(None)
        super().connection_lost(exc)

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

    def _wait(self, seconds: float | None) -> None:
        """Cut the connection after so many seconds, instead of what was planned before."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if seconds is not None and not self.transport.is_closing():
            self._due = self.loop.call_later(seconds, self.transport.abort)


def patient(limits: PublicLimits) -> Callable[..., Sips]:
    """The protocol for one listener."""

    class Bound(Patience):
        pass

    Bound.limits = limits
    return lambda **given: Sips(Bound(**given))
