"""What a guest watches: its subscriptions, track requests and fetches, bound to the model.

Each class here stands on the model's side of one request of the peer and answers it through the
session. This module must not know how bytes are queued or written, nor who may ask for what.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from relay.errors import Cancelled, RelayError
from relay.model.group import Group
from relay.model.track import Demand, Track
from relay.model.track import TrackInfo as ModelInfo
from relay.path import Path
from relay.peer.sending import Delivery
from relay.peer.transcode import frames_in, near_layout, transcode
from relay.peer.turns import Turns
from relay.wire.frame import Excerpt
from relay.wire.messages import TrackInfo

if TYPE_CHECKING:
    from relay.peer.watching import Watching


class Viewing:
    """One subscription of the peer's (the model's `Viewer`)."""

    __slots__ = (
        "begin",
        "completing",
        "deliveries",
        "demand",
        "end",
        "first_frame",
        "floor",
        "from_start",
        "host",
        "id",
        "is_paused",
        "last_frame",
        "missed",
        "newest",
        "over",
        "path",
        "track",
        "turns",
    )

    def __init__(self, host: Watching, id: int, path: Path, track: Track, demand: Demand) -> None:
        self.host = host
        self.id = id
        self.turns = Turns(id)
        self.path = path
        self.track = track
        self.demand = demand
        self.deliveries: dict[Delivery, int] = {}
        """What is under way, and the groups' numbers."""
        self.is_paused = False
        """Whether nothing is handed over."""
        self.missed: int | None = None
        """The newest group that was not, or not whole, for that."""
        self.end = 0
        """One more than the highest group handed over."""
        self.floor: int | None = None
        """The lowest group handed over, which need not be the first to leave."""
        self.newest: int | None = None
        """The stream that was opened last."""
        self.completing = False
        self.over = False
        self.from_start = track.latest is None
        """Joined before the first group: what the source begins with is ours as well."""
        self.bound(0, 0, None)
        host.went(track.broadcast.traffic).began(host)

    def bound(self, begin: int, first_frame: int, last_frame: int | None) -> None:
        """Nothing is wanted before frame ``first_frame`` of group ``begin``, nor after frame
        ``last_frame`` of the last group."""
        self.begin = begin
        self.first_frame = first_frame
        self.last_frame = last_frame

    def lowest(self) -> int | None:
        """The lowest group the peer should expect; the newest may well leave before it."""
        begins_at = self.track.begins_at if self.from_start else None
        known = [group for group in (self.floor, begins_at) if group is not None]
        return min(known, default=None)

    def track_accepted(self, info: ModelInfo) -> None:
        """The track is known."""
        self.host.awaiting.settle(self.id)
        self.host.session.accept(self.id, info.priority, self._latest())

    def _latest(self) -> tuple[int, int] | None:
        """The latest group so far and how many frames it has, where the version tells that. For
        who watches one that is still to come, as the publisher says, has its first."""
        track, number = self.track, self.track.current
        if not self.host.session.dialect.tells_latest:
            return None
        if number is not None:
            return number, frames_in(track.groups[number])
        promised = track.begins_at if self.demand.max_latency else None
        return None if promised is None else (promised, 1)

    def group_opened(self, group: Group) -> None:
        """A group to deliver, from its first frame or the first that is wanted."""
        host = self.host
        if group.sequence < self.begin:
            return
        if self.is_paused:
            self.miss(group.sequence)
            return
        first = self.first_frame if group.sequence == self.begin else 0
        last = self.last_frame if group.sequence == self.demand.end else None
        whole = not first and last is None
        self.end = max(self.end, group.sequence + 1)
        self.floor = group.sequence if self.floor is None else min(self.floor, group.sequence)
        layout = near_layout(group) if host.is_near else host.session.layout
        log = group.log(layout, transcode)
        if whole and log.finished and host.pass_on(self, group.sequence, log, layout):
            return
        info = self.track.info
        place = self.turns.place(group.sequence, group.opened_at)
        rank = (self.demand.priority, info.priority if info else 0, place)
        delivery = Delivery(
            host.queue,
            log,
            rank,
            partial(host.open_group, self, group.sequence, first, layout),
            self.delivered,
            None if whole else Excerpt(layout, first, last),
        )
        self.deliveries[delivery] = group.sequence
        delivery.begin()

    def delivered(self, delivery: Delivery) -> None:
        """A group has left, or never will."""
        count(self.host, self.track, delivery, is_wanted=not (self.over or self.is_paused))
        self.deliveries.pop(delivery, None)
        self.host.forget_stream(delivery)
        if self.completing and not self.deliveries:
            self.host.part(self)

    def pause(self, is_paused: bool) -> None:
        """Hand nothing over any more, or go on: with the newest group that was held back, as if it
        began to be watched now."""
        self.is_paused = is_paused
        if is_paused:
            for delivery, sequence in tuple(self.deliveries.items()):
                self.miss(sequence)
                delivery.abort(Cancelled())
            return
        missed, self.missed = self.missed, None
        group = None if missed is None else self.track.groups.get(missed)
        if group is not None and (self.demand.end is None or group.sequence <= self.demand.end):
            self.group_opened(group)

    def miss(self, sequence: int) -> None:
        """A group is not handed over, or not whole."""
        self.missed = sequence if self.missed is None else max(self.missed, sequence)

    def datagram_received(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A one-frame group, best effort."""
        if self.is_paused:
            return
        if not self.host.queue.may_pass(len(payload)):
            return
        if self.host.session.send_datagram(self.id, sequence, timestamp, payload):
            self.host.went(self.track.broadcast.traffic).moved.add_datagram(len(payload))

    def track_ended(self, error: RelayError | None) -> None:
        """The track is complete (say so once everything has arrived), or broken off."""
        if error is not None:
            # The groups first: once `@moq/net` 0.1 hears that the subscription is over, it takes
            # those under way for complete.
            self.close(error)
            if not self.host.awaiting.resume(self.id, error):
                self.host.session.refuse(self.id, error.code)
            return
        self.completing = True
        if not self.deliveries:
            self.host.part(self)

    def complete(self) -> None:
        """Everything has arrived, as far as it was sent."""
        self.host.session.complete(self.id, self.end)
        self.close(Cancelled())

    def close(self, error: RelayError) -> None:
        """Nobody watches any more."""
        if not self.over:
            self.over = True
            self.completing = False
            self.host.forget(self)
            self.host.guest.tab.drop_track()
            self.host.went(self.track.broadcast.traffic).ended(self.host)
            for delivery in tuple(self.deliveries):
                delivery.abort(error)


def count(host: Watching, track: Track, delivery: Delivery, is_wanted: bool) -> None:
    """Count a group that is over for one viewer, and as stale what it was too slow for."""
    if host.is_near:
        return
    traffic, log, sent = track.broadcast.traffic, delivery.log, delivery.sent
    layout = host.session.layout
    if sent:
        traffic.add(traffic.went.moved, log, layout, sent)
    if is_wanted and sent < log.size and log.error is None and delivery.excerpt is None:
        went = traffic.weigh(log, layout, sent) if sent else (0, 0)
        whole = traffic.weigh(log, layout, log.size)
        traffic.stale.add((whole[0] - went[0], whole[1] - went[1]), groups=int(not sent))


class Learning:
    """One request of the peer's for a track's properties (the model's `Learner`)."""

    __slots__ = ("host", "path", "request")

    def __init__(self, host: Watching, request: int, path: Path) -> None:
        self.host = host
        self.request = request
        self.path = path

    def track_accepted(self, info: ModelInfo) -> None:
        """The answer."""
        self.host.learnings.pop(self.request, None)
        self.host.session.answer_track(self.request, TrackInfo(*info))

    def track_ended(self, error: RelayError | None) -> None:
        """There is no such track."""
        self.host.learnings.pop(self.request, None)
        code = error.code if error is not None else Cancelled.code
        self.host.session.refuse_track(self.request, code)


class Fetching:
    """One fetch of a group (the model's `Fetcher`)."""

    __slots__ = (
        "delivery",
        "host",
        "over",
        "path",
        "priority",
        "sequence",
        "span",
        "stream",
        "track",
    )

    def __init__(
        self, host: Watching, stream: int, path: Path, track: Track, sequence: int, priority: int
    ) -> None:
        self.host = host
        self.stream = stream
        self.path = path
        self.track = track
        self.sequence = sequence
        self.priority = priority
        self.delivery: Delivery | None = None
        self.span: tuple[int, int | None] | None = None
        """Some frames only: the first and the last one."""
        self.over = False
        host.went(track.broadcast.traffic).fetches += 1

    def group_opened(self, group: Group) -> None:
        """The group exists: send it on the request's own stream."""
        host = self.host
        layout = near_layout(group) if host.is_near else host.session.layout
        if host.session.dialect.tells_properties:
            host.session.write(self.stream, bytes((layout.has_properties,)))
        log = group.log(layout, transcode)
        rank = (self.priority, 0, Turns(self.stream).place(group.sequence, group.opened_at))
        self.delivery = Delivery(
            host.queue,
            log,
            rank,
            lambda _: self.stream,
            self.delivered,
            None if self.span is None else Excerpt(layout, *self.span),
            host.session.write,
        )
        self.delivery.stream = self.stream
        host.departing[self.stream] = self.delivery
        self.delivery.begin()

    def delivered(self, delivery: Delivery) -> None:
        """It has left, or never will."""
        self.over = True
        count(self.host, self.track, delivery, is_wanted=False)
        self.host.fetchings.pop(self.stream, None)
        self.host.forget_stream(delivery)
        self.track.unfetch(self.sequence, self)

    def fetch_failed(self, error: RelayError) -> None:
        """There is no such group."""
        self.over = True
        self.host.fetchings.pop(self.stream, None)
        self.host.session.reset(self.stream, error.code)

    def take_back(self, error: RelayError) -> None:
        """The peer may not have it any more."""
        is_unanswered = self.delivery is None and not self.over
        self.cancel()
        if is_unanswered:
            self.host.session.reset(self.stream, error.code)

    def cancel(self) -> None:
        """The peer no longer wants it."""
        if self.delivery is not None:
            self.delivery.abort(Cancelled())
        elif not self.over:
            self.over = True
            self.host.fetchings.pop(self.stream, None)
            self.track.unfetch(self.sequence, self)
