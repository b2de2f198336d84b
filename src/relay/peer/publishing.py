"""What a guest publishes: its announcements, and the tracks pulled from it.

Announcements outside the grant are heard by nobody; the first of each is written to the log with
its reason. This module must not know who watches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from relay.auth.grant import Denied
from relay.errors import (
    BadRequest,
    Cancelled,
    Dropped,
    Forbidden,
    Lagged,
    LimitExceeded,
    OverQuota,
    Refused,
    RelayError,
    RemoteError,
)
from relay.model.board import Price
from relay.model.broadcast import Route
from relay.model.group import Group
from relay.path import Path
from relay.peer.awaited import Awaited
from relay.peer.source import Feed, Fetch, PeerSource, lose_now
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


class Publishing:
    """The publishing half of a guest."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.session = guest.session
        self.clock = guest.clock
        self.settings = guest.settings
        self.routes: dict[Path, Route] = {}
        self.feeds: dict[int, Feed] = {}
        self.questions: dict[int, Feed] = {}
        self.arrivals: dict[int, tuple[Group | Awaited, Feed]] = {}
        self.fetches: dict[int, Fetch] = {}
        self.finishing: set[Feed] = set()
        self._denied: dict[Path, tuple[tuple[int, ...], Price]] = {}
        """What the peer announces in vain, with chain and cost; heard when rights widen."""
        self._backlog: dict[Path, tuple[tuple[int, ...], Price]] = {}
        """What was announced too much at once, or while it is being asked if there is room."""
        self.taken = 0
        """Announcements taken in since the last turn began."""
        self._postponed: dict[Path, tuple[tuple[int, ...], Price]] = {}
        """What waits for the tenant's quota, with chain and cost, in order."""
        self._crowded: dict[Path, tuple[tuple[int, ...], Price]] = {}
        """What the relay had no room for, with chain and cost, in order."""
        self._retiring: deque[Route] = deque()
        """What comes another way by now, and has still to be withdrawn."""
        self._seeks = False
        """Whether it is being asked if there is room."""
        self._logged: set[Path] = set()
        self.hears: dict[type, Callable[[Any], None]] = {
            events.Announced: self.announced,
            events.Unannounced: self.unannounced,
            events.AnnouncesLost: self.announces_lost,
            events.TrackDescribed: self.track_described,
            events.TrackRefused: self.track_refused,
            events.FetchReceived: self.fetch_received,
            events.FetchFinished: self.fetch_finished,
            events.FetchRefused: self.fetch_refused,
            events.SubscribeAccepted: self.subscribe_accepted,
            events.SubscribeFinished: self.subscribe_finished,
            events.SubscribeRefused: self.subscribe_refused,
            events.GroupOpened: self.group_opened,
            events.GroupArrived: self.group_arrived,
            events.GroupReceived: self.group_received,
            events.GroupFinished: self.group_finished,
            events.GroupAborted: self.group_aborted,
            events.DatagramReceived: self.datagram_received,
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
        for feed in {*self.feeds.values(), *self.questions.values()}:
            feed.abandon(Dropped("the publisher vanished"))
        for fetch in tuple(self.fetches.values()):
            fetch.fail(Dropped("the publisher vanished"))
        for table in (
            self.routes,
            self._postponed,
            self._backlog,
            self._crowded,
            self._retiring,
            self.feeds,
            self.questions,
            self.arrivals,
        ):
            table.clear()
        self.finishing.clear()

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

    def tick(self, now: float) -> None:
        """Tracks that ended wait a moment for groups still under way, questions not forever."""
        for feed in tuple(self.finishing):
            feed.try_finish(now)
        for feed in tuple(self.questions.values()):
            feed.check(now)
        for fetch in tuple(self.fetches.values()):
            fetch.check(now)
        for stream, (group, feed) in tuple(self.arrivals.items()):
            if isinstance(group, Awaited):
                group.settle()
            elif group.ended:  # the cache let go of it: what came is not kept for the rest
                feed.drop_group(stream)
                self.session.stop(stream, Cancelled.code)
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
            self.hear(path, *self._postponed.pop(path))

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
                self.deny(path, error)

    def _sought(self) -> None:
        self._seeks = False
        self._hear_postponed()
        self.next_turn()

    # -- announcements -----------------------------------------------------------------------

    def announced(self, event: events.Announced) -> None:
        """The peer can deliver a broadcast, or its chain changed."""
        path = Path(event.path)
        hops = event.hops
        if not hops or not hops[-1]:
            hops = (*hops[:-1], self.guest.alias)
        price = self.price(hops, event.cost)
        if is_loop(hops):
            self.unannounced(events.Unannounced(path))
            self.deny(path, BadRequest("its chain names a relay twice"))
            return
        is_its_turn = self.taken < MAX_TAKEN and not self._backlog and not self._seeks
        if is_its_turn or len(self._backlog) >= MAX_BACKLOG:
            self.take(path, hops, price)
        else:
            self._backlog[path] = hops, price
            self.guest.transport.wake()

    def take(self, path: Path, hops: tuple[int, ...], price: Price) -> None:
        """Its turn has come."""
        self.taken += 1
        if self._postponed:  # others came before
            self.postpone(path, hops, price, None)
        else:
            self.hear(path, hops, price)

    def next_turn(self) -> None:
        """A new turn: go on with what had to wait, unless it waits for what is being asked."""
        self.taken = 0
        while self._backlog and self.taken < MAX_TAKEN and not self._seeks:
            path = next(iter(self._backlog))
            self.take(path, *self._backlog.pop(path))
        if self._backlog and not self._seeks:
            self.guest.transport.wake()
        if self._retiring:
            self._withdraw_some()

    def hear(self, path: Path, hops: tuple[int, ...], price: Price) -> None:
        """Take an announcement in, or have it wait when the tenant may not announce more now."""
        self._denied.pop(path, None)
        self._crowded.pop(path, None)
        now = self.clock()
        route = self.routes.get(path)
        tab = self.guest.tab
        if tab.account.lacks(tab.needs_to_announce(route is None), now):
            self.postpone(path, hops, price, None)
            self._seek_room(path, route is None)
            return
        try:
            tab.announce(now, is_new=route is None)
        except OverQuota as error:
            self.postpone(path, hops, price, error)
            return
        if route is not None:
            if route.is_of_the_same(hops, price):
                if not route.update(hops, now, price):
                    self.drop(path)
                return
            self.drop(path)
            route.withdraw(now)
        self.admit(path, hops, price)

    def postpone(
        self, path: Path, hops: tuple[int, ...], price: Price, error: OverQuota | None
    ) -> None:
        """It waits until there is room; the first of each is written to the log."""
        self._postponed[path] = hops, price
        if error is not None:
            self.deny(path, error)
        if len(self._postponed) > MAX_POSTPONED:
            self.guest.close(OverQuota(f"more than {MAX_POSTPONED} announcements wait for quotas"))

    def drop(self, path: Path) -> Route | None:
        """The route at that path is the peer's no more."""
        if (route := self.routes.pop(path, None)) is not None:
            self.guest.tab.drop_broadcast()
        return route

    def admit(self, path: Path, hops: tuple[int, ...], price: Price) -> None:
        """Make the broadcast known, unless the grant says otherwise."""
        if (scope := self.guest.scope) is None or self.guest.is_retired:
            return
        house = self.guest.house
        try:
            if house.orphans.routes and (there := house.origin.find(scope.root.join(path))):
                lose_now(there, self.clock())
            route = scope.announce(path, PeerSource(self, path), hops, self.clock(), price)
        except LimitExceeded as error:
            if len(self._crowded) < MAX_CROWDED:
                self._crowded[path] = hops, price
            self.deny(path, error)
        except (BadRequest, Forbidden) as error:
            self.remember(path, hops, price)
            self.deny(path, error)
        else:
            if route is not None:
                self.routes[path] = route
                self.guest.tab.add_broadcast()

    def price(self, hops: tuple[int, ...], cost: events.Cost | None) -> Price:
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
                self.drop(path)
                self.remember(path, route.hops, route.price)
        for prefix in publish:
            heard = (listener.prefix for listener in self.session.listeners)
            if not any(prefix.is_under(other) for other in heard):
                self.session.listen(prefix)
        for path, (hops, price) in tuple(self._denied.items()):
            if self.guest.scope is not None and self.guest.scope.allows_publish(path):
                self.hear(path, hops, price)

    def remember(self, path: Path, hops: tuple[int, ...], price: Price) -> None:
        """The peer announces this in vain; rights may widen one day."""
        if len(self._denied) < MAX_DENIED:
            self._denied[path] = hops, price

    def deny(self, path: Path, error: RelayError) -> None:
        """The broadcast is announced to nobody; say why, once."""
        if path not in self._logged and len(self._logged) < MAX_DENIED:
            self._logged.add(path)
            grant = self.guest.grant
            verdict = grant.may_publish(path) if grant else None
            reason = verdict.reason if isinstance(verdict, Denied) else str(error)
            self.guest.house.log("publish denied", id=self.guest.id, path=path, reason=reason)

    def unannounced(self, event: events.Unannounced) -> None:
        """The peer took a broadcast back."""
        if (route := self.forget(Path(event.path))) is not None:
            route.withdraw(self.clock())

    def announces_lost(self, event: events.AnnouncesLost) -> None:
        """Broadcasts are gone without a goodbye."""
        for path in event.paths:
            if (route := self.forget(Path(path))) is not None:
                route.lose(self.clock())

    def forget(self, path: Path) -> Route | None:
        """Nothing is announced there any more, whatever became of it; the route, if it had one."""
        for waiting in (self._denied, self._postponed, self._backlog, self._crowded):
            waiting.pop(path, None)
        return self.drop(path)

    # -- tracks ------------------------------------------------------------------------------

    def track_described(self, event: events.TrackDescribed) -> None:
        """The properties of a track."""
        if (asker := self._asker(event.request)) is not None:
            asker.described(event)

    def track_refused(self, event: events.TrackRefused) -> None:
        """There is no such track."""
        if (asker := self._asker(event.request)) is not None:
            asker.refused(event.code)

    def _asker(self, request: int) -> Feed | Fetch | None:
        """Who has asked what a track is."""
        return self.questions.pop(request, None) or self.fetches.get(request)

    def subscribe_accepted(self, event: events.SubscribeAccepted) -> None:
        """The peer serves a track."""
        if (feed := self.feeds.get(event.id)) is not None:
            feed.accepted(event.start)

    def subscribe_finished(self, event: events.SubscribeFinished) -> None:
        """A track is complete."""
        if (feed := self.feeds.get(event.id)) is not None:
            feed.finished(event.end)

    def subscribe_refused(self, event: events.SubscribeRefused) -> None:
        """The peer will not serve a track, or no longer."""
        if (feed := self.feeds.get(event.id)) is not None:
            feed.refused(event.code)

    # -- groups ------------------------------------------------------------------------------

    def group_opened(self, event: events.GroupOpened) -> None:
        """A group starts arriving, unless its tenant's rate forbids new ones now."""
        if (feed := self.feeds.get(event.id)) is None:
            return
        if self.guest.tab.account.may_receive(self.clock()):
            feed.group_opened(event.stream, event.sequence)
        else:
            self.session.stop(event.stream, OverQuota.code)

    def group_arrived(self, event: events.GroupArrived) -> None:
        """A group came at once: it goes to all who watch, as far as its tenant's rate allows."""
        feed, now = self.feeds.get(event.id), self.clock()
        account = self.guest.tab.account
        if feed is None:
            return
        if (stream := event.stream) is not None:
            if isinstance(feed.groups.get(stream), Group):  # it was opened meanwhile
                self.group_received(events.GroupReceived(stream, event.data))
                self.group_finished(events.GroupFinished(stream))
                return
            feed.drop_group(stream)
        if not account.may_receive(now):
            return
        # What is there already is not taken, and costs nobody anything.
        if event.sequence in feed.track.groups or account.receive(len(event.data), now):
            feed.group_arrived(event.sequence, event.data, now)

    def group_received(self, event: events.GroupReceived) -> None:
        """The hot way in: a piece of a group goes to everybody who watches it."""
        entry = self.arrivals.get(event.stream)
        if entry is None:
            return
        now = self.clock()
        if not self.guest.tab.account.receive(len(event.data), now):
            entry[0].abort(Lagged("its tenant is over quotas.ingress_bits"))
            entry[1].drop_group(event.stream)
            self.session.stop(event.stream, OverQuota.code)
        elif not entry[0].write(event.data, now):
            entry[1].drop_group(event.stream)
            self.session.stop(event.stream, Cancelled.code)

    def group_finished(self, event: events.GroupFinished) -> None:
        """A group is complete."""
        if (entry := self.arrivals.get(event.stream)) is not None:
            entry[1].group_finished(event.stream)

    def group_aborted(self, event: events.GroupAborted) -> None:
        """A group broke off."""
        if (entry := self.arrivals.get(event.stream)) is not None:
            entry[1].group_aborted(event.stream, RemoteError(event.code))

    def fetch_received(self, event: events.FetchReceived) -> None:
        """A piece of a group that was asked for by number."""
        if (fetch := self.fetches.get(event.request)) is not None:
            fetch.received(event.data)

    def fetch_finished(self, event: events.FetchFinished) -> None:
        """Such a group is complete."""
        if (fetch := self.fetches.get(event.request)) is not None:
            fetch.finished()

    def fetch_refused(self, event: events.FetchRefused) -> None:
        """Such a group is not to be had, or broke off."""
        if (fetch := self.fetches.get(event.request)) is not None:
            fetch.refused(event.code)

    def datagram_received(self, event: events.DatagramReceived) -> None:
        """A group of one small frame."""
        feed = self.feeds.get(event.id)
        now, size = self.clock(), len(event.payload)
        if feed is not None and self.guest.tab.account.receive(size, now):
            feed.datagram(event.sequence, event.timestamp, event.payload, now)


def _may_wait(route: Route) -> bool:
    """Whether nobody is the worse for it if a route is lost a moment later: nothing of it is asked
    for, and it is not to come back when another publisher leaves."""
    source, broadcast = route.source, route.broadcast
    is_idle = isinstance(source, PeerSource) and source.is_idle
    return is_idle and broadcast is not None and broadcast.is_on_air


def is_loop(hops: tuple[int, ...]) -> bool:
    """Whether a chain names a relay twice: peers end their session when they hear of such a one."""
    named = [hop for hop in hops if hop]
    return len(named) != len(set(named))
