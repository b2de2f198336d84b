"""What a guest publishes: its broadcasts as sources of the model.

A `PeerSource` stands for one announced broadcast; the model asks it for tracks when somebody
watches, and a `Feed` pulls one such track from the peer, once for all viewers. A `Fetch` does the
same for one group that somebody asked for by number. This module must not know who watches, nor
whether the peer may publish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import (
    Cancelled,
    Expired,
    Lagged,
    LimitExceeded,
    OverQuota,
    RelayError,
    RemoteError,
)
from relay.model.group import Group
from relay.model.track import Demand, Track, TrackInfo
from relay.path import Path
from relay.peer.awaited import Awaited
from relay.peer.tally import Tally
from relay.session import events
from relay.wire.frame import Counted, Encoding, Layout
from relay.wire.messages import SubscribeUpdate

if TYPE_CHECKING:
    from relay.model.broadcast import Broadcast
    from relay.peer.publishing import Publishing


class Feed:
    """One track pulled from the peer."""

    def __init__(self, source: PeerSource, track: Track) -> None:
        self.source = source
        self.host = source.host
        self.track = track
        self.encoding: Encoding = source.host.session.layout
        """How its groups are written."""
        self.wanted = False
        """Groups are wanted, not only the properties."""
        self.question: int | None = None
        self.asked_at = 0.0
        """When the question was put."""
        self.id: int | None = None
        self.groups: dict[int, Group | Awaited] = {}
        """Groups that are arriving, by stream."""
        self._tally = Tally()
        """Groups that came, or began to."""
        self.start: int | None = None
        """The lowest group that the peer delivers, and one above the highest, where it says so."""
        self.end: int | None = None
        self.asked: SubscribeUpdate | None = None
        """What was asked for last."""
        self.reach: int | None = None
        """The lowest group that was asked for after the first time, and may be delivered, too."""
        self.finish_at: float | None = None
        """When to stop waiting for groups that are still under way."""

    # -- asked by the model ------------------------------------------------------------------

    def learn(self) -> None:
        """Find out the track's properties, unless it was this peer who said them."""
        if self.question is None and self.track.described_by is not self.source:
            path = self.source.path_of(self.track)
            self.question = self.host.session.describe(path, self.track.name)
            if self.question is not None:
                self.host.questions[self.question] = self
                self.asked_at = self.host.clock()
            elif not self.wanted and self.track.info is None:
                self.assume()  # the version cannot ask

    def open(self) -> None:
        """Pull the track: its properties first where the version has them, then groups. Another
        process of this relay is asked for both: it may take for granted what it only describes."""
        self.wanted = True
        self.learn()
        if self.question is None or self.host.guest.is_near:
            self.subscribe()

    def subscribe(self) -> None:
        """Ask the peer for groups."""
        if self.id is None:
            self.asked = self.demand()
            path = self.source.path_of(self.track)
            self.id = self.host.session.subscribe(path, self.track.name, self.asked)
            self.host.feeds[self.id] = self

    def update(self) -> None:
        """The viewers' wishes changed."""
        if self.id is not None:
            demand = self.demand()
            older = _older(demand, self.asked)
            if older is not None:
                self.reach = older if self.reach is None else min(self.reach, older)
            self.asked = demand
            self.host.session.resubscribe(self.id, demand)

    def demand(self) -> SubscribeUpdate:
        """What all viewers together want; after a route was lost, from the first missing group."""
        demand = SubscribeUpdate(*(self.track.demand or Demand()))
        if self.track.start_at is not None:
            demand = demand._replace(start=self.track.start_at)
        if demand.start is not None and self.host.session.dialect.start_floor:
            # The peer would leave out what it finds too old: as old as it keeps them is wanted.
            kept = self.track.properties.max_latency
            demand = demand._replace(max_latency=max(demand.max_latency, kept))
        return demand

    def close(self) -> None:
        """Nobody wants it any more."""
        self.wanted = False
        if self.question is not None:
            self.host.questions.pop(self.question, None)
            self.host.session.cancel_describe(self.question)
            self.question = None
        if self.id is not None:
            self.host.feeds.pop(self.id, None)
            self.host.session.unsubscribe(self.id)
            self.id = None
        for stream in tuple(self.groups):
            self.host.session.stop(stream, Cancelled.code)
            self.drop_group(stream)
        self.host.finishing.discard(self)

    def abandon(self, error: RelayError) -> None:
        """The peer is gone, and its route was withdrawn before: end what still ran."""
        for group in tuple(self.groups.values()):
            group.abort(error)
        self.source.forget(self)
        self.track.fail(error, self.source)

    # -- said by the peer ----------------------------------------------------------------------

    def described(self, event: events.TrackDescribed) -> None:
        """The properties. Viewers were told the units of the route before, and go by them."""
        self.question = None
        info, told = TrackInfo(*event[1:]), self.track.info
        if told is None or told.timescale == info.timescale:
            self.track.accept(info, self.source)
        else:
            self.encoding = Counted(info.timescale, self.host.session.layout.has_properties)
            self.track.accept(info._replace(timescale=told.timescale))
        if self.wanted:
            self.subscribe()

    def accepted(self, start: int | None = None) -> None:
        """The peer serves us; where it never said the properties, assume the defaults."""
        if start is not None:
            self.start = self.track.begins_at = start
        if self.track.info is None or not self.host.session.dialect.track_stream:
            self.assume()

    def assume(self) -> None:
        """The peer does not say the properties: they are the defaults."""
        dialect, told = self.host.session.dialect, self.track.info
        if told is None:
            self.track.accept(TrackInfo(timescale=dialect.timescale))
        elif dialect.layout.is_timed and told.timescale != dialect.timescale:
            self.encoding = Counted(dialect.timescale, dialect.layout.has_properties)

    def check(self, now: float) -> None:
        """Give up on a peer that does not say what the track is."""
        limit = self.host.settings.track_timeout
        if self.question is not None and now - self.asked_at > limit:
            self.failed(Expired(f"nothing said of the track for peer.track_timeout ({limit} s)"))

    def refused(self, code: int) -> None:
        """The peer will not, or no longer, serve the track."""
        self.failed(RemoteError(code))

    def failed(self, error: RelayError) -> None:
        """The track cannot be had from the peer, or no longer."""
        self.source.forget(self)
        self.track.fail(error, self.source)

    def group_opened(self, stream: int, sequence: int, has_properties: bool = False) -> None:
        """A group starts arriving."""
        self.accepted()
        self._tally.add(sequence)
        awaited = Awaited(self, stream, sequence, self._written(has_properties))
        self.hold(stream, awaited)
        self.track.foretell(awaited.settle)
        if sequence in self.track.groups:  # what is there already is to cost nobody anything
            awaited.settle()

    def _written(self, has_properties: bool) -> Encoding:
        """How a group is written that comes from another process of this relay, maybe as that has
        it from a peer whose objects have properties."""
        return _with_properties(self.encoding) if has_properties else self.encoding

    def hold(self, stream: int, group: Group | Awaited) -> None:
        """What comes on a stream is of this group."""
        self.groups[stream] = group
        self.host.arrivals[stream] = (group, self)

    def group_arrived(
        self, sequence: int, data: bytes, now: float, has_properties: bool = False
    ) -> None:
        """A group came at once."""
        self._tally.add(sequence)
        if self.track.info is None:
            self.accepted()
        encoding = self._written(has_properties) if has_properties else self.encoding
        self.track.add_group(sequence, encoding, data, now, self.source)
        self.wait_on(now)

    def datagram(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """A group of one small frame."""
        self._tally.add(sequence)
        if isinstance(self.encoding, Counted):
            timestamp = self.encoding.told(timestamp, self.track.properties.timescale)
        self.track.datagram(sequence, timestamp, payload, now, self.source)

    def drop_group(self, stream: int) -> Group | Awaited | None:
        """The stream carries no group any more."""
        self.host.arrivals.pop(stream, None)
        return self.groups.pop(stream, None)

    def group_finished(self, stream: int) -> None:
        """The group is complete."""
        now = self.host.clock()
        if (group := self.drop_group(stream)) is not None:
            group.finish(now)
        self.wait_on(now)

    def group_aborted(self, stream: int, error: RelayError) -> None:
        """The group broke off."""
        if (group := self.drop_group(stream)) is not None:
            group.abort(error)
        self.wait_on(self.host.clock())

    def finished(self, end: int | None) -> None:
        """The peer ended the track: groups on streams of their own may still be under way."""
        now = self.host.clock()
        self.end = end
        self.finish_at = now
        self.host.finishing.add(self)
        self.wait_on(now)

    def wait_on(self, now: float) -> None:
        """Where the track has ended: others may follow the group that came, for a while."""
        if self.finish_at is not None:
            self.finish_at = now + self.host.settings.finish_grace
            self.try_finish(now)

    def try_finish(self, now: float) -> None:
        """End the track once nothing can be under way any more: the newest groups may have come
        first."""
        if self.finish_at is None or self.groups:
            return
        start = self.start or 0
        if self.reach is not None:
            start = min(start, self.reach)
        has_all = self.end is not None and self._tally.count >= self.end - start
        if has_all or now >= self.finish_at:
            self.finish_at = None
            self.source.forget(self)
            self.accepted()
            self.track.finish(now, self.source)


class Fetch:
    """One group that the peer is asked for by number."""

    def __init__(self, source: PeerSource, track: Track, sequence: int) -> None:
        self.source = source
        self.host = source.host
        self.track = track
        self.sequence = sequence
        self.id = -1
        self.priority = 0
        self.encoding = source.encoding(track)
        """How the group is written, where that is known."""
        self.group: Group | None = None
        """What arrives, from its first byte on."""
        self.heard_at = source.host.clock()
        """When the peer last said something of it, or was asked."""

    def ask(self, priority: int) -> None:
        """Put the question, but first that for the track's units where they are not known."""
        host = self.host
        # A relay speaks for many publishers, none of whom may take the others' share.
        others = len(self.source.fetches) - 1 if host.guest.is_relay else len(host.fetches)
        if others >= host.settings.max_fetches:
            self.fail(LimitExceeded("too many groups asked for: peer.max_fetches"))
            return
        path, name = self.source.path_of(self.track), self.track.name
        id = host.session.describe(path, name) if self.encoding is None else None
        if id is None:
            id = host.session.fetch(path, name, self.sequence, priority)
        self.id, self.priority = id, priority
        host.fetches[id] = self

    def described(self, event: events.TrackDescribed) -> None:
        """The units; the track's stay what was told."""
        self.host.fetches.pop(self.id, None)
        if event.timescale == self.track.properties.timescale:
            self.encoding, self.track.described_by = self.host.session.layout, self.source
        else:
            self.encoding = Counted(event.timescale, self.host.session.layout.has_properties)
        self.ask(self.priority)

    def refused(self, code: int) -> None:
        """There is no such track, or no such group."""
        self.fail(RemoteError(code))

    def received(self, data: bytes, has_properties: bool = False) -> None:
        """The next bytes of the group, as far as its tenant's rate allows them."""
        host, now = self.host, self.host.clock()
        self.heard_at = now
        group = self.group or self.begin(now, has_properties)
        if group is None:
            return
        if not host.guest.tab.account.receive(len(data), now):
            self.fail(Lagged("its tenant is over quotas.ingress_bits"))
        elif not group.write(data, now):
            self.close()

    def begin(self, now: float, has_properties: bool = False) -> Group | None:
        """The group begins to arrive; ``None`` when it is not wanted, or not now."""
        host = self.host
        if not host.guest.tab.account.may_receive(now):
            self.fail(OverQuota("its tenant is over quotas.ingress_bits"))
            return None
        encoding = self.encoding or host.session.layout
        if has_properties:
            encoding = _with_properties(encoding)
        self.group = self.track.open_fetched(self.sequence, encoding, now)
        if self.group is None:
            self.close()
        return self.group

    def finished(self) -> None:
        """The group is complete; it may well be empty."""
        now = self.host.clock()
        group = self.group or self.begin(now)
        if group is not None:
            self.close()
            group.finish(now)

    def fail(self, error: RelayError) -> None:
        """The group cannot be had, or not to its end."""
        self.close()
        if self.group is None:
            self.track.fetch_failed(self.sequence, error)
        else:
            self.group.abort(error)

    def check(self, now: float) -> None:
        """Give up on a peer that is silent for too long, and on a group that is not kept."""
        limit = self.host.settings.fetch_timeout
        if self.group is not None and self.group.ended:
            self.close()
        elif now - self.heard_at > limit:
            self.fail(Expired(f"not a byte of the group for peer.fetch_timeout ({limit} s)"))

    def close(self) -> None:
        """It is over; the peer is told where it does not know."""
        self.host.fetches.pop(self.id, None)
        self.host.session.cancel_describe(self.id)
        self.host.session.cancel_fetch(self.id)
        self.source.drop_fetch(self)


def _with_properties(encoding: Encoding) -> Encoding:
    """The same of objects with properties, as they go between the processes of this relay."""
    if isinstance(encoding, Counted):
        return encoding._replace(has_properties=True)
    return Layout.TIMED_OBJECTS


def _older(now: SubscribeUpdate, before: SubscribeUpdate | None) -> int | None:
    """The first of the groups that may follow and are older than those asked for ``before``."""
    if now.start is None or before is None:
        return None
    is_first_older = before.start is None or now.start < before.start
    return now.start if is_first_older or now.max_latency > before.max_latency else None


class PeerSource:
    """One broadcast that the peer announced, and whatever it has below (the model's
    `FetchSource`)."""

    serves_below = True

    def __init__(self, host: Publishing, path: Path) -> None:
        self.host = host
        self.path = path
        self.feeds: dict[Track, Feed] = {}
        self.fetches: dict[tuple[Track, int], Fetch] = {}
        self.is_revoked = False
        """Whether the peer may not publish it any more; it may still wait for its turn to end."""

    def begins_at_latest(self, max_latency: int) -> bool:
        """Whether nothing older than its latest group comes for who names no other start."""
        return not (max_latency and self.host.session.dialect.start_floor)

    def path_of(self, track: Track) -> Path:
        """What the peer calls the track's broadcast."""
        return self.path.join(track.below)

    def learn(self, track: Track) -> None:
        """Somebody wants to know the track's properties."""
        if not self._is_lost(track):
            self.feed(track).learn()

    def open(self, track: Track) -> None:
        """Somebody watches the track."""
        if not self._is_lost(track):
            self.feed(track).open()

    def update(self, track: Track) -> None:
        """The viewers' wishes changed."""
        if (feed := self.feeds.get(track)) is not None:
            feed.update()

    def close(self, track: Track) -> None:
        """Nobody watches the track any more."""
        if (feed := self.feeds.pop(track, None)) is not None:
            feed.close()

    @property
    def can_fetch(self) -> bool:
        """Whether the peer is there, and its version has it."""
        return not self.is_gone and self.host.session.dialect.fetch

    @property
    def is_gone(self) -> bool:
        """Whether the peer has left, or lost its right to it; its announcement may still wait for
        its turn to end."""
        return self.is_revoked or self.host.guest.gone

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is being asked for."""
        return not (self.feeds or self.fetches)

    def fetch(self, track: Track, sequence: int, priority: int) -> None:
        """Somebody wants one group of the track."""
        fetch = self.fetches[track, sequence] = Fetch(self, track, sequence)
        fetch.ask(priority)

    def encoding(self, track: Track) -> Encoding | None:
        """How the track's groups come from here; ``None`` where others have said in which units
        the track counts, and the peer was not asked."""
        if (feed := self.feeds.get(track)) is not None and feed.question is None:
            return feed.encoding
        is_said = track.info is None or track.described_by is self
        return self.host.session.layout if is_said else None

    def cancel_fetch(self, track: Track, sequence: int) -> None:
        """Nobody wants the group any more."""
        if (fetch := self.fetches.get((track, sequence))) is not None:
            fetch.close()

    def drop_fetch(self, fetch: Fetch) -> None:
        """The fetch is over."""
        if self.fetches.get((fetch.track, fetch.sequence)) is fetch:
            del self.fetches[fetch.track, fetch.sequence]

    def _is_lost(self, track: Track) -> bool:
        """Whether nobody serves it any more."""
        if self.is_gone:
            lose_now(track.broadcast, self.host.clock())
        return self.is_gone

    def feed(self, track: Track) -> Feed:
        """The feed of that track, begun if need be."""
        feed = self.feeds.get(track)
        if feed is None:
            feed = self.feeds[track] = Feed(self, track)
        return feed

    def forget(self, feed: Feed) -> None:
        """The feed has ended by itself."""
        if self.feeds.get(feed.track) is feed:
            del self.feeds[feed.track]
        feed.close()


def lose_now(broadcast: Broadcast, now: float) -> None:
    """Somebody comes to a broadcast: what of it still waits to end waits no longer."""
    for route in tuple(broadcast.routes):
        source = route.source
        if not isinstance(source, PeerSource) or not source.is_gone or route.has_ended:
            continue
        if source.is_revoked:
            route.revoke()
        else:
            route.lose(now)
