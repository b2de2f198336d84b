"""Announcements whose guests are gone, or have no right to them any more, which end in turn.

One guest may have announced very much, another relay more than that, and each announcement that is
lost may have to be told to many, and is waited for later. The law: what is watched is lost at once,
the rest so much at a time that others need not wait for it, in the order in which guests went. This
module must not know who watches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from relay.model.broadcast import Route
from relay.quota.pace import Pace

PER_SECOND = 16_384
"""Announcements that are lost in a second, of all guests together: what takes about a fifth of a
core."""

AT_ONCE = 1_024
"""Of these, how many at a time: what takes about ten milliseconds."""

_FEW = 64
"""How many are lost before it is looked whether more may be."""


class Orphans:
    """The announcements that nobody stands for any more, of all guests."""

    def __init__(self) -> None:
        self._pace = Pace(PER_SECOND)
        self._pace.burst = AT_ONCE
        self.routes: deque[tuple[Route, bool]] = deque()
        """Those that are left, each with whether it is revoked; read only."""

    def add(self, routes: Iterable[Route], now: float, are_revoked: bool = False) -> None:
        """Nobody serves these any more, or may. ``now`` is monotonic seconds."""
        self.routes.extend((route, are_revoked) for route in routes)
        self.tick(now)

    def tick(self, now: float) -> None:
        """Lose what may be lost now."""
        while self.routes and self._pace.wait(now) <= 0.0:
            count = min(_FEW, len(self.routes))
            self._pace.spend(now, count)
            for _ in range(count):
                route, is_revoked = self.routes.popleft()
                if route.has_ended:
                    continue
                if is_revoked:
                    route.revoke()
                else:
                    route.lose(now)
