"""WebSocket where no UDP gets through: the second way of an ``https://`` URL.

QUIC has a head start; whichever has a session first is taken, and the other one leaves nothing
behind. The law: a refusal ends the race only where it came over QUIC. What answers at the TCP port
may be another server. This module must not know how either way dials.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from relay.errors import ConfigError, SessionLost, in_words

HEAD_START = 0.2
"""Seconds that QUIC has alone."""

QUIC, WEBSOCKET = "QUIC", "WebSocket"

_MOST = 1024
"""Places that are remembered."""


class Closable(Protocol):
    """A session."""

    async def close(self) -> None:
        """End it."""


S = TypeVar("S", bound=Closable)

Troubles = dict[str, SessionLost]
"""What went wrong on either way."""


class Detour:
    """Tries WebSocket beside QUIC. Whoever dials more than once keeps it: it remembers where QUIC
    did not get through."""

    def __init__(
        self,
        head_start: float = HEAD_START,
        heard: Callable[[str], None] = lambda place: None,
    ) -> None:
        """``heard`` is told of each place with which WebSocket was first."""
        self._head_start = head_start
        self._heard = heard
        self._taken: set[str] = set()

    async def race(
        self,
        place: str,
        quic: Callable[[], Awaitable[S]],
        websocket: Callable[[], Awaitable[S]],
        troubles: Troubles,
    ) -> S:
        """The first session there is with ``place``, a host and port.

        Either way raises `SessionLost` when there is none, and leaves nothing behind when it is
        cancelled; ``troubles`` takes up what they raised. Raises `SessionLost` when both failed, or
        QUIC was answered with a refusal.
        """
        sessions: dict[str, S] = {}

        async def tried(name: str, way: Callable[[], Awaitable[S]]) -> None:
            try:
                sessions[name] = await way()
            except SessionLost as error:
                troubles[name] = error
            except ConfigError as error:
                troubles[name] = SessionLost(str(error))
            except Exception as error:
                if name == QUIC:
                    raise
                troubles[name] = SessionLost(in_words(error))

        def is_over() -> bool:
            return bool(sessions) or (QUIC in troubles and bool(troubles[QUIC].status))

        chosen: S | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                ways = {tasks.create_task(tried(QUIC, quic))}
                # None where it was WebSocket the last time.
                alone = 0 if place in self._taken else self._head_start
                await asyncio.wait(ways, timeout=alone)
                if not is_over():
                    ways.add(tasks.create_task(tried(WEBSOCKET, websocket)))
                while ways and not is_over():
                    _, ways = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
            chosen = sessions.get(QUIC) or sessions.get(WEBSOCKET)
        finally:
            for session in sessions.values():
                if session is not chosen:
                    await session.close()
        if chosen is None:
            raise both(troubles[QUIC], troubles)
        self._taken.discard(place)
        if QUIC not in sessions:
            if len(self._taken) < _MOST:
                self._taken.add(place)
            self._heard(place)
        return chosen


def both(trouble: SessionLost, troubles: Troubles) -> SessionLost:
    """What QUIC came to, and why WebSocket was no help."""
    aside = troubles.get(WEBSOCKET)
    if aside is None or str(aside) == str(trouble):
        return trouble
    status = trouble.status or aside.status
    return SessionLost(f"{trouble}; by WebSocket: {aside}", trouble.session_code, status)
