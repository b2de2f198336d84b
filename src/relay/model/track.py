"""One track of a broadcast: one feed from upstream, however many watch it.

The first viewer opens the source and the last one leaving closes it at once; when a route fails the
next one takes over at the first missing group, and viewers stay. This module must not know which
route is best (its broadcast does) nor how a source talks to anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from relay.errors import Cancelled, Expired, NotFound, RelayError, Unroutable
from relay.model.agenda import Alarm
from relay.model.audience import Audience, Viewer
from relay.model.demand import Demand, TrackInfo
from relay.model.fetch import Fetcher, Fetches
from relay.model.group import Encoding, Group
from relay.model.shelf import Shelf

if TYPE_CHECKING:
    from relay.model.broadcast import Broadcast, Route

__all__ = ["Asker", "Demand", "Fetcher", "Track", "TrackInfo", "Viewer"]

SPLICE_WINDOW = 64
"""Groups behind the latest; one that broke off further back is not asked for after a splice."""


class Asker(Protocol):
    """Who wants to know the properties only; hashed by identity. One of the calls comes, once."""

    def track_accepted(self, info: TrackInfo) -> None:
        """These are the properties."""

    def track_ended(self, error: RelayError | None) -> None:
        """There is no such track any more (``None``: it ended before its properties were known)."""


class Track:
    """A track that somebody watches, or watched a moment ago. Created by `Broadcast.track`."""

    def __init__(self, broadcast: Broadcast, name: str) -> None:
        stock = broadcast.stock
        self.broadcast = broadcast
        self.name = name
        self.info: TrackInfo | None = None
        """Properties, once a source has said them."""
        self.begins_at: int | None = None
        """The lowest group the source will deliver, where it says so."""
        self.latest: int | None = None
        """Highest sequence seen, datagrams included."""
        self.demand: Demand | None = None
        """What all viewers want together; what the source is to ask for."""
        self.start_at: int | None = None
        """For `Source.open` after a route was lost: the first missing group, overriding
        ``demand.start``. ``None`` = go by the demand."""
        self.shelf = Shelf(stock.cache, stock.agenda, self._retention)
        self._settings = stock.settings
        self._audience = Audience(self.shelf)
        self._askers: dict[Asker, None] = {}
        self._fetches = Fetches()
        self._linger = Alarm(stock.agenda, self._lingered)
        self._route: Route | None = None
        self._open = False  # whether the route feeds us, or was only asked for the properties
        self._fresh = False  # whether the latest group cached is known to be the source's latest
        self._tried: dict[Route, None] = {}
        self._live: dict[int, Group] = {}  # unfinished groups of the present feed
        self._missing: set[int] = set()  # broken off by a lost route and not begun again
        self._finished = False
        self._gone: RelayError | None = None

    @property
    def groups(self) -> dict[int, Group]:
        """Cached groups by sequence, in order of arrival; read only."""
        return self.shelf.groups

    @property
    def properties(self) -> TrackInfo:
        """The properties, or the defaults while they are unknown."""
        return self.info or TrackInfo()

    @property
    def is_idle(self) -> bool:
        """Whether nobody wants anything of this track now."""
        return not (self._audience or self._askers or self._fetches)

    # Watching side.

    def watch(self, viewer: Viewer, now: float, since: int | None = None) -> None:
        """Hand the track to ``viewer`` until it `unwatch`es or the track ends.

        At once: the properties if known, and the cached groups of its range (without a start: the
        latest one and those from ``since`` on, if the feed is running or the latest is at most
        ``max_latency`` old).
        """
        if self._gone is not None:
            viewer.track_ended(self._gone)
            return
        if viewer in self._audience:
            self.rewatch(viewer, now)
            return
        self._linger.clear()
        latest = self._current(now)
        if latest is not None and since is not None:
            latest = min(latest, since)
        self._audience.join(viewer, latest)
        if self.info is not None:
            viewer.track_accepted(self.info)
        self._audience.hand_parked(viewer)
        if self._finished:
            if self._audience.leave(viewer):
                viewer.track_ended(None)
            self._keep(now)
        else:
            self._adjust()

    def rewatch(self, viewer: Viewer, now: float) -> None:
        """``viewer.demand`` has changed: offer what it now includes, tell the source the sum."""
        if viewer in self._audience:
            self._audience.change(viewer)
            self._adjust()

    def unwatch(self, viewer: Viewer, now: float) -> None:
        """The viewer leaves; the last one closes the source. Harmless when it is not watching."""
        if not self._audience.leave(viewer):
            return
        if self._audience:
            self._adjust()
        else:
            self._rest(now)

    def learn(self, asker: Asker, now: float) -> None:
        """Answer with the properties, from the cache or from a source."""
        if self._gone is not None:
            asker.track_ended(self._gone)
        elif self.info is not None:
            asker.track_accepted(self.info)
        elif self._finished:
            asker.track_ended(None)
        else:
            self._askers[asker] = None
            self._keep(now)
            self._adjust()

    def unlearn(self, asker: Asker, now: float) -> None:
        """The asker waits no longer. Harmless when it does not wait."""
        self._askers.pop(asker, None)

    def fetch(self, sequence: int, fetcher: Fetcher, now: float) -> None:
        """Hand over one group, from the cache or, asked once for all who wait, from a source.

        Fails with `NotFound` where no source of the broadcast can fetch.
        """
        group = self.groups.get(sequence)
        source = self.broadcast.fetch_source(self._route)
        if group is not None:
            fetcher.group_opened(group)
        elif self._gone is not None or source is None:
            fetcher.fetch_failed(self._gone or NotFound(f"group {sequence} is not cached"))
        else:
            try:
                first = self._fetches.ask(sequence, fetcher)
            except RelayError as error:
                fetcher.fetch_failed(error)
                return
            self._keep(now)
            if first:
                source.fetch(self, sequence)

    def unfetch(self, sequence: int, fetcher: Fetcher) -> None:
        """The fetcher waits no longer. Harmless when it does not wait."""
        self._fetches.forget(sequence, fetcher)

    # Feeding side: called by the source that was opened last.

    def accept(self, info: TrackInfo) -> None:
        """The source has the track, with these properties."""
        if self._gone is not None:
            return
        first = self.info is None
        self.info = info
        askers, self._askers = self._askers, {}
        if not self._open:
            self._route = None
        if first:
            self._audience.accepted(info)
        for asker in askers:
            asker.track_accepted(info)
        if self._open:
            self._adjust()

    def reject(self, error: RelayError) -> None:
        """The source has no such track: the next route is tried, or the track ends."""
        if self._gone is None and self._route is not None:
            self._move_on(self._route, error)

    def lose(self, error: RelayError, now: float) -> None:
        """The source failed for this track only: the next route is tried, or the track ends."""
        if self._gone is None and self._route is not None:
            self._move_on(self._route, error)

    def open_group(self, sequence: int, encoding: Encoding, now: float) -> Group | None:
        """A group begins. ``None`` = it is live or complete already (or nobody watches): stop it.

        An aborted incarnation is replaced.
        """
        if not self._open:
            return None
        cached = self.groups.get(sequence)
        if cached is not None:
            self._fresh = True
            self._audience.confirm(cached)
            return None
        group = self._begin(sequence, encoding, now)
        if not self._open:  # the last viewer left while room was made
            group.abort(Cancelled("nobody watches"))
            return None
        self._fresh = True
        if not group.ended:
            self._live[sequence] = group
        self._missing.discard(sequence)
        self._tried.clear()
        self._audience.offer(group)
        return group

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A group of one small frame; passed on and forgotten."""
        if self._open:
            self._saw(sequence)
            self._audience.datagram(sequence, timestamp, payload)

    def finish(self, now: float) -> None:
        """The track is complete: no group will be opened, those that are open go on."""
        if self._gone is not None or self._finished:
            return
        self._finished = True
        self._route, self._open, self.demand = None, False, None
        self._live.clear()
        self._audience.dismiss(None)
        self._dismiss_askers(None)
        self._keep(now)

    def open_fetched(self, sequence: int, encoding: Encoding, now: float) -> Group | None:
        """A fetched group begins. ``None`` = it is here already, or nobody waits: stop it."""
        cached = self.groups.get(sequence)
        if cached is not None:
            self._fetches.deliver(cached)
            return None
        if sequence not in self._fetches:
            return None
        group = self._begin(sequence, encoding, now)
        self._audience.park(sequence)
        self._fetches.deliver(group)
        return group

    def fetch_failed(self, sequence: int, error: RelayError) -> None:
        """A fetched group cannot be had."""
        self._fetches.fail(sequence, error)

    # For the broadcast and the groups.

    def group_ended(self, group: Group, error: RelayError | None) -> None:
        """A group is complete, or broke off and leaves the cache."""
        if self._live.get(group.sequence) is group:
            del self._live[group.sequence]
        if error is None:
            self.shelf.settle(group)
        else:
            self.shelf.remove(group)

    def route_joined(self) -> None:
        """The broadcast has one more route."""
        if self._route is None and not self._finished:
            self._adjust()

    def route_left(self, route: Route, error: RelayError) -> None:
        """The broadcast has lost a route; its unfinished groups end with ``error``."""
        self._tried.pop(route, None)
        if self._route is None or self._route is route:
            self._fetches.fail_all(error)
        if self._route is route:
            self._detach(error)
            self._adjust(error)

    def drain(self) -> None:
        """The broadcast is no longer announced: what is being served goes on to its end."""
        if not self._finished and (self.is_idle or self._route is None):
            self.end(Unroutable(f"{self.broadcast.path} is no longer announced"))

    def end(self, error: RelayError) -> None:
        """The track cannot be had any more: everybody is told and everything forgotten."""
        if self._gone is not None:
            return
        self._gone = error
        self._linger.clear()
        self.broadcast.forget(self)
        self._detach(error)
        self.demand = None
        self.shelf.clear(error)
        self._audience.dismiss(error)
        self._dismiss_askers(error)
        self._fetches.fail_all(error)

    def _retention(self) -> float:
        kept = self.properties.max_latency / 1000
        ceiling = self._settings.cache_duration
        return kept if ceiling is None else min(kept, ceiling)

    def _current(self, now: float) -> int | None:
        # While the feed runs the latest group is the latest, however old. After a pause an old one
        # may no longer be: it is held back until the source confirms it or sends a newer one.
        newest = self.shelf.newest
        if newest is None:
            return None
        current = self._fresh or self._finished or not newest.ended
        if not current and now - newest.touched_at > self.properties.max_latency / 1000:
            return None
        return newest.sequence

    def _saw(self, sequence: int) -> None:
        if self.latest is None or sequence > self.latest:
            self.latest = sequence

    def _begin(self, sequence: int, encoding: Encoding, now: float) -> Group:
        group = Group(self, sequence, encoding, self._settings.max_group_bytes, now)
        self._saw(sequence)
        self.shelf.put(group, now)
        return group

    def _adjust(self, error: RelayError | None = None) -> None:
        """Make the upstream side fit the audience, on the first route not tried yet."""
        if self._gone is not None or not (self._audience or self._askers):
            return
        before, self.demand = self.demand, self._total()
        if self._route is None:
            self._route = self.broadcast.next_route(self._tried)
            if self._route is None:
                if not self.broadcast.is_lingering:
                    self.end(error or Unroutable(f"nobody serves {self.broadcast.path}"))
                return
            if not self._audience:
                self._route.source.learn(self)
        if self._route is not None and self._audience:
            if not self._open:
                self._open = True
                self._route.source.open(self)
            elif before != self.demand:
                self._route.source.update(self)

    def _total(self) -> Demand | None:
        return self._audience.total(None if self.info is None else self.info.max_latency)

    def _move_on(self, route: Route, error: RelayError) -> None:
        self._tried[route] = None
        self._route, self._open = None, False
        self._break_off(error)
        self._adjust(error)

    def _detach(self, error: RelayError) -> None:
        """Let go of the route; what it left unfinished ends with ``error``."""
        route = self._route
        self._route, self._open = None, False
        self._break_off(error)
        if route is not None:
            route.source.close(self)

    def _break_off(self, error: RelayError) -> None:
        live, self._live = self._live, {}
        if self.latest is not None:
            oldest = self.latest - SPLICE_WINDOW
            self._missing = {n for n in (*self._missing, *live) if n > oldest}
            self.start_at = min(self._missing, default=self.latest + 1)
        for group in live.values():
            group.abort(error)

    def _rest(self, now: float) -> None:
        """Nobody watches any more."""
        self._detach(Cancelled("nobody watches"))
        self.demand = self.start_at = None
        self._fresh = False
        self._missing.clear()
        self._tried.clear()
        if self._gone is not None or self._audience:
            return
        worth_keeping = self.broadcast.is_on_air and (self.info is not None or self.groups)
        if self.is_idle and not worth_keeping:
            self.end(Expired("nobody watched"))
        else:
            self._keep(now)
            self._adjust()

    def _keep(self, now: float) -> None:
        if not self._audience:
            self._linger.set(now + self._settings.track_linger)

    def _lingered(self, now: float) -> None:
        if self._audience:
            return
        if self.is_idle:
            self.end(Expired("nobody watched"))
        else:
            self._keep(now)

    def _dismiss_askers(self, error: RelayError | None) -> None:
        askers, self._askers = self._askers, {}
        for asker in askers:
            asker.track_ended(error)
