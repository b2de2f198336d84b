"""What a guest watches: its subscriptions, track requests and fetches.

Everything is looked up in the guest's scope, where what it may not see does not exist. What it
asks to hear of is answered by `relay.peer.hearing`. This module must not know what the guest
publishes, or how bytes leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from relay.errors import Cancelled, LimitExceeded, RelayError, Unroutable
from relay.model.group import Log
from relay.model.scope import Scope
from relay.model.track import Demand, Track
from relay.model.traffic import Side, Traffic
from relay.path import Path
from relay.peer.awaiting import Awaiting
from relay.peer.local import LocalBroadcast
from relay.peer.reach import oldest_fresh, wants_all
from relay.peer.sending import Delivery, SendQueue
from relay.peer.viewing import Fetching, Learning, Viewing
from relay.reserve import INTERNAL
from relay.session import events
from relay.wire.frame import Layout

if TYPE_CHECKING:
    from relay.peer.guest import Guest


MAX_FETCHES = 64
"""Groups of one track that one session may have its publisher asked for at a time; one more is
refused to that session alone."""

MAX_SEATS = 64
"""Subscriptions of one session to one track at a time, unless it is a relay: for each it is kept
which of the cached groups it has not had, however little it asks for."""

MAX_NOTED = 524_288
"""Cached groups of the tracks that one session watches, counted for each of its subscriptions,
unless it is a relay: that is what the above comes to where there are many tracks. Whoever has more
is refused the next one, or loses the newest where they become more."""

MAX_UPDATES = 32
"""Changed subscriptions that are heard in one turn. Each has all cached groups looked at, and a
packet holds many; of the rest the last change of each is heard in the turns after it."""

MAX_LOOKED = 4096
"""Cached groups that are looked at in one turn, and maybe handed over, for subscriptions that begin
or change: who begins many of tracks with many groups has them begin in the turns after it."""

TOO_MANY = f"more than {MAX_NOTED} cached groups of all that the session watches"

MAX_PASSED_ON = 8192
"""Bytes of a whole group that is written for each viewer together with the head of its stream: to
copy so few costs less than to keep them in pieces."""


class Watching:
    """The watching half of a guest."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.session = guest.session
        self.queue = SendQueue(
            guest.transport, guest.settings, guest.clock, self.session.reset, guest.tab
        )
        self.viewings: dict[int, Viewing] = {}
        self.waiting: dict[int, events.Subscribed] = {}
        """Subscriptions for which it is not known yet whether the tenant may have them, or whose
        turn has not come."""
        self.noted = 0
        """Cached groups of which it is kept whether they were handed over, as of the last tick."""
        self.late: dict[int, None] = {}
        """The latter, in order."""
        self.looked = 0
        """Cached groups that were looked at in this turn, and subscriptions."""
        self.awaiting = Awaiting(self)
        """Those to what nobody publishes yet."""
        self.seats: Counter[Track] = Counter()
        """How many of them are to which track."""
        self.updates: dict[int, events.SubscribeUpdated] = {}
        """Changes of theirs whose turn to be heard has not come."""
        self.updated = 0
        """Changes that were heard in this turn."""
        self.learnings: dict[int, tuple[Learning, Track]] = {}
        self.unasked: list[Track] = []
        """Those of them whose properties nobody has been asked for yet."""
        self.fetchings: dict[int, Fetching] = {}
        self.departing: dict[int, Delivery] = {}
        """Groups and fetches on their way out, by stream."""
        self.parting: dict[Viewing, None] = {}
        """Subscriptions to complete tracks whose last groups are under way."""
        self.is_near = guest.is_near
        """Whether the peer is another process of this relay."""
        self._within = Side() if self.is_near else None
        self.hears: dict[type, Callable[[Any], None]] = {
            events.Subscribed: self.subscribed,
            events.SubscribeUpdated: self.subscribe_updated,
            events.Unsubscribed: self.unsubscribed,
            events.TrackRequested: self.track_requested,
            events.TrackCancelled: self.track_cancelled,
            events.FetchRequested: self.fetch_requested,
        }

    def went(self, traffic: Traffic) -> Side:
        """Where it is counted what goes to the peer: with nobody's where that is another process
        of this relay, which counts what goes on from there."""
        return traffic.went if self._within is None else self._within

    def leave(self, error: RelayError) -> None:
        """Let go of everything that is watched."""
        now = self.guest.clock()
        for viewing in tuple(self.viewings.values()):
            viewing.track.unwatch(viewing, now)
            viewing.close(error)
        for learning, track in tuple(self.learnings.values()):
            track.unlearn(learning)
        for fetching in tuple(self.fetchings.values()):
            fetching.cancel()
        self.queue.close()
        self.awaiting.clear()
        for table in (
            *(self.viewings, self.learnings, self.fetchings),
            *(self.departing, self.waiting, self.late, self.updates),
        ):
            table.clear()

    def regranted(self, scope: Scope) -> None:
        """The rights changed: what is no longer covered ends, as if it had ceased to exist."""
        error = Unroutable("the right to watch it was taken away")
        now = self.guest.clock()
        for viewing in tuple(self.viewings.values()):
            if not scope.allows_subscribe(viewing.path):
                viewing.track.unwatch(viewing, now)
                viewing.track_ended(error)
        self.awaiting.regranted(scope)
        for learning, track in tuple(self.learnings.values()):
            if not scope.allows_subscribe(learning.path):
                track.unlearn(learning)
                learning.track_ended(error)
        for fetching in tuple(self.fetchings.values()):
            if not scope.allows_subscribe(fetching.path):
                fetching.take_back(error)

    def stream_ended(self, stream: int) -> None:
        """The peer no longer reads one of our streams: that group only, or that fetch."""
        if (delivery := self.departing.get(stream)) is not None:
            delivery.abort(Cancelled())
        if (fetching := self.fetchings.get(stream)) is not None:
            fetching.cancel()

    @property
    def is_passed_on_to(self) -> bool:
        """Whether the peer watches anything that is published neither here nor by a guest of ours,
        beside what relays tell each other."""
        broadcasts = (viewing.track.broadcast for viewing in self.viewings.values())
        others = (each for each in broadcasts if not each.path.is_under(INTERNAL))
        return any(route.is_transit for each in others for route in each.routes[:1])

    # -- tracks ------------------------------------------------------------------------------

    def find(self, broadcast: str, track: str, is_watched: bool = False) -> Track:
        """The track, if it exists in the peer's eyes. Raises `Unroutable` and friends otherwise.

        What is looked up is remembered, so whether it may be watched is asked before.
        """
        path = Path(broadcast)
        scope = self.guest.scope
        found = scope.seek(path, self.guest.hop) if scope is not None else None
        if found is None:
            raise Unroutable(f"no broadcast at {path!r} for this session")
        if is_watched:
            self.guest.tab.require_track(self.guest.clock())
        return found.track(track)

    def subscribed(self, event: events.Subscribed) -> None:
        """The peer wants a track. While it is not known whether its tenant may, it waits."""
        account, now = self.guest.tab.account, self.guest.clock()
        needs = self.guest.tab.needs_to_watch()
        if not account.lacks(needs, now):
            self.serve_in_turn(event)
            return
        self.waiting[event.id] = event
        account.when_known(needs, now, lambda: self.serve_waiting(event.id))

    def serve_waiting(self, id: int) -> None:
        """It is known whether a subscription may be: unless it was taken back, it goes on."""
        if (event := self.waiting.pop(id, None)) is not None:
            self.serve_in_turn(event)

    def serve_in_turn(self, event: events.Subscribed) -> None:
        """Begin a subscription, now or in one of the next turns."""
        if self.late or self.looked >= MAX_LOOKED:
            self.waiting[event.id] = event
            self.late[event.id] = None
            self.guest.transport.wake()
        else:
            self.serve(event)

    def serve(self, event: events.Subscribed) -> None:
        """Begin a subscription, have it wait, or refuse it."""
        self.looked += 1
        try:
            if self.awaiting.begin(event):
                return
            track = self.find(event.broadcast, event.track, is_watched=True)
            if self.seats[track] >= MAX_SEATS and not self.guest.is_relay:
                raise LimitExceeded(f"more than {MAX_SEATS} subscriptions to one track")
            if self.noted + len(track.groups) > MAX_NOTED and not self.guest.is_relay:
                raise LimitExceeded(TOO_MANY)
            self.guest.tab.add_track(self.guest.clock())
        except RelayError as error:
            self.refuse(event, error)
            return
        demand, since = Demand(*event[3:8]), None
        if self.session.dialect.start_floor and not wants_all(track, event):
            since = oldest_fresh(track, event.start or 0, event.max_latency)
            own = self.oldest_own(track, event)
            if own is not None and (since is None or own < since):
                demand, since = demand._replace(start=own), None
            elif since is not None:
                demand = demand._replace(start=None)
        viewing = Viewing(self, event.id, Path(event.broadcast), track, demand)
        viewing.bound(event.start or 0, event.first_frame, event.last_frame)
        viewing.pause(event.is_paused)
        self.viewings[event.id] = viewing
        self.seats[track] += 1
        self.looked += len(track.groups)
        self.noted += len(track.groups)
        track.watch(viewing, self.guest.clock(), since)

    def bound(self) -> None:
        """End the newest subscriptions where too many groups have come meanwhile."""
        self.noted = sum(len(each.track.groups) for each in self.viewings.values())
        while self.noted > MAX_NOTED and self.viewings and not self.guest.is_relay:
            viewing = next(reversed(self.viewings.values()))
            self.guest.house.log("request refused", id=self.guest.id, reason=TOO_MANY)
            viewing.track.unwatch(viewing, self.guest.clock())
            viewing.track_ended(LimitExceeded(TOO_MANY))

    def refuse(self, event: events.Subscribed, error: RelayError) -> None:
        """Refuse a subscription, and say why in the log."""
        self.guest.house.log(
            "subscribe refused",
            id=self.guest.id,
            path=event.broadcast,
            track=event.track,
            reason=str(error),
        )
        self.awaiting.forget(event.id)
        self.session.refuse(event.id, error.code)

    def oldest_own(self, track: Track, event: events.Subscribed) -> int | None:
        """As `oldest_fresh`, where the relay publishes the track itself: of that no more is cached
        than was watched. What a client publishes begins with the latest group."""
        source = track.broadcast.fetch_source(None)
        if not isinstance(source, LocalBroadcast) or self.guest.house.origin.keeps_own:
            return None
        return source.oldest_fresh(track, event.start or 0, event.max_latency)

    def forget(self, viewing: Viewing) -> None:
        """A subscription is over."""
        if self.viewings.pop(viewing.id, None) is viewing:
            self.noted -= len(viewing.track.groups)
            self.seats[viewing.track] -= 1
            if not self.seats[viewing.track]:
                del self.seats[viewing.track]
        self.parting.pop(viewing, None)

    def subscribe_updated(self, event: events.SubscribeUpdated) -> None:
        """The peer changed what it wants of a track, which is heard when its turn has come."""
        if self.updates or not self._may_update:
            self.updates[event.id] = event
            self.guest.transport.wake()
        else:
            self.updated += 1
            self.update(event)

    @property
    def _may_update(self) -> bool:
        return self.updated < MAX_UPDATES and self.looked < MAX_LOOKED

    def next_turn(self) -> None:
        """A new turn: begin the subscriptions and hear the changes that had to wait."""
        self.updated = self.looked = 0
        while self.late and self.looked < MAX_LOOKED:
            id = next(iter(self.late))
            del self.late[id]
            if (event := self.waiting.pop(id, None)) is not None:
                self.serve(event)
        while self.updates and self._may_update:
            self.updated += 1
            self.update(self.updates.pop(next(iter(self.updates))))
        if self.late or self.updates:
            self.guest.transport.wake()

    def update(self, event: events.SubscribeUpdated) -> None:
        """A subscription is another one from now on."""
        if (waits := self.waiting.get(event.id)) is not None:
            self.waiting[event.id] = waits._replace(**event._asdict())
        self.awaiting.update(event)
        if (viewing := self.viewings.get(event.id)) is not None:
            self.looked += len(viewing.track.groups)
            demand = Demand(*event[1:6])
            start = event.start if self.session.dialect.start_floor else None
            if start is not None and not wants_all(viewing.track, event):
                since = oldest_fresh(viewing.track, start, event.max_latency)
                demand = demand._replace(start=start if since is None else since)
            viewing.demand = demand
            for delivery in viewing.deliveries:
                delivery.prefer(demand.priority)
            viewing.bound(event.start or 0, event.first_frame, event.last_frame)
            viewing.pause(event.is_paused)
            viewing.track.rewatch(viewing)

    def unsubscribed(self, event: events.Unsubscribed) -> None:
        """The peer no longer wants a track."""
        self.waiting.pop(event.id, None)
        self.late.pop(event.id, None)
        self.awaiting.forget(event.id)
        self.updates.pop(event.id, None)
        if (viewing := self.viewings.get(event.id)) is not None:
            viewing.track.unwatch(viewing, self.guest.clock())
            viewing.close(Cancelled())

    def track_requested(self, event: events.TrackRequested) -> None:
        """The peer wants to know a track's properties."""
        try:
            track = self.find(event.broadcast, event.track)
        except RelayError as error:
            self.session.refuse_track(event.request, error.code)
            return
        learning = Learning(self, event.request, Path(event.broadcast))
        self.learnings[event.request] = (learning, track)
        is_near = self.guest.is_near
        track.learn(learning, self.guest.clock(), is_urgent=not is_near)
        if is_near and event.request in self.learnings:
            # It may want groups in the same breath: then nothing need be taken for granted.
            self.unasked.append(track)
            self.guest.transport.wake()

    def ask(self) -> None:
        """Ask for the properties of tracks of which nobody has wanted groups by now."""
        unasked, self.unasked = self.unasked, []
        for track in unasked:
            track.adjust()

    def track_cancelled(self, event: events.TrackCancelled) -> None:
        """The peer no longer waits for them."""
        if (entry := self.learnings.pop(event.request, None)) is not None:
            entry[1].unlearn(entry[0])

    def fetch_requested(self, event: events.FetchRequested) -> None:
        """The peer wants one group, or some frames of it."""
        try:
            track = self.find(event.broadcast, event.track)
            self.require_fetch(track, event.group)
        except RelayError as error:
            self.session.reset(event.stream, error.code)
            return
        path = Path(event.broadcast)
        fetching = Fetching(self, event.stream, path, track, event.group, event.priority)
        if event.first_frame or event.last_frame is not None:
            fetching.span = event.first_frame, event.last_frame
        self.fetchings[event.stream] = fetching
        track.fetch(event.group, fetching, self.guest.clock(), event.priority)

    def require_fetch(self, track: Track, sequence: int) -> None:
        """Raises `LimitExceeded` when the peer waits for too many groups of a track already; one
        that is at hand may always be had. A relay asks for all who watch there, and bounds them."""
        if len(self.fetchings) < MAX_FETCHES or sequence in track.groups or self.guest.is_relay:
            return
        asked = {each.sequence for each in self.fetchings.values() if each.track is track}
        if sequence not in asked and sum(map(track.is_fetching, asked)) >= MAX_FETCHES:
            raise LimitExceeded(f"more than {MAX_FETCHES} fetches of one track by one session")

    def part(self, viewing: Viewing) -> None:
        """All groups of a complete track have left: say so once they have arrived.

        Peers take the end of the subscription for the end of all that comes, and would let go of
        what is still under way.
        """
        self.parting[viewing] = None
        self.complete_parting()

    def complete_parting(self) -> None:
        """Complete the subscriptions whose last groups have arrived, in order."""
        oldest = self.guest.transport.oldest_under_way()
        for viewing in tuple(self.parting):
            if oldest is not None and viewing.newest is not None and viewing.newest >= oldest:
                break
            viewing.complete()

    # -- streams -----------------------------------------------------------------------------

    def open_group(
        self,
        viewing: Viewing,
        sequence: int,
        first_frame: int,
        layout: Layout,
        delivery: Delivery,
    ) -> int | None:
        """A stream for a group written that way, if the peer grants one."""
        is_told = self.is_near and layout.has_properties
        stream = self.session.open_group(
            viewing.id, sequence, viewing.lowest, first_frame, has_properties=is_told
        )
        if stream is not None:
            viewing.newest = stream
            self.departing[stream] = delivery
        return stream

    def pass_on(self, viewing: Viewing, sequence: int, log: Log, layout: Layout) -> bool:
        """Send a whole group at once, where nobody waits before it; answers whether it has left."""
        size = log.size
        if not 0 < size <= MAX_PASSED_ON or not self.queue.may_pass_on(size):
            return False
        chunks = log.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        is_told = self.is_near and layout.has_properties
        stream = self.session.open_group(viewing.id, sequence, viewing.lowest, 0, data, is_told)
        if stream is None:
            return False
        viewing.newest = stream
        self.queue.count_sent(size)
        if not self.is_near:
            traffic = viewing.track.broadcast.traffic
            traffic.add(traffic.went.moved, log, layout, size)
        return True

    def forget_stream(self, delivery: Delivery) -> None:
        """Nothing more goes out on the delivery's stream."""
        if delivery.stream is not None:
            self.departing.pop(delivery.stream, None)
