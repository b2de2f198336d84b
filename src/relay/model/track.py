"""One track of a broadcast: one feed from upstream, however many watch it.

The first viewer opens the source and the last one leaving closes it at once; routes come and go
while the viewers stay (see `relay.model.supply`). This module must not know which route is best
(its broadcast does) nor how a source talks to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from relay.errors import Cancelled, Expired, NotFound, RelayError, Unroutable
from relay.model.agenda import Alarm
from relay.model.audience import Audience, Viewer
from relay.model.demand import Demand, TrackInfo
from relay.model.fetch import Fetcher, Fetches
from relay.model.freshness import Freshness
from relay.model.group import Encoding, Group
from relay.model.shelf import Shelf
from relay.model.supply import Supply
from relay.path import Path

if TYPE_CHECKING:
    from relay.model.broadcast import Broadcast, Route, Source

__all__ = ["Demand", "Fetcher", "Learner", "Track", "TrackInfo", "Viewer"]


class Learner(Protocol):
    """Who wants to know the properties only; hashed by identity. One of the calls comes, once."""

    def track_accepted(self, info: TrackInfo) -> None:
        """These are the properties."""

    def track_ended(self, error: RelayError | None) -> None:
        """There is no such track any more (``None``: it ended before its properties were known)."""


class Track:
    """A track that somebody watches, or watched a moment ago. Created by `Broadcast.track`."""

    def __init__(self, broadcast: Broadcast, name: str, below: Path) -> None:
        stock = broadcast.stock
        self.broadcast = broadcast
        self.name = name
        self.below = below
        """Of which broadcast it is where that is not announced, relative to the one that is."""
        self.info: TrackInfo | None = None
        """Properties, once a source has said them; the timescale stays what was said first."""
        self.described_by: Source | None = None
        """Who said them, where that is known and as long as it has a route."""
        self.begins_at: int | None = None
        """The lowest group the source will deliver, where it says so."""
        self.latest: int | None = None
        """Highest sequence seen, datagrams included."""
        self.demand: Demand | None = None
        """What all viewers want together; what the source is to ask for."""
        self._settings = stock.settings
        self.shelf = Shelf(stock.cache, stock.agenda, self._retention())
        self.groups = self.shelf.groups
        """Cached groups by sequence, in order of arrival; read only."""
        self._audience = Audience(self.shelf)
        self._learners: dict[Learner, None] = {}
        self._fetches = Fetches(self)
        self._linger = Alarm(stock.agenda, self._lingered)
        self._freshness = Freshness(self, self._audience)
        self._supply = Supply(self)
        self._foretold: Callable[[], None] | None = None
        self._finished = False
        self._gone: RelayError | None = None

    @property
    def path(self) -> Path:
        """That of the broadcast it belongs to."""
        return self.broadcast.path.join(self.below)

    @property
    def viewers(self) -> int:
        """How many watch now."""
        return len(self._audience)

    @property
    def is_complete(self) -> bool:
        """Whether no group will be opened any more."""
        return self._finished

    @property
    def properties(self) -> TrackInfo:
        """The properties, or the defaults while they are unknown."""
        return self.info or TrackInfo()

    @property
    def is_idle(self) -> bool:
        """Whether nobody wants anything of this track now."""
        return not (self._audience or self._learners or self._fetches)

    @property
    def current(self) -> int | None:
        """The source's latest group, as far as that is known and it is cached: while the feed runs
        that is the latest of the cache, however old. After a pause there may be newer ones."""
        return self._freshness.current

    @property
    def start_at(self) -> int | None:
        """For `Source.open` after a route was lost: the first missing group, overriding
        ``demand.start``. ``None`` = go by the demand."""
        return self._supply.start_at

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is fed by another route than the best."""
        return self._supply.is_elsewhere

    @property
    def is_behind(self) -> bool:
        """Whether it is watched, and fed by a route that was taken back while others are there."""
        return bool(self._audience) and self._supply.is_behind

    # Watching side.

    def watch(self, viewer: Viewer, now: float, since: int | None = None) -> None:
        """Hand the track to ``viewer`` until it `unwatch`es or the track ends.

        At once: the properties if known, and the cached groups of its range (without a start: the
        latest one and those from ``since`` on; after a pause of the feed once the source has said
        what is the latest, or has said nothing for `freshness.DOUBT`).
        """
        self.foretell()
        if self._gone is not None:
            viewer.track_ended(self._gone)
            return
        if viewer in self._audience:
            self.rewatch(viewer)
            return
        self._linger.clear()
        self.shelf.expire(now)  # what leaves only after it was handed over would come twice
        latest = self._freshness.ask(viewer.demand, now)
        self._audience.join(viewer, latest, since, self._freshness.is_certain)
        if self.info is not None:
            viewer.track_accepted(self.info)
        self._audience.hand_parked(viewer)
        if self._finished:
            if self._audience.leave(viewer):
                viewer.track_ended(None)
            self._keep(now)
        else:
            self.adjust()

    def rewatch(self, viewer: Viewer) -> None:
        """``viewer.demand`` has changed: offer what it now includes, tell the source the sum."""
        self.foretell()
        if viewer in self._audience:
            latest = self._freshness.ask(viewer.demand, self.broadcast.stock.agenda.now)
            self._audience.change(viewer, latest, self._freshness.is_certain)
            self.adjust()

    def begins_at_for(self, viewer: Viewer) -> int:
        """The first group that a viewer may still get, as far as that is known."""
        return self._audience.begins_at(viewer)

    def unwatch(self, viewer: Viewer, now: float) -> None:
        """The viewer leaves; the last one closes the source. Harmless when it is not watching."""
        if not self._audience.leave(viewer):
            return
        if self._audience:
            self.adjust()
        else:
            self._rest(now)

    def learn(self, learner: Learner, now: float, is_urgent: bool = True) -> None:
        """Answer with the properties, from the cache or from a source, which is asked for nothing
        but them only at the next `adjust` where that ``is_urgent`` not."""
        if self._gone is not None:
            learner.track_ended(self._gone)
        elif self.info is not None:
            learner.track_accepted(self.info)
        elif self._finished:
            learner.track_ended(None)
        else:
            self._learners[learner] = None
            self._keep(now)
            if is_urgent:
                self.adjust()

    def unlearn(self, learner: Learner) -> None:
        """The learner waits no longer. Harmless when it does not wait."""
        self._learners.pop(learner, None)

    def fetch(self, sequence: int, fetcher: Fetcher, now: float, priority: int = 0) -> None:
        """Hand over one group, from the cache or, asked once for all who wait, from a source.

        Fails with `NotFound` where the source cannot fetch. ``priority`` (0 to 255) is that of
        whoever asks first.
        """
        self.foretell()
        group = self.groups.get(sequence)
        source = self.broadcast.fetch_source(self._supply.route)
        if group is not None:
            fetcher.group_opened(group)
        elif self._gone is not None:
            fetcher.fetch_failed(self._gone)
        else:
            self._keep(now)
            try:
                if source is None:
                    raise NotFound(f"group {sequence} is not cached")
                first = self._fetches.ask(sequence, fetcher, source)
            except RelayError as error:
                fetcher.fetch_failed(error)
                return
            if first:
                self.broadcast.traffic.came.fetches += 1
                source.fetch(self, sequence, priority)

    def is_fetching(self, sequence: int) -> bool:
        """Whether a source is asked for the group, and it is not complete."""
        return sequence in self._fetches

    def unfetch(self, sequence: int, fetcher: Fetcher) -> None:
        """The fetcher waits, or reads, no longer; after the last one the source need not go on.

        Harmless when it does neither.
        """
        self._fetches.forget(sequence, fetcher)

    # Feeding side. ``source`` says who calls; without it the one that was opened last does.

    def accept(self, info: TrackInfo, source: Source | None = None) -> None:
        """The source has the track, with these properties."""
        if self._gone is not None:
            return
        first = self.info is None
        self.info = info
        self.described_by = source
        self.shelf.retention = self._retention()
        learners, self._learners = self._learners, {}
        if not self._supply.is_open:
            self._supply.route = None
        if first:
            self._audience.accepted(info)
        for learner in learners:
            learner.track_accepted(info)
        if self._supply.is_open:
            self.adjust()

    def fail(self, error: RelayError, source: Source | None = None) -> None:
        """The source has no such track, or has it no longer: the next route is tried, or the track
        ends."""
        if self._gone is None:
            self._supply.failed(source, error)

    def foretell(self, open_group: Callable[[], None] | None = None) -> None:
        """A group is about to come: it is to be opened once anybody could miss it, as is now one
        that was about to come before."""
        foretold, self._foretold = self._foretold, None
        if foretold is not None:
            foretold()
        self._foretold = open_group

    def open_group(
        self,
        sequence: int,
        encoding: Encoding,
        now: float,
        source: Source | None = None,
        whole: bytes = b"",
    ) -> Group | None:
        """A group begins. ``None`` = it is live or complete already (or nobody watches): stop it.

        An aborted incarnation is replaced. ``whole`` is all of it, where that is at hand.
        """
        if self._foretold is not None:
            self.foretell()
        if not self._supply.hears(source, now):
            return None
        if not self._freshness.has_begun:
            self._freshness.begin(sequence, source)
        cached = self.groups.get(sequence)
        if cached is not None:
            self._saw(sequence)
            self.shelf.confirm(cached)
            self._fetches.confirm(sequence)
            self._supply.decline(cached, source)
            if not self._freshness.is_certain:
                self._freshness.hear(cached, False, now)
            self._audience.confirm(cached)
            return None
        group = Group(self, sequence, encoding, self._settings.max_group_bytes, now)
        if whole:
            group.fill(whole)
        self._saw(sequence)
        self.shelf.put(group, now)
        if not self._supply.is_open:  # the last viewer left while room was made
            group.evict(Cancelled("nobody watches"))
            return None
        if whole:
            traffic = self.broadcast.traffic
            traffic.add(traffic.came.moved, group.native, encoding, group.size)
        if not self._freshness.is_certain:
            self._freshness.hear(group, True, now)
        self._supply.began(group, source)
        self._fetches.deliver(group)
        self._audience.offer(group, self._freshness.is_certain)
        return group

    def add_group(
        self,
        sequence: int,
        encoding: Encoding,
        data: bytes,
        now: float,
        source: Source | None = None,
    ) -> None:
        """A whole group came at once: the same as opening, writing and finishing it."""
        if len(data) > self._settings.max_group_bytes:
            group = self.open_group(sequence, encoding, now, source)
            if group is not None:
                group.write(data, now)  # which breaks it off, and says why
        else:
            self.open_group(sequence, encoding, now, source, data)

    def datagram(
        self,
        sequence: int,
        timestamp: int,
        payload: bytes,
        now: float,
        source: Source | None = None,
    ) -> None:
        """A group of one small frame; passed on and forgotten."""
        self.foretell()
        if self._supply.hears(source, now):
            self._supply.came(sequence, source, is_kept=False)
            self._saw(sequence)
            self.broadcast.traffic.came.moved.add_datagram(len(payload))
            self._audience.datagram(sequence, timestamp, payload)

    def finish(self, now: float, source: Source | None = None) -> None:
        """The track is complete: no group will be opened, those that are open go on."""
        self.foretell()
        if self._gone is not None or self._finished:
            return
        past = self._supply.past(source)
        if self._supply.finished(source, now):
            self._complete(now)
            if past is not None:
                self.broadcast.forget(self)  # who comes later asks the routes of now
                self.broadcast.outlived(past)

    def _complete(self, now: float) -> None:
        self._finished = True
        self.demand = None
        self._freshness.settle(now)
        self._audience.dismiss(None)
        self._dismiss_learners(None)
        self._keep(now)

    def open_fetched(self, sequence: int, encoding: Encoding, now: float) -> Group | None:
        """A fetched group begins. ``None`` = it is here already, or nobody waits: stop it.

        It is cached and handed to whoever asked. Viewers get it only once their feed has it, too,
        and the latest group stays what it was.
        """
        if sequence in self.groups or sequence not in self._fetches:
            return None
        group = Group(self, sequence, encoding, self._settings.max_group_bytes, now)
        self.shelf.put(group, now, is_fetched=True)
        if group.error is not None:  # there was no room for it
            self._fetches.fail(sequence, group.error)
            return None
        self._audience.park(sequence)
        self._fetches.open(group)
        return None if group.error is not None else group

    def fetch_failed(self, sequence: int, error: RelayError) -> None:
        """A fetched group cannot be had."""
        self._fetches.fail(sequence, error)

    # For the broadcast and the groups.

    def group_ended(self, group: Group, error: RelayError | None) -> None:
        """A group is complete, or broke off and leaves the cache."""
        traffic = self.broadcast.traffic
        log = group.native
        traffic.add(traffic.came.moved, log, group.encoding, log.size)
        if error is None:
            self.shelf.settle(group)
        else:
            self.shelf.remove(group)
        self._fetches.end(group, error)
        if self._supply.ended(group, error):
            self._complete(group.touched_at)

    def route_joined(self) -> None:
        """The broadcast has one more route."""
        if self._supply.route is None and not self._finished:
            self.adjust()

    def route_left(self, route: Route, error: RelayError) -> None:
        """The broadcast has lost a route; its unfinished groups end with ``error``."""
        self._forget_words_of(route)
        self._fetches.lose(route.source, error)
        self._supply.route_left(route, error)

    def route_retired(self, route: Route) -> None:
        """A route said goodbye while others are left: it serves until the next one delivers."""
        self._forget_words_of(route)
        self._supply.route_retired(route)

    def _forget_words_of(self, route: Route) -> None:
        if self.described_by is route.source:
            self.described_by = None

    def hand_over(self, now: float) -> bool:
        """Move to the best route without a gap, if that is another one and delivers.

        Answers whether it is on its way, and to be asked again in a while.
        """
        return self._supply.hand_over(now)

    def is_fed_besides(self, route: Route | None) -> bool:
        """Whether another route than this one feeds it, alone or until the next delivers."""
        return self._supply.is_fed_besides(route)

    def drain(self) -> None:
        """The broadcast is no longer announced: what is being served goes on to its end."""
        if not self._finished and (self.is_idle or not self._supply.serves_to_its_end()):
            self.end(Unroutable(f"{self.path} is no longer announced"))

    def end(self, error: RelayError) -> None:
        """The track cannot be had any more: everybody is told and everything forgotten."""
        if self._gone is not None:
            return
        self._gone = error
        self._linger.clear()
        self._freshness.rest()
        self.broadcast.forget(self)
        self._supply.detach(error)
        self.demand = None
        self.shelf.clear(error)
        self._audience.dismiss(error)
        self._dismiss_learners(error)
        self._fetches.lose(None, error)

    def _retention(self) -> float:
        kept = self.properties.max_latency / 1000
        ceiling = self._settings.cache_duration
        return kept if ceiling is None else min(kept, ceiling)

    def _saw(self, sequence: int) -> None:
        if self.latest is None:
            self.latest = sequence
            self.adjust()  # only now is it known which starts do not lie beyond the latest
            self._audience.begin(sequence)
        elif sequence > self.latest:
            self.latest = sequence

    def adjust(self, error: RelayError | None = None) -> None:
        """Make the upstream side fit the audience, on the first route not tried yet."""
        if self._gone is None and (self._audience or self._learners):
            before, self.demand = self.demand, self._total()
            self._supply.fit(bool(self._audience), before != self.demand, error)

    def _total(self) -> Demand | None:
        most = None if self.info is None else self.info.max_latency
        return self._audience.total(most, self.latest)

    def _rest(self, now: float) -> None:
        """Nobody watches any more."""
        self._supply.detach(Cancelled("nobody watches"))
        self.demand = None
        self._freshness.rest()
        self._supply.rest()
        if self._gone is not None or self._audience:
            return
        worth_keeping = self.broadcast.is_on_air and (self.info is not None or self.groups)
        if self.is_idle and not worth_keeping:
            self.end(Expired("nobody watched"))
        else:
            self._keep(now)
            self.adjust()

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

    def _dismiss_learners(self, error: RelayError | None) -> None:
        learners, self._learners = self._learners, {}
        for learner in learners:
            learner.track_ended(error)
