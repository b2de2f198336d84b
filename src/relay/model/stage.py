"""One path: whose broadcast is announced there, and who waits behind.

The newest publisher wins, the loser parks and comes back when the winner leaves; the same publisher
over another way only adds a standby route. This module must not know who watches the announcements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Dropped, RelayError
from relay.model.agenda import Alarm
from relay.model.broadcast import Broadcast, Route
from relay.path import Path

if TYPE_CHECKING:
    from relay.model.origin import Origin


class Stage:
    """All broadcasts at one path: at most one on air, the others parked, the newest last."""

    def __init__(self, origin: Origin, path: Path) -> None:
        self.path = path
        self.on_air: Broadcast | None = None
        self.parked: list[Broadcast] = []
        self._origin = origin
        self._alarm = Alarm(origin.stock.agenda, self._linger_over)

    def enter(self, route: Route) -> None:
        """A route joins its publisher's broadcast, or brings a new one that takes the path."""
        current = self.on_air
        if current is not None and _same(current, route):
            self._alarm.clear()
            current.add_route(route)
            self._show()
            return
        for broadcast in self.parked:
            if _same(broadcast, route):
                broadcast.add_route(route)
                return
        fresh = Broadcast(self.path, route.identity, self._origin.stock)
        fresh.add_route(route)
        self._take_over(fresh)

    def depart(self, route: Route, error: RelayError | None, now: float | None) -> None:
        """A route ends: ``error`` says abruptly, ``now`` that the path may linger then."""
        broadcast = route.broadcast
        if broadcast is None or route not in broadcast.routes:
            if broadcast is not None and error is not None:
                broadcast.reroute(route, error)
            return
        broadcast.routes.remove(route)
        self._origin.routes -= 1
        linger = self._origin.stock.settings.linger
        if broadcast is not self.on_air:
            self._tidy(broadcast)
        elif broadcast.routes:
            broadcast.reroute(route, error or Dropped("the route is gone"))
            self._show()
        elif error is not None and now is not None and linger > 0:
            self._alarm.set(now + linger)
            broadcast.reroute(route, error)
        else:
            self._leave(broadcast, error)

    def update(self, route: Route, hops: tuple[int, ...], cost: int, now: float) -> bool:
        """A route's chain changed; see `Route.update`."""
        broadcast = route.broadcast
        attached = broadcast is not None and route in broadcast.routes
        if route.has_ended:
            return False
        if not self._origin.admits(hops):
            if attached:
                self.depart(route, None, now)
            return False
        if broadcast is None or not attached:
            self._origin.count_route()
            route.hops, route.cost = hops, cost
            route.stage = self._origin.stage_at(self.path)
            route.stage.enter(route)
            return True
        route.hops, route.cost = hops, cost
        if _same(broadcast, route):
            broadcast.sort_standby()
            if broadcast is self.on_air:
                self._show()
        else:
            self._change_sides(route, broadcast)
        return True

    def _change_sides(self, route: Route, old: Broadcast) -> None:
        """The route now leads to another publisher than before."""
        error = Dropped("another publisher took over")
        old.routes.remove(route)
        self.enter(route)
        if self.on_air is not old:
            self._tidy(old)
        elif old.routes:
            old.reroute(route, error)
            self._show()
        else:
            self._leave(old, error)

    def _take_over(self, fresh: Broadcast) -> None:
        loser, self.on_air = self.on_air, fresh
        fresh.is_on_air = True
        self._alarm.clear()
        if loser is not None:
            loser.is_on_air = False
            if loser.routes:
                self.parked.append(loser)
            loser.end(Dropped("another publisher took over"))
        self._show()

    def _leave(self, broadcast: Broadcast, error: RelayError | None) -> None:
        """The broadcast on air has no route left: the next in line comes back, if there is one."""
        broadcast.is_on_air = False
        self._alarm.clear()
        self.on_air = self.parked.pop() if self.parked else None
        if self.on_air is not None:
            self.on_air.is_on_air = True
        if error is None:
            broadcast.drain()
        else:
            broadcast.end(error)
        self._show()
        self._tidy(broadcast)

    def _linger_over(self, now: float) -> None:
        if self.on_air is not None and self.on_air.is_lingering:
            self._leave(self.on_air, Dropped("the publisher vanished"))

    def _tidy(self, broadcast: Broadcast) -> None:
        if not broadcast.routes and broadcast in self.parked:
            self.parked.remove(broadcast)
        if self.on_air is None and not self.parked:
            self._origin.forget(self)

    def _show(self) -> None:
        # Always the state of now: what happened within a callback has been shown already, and
        # showing the same again is silent.
        on_air = self.on_air
        if on_air is None:
            self._origin.board.post(self.path, None, None)
        elif on_air.routes:
            self._origin.board.post(self.path, on_air.hops, on_air)


def _same(broadcast: Broadcast, route: Route) -> bool:
    """Whether the route comes from the broadcast's publisher; an unknown one equals nobody."""
    return route.identity != 0 and route.identity == broadcast.identity
