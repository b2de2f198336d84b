"""What a guest announces: its broadcasts, as routes of the model, and what has to wait to be one.

Announcements outside the grant are heard by nobody; the first of each is written to the log with
its reason. This module must not know what is pulled from the peer, nor who watches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from relay.auth.grant import Denied
from relay.errors import (
    BadRequest,
    Forbidden,
    LimitExceeded,
    OverQuota,
    Refused,
    RelayError,
)
from relay.model.board import Hops, Price
from relay.model.broadcast import Route
from relay.path import Path
from relay.peer.source import PeerSource, lose_now
from relay.session import events
from relay.wire.buffer import MAX_VARINT

if TYPE_CHECKING:
    from relay.peer.guest import Guest

MAX_DENIED = 1024
"""Denied paths remembered per guest, for the log and for wider rights; further ones are not."""

MAX_POSTPONED = 1024
"""Announcements of one guest that wait for its tenant's quota. More: the session is closed."""

MAX_TAKEN = 16
"""Announcements of one guest that are taken in per turn: each may have to be told to very many, and
everybody else's media wait meanwhile. The others follow in the next turns."""

MAX_WITHDRAWN = 256
"""Announcements of a session whose place another has taken that are withdrawn per turn, for the
same reason."""

MAX_BACKLOG = 65_536
"""Announcements of one guest that wait for their turn. What comes beyond is taken in at once."""

MAX_CROWDED = 65_536
"""Announcements of one guest that wait until the relay has room for them; further ones do not."""

MAX_COST = MAX_VARINT
"""Greatest cost that can be told."""

Offer = tuple[Hops, Price]
"""How a broadcast is announced: its chain, and its cost, our link included."""


class Announcements:
    """All that one guest announces."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.session = guest.session
        self.clock = guest.clock
        self.routes: dict[Path, Route] = {}
        """What is announced here, too."""
        self._denied: dict[Path, Offer] = {}
        """What the peer announces in vain; heard when rights widen."""
        self._backlog: dict[Path, Offer] = {}
        """What was announced too much at once, or while it is being asked if there is room."""
        self.taken = 0
        """Announcements taken in since the last turn began."""
        self._postponed: dict[Path, Offer] = {}
        """What waits for the tenant's quota, in order."""
        self._crowded: dict[Path, Offer] = {}
        """What the relay had no room for, in order."""
        self._retiring: deque[Route] = deque()
        """What comes another way by now, and has still to be withdrawn."""
        self._seeks = False
        """Whether it is being asked if there is room."""
        self._logged: set[Path] = set()
        self.hears: dict[type, Callable[[Any], None]] = {
            events.Announced: self.announced,
            events.Unannounced: self.unannounced,
            events.AnnouncesLost: self.announces_lost,
        }

    def leave(self, error: RelayError) -> None:
        """The guest vanished and its broadcasts linger, or it lost its rights and they do not."""
        now = self.clock()
        idle: list[Route] = []
        if isinstance(error, Refused):
            self.revoke(self.routes.values())
        else:
            for route in tuple(self.routes.values()):
                if _may_wait(route):
                    idle.append(route)
                else:
                    route.lose(now)
            self.guest.house.orphans.add(idle, now)
        for table in (self.routes, self._postponed, self._backlog, self._crowded, self._retiring):
            table.clear()

    def retire(self) -> None:
        """What the peer announces comes another way from now on; tracks move there in peace."""
        self._retiring.extend(self.routes.values())
        self._withdraw_some()

    def _withdraw_some(self) -> None:
        """Withdraw as many as a turn may take, the others in the next turns."""
        now = self.clock()
        for _ in range(min(MAX_WITHDRAWN, len(self._retiring))):
            self._retiring.popleft().withdraw(now)
        if self._retiring:
            self.taken += 1  # so that there is a next turn
            self.guest.transport.wake()

    def tick(self) -> None:
        """There may be room by now for what waits."""
        self._hear_postponed()
        if self._crowded:
            self._hear_crowded()

    def _hear_crowded(self) -> None:
        """Hear what the relay had no room for, as far as there is room now."""
        room = self.guest.house.origin.room
        for path in tuple(islice(self._crowded, room)):
            self._backlog[path] = self._crowded.pop(path)
        if room:
            self.next_turn()

    def _hear_postponed(self) -> None:
        """Hear what waits for the tenant's quota, as far as there is room now."""
        while self._postponed and not self.guest.gone:
            path = next(iter(self._postponed))
            is_new = path not in self.routes
            if not self.guest.tab.may_announce(self.clock(), is_new):
                self._seek_room(path, is_new)
                break
            self._hear(path, *self._postponed.pop(path))

    def _seek_room(self, path: Path, is_new: bool) -> None:
        """Ask whether there is room, where that is not known; say so where there is none."""
        tab, now = self.guest.tab, self.clock()
        needs = tab.needs_to_announce(is_new)
        if self._seeks:
            return
        if tab.account.lacks(needs, now):
            self._seeks = True
            tab.account.when_known(needs, now, self._sought)
        elif path not in self._logged:
            try:
                tab.announce(now, is_new)
            except OverQuota as error:
                self._deny(path, error)

    def _sought(self) -> None:
        self._seeks = False
        self._hear_postponed()
        self.next_turn()

    # -- said by the peer ----------------------------------------------------------------------

    def announced(self, event: events.Announced) -> None:
        """The peer can deliver a broadcast, or its chain changed."""
        path = Path(event.path)
        hops = event.hops
        if not hops or not hops[-1]:
            hops = (*hops[:-1], self.guest.alias)
        price = self._price(hops, event.cost)
        if is_loop(hops):
            self.unannounced(events.Unannounced(path))
            self._deny(path, BadRequest("its chain names a relay twice"))
            return
        is_its_turn = self.taken < MAX_TAKEN and not self._backlog and not self._seeks
        if is_its_turn or len(self._backlog) >= MAX_BACKLOG:
            self._take(path, hops, price)
        else:
            self._backlog[path] = hops, price
            self.guest.transport.wake()

    def _take(self, path: Path, hops: Hops, price: Price) -> None:
        """Its turn has come."""
        self.taken += 1
        if self._postponed:  # others came before
            self._postpone(path, hops, price)
        else:
            self._hear(path, hops, price)

    def next_turn(self) -> None:
        """A new turn: go on with what had to wait, unless it waits for what is being asked."""
        self.taken = 0
        while self._backlog and self.taken < MAX_TAKEN and not self._seeks:
            path = next(iter(self._backlog))
            self._take(path, *self._backlog.pop(path))
        if self._backlog and not self._seeks:
            self.guest.transport.wake()
        if self._retiring:
            self._withdraw_some()

    def _hear(self, path: Path, hops: Hops, price: Price) -> None:
        """Take an announcement in, or have it wait when the tenant may not announce more now."""
        self._denied.pop(path, None)
        self._crowded.pop(path, None)
        now = self.clock()
        route = self.routes.get(path)
        tab = self.guest.tab
        if tab.account.lacks(tab.needs_to_announce(route is None), now):
            self._postpone(path, hops, price)
            self._seek_room(path, route is None)
            return
        try:
            tab.announce(now, is_new=route is None)
        except OverQuota as error:
            self._deny(path, error)
            self._postpone(path, hops, price)
            return
        if route is not None:
            if route.is_of_the_same(hops, price):
                if not route.update(hops, now, price):
                    self._drop(path)
                return
            self._drop(path)
            route.withdraw(now)
        self._admit(path, hops, price)

    def _postpone(self, path: Path, hops: Hops, price: Price) -> None:
        """It waits until there is room."""
        self._postponed[path] = hops, price
        if len(self._postponed) > MAX_POSTPONED:
            self.guest.close(OverQuota(f"more than {MAX_POSTPONED} announcements wait for quotas"))

    def _drop(self, path: Path) -> Route | None:
        """The route at that path is the peer's no more."""
        if (route := self.routes.pop(path, None)) is not None:
            self.guest.tab.drop_broadcast()
        return route

    def _admit(self, path: Path, hops: Hops, price: Price) -> None:
        """Make the broadcast known, unless the grant says otherwise."""
        if (scope := self.guest.scope) is None or self.guest.is_retired or scope.ignores(path):
            return
        house = self.guest.house
        try:
            if house.orphans.routes and (there := house.origin.find(scope.root.join(path))):
                lose_now(there, self.clock())
            route = scope.announce(
                path, PeerSource(self.guest.publishing, path), hops, self.clock(), price
            )
        except LimitExceeded as error:
            if len(self._crowded) < MAX_CROWDED:
                self._crowded[path] = hops, price
            self._deny(path, error)
        except (BadRequest, Forbidden) as error:
            self._remember(path, hops, price)
            self._deny(path, error)
        else:
            if route is not None:
                self.routes[path] = route
                self.guest.tab.add_broadcast()

    def _price(self, hops: Hops, cost: events.Cost | None) -> Price:
        """What it costs to pull a broadcast from this peer, our link included.

        Where its version says no costs, every link before ours counts one. What a peer says can
        always be told on: nobody who listens must suffer from it.
        """
        link = self.guest.price
        warm, cold, since = cost or (len(hops) - 1, len(hops) - 1, 0)
        told = since / 1e6 if self.guest.is_near else 0.0
        return Price(min(warm + link, MAX_COST), min(cold + link, MAX_COST), told)

    def revoke(self, routes: Iterable[Route]) -> None:
        """The right to these was taken away: those in use end at once, the others in turn."""
        idle: list[Route] = []
        for route in tuple(routes):
            source, broadcast = route.source, route.broadcast
            is_here = broadcast is not None and broadcast.all_tracks
            if _may_wait(route) and not is_here and isinstance(source, PeerSource):
                source.is_revoked = True
                idle.append(route)
            else:
                route.revoke()
        self.guest.house.orphans.add(idle, self.clock(), are_revoked=True)

    def regranted(self, publish: tuple[Path, ...]) -> None:
        """The rights changed, and what they no longer cover has been revoked."""
        for path, route in tuple(self.routes.items()):
            if route.has_ended or (isinstance(route.source, PeerSource) and route.source.is_gone):
                self._drop(path)
                self._remember(path, route.hops, route.price)
        for prefix in publish:
            heard = (listener.prefix for listener in self.session.listeners)
            if not any(prefix.is_under(other) for other in heard):
                self.session.listen(prefix)
        for path, (hops, price) in tuple(self._denied.items()):
            if self.guest.gone:  # too many wait for quotas
                return
            if self.guest.scope is not None and self.guest.scope.allows_publish(path):
                self._hear(path, hops, price)

    def _remember(self, path: Path, hops: Hops, price: Price) -> None:
        """The peer announces this in vain; rights may widen one day."""
        if len(self._denied) < MAX_DENIED:
            self._denied[path] = hops, price

    def _deny(self, path: Path, error: RelayError) -> None:
        """The broadcast is announced to nobody; say why, once."""
        if path not in self._logged and len(self._logged) < MAX_DENIED:
            self._logged.add(path)
            grant = self.guest.grant
            verdict = grant.may_publish(path) if grant else None
            reason = verdict.reason if isinstance(verdict, Denied) else str(error)
            self.guest.house.log("publish denied", id=self.guest.id, path=path, reason=reason)

    def unannounced(self, event: events.Unannounced) -> None:
        """The peer took a broadcast back."""
        if (route := self._forget(Path(event.path))) is not None:
            route.withdraw(self.clock())

    def announces_lost(self, event: events.AnnouncesLost) -> None:
        """Broadcasts are gone without a goodbye."""
        for path in event.paths:
            if (route := self._forget(Path(path))) is not None:
                route.lose(self.clock())

    def _forget(self, path: Path) -> Route | None:
        """Nothing is announced there any more, whatever became of it; the route, if it had one."""
        for waiting in (self._denied, self._postponed, self._backlog, self._crowded):
            waiting.pop(path, None)
        return self._drop(path)


def _may_wait(route: Route) -> bool:
    """Whether nobody is the worse for it if a route is lost a moment later: nothing of it is asked
    for, and it is not to come back when another publisher leaves."""
    source, broadcast = route.source, route.broadcast
    is_idle = isinstance(source, PeerSource) and source.is_idle
    return is_idle and broadcast is not None and broadcast.is_on_air


def is_loop(hops: Hops) -> bool:
    """Whether a chain names a relay twice: peers end their session when they hear of such a one."""
    named = [hop for hop in hops if hop]
    return len(named) != len(set(named))
