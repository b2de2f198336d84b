"""What a guest watches: its subscriptions, fetches and announcements, bound to the model.

Each class here stands on the model's side of one request of the peer and answers it through the
session. This module must not know how bytes are queued or written, nor who may ask for what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Cancelled, RelayError
from relay.model.group import Group
from relay.model.track import Demand, Track
from relay.model.track import TrackInfo as ModelInfo
from relay.path import Path
from relay.peer.sending import Delivery
from relay.wire.lite import TrackInfo

if TYPE_CHECKING:
    from relay.peer.guest import Guest


class Viewing:
    """One subscription of the peer's (the model's `Viewer`)."""

    __slots__ = (
        "completing",
        "deliveries",
        "demand",
        "end",
        "floor",
        "guest",
        "id",
        "over",
        "track",
    )

    def __init__(self, guest: Guest, id: int, track: Track, demand: Demand) -> None:
        self.guest = guest
        self.id = id
        self.track = track
        self.demand = demand
        self.deliveries: set[Delivery] = set()
        self.end = 0
        """One more than the highest group handed over."""
        self.floor: int | None = None
        """The lowest group handed over, which need not be the first to leave."""
        self.completing = False
        self.over = False

    def track_accepted(self, info: ModelInfo) -> None:
        """The track is known."""
        self.guest.session.accept(self.id, info.priority)

    def group_opened(self, group: Group) -> None:
        """A group to deliver, from its first frame."""
        guest = self.guest
        self.end = max(self.end, group.sequence + 1)
        self.floor = group.sequence if self.floor is None else min(self.floor, group.sequence)
        log = group.log(guest.session.layout, guest.house.transcode)
        info = self.track.info
        rank = (self.demand.priority, info.priority if info else 0, group.sequence)
        sequence = group.sequence
        delivery = Delivery(
            guest.queue,
            log,
            rank,
            lambda: guest.open_group(delivery, self, sequence),
            self.delivered,
        )
        self.deliveries.add(delivery)
        delivery.begin()

    def delivered(self, delivery: Delivery) -> None:
        """A group has left, or never will."""
        self.deliveries.discard(delivery)
        self.guest.forget_stream(delivery)
        if self.completing and not self.deliveries:
            self.complete()

    def datagram_received(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A one-frame group, best effort."""
        self.guest.session.send_datagram(self.id, sequence, timestamp, payload)

    def track_ended(self, error: RelayError | None) -> None:
        """The track is complete (say so once everything has left), or broken off."""
        if error is not None:
            self.guest.session.refuse(self.id, error.code)
            self.close(error)
        elif self.deliveries:
            self.completing = True
        else:
            self.complete()

    def complete(self) -> None:
        """Everything has left."""
        self.guest.session.complete(self.id, self.end)
        self.close(Cancelled())

    def close(self, error: RelayError) -> None:
        """Nobody watches any more."""
        if not self.over:
            self.over = True
            self.completing = False
            self.guest.viewings.pop(self.id, None)
            for delivery in tuple(self.deliveries):
                delivery.abort(error)


class Asking:
    """One request of the peer's for a track's properties (the model's `Asker`)."""

    __slots__ = ("guest", "request")

    def __init__(self, guest: Guest, request: int) -> None:
        self.guest = guest
        self.request = request

    def track_accepted(self, info: ModelInfo) -> None:
        """The answer."""
        self.guest.askings.pop(self.request, None)
        self.guest.session.answer_track(self.request, TrackInfo(*info))

    def track_ended(self, error: RelayError | None) -> None:
        """There is no such track."""
        self.guest.askings.pop(self.request, None)
        code = error.code if error is not None else Cancelled.code
        self.guest.session.refuse_track(self.request, code)


class Hearing:
    """One announce request of the peer's (the model's `Watcher`)."""

    __slots__ = ("guest", "initial", "request")

    def __init__(self, guest: Guest, request: int) -> None:
        self.guest = guest
        self.request = request
        self.initial: list[tuple[str, tuple[int, ...]]] | None = []
        """What exists already, until it has been told in one go."""

    def announced(self, path: Path, hops: tuple[int, ...]) -> None:
        """A broadcast appeared, or its chain changed."""
        if self.initial is not None:
            self.initial.append((path, hops))
        else:
            self.guest.session.announce(self.request, path, hops)

    def unannounced(self, path: Path) -> None:
        """A broadcast disappeared."""
        if self.initial is None:
            self.guest.session.unannounce(self.request, path)

    def tell(self) -> None:
        """Everything that exists has been collected: answer."""
        initial, self.initial = self.initial, None
        self.guest.session.answer_announce(self.request, initial or ())


class Fetching:
    """One fetch of a whole group (the model's `Fetcher`)."""

    __slots__ = ("delivery", "guest", "over", "priority", "sequence", "stream", "track")

    def __init__(
        self, guest: Guest, stream: int, track: Track, sequence: int, priority: int
    ) -> None:
        self.guest = guest
        self.stream = stream
        self.track = track
        self.sequence = sequence
        self.priority = priority
        self.delivery: Delivery | None = None
        self.over = False

    def group_opened(self, group: Group) -> None:
        """The group exists: send it on the request's own stream."""
        log = group.log(self.guest.session.layout, self.guest.house.transcode)
        rank = (self.priority, 0, group.sequence)
        self.delivery = Delivery(self.guest.queue, log, rank, lambda: self.stream, self.delivered)
        self.delivery.stream = self.stream
        self.guest.departing[self.stream] = self.delivery
        self.delivery.begin()

    def delivered(self, delivery: Delivery) -> None:
        """It has left, or never will."""
        self.over = True
        self.guest.fetchings.pop(self.stream, None)
        self.guest.forget_stream(delivery)

    def fetch_failed(self, error: RelayError) -> None:
        """There is no such group."""
        self.over = True
        self.guest.fetchings.pop(self.stream, None)
        self.guest.session.reset(self.stream, error.code)

    def cancel(self) -> None:
        """The peer no longer wants it."""
        if self.delivery is not None:
            self.delivery.abort(Cancelled())
        elif not self.over:
            self.over = True
            self.guest.fetchings.pop(self.stream, None)
            self.track.unfetch(self.sequence, self)
