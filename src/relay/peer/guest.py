"""One guest of the relay: its conversation bound to what is shared, under its grant.

The guest is the `Receiver` of its connection. Everything it hears goes through `hear`, everything
it may touch is a `Scope` of the origin that has the grant's root joined in already, so nothing here
handles an absolute path. It must not know QUIC, HTTP, or how a grant was decided.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from relay.auth.grant import Denied, Grant
from relay.errors import (
    BadRequest,
    Cancelled,
    Dropped,
    Forbidden,
    LimitExceeded,
    Refused,
    RelayError,
    RemoteError,
    Unauthorized,
    Unroutable,
)
from relay.model.broadcast import Route
from relay.model.group import Group, Transcode
from relay.model.origin import Origin
from relay.model.scope import Scope, ScopeWatch
from relay.model.track import Demand, Track
from relay.path import Path
from relay.peer.sending import Delivery, SendQueue
from relay.peer.settings import PeerSettings
from relay.peer.source import Feed, PeerSource
from relay.peer.viewing import Asking, Fetching, Hearing, Viewing
from relay.session import events
from relay.session.lite import LiteSession
from relay.session.transport import Transport


@dataclass(slots=True)
class House:
    """What all guests share."""

    origin: Origin
    transcode: Transcode
    clock: Callable[[], float]
    """Monotonic seconds."""
    settings: PeerSettings = field(default_factory=PeerSettings)
    log: Callable[..., None] = lambda event, **facts: None
    """Where noteworthy things are written: an event's name and its facts."""


class Guest:
    """One peer, from its first byte to its last.

    ``admit`` is asked with the target of the peer's SETUP (and its roles) when the transport did
    not carry one; it answers with a grant or raises `Refused`. ``left`` is called exactly once,
    when the guest is gone.
    """

    def __init__(
        self,
        house: House,
        transport: Transport,
        session: LiteSession,
        *,
        id: str,
        grant: Grant | None,
        admit: Callable[[Guest, events.Opened], Grant] | None = None,
        left: Callable[[Guest, str], None] = lambda guest, reason: None,
    ) -> None:
        self.house = house
        self.settings = house.settings
        self.clock = house.clock
        self.transport = transport
        self.session = session
        self.id = id
        self.grant = grant
        self.admit = admit
        self.left = left
        self.alias = secrets.randbelow(2**53 - 1) + 1
        """The peer's hop id where it has none, so that it never hears its own broadcasts."""
        self.began = house.clock()
        self.opened = False
        self.gone = False
        self.scope: Scope | None = None
        self.queue = SendQueue(transport, self.settings, self.clock, session.write, session.reset)
        self.routes: dict[Path, Route] = {}
        self.feeds: dict[int, Feed] = {}
        self.questions: dict[int, Feed] = {}
        self.arrivals: dict[int, tuple[Group, Feed]] = {}
        self.finishing: set[Feed] = set()
        self.viewings: dict[int, Viewing] = {}
        self.askings: dict[int, tuple[Asking, Track]] = {}
        self.hearings: dict[int, tuple[Hearing, ScopeWatch]] = {}
        self.departing: dict[int, Delivery] = {}
        """Groups and fetches on their way out, by stream."""
        self.fetchings: dict[int, Fetching] = {}
        self.probes: dict[int, tuple[int, int, float]] = {}
        """Streams on which the peer hears our estimates, with the last one and its time."""
        self._denied: set[str] = set()
        self._hearers: dict[type, Callable[[Any], None]] = {
            events.Opened: self._opened,
            events.AnnounceRequested: self._announce_requested,
            events.AnnounceCancelled: self._announce_cancelled,
            events.Announced: self._announced,
            events.Unannounced: self._unannounced,
            events.AnnouncesLost: self._announces_lost,
            events.Subscribed: self._subscribed,
            events.SubscribeUpdated: self._subscribe_updated,
            events.Unsubscribed: self._unsubscribed,
            events.TrackRequested: self._track_requested,
            events.TrackCancelled: self._track_cancelled,
            events.FetchRequested: self._fetch_requested,
            events.StreamCancelled: self._stream_cancelled,
            events.TrackDescribed: self._track_described,
            events.TrackRefused: self._track_refused,
            events.SubscribeAccepted: self._subscribe_accepted,
            events.SubscribeFinished: self._subscribe_finished,
            events.SubscribeRefused: self._subscribe_refused,
            events.GroupOpened: self._group_opened,
            events.GroupReceived: self._group_received,
            events.GroupFinished: self._group_finished,
            events.GroupAborted: self._group_aborted,
            events.DatagramReceived: self._datagram_received,
            events.ProbeRequested: self._probe_requested,
            events.ProbeReported: lambda event: None,
            events.GoawayReceived: self._goaway_received,
        }

    # -- the connection's side -----------------------------------------------------------------

    def start(self) -> None:
        """Say what must be said first."""
        self.hear(self.session.start())

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """See `Receiver`."""
        self.hear(self.session.stream_received(stream, data, fin))

    def stream_reset(self, stream: int, code: int) -> None:
        """See `Receiver`."""
        self.hear(self.session.stream_reset(stream, code))

    def stream_stopped(self, stream: int, code: int) -> None:
        """See `Receiver`."""
        if (delivery := self.departing.get(stream)) is not None:
            delivery.abort(Cancelled())  # that group only
        self.hear(self.session.stream_stopped(stream, code))

    def datagram_received(self, data: bytes) -> None:
        """See `Receiver`."""
        self.hear(self.session.datagram_received(data))

    def flush(self) -> None:
        """See `Receiver`."""
        self.hear(self.session.flush())
        self.queue.drain()

    def connection_lost(self, code: int, reason: str) -> None:
        """See `Receiver`."""
        self.session.closed = True
        self.leave(Dropped(), reason or f"code {code}")

    def hear(self, heard: Iterable[events.Event]) -> None:
        """The one funnel: everything the peer said, in order."""
        for event in heard:
            if self.gone:
                return
            self._hearers[type(event)](event)

    # -- the relay's side ----------------------------------------------------------------------

    def close(self, error: RelayError) -> None:
        """End the session from our side."""
        self.session.fail(error)
        self.leave(error, str(error))

    def leave(self, error: RelayError, reason: str) -> None:
        """Let go of everything shared, exactly once."""
        if self.gone:
            return
        self.gone = True
        now = self.clock()
        for route in tuple(self.routes.values()):
            route.lose(now)
        for viewing in tuple(self.viewings.values()):
            viewing.track.unwatch(viewing, now)
            viewing.close(error)
        for asking, track in tuple(self.askings.values()):
            track.unlearn(asking, now)
        for _, watch in self.hearings.values():
            watch.cancel()
        for fetching in tuple(self.fetchings.values()):
            fetching.cancel()
        self.queue.close()
        for table in (self.routes, self.viewings, self.askings, self.hearings, self.departing):
            table.clear()
        for feed in tuple(self.feeds.values()):
            feed.source.forget(feed)
        self.arrivals.clear()
        self.finishing.clear()
        self.left(self, reason)

    def tick(self, now: float) -> None:
        """A few times a second: what is due by time."""
        self.queue.tick(now)
        for feed in tuple(self.finishing):
            feed.try_finish(now)
        if not self.opened and now - self.began > self.settings.setup_timeout:
            self.close(BadRequest("the peer did not introduce itself in time"))
        if self.probes:
            self._report(now)

    def _report(self, now: float) -> None:
        """Tell a probing peer our estimate when it changed by a quarter, or every ten seconds."""
        bitrate, rtt = self.transport.bandwidth(), round(self.transport.rtt * 1000)
        for stream, (old_rate, old_rtt, at) in self.probes.items():
            changed = abs(bitrate - old_rate) * 4 > old_rate or abs(rtt - old_rtt) * 4 > old_rtt
            if changed or now - at >= 10:
                self.probes[stream] = (bitrate, rtt, now)
                self.session.report(stream, bitrate, rtt)

    # -- the peer introduces itself ------------------------------------------------------------

    def _opened(self, event: events.Opened) -> None:
        try:
            grant = self.grant or (self.admit(self, event) if self.admit else None)
        except Refused as error:
            self.close(error)
            return
        if grant is None:
            self.close(Unauthorized("nobody decides here"))
            return
        self.grant = grant
        self.opened = True
        subscribe = grant.subscribe if event.subscribes else ()
        publish = grant.publish if event.publishes else ()
        self.scope = self.house.origin.scope(grant.root, publish, subscribe)
        for prefix in publish:
            self.session.listen(prefix)

    # -- what exists ---------------------------------------------------------------------------

    def _announce_requested(self, event: events.AnnounceRequested) -> None:
        if self.scope is None:
            return
        hearing = Hearing(self, event.request)
        exclude = event.exclude or self.session.peer_origin or self.alias
        watch = self.scope.watch(Path(event.prefix), hearing, exclude)
        self.hearings[event.request] = (hearing, watch)
        hearing.tell()

    def _announce_cancelled(self, event: events.AnnounceCancelled) -> None:
        if (entry := self.hearings.pop(event.request, None)) is not None:
            entry[1].cancel()

    def _announced(self, event: events.Announced) -> None:
        path = Path(event.path)
        now = self.clock()
        hops = event.hops if event.hops and event.hops[-1] else (*event.hops[:-1], self.alias)
        if (route := self.routes.get(path)) is not None:
            if route.hops[:1] == hops[:1] and hops[0]:
                if not route.update(hops, now):
                    self.routes.pop(path, None)
                return
            del self.routes[path]
            route.withdraw(now)
        try:
            assert self.scope is not None
            source = PeerSource(self, path)
            admitted = self.scope.announce(path, source, hops, now)
        except (Forbidden, LimitExceeded) as error:
            self._deny(path, error)
            return
        if admitted is not None:
            self.routes[path] = admitted

    def _deny(self, path: Path, error: RelayError) -> None:
        """The broadcast is announced to nobody; say why, once."""
        if path not in self._denied and len(self._denied) < 1024:
            self._denied.add(path)
            verdict = self.grant.may_publish(path) if self.grant else None
            reason = verdict.reason if isinstance(verdict, Denied) else str(error)
            self.house.log("publish denied", session=self.id, path=path, reason=reason)

    def _unannounced(self, event: events.Unannounced) -> None:
        if (route := self.routes.pop(Path(event.path), None)) is not None:
            route.withdraw(self.clock())

    def _announces_lost(self, event: events.AnnouncesLost) -> None:
        for path in event.paths:
            if (route := self.routes.pop(Path(path), None)) is not None:
                route.lose(self.clock())

    # -- what the peer watches -----------------------------------------------------------------

    def _find(self, broadcast: str, track: str) -> Track:
        """The track, if it exists in the peer's eyes. Raises `Unroutable` and friends otherwise."""
        path = Path(broadcast)
        found = self.scope.find(path) if self.scope is not None else None
        if found is None:
            raise Unroutable(f"no broadcast at {path!r} for this session")
        return found.track(track)

    def _subscribed(self, event: events.Subscribed) -> None:
        try:
            track = self._find(event.broadcast, event.track)
        except RelayError as error:
            self.house.log(
                "subscribe refused",
                session=self.id,
                path=event.broadcast,
                track=event.track,
                reason=str(error),
            )
            self.session.refuse(event.id, error.code)
            return
        viewing = Viewing(self, event.id, track, Demand(*event[3:]))
        self.viewings[event.id] = viewing
        track.watch(viewing, self.clock())

    def _subscribe_updated(self, event: events.SubscribeUpdated) -> None:
        if (viewing := self.viewings.get(event.id)) is not None:
            viewing.demand = Demand(*event[1:])
            viewing.track.rewatch(viewing, self.clock())

    def _unsubscribed(self, event: events.Unsubscribed) -> None:
        if (viewing := self.viewings.get(event.id)) is not None:
            viewing.track.unwatch(viewing, self.clock())
            viewing.close(Cancelled())

    def _track_requested(self, event: events.TrackRequested) -> None:
        try:
            track = self._find(event.broadcast, event.track)
        except RelayError as error:
            self.session.refuse_track(event.request, error.code)
            return
        asking = Asking(self, event.request)
        self.askings[event.request] = (asking, track)
        track.learn(asking, self.clock())

    def _track_cancelled(self, event: events.TrackCancelled) -> None:
        if (entry := self.askings.pop(event.request, None)) is not None:
            entry[1].unlearn(entry[0], self.clock())

    def _fetch_requested(self, event: events.FetchRequested) -> None:
        try:
            track = self._find(event.broadcast, event.track)
        except RelayError as error:
            self.session.reset(event.stream, error.code)
            return
        fetching = Fetching(self, event.stream, track, event.group, event.priority)
        self.fetchings[event.stream] = fetching
        track.fetch(event.group, fetching, self.clock())

    def _stream_cancelled(self, event: events.StreamCancelled) -> None:
        self.probes.pop(event.stream, None)
        if (fetching := self.fetchings.get(event.stream)) is not None:
            fetching.cancel()

    def open_group(self, delivery: Delivery, viewing: Viewing, sequence: int) -> int | None:
        """A stream for a group, if the peer grants one."""
        stream = self.session.open_group(viewing.id, sequence, viewing.floor)
        if stream is not None:
            self.departing[stream] = delivery
        return stream

    def forget_stream(self, delivery: Delivery) -> None:
        """Nothing more goes out on the delivery's stream."""
        if delivery.stream is not None:
            self.departing.pop(delivery.stream, None)

    # -- what the peer publishes ---------------------------------------------------------------

    def _track_described(self, event: events.TrackDescribed) -> None:
        if (feed := self.questions.pop(event.request, None)) is not None:
            feed.described(event)

    def _track_refused(self, event: events.TrackRefused) -> None:
        if (feed := self.questions.pop(event.request, None)) is not None:
            feed.refused(event.code)

    def _subscribe_accepted(self, event: events.SubscribeAccepted) -> None:
        if (feed := self.feeds.get(event.id)) is not None:
            feed.accepted()

    def _subscribe_finished(self, event: events.SubscribeFinished) -> None:
        if (feed := self.feeds.get(event.id)) is not None:
            feed.finished(event.end)

    def _subscribe_refused(self, event: events.SubscribeRefused) -> None:
        if (feed := self.feeds.get(event.id)) is not None:
            feed.refused(event.code)

    def _group_opened(self, event: events.GroupOpened) -> None:
        if (feed := self.feeds.get(event.id)) is not None:
            feed.group_opened(event.stream, event.sequence)

    def _group_received(self, event: events.GroupReceived) -> None:
        entry = self.arrivals.get(event.stream)
        if entry is not None and not entry[0].write(event.data, self.clock()):
            entry[1].drop_group(event.stream)
            self.session.stop(event.stream, Cancelled.code)

    def _group_finished(self, event: events.GroupFinished) -> None:
        if (entry := self.arrivals.get(event.stream)) is not None:
            entry[1].group_finished(event.stream)

    def _group_aborted(self, event: events.GroupAborted) -> None:
        if (entry := self.arrivals.get(event.stream)) is not None:
            entry[1].group_aborted(event.stream, RemoteError(event.code))

    def _datagram_received(self, event: events.DatagramReceived) -> None:
        if (feed := self.feeds.get(event.id)) is not None:
            feed.track.datagram(event.sequence, event.timestamp, event.payload)

    # -- the rest ------------------------------------------------------------------------------

    def _probe_requested(self, event: events.ProbeRequested) -> None:
        self.probes[event.stream] = (0, 0, self.clock())

    def _goaway_received(self, event: events.GoawayReceived) -> None:
        self.house.log("peer is leaving", session=self.id, uri=event.uri)
