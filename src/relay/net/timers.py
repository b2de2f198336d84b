"""One timer of the event loop for all connections of an endpoint.

Connections are looked at when their earliest known time comes and say then whether it still holds,
so re-arming costs nothing unless a time moves forward. Outdated entries are swept when they
outnumber the connections. Those that only wait for their packets to arrive, whose time moves with
every packet and hardly ever comes, do not ask for one: they are all looked at in rounds. This
module must not know what is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from relay.net.connection import Connection

_STANDING = 4
"""Timers of the event loop at most: what comes sooner is set beside what was set before."""

_COARSE = 0.001
"""Seconds by which loops other than asyncio's own may call too early: they count milliseconds."""

_SLACK = 64
"""Outdated entries that are not worth a sweep."""

ROUND = 0.05
"""Seconds between two looks at them, where something wakes the endpoint anyway."""

LONG_ROUND = 0.085
"""Seconds after which it is woken for the look: more than a round and the time between two frames,
30 or more a second. A probe timeout (RFC 9002, 6.2) may come so much late."""

_NEVER = float("inf")


class Timers:
    """Who wants to be looked at, and when."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        due: Callable[[], None],
        round_due: Callable[[], None],
    ) -> None:
        """``due`` is called when `expired` has somebody, or had; ``round_due`` when it is time to
        look at those who are `busy`."""
        self.busy: dict[Connection, None] = {}
        """Those with traffic."""
        self._loop = loop
        self._due = due
        self._round_due = round_due
        self._slack = 0.0 if isinstance(loop, asyncio.BaseEventLoop) else _COARSE
        self.round_at = _NEVER
        """When they are to be looked at, if there is a reason to do anything then."""
        self._round: asyncio.TimerHandle | None = None
        self._heap: list[tuple[float, int, Connection]] = []
        self._order = count()
        self._handles: list[tuple[float, asyncio.TimerHandle]] = []
        """The one that comes next is the last."""

    def __len__(self) -> int:
        return len(self._heap)

    def arm(self, connection: Connection, population: int) -> None:
        """Note the connection's next time; ``population`` connections share these timers."""
        when = connection.timer()
        if when is None or (connection.armed is not None and connection.armed <= when):
            return
        connection.armed = when
        heappush(self._heap, (when, next(self._order), connection))
        if len(self._heap) > 4 * population + _SLACK:
            self._sweep()
        self._schedule()

    def look_at(self, connection: Connection, now: float) -> None:
        """The connection has traffic: look at it in each round until it is taken out of `busy`."""
        if not self.busy:
            self._begin_round(now)
        self.busy[connection] = None

    def next_round(self, now: float) -> None:
        """A round is over."""
        if self._round is not None:
            self._round.cancel()
            self._round = None
        self.round_at = _NEVER
        if self.busy:
            self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self.round_at = now + ROUND
        if self._round is None:
            self._round = self._loop.call_later(LONG_ROUND, self._round_due)

    def disarm(self, connection: Connection, population: int) -> None:
        """The connection is gone."""
        connection.armed = None
        self.busy.pop(connection, None)
        if not population or len(self._heap) > 4 * population + _SLACK:
            self._sweep()

    def expired(self, now: float) -> list[Connection]:
        """A timer came: connections whose time has come; each has to be armed again."""
        self._handles.pop()
        found = []
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].armed is None):
            when, _, connection = heappop(self._heap)
            if connection.armed == when:
                connection.armed = None
                found.append(connection)
        self._schedule()
        return found

    def close(self) -> None:
        """Forget everybody."""
        self._heap.clear()
        self.busy.clear()
        for _, handle in self._handles:
            handle.cancel()
        self._handles.clear()
        if self._round is not None:
            self._round.cancel()
            self._round = None
        self.round_at = _NEVER

    def _schedule(self) -> None:
        if not self._heap:
            return
        when, handles = self._heap[0][0], self._handles
        if handles and handles[-1][0] <= when:
            return
        if len(handles) == _STANDING:
            handles.pop()[1].cancel()
        handles.append((when, self._loop.call_at(when + self._slack, self._due)))

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].armed == entry[0]]
        heapify(self._heap)
