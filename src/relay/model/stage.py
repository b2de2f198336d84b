"""One path: whose broadcast is announced there, and who waits behind.

The newest publisher wins, the loser parks and comes back when the winner leaves; the same publisher
over another way only adds a route. Who is newer is what the process says where it came, or two that
came to two processes would displace each other as either hears of the other. Two publishers that
keep displacing each other, as on the two sides of a partition that has healed, are told apart by a
hash that every relay computes alike. This module must not know who watches the announcements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Dropped, RelayError
from relay.model.agenda import Alarm
from relay.model.board import Price, Way, Ways
from relay.model.broadcast import Broadcast, Route, is_wide
from relay.model.dispute import Dispute
from relay.model.handover import PATIENCE
from relay.path import Path

if TYPE_CHECKING:
    from relay.model.origin import Origin

SETTLE = 0.5
"""Seconds until viewers are moved to a better route; routes come and go in bursts."""

CALM = 0.15
"""Seconds after a route was lost until relays hear of a worse one: what others say of the rest may
be out of date, and is taken back meanwhile if it is (ghost flushing, Bremler-Barr et al. 2003)."""

COOL = 5.0
"""Seconds after the last viewer left for which a broadcast is still told to be cheap here."""

HOLD = 0.6
"""Seconds for which viewers wait when the last relay that led to a broadcast has withdrawn it,
which is not the publisher's own: another may know another way once there is calm, and so may the
same one, which takes back what it told before it tells of a worse way."""


class Stage:
    """All broadcasts at one path: at most one on air, the others parked, the newest last."""

    def __init__(self, origin: Origin, path: Path) -> None:
        self.path = path
        self.on_air: Broadcast | None = None
        self.parked: list[Broadcast] = []
        self._origin = origin
        agenda = origin.stock.agenda
        self._linger = Alarm(agenda, self._linger_over)
        self._settle = Alarm(agenda, self._settled)
        self._unrest = Alarm(agenda, self._calmed)
        self._cooling = Alarm(agenda, self._cooled)
        self._return = Alarm(agenda, self._calmed)
        """While it is set, relays do not hear of the one that came back."""
        self._dispute = Dispute(path)
        self._left_behind: Ways = ()
        """What is shown of a broadcast that lingers without a route."""
        self._waits_in_vain: RelayError | None = None
        """How a broadcast that lingers ends if no route comes; ``None`` = in peace."""

    def enter(self, route: Route, now: float) -> None:
        """A route joins its publisher's broadcast, or brings a new one that takes the path."""
        current, since = self.on_air, route.price.since or now
        is_anew = current is not None and _begins_anew(current, route)
        if current is not None and _same(current, route) and not is_anew:
            self._linger.clear()
            if not current.routes:
                current.renounce()
            before = current.routes[:1]
            current.since = min(current.since, since)
            current.add_route(route)
            self._ranked(current, before, now)
            self._show()
            return
        for broadcast in self.parked:
            if _same(broadcast, route) and not _begins_anew(broadcast, route):
                broadcast.since = min(broadcast.since, since)
                broadcast.add_route(route)
                return
        fresh = self._new(route.identity, since)
        fresh.add_route(route)
        if current is not None and current.routes and not is_anew:
            keeps_own = self._origin.keeps_own and not current.routes[0].hops and route.hops
            # What a relay tells of an unknown one may be this very broadcast, come round.
            may_be_it = not route.identity and route.is_transit
            if may_be_it or keeps_own or self._stays(current, fresh, route.price.since > 0, now):
                self._park(fresh)
                if not (may_be_it or keeps_own or route.price.since) and route.is_transit:
                    # The relay that told us of it may have had no dispute, and goes by who is new.
                    self._origin.board.repeat(self.path, route.hops[-1])
                return
            self._dispute.note(fresh.identity, current.identity, now)
        self._take_over(fresh)

    def depart(self, route: Route, error: RelayError | None, now: float | None) -> None:
        """A route ends: ``error`` says abruptly, ``now`` that the path may linger then."""
        broadcast = route.broadcast
        if broadcast is None or route not in broadcast.routes:
            if broadcast is not None and error is not None:
                broadcast.reroute(route, error)
            return
        broadcast.routes.remove(route)
        self._origin.discount_route(self.path)
        if error is None and route.is_final:
            broadcast.is_over = not any(each.is_final for each in broadcast.routes)
        if broadcast is not self.on_air:
            self._tidy(broadcast)
        elif broadcast.routes:
            self._go_on(broadcast, route, error, now)
        elif now is not None and (patience := self._patience(route, error)) > 0:
            self._wait(broadcast, route, error, now + patience)
        else:
            if now is not None and len(route.hops) > 1:
                # A relay takes one publisher back before it tells of the next, and told of who was
                # parked here in between it would take that one for the newest.
                self._return.set(now + CALM)
            self._leave(broadcast, error, now)

    def _patience(self, route: Route, error: RelayError | None) -> float:
        """Seconds to wait for another route when the last one is gone."""
        if route.broadcast is not None and route.broadcast.is_over:
            return 0.0  # it was an echo
        if error is not None:
            return self._origin.stock.settings.linger
        return HOLD if not route.is_final and self._origin.relays else 0.0

    def _wait(
        self, broadcast: Broadcast, gone: Route, error: RelayError | None, until: float
    ) -> None:
        """Viewers wait for a route. Relays hear of that only where the publisher itself was lost.

        Behind a relay that was lost they may know a better way than waiting.
        """
        is_publishers_own = len(gone.hops) < 2
        cost, since = gone.price.cold, broadcast.since
        has_more = is_wide(gone.source)
        way = Way(gone.hops, cost, broadcast.is_warm, is_publishers_own, since, has_more)
        self._left_behind = (way,)
        self._waits_in_vain = error and Dropped("the publisher vanished")
        self._linger.set(until)
        if error is not None:
            broadcast.reroute(gone, error)
        self._show()

    def update(self, route: Route, hops: tuple[int, ...], price: Price, now: float) -> bool:
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
            self._origin.count_route(self.path)
            route.hops, route.price = hops, price
            route.stage = self._origin.stage_at(self.path)
            route.stage.enter(route, now)
            return True
        before, goes_on = broadcast.routes[:1], route.is_of_the_same(hops, price)
        if price.cold > route.price.cold or len(hops) > len(route.hops):
            self._unrest.set(now + CALM)
        route.hops, route.price = hops, price
        on_air = self.on_air
        is_later = on_air is not None and on_air is not broadcast and _same(on_air, route)
        if goes_on and not is_later:
            broadcast.sort_routes()
            self._ranked(broadcast, before, now)
            if broadcast is self.on_air:
                self._show()
        else:
            self._change_sides(route, broadcast, now)
        return True

    def _go_on(
        self, broadcast: Broadcast, gone: Route, error: RelayError | None, now: float | None
    ) -> None:
        """The broadcast has other routes: tracks move, in peace where the old route still serves.

        The viewers of a route that said goodbye are served by it until the next one delivers.
        """
        if now is not None:
            self._unrest.set(now + CALM)
        if error is None:
            broadcast.retire(gone)
        else:
            broadcast.reroute(gone, error)
        self._show()

    def _change_sides(self, route: Route, old: Broadcast, now: float) -> None:
        """The route now leads to another publisher than before, or to its later broadcast."""
        error = Dropped("another publisher took over")
        old.routes.remove(route)
        self.enter(route, now)
        if self.on_air is not old:
            self._tidy(old)
        elif old.routes:
            old.reroute(route, error)
            self._show()
        else:
            self._leave(old, error, now)

    def _stays(self, current: Broadcast, fresh: Broadcast, is_dated: bool, now: float) -> bool:
        """Whether who is on air stays there although another has come."""
        if is_dated:  # the other process goes by that as well, and knows nothing of disputes here
            return self._came_before(fresh, current)
        return self._dispute.prefers(current.identity, fresh.identity, now)

    def _came_before(self, one: Broadcast, other: Broadcast) -> bool:
        """Whether one publisher is older than another, as every process of the relay sees it."""
        if one.since != other.since:
            return one.since < other.since
        return self._dispute.ranks_before(other, one)

    def _park(self, broadcast: Broadcast) -> None:
        """It waits behind; the newest stands last."""
        self.parked.append(broadcast)
        self.parked.sort(key=lambda each: each.since)

    def _new(self, identity: int, since: float) -> Broadcast:
        stock, own = self._origin.stock, self._origin.id
        broadcast = Broadcast(self.path, identity, stock, own, round(since, 6))
        broadcast.warmed = self._warmed
        broadcast.mixed = self._mixed
        broadcast.begun_anew = self._show
        return broadcast

    def _take_over(self, fresh: Broadcast) -> None:
        loser, self.on_air = self.on_air, fresh
        fresh.is_on_air = True
        self._linger.clear()
        self._return.clear()
        if loser is not None:
            loser.is_on_air = False
            if loser.routes:
                self._park(loser)
            if loser.identity and loser.identity == fresh.identity:
                loser.drain()
            else:
                loser.end(Dropped("another publisher took over"))
        self._show()

    def _leave(self, broadcast: Broadcast, error: RelayError | None, now: float | None) -> None:
        """The broadcast on air has no route left: the next in line comes back, if there is one."""
        broadcast.is_on_air = False
        self._linger.clear()
        self.on_air = None
        if self.parked:
            self.on_air = self._dispute.next_of(self.parked, now)
            self.parked.remove(self.on_air)
            self.on_air.is_on_air = True
        if error is None:
            broadcast.drain()
        else:
            broadcast.end(error)
        self._show()
        self._tidy(broadcast)

    def _linger_over(self, now: float) -> None:
        if self.on_air is not None and self.on_air.is_lingering:
            self._leave(self.on_air, self._waits_in_vain, now)

    # -- which way is best -------------------------------------------------------------------

    def _ranked(self, broadcast: Broadcast, before: list[Route], now: float) -> None:
        """The routes are in order; if another is best now, viewers follow a moment later."""
        if broadcast.routes[:1] != before or broadcast.is_divided:
            self._settle.set(now + SETTLE)

    def _settled(self, now: float) -> None:
        if self.on_air is not None:
            if self.on_air.settle(now):
                self._settle.set(now + PATIENCE)
            self._show()  # what has moved there makes the best way warm

    def _warmed(self, broadcast: Broadcast, is_warm: bool) -> None:
        """Its tracks are pulled here now, or no longer: another price is told, and reckoned."""
        if broadcast is not self.on_air:
            return
        now = self._origin.stock.agenda.now
        if not is_warm:
            self._cooling.set(now + COOL)
            return
        self._cooling.clear()
        before = broadcast.routes[:1]
        broadcast.sort_routes()
        self._ranked(broadcast, before, now)
        broadcast.is_warm = True
        self._show()

    def _mixed(self, broadcast: Broadcast, is_mixed: bool) -> None:
        """Other routes than the best feed some of its tracks, or may no longer: there is time for
        that, and tracks may come and go quickly."""
        if broadcast is not self.on_air:
            return
        if is_mixed:
            self._show()
        elif self._settle.due is None:
            self._settle.set(self._origin.stock.agenda.now + SETTLE)

    def _cooled(self, now: float) -> None:
        if self.on_air is not None:
            self.on_air.is_warm = False
            self.on_air.sort_routes()
            self._show()

    def _calmed(self, now: float) -> None:
        self._show()

    def _tidy(self, broadcast: Broadcast) -> None:
        if not broadcast.routes and broadcast in self.parked:
            self.parked.remove(broadcast)
        if self.on_air is None and not self.parked:
            for alarm in (self._linger, self._unrest, self._settle, self._cooling, self._return):
                alarm.retire()
            self._origin.forget(self)

    def _show(self) -> None:
        # Always the state of now: what happened within a callback has been shown already, and
        # showing the same again is silent.
        on_air = self.on_air
        if on_air is None:
            self._origin.board.post(self.path, (), None)
        else:
            ways = on_air.ways if on_air.routes else self._left_behind
            if self._return.due is not None:
                ways = tuple(way._replace(is_sure=False) for way in ways)
            self._origin.board.post(self.path, ways, on_air.edition, self._unrest.due is None)


def _same(broadcast: Broadcast, route: Route) -> bool:
    """Whether the route comes from the broadcast's publisher; an unknown one equals nobody."""
    return route.identity != 0 and route.identity == broadcast.identity


def _begins_anew(broadcast: Broadcast, route: Route) -> bool:
    """Whether the route is to a later broadcast of the same publisher, who took this one back.

    Its own relay has said so, whatever still leads to it by others; or all relays have, and what
    was watched is complete, so that there is nothing to go on with.
    """
    if not _same(broadcast, route):
        return False
    if broadcast.is_over:
        return route.is_final
    return not broadcast.routes and broadcast.is_left_off
