"""What a guest publishes: the tracks and groups pulled from it, by their ids and streams.

What it announces is heard by `relay.peer.announcements`. This module must not know who watches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from relay.errors import Cancelled, Dropped, Lagged, OverQuota, RemoteError
from relay.model.group import Group
from relay.peer.awaited import Awaited
from relay.peer.source import Feed, Fetch
from relay.session import events

if TYPE_CHECKING:
    from relay.peer.guest import Guest

SHORT = 5.0
"""Seconds without a stream for what is to be asked, after which that is said."""


class Publishing:
    """All that is pulled from one guest."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.session = guest.session
        self.clock = guest.clock
        self.settings = guest.settings
        self.feeds: dict[int, Feed] = {}
        self.questions: dict[int, Feed] = {}
        self.arrivals: dict[int, tuple[Group | Awaited, Feed]] = {}
        self.fetches: dict[int, Fetch] = {}
        self.finishing: set[Feed] = set()
        self._short_since: float | None = None
        self._is_told = False
        self.hears: dict[type, Callable[[Any], None]] = {
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

    def leave(self) -> None:
        """The guest is gone: end what was pulled from it."""
        for feed in {*self.feeds.values(), *self.questions.values()}:
            feed.abandon(Dropped("the publisher vanished"))
        for fetch in tuple(self.fetches.values()):
            fetch.fail(Dropped("the publisher vanished"))
        for table in (self.feeds, self.questions, self.arrivals):
            table.clear()
        self.finishing.clear()

    def tick(self, now: float) -> None:
        """Tracks that ended wait a moment for groups still under way, questions not forever."""
        self._tell_shortage(now)
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

    def _tell_shortage(self, now: float) -> None:
        """Say once that the guest grants no more streams: the viewers of what it is not asked for
        wait, and nothing else tells why."""
        if not self.session.unasked:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now
        elif now - self._short_since > SHORT and not self._is_told:
            self._is_told = True
            why = "the publisher takes no more streams"
            waiting = self.session.unasked
            self.guest.house.log("requests wait", id=self.guest.id, waiting=waiting, reason=why)

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
            feed.group_opened(event.stream, event.sequence, event.has_properties)
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
            feed.group_arrived(event.sequence, event.data, now, event.has_properties)

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
            fetch.received(event.data, event.has_properties)

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
