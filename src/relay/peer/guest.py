"""One guest of the relay: its conversation bound to what is shared, under its grant.

The guest is the `Receiver` of its connection. Everything it hears goes through `hear`, everything
it may touch is a `Scope` of the origin that has the grant's root joined in already, so nothing here
handles an absolute path. It must not know QUIC, HTTP, or how a grant was decided.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from typing import Any

from relay.auth.grant import Ceiling, Grant
from relay.errors import (
    BadRequest,
    Dropped,
    Forbidden,
    LimitExceeded,
    RelayError,
    Unauthorized,
    Unavailable,
)
from relay.model.scope import Scope
from relay.path import Path, covering
from relay.peer.announcements import Announcements
from relay.peer.hearing import Hearings
from relay.peer.house import House
from relay.peer.publishing import Publishing
from relay.peer.settings import NEAR
from relay.peer.watching import Watching
from relay.quota import Tab
from relay.reserve import INTERNAL, of_every_relay
from relay.session import events
from relay.session.lite import LiteSession
from relay.session.settings import LINK_STREAMS
from relay.session.transport import PeerCertificate, Transport

REPORT_EVERY = 10.0
"""Seconds after which a probing peer is told our estimate again, changed or not."""


class Guest:
    """One peer, from its first byte to its last.

    ``admit`` is asked with the target of the peer's SETUP (and its roles) when the transport did
    not carry one; it answers with `welcome` or `close`, at once or later, and what the peer says
    meanwhile waits. ``welcomed`` is called once, when the session begins, ``unfit`` when the grant
    holds nothing of what the peer came for, and ``left`` exactly once, when the guest is gone.
    """

    talks = True
    """Whether relays may tell each other about themselves here, should it be one."""

    def __init__(
        self,
        house: House,
        transport: Transport,
        session: LiteSession,
        *,
        id: str,
        grant: Grant | None,
        cost: int | None = None,
        tab: Tab | None = None,
        remote: str = "",
        via: str = "",
        certificate: PeerCertificate | None = None,
        admit: Callable[[Guest, events.Opened], None] | None = None,
        welcomed: Callable[[Guest, Grant], None] = lambda guest, grant: None,
        unfit: Callable[[Guest, Grant], None] = lambda guest, grant: None,
        left: Callable[[Guest, str], None] = lambda guest, reason: None,
    ) -> None:
        self.house = house
        self.settings = house.settings
        self.clock = house.clock
        self.transport = transport
        self.session = session
        self.id = id
        self.remote = remote
        """The peer's address."""
        self.via = via
        """How it came: `Knock.transport` or `NEAR`; empty for a relay that we dialled."""
        self.certificate = certificate
        """What it showed when it connected: it stands beside whatever is shown later."""
        self.grant = grant
        self.ceiling = Ceiling()
        """What an operator left it at most."""
        self.cost = cost
        """Price of pulling from this peer, as we were told to reckon; ``None`` = as it says."""
        self.admit = admit
        self.too_late: Callable[[], None] = lambda: None
        """Told when it is not waited for any longer that somebody decides."""
        self.welcomed = welcomed
        self.unfit = unfit
        self.left = left
        self.alias = secrets.randbelow(2**53 - 1) + 1
        """The peer's hop id where it has none, so that it never hears its own broadcasts."""
        self.began = house.clock()
        self.opened = False
        self.gone = False
        self.is_retired = False
        """Whether another session has taken this one's place, which ends what it began."""
        self._introduced: events.Opened | None = None
        self._held: list[events.Event] = []
        self.scope: Scope | None = None
        self.tab = tab or Tab.free()
        self.watching = Watching(self)
        self.hearings = Hearings(self)
        self.publishing = Publishing(self)
        self.announcements = Announcements(self)
        self.sit(self.tab)
        self.probes: dict[int, tuple[int, int, float]] = {}
        """Streams on which the peer hears our estimates, with the last one and its time."""
        self._hears = self._ways_to_hear()

    def _ways_to_hear(self) -> dict[type, Callable[[Any], None]]:
        return {
            events.Opened: self._opened,
            events.StreamCancelled: self._stream_cancelled,
            events.ProbeRequested: self._probe_requested,
            events.GoawayReceived: self._goaway_received,
            events.LimitHit: self._limit_hit,
            **self.watching.hears,
            **self.hearings.hears,
            **self.publishing.hears,
            **self.announcements.hears,
        }

    @property
    def is_relay(self) -> bool:
        """Whether the session is one with a relay, which speaks for everybody behind it."""
        return self.scope is not None and self.scope.is_relay

    @property
    def is_near(self) -> bool:
        """Whether it is another process of this relay: what it watches is counted there."""
        return self.via == NEAR

    @property
    def hop(self) -> int:
        """The peer's number in chains."""
        return self.session.peer_origin or self.hearings.named or self.alias

    @property
    def price(self) -> int:
        """Price of pulling from this peer; 1 counts hops."""
        said = self._introduced.cost if self._introduced is not None else None
        return next((cost for cost in (self.cost, said) if cost is not None), 1)

    def sit(self, tab: Tab) -> None:
        """What the guest uses goes on this tab from now on."""
        self.tab = tab
        tab.wake = self.transport.wake
        self.watching.queue.tab = tab

    def described(self, grant: Grant) -> dict[str, Any]:
        """What is written when the session begins."""
        return {
            "id": self.id,
            "transport": self.via,
            "version": self.session.version,
            "remote": self.remote,
            "root": grant.root,
            "publish": list(grant.publish),
            "subscribe": list(grant.subscribe),
            "kid": grant.kid,
            "anonymous": grant.anonymous,
        }

    # -- the connection's side ---------------------------------------------------------------

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
        self.watching.stream_ended(stream)
        self.hear(self.session.stream_stopped(stream, code))

    def datagram_received(self, data: bytes) -> None:
        """See `Receiver`."""
        self.hear(self.session.datagram_received(data))

    def flush(self) -> None:
        """See `Receiver`."""
        if self.house.listings.behind:  # for anybody: time has passed
            self.house.listings.pass_on(self.clock())
        if self.house.orphans.routes:
            self.house.orphans.tick(self.clock())
        if self.session.has_waiting:
            self.hear(self.session.flush())
        if self.hearings.requested:
            self.house.listings.ask(self.hearings, self.clock())
        if self.announcements.taken:
            self.announcements.next_turn()
        if self.watching.updated or self.watching.looked:
            self.watching.next_turn()
        if self.watching.unasked:
            self.watching.ask()
        self.watching.queue.drain()
        if self.watching.parting:
            self.watching.complete_parting()

    def connection_lost(self, code: int, reason: str) -> None:
        """See `Receiver`."""
        self.session.closed = True
        self.leave(Dropped(), reason or f"code {code}")

    def hear(self, heard: Iterable[events.Event]) -> None:
        """The one funnel: everything the peer said, in order."""
        for event in heard:
            if self.gone:
                return
            if self._introduced is not None and not self.opened:
                self._hold(event)
            else:
                self._hears[type(event)](event)

    def _hold(self, event: events.Event) -> None:
        """The peer is being decided on: what it says waits."""
        self._held.append(event)
        if len(self._held) > self.settings.max_held:
            self.close(LimitExceeded("too much said before the decision: peer.max_held"))

    # -- the relay's side --------------------------------------------------------------------

    def narrow(self, ceiling: Ceiling) -> None:
        """Fewer rights, in force at once and for as long as the session lives: no other grant gives
        back what lies beyond."""
        self.ceiling = ceiling.under(self.ceiling)
        if self.grant is not None:
            self.regrant(self.grant)

    def regrant(self, grant: Grant) -> None:
        """Other rights for the running session, in force at once, as far as its ceiling allows. The
        root stays what it was.

        What is no longer covered ends: broadcasts are revoked, subscriptions refused. What is newly
        covered works: the peer is asked for it, and what it announced in vain before is heard.
        """
        event = self._introduced
        if self.gone:
            return
        grant = self.ceiling.over(grant)
        if self.scope is None or event is None:
            if self.grant is not None:  # decided on before it introduces itself: it will have these
                self.grant = grant
            return
        self.grant = grant
        publish, subscribe = windows(grant, event, self.talks)
        self.scope.narrow(publish, subscribe, self.announcements.revoke)
        self.watching.regranted(self.scope)
        self.announcements.regranted(publish)

    def retire(self) -> None:
        """Another session has taken this one's place: new things go there.

        Both sides' announcements are taken back here; what is under way goes on.
        """
        if not self.gone:
            self.is_retired = True
            self.announcements.retire()
            self.hearings.withdraw()

    @property
    def has_under_way(self) -> bool:
        """Whether groups come or go that are not whole on the other side, beside what relays tell
        each other, which has no end and is told from the beginning elsewhere."""
        sent = [each.track for each in self.watching.viewings.values() if each.deliveries]
        sent += [each.track for each in self.watching.fetchings.values()]
        came = [feed.track for _, feed in self.publishing.arrivals.values()]
        came += [each.track for each in self.publishing.fetches.values()]
        if any(not track.path.is_under(INTERNAL) for track in sent + came):
            return True
        return self.transport.oldest_under_way() is not None

    def withdraw(self, near: Collection[int]) -> None:
        """We are about to stop: the peer, if it is a relay, hears no more of ways that lead on from
        us and our other processes, whose numbers are ``near``."""
        if not self.gone:
            self.hearings.withhold_transit(near)

    def close(self, error: RelayError) -> None:
        """End the session from our side. Never raises: whoever ends one has others to see to."""
        try:
            try:
                self.session.fail(error)
            finally:
                self.leave(error, str(error))
        except Exception as trouble:
            self.house.log("internal error", id=self.id, error=repr(trouble))

    def leave(self, error: RelayError, reason: str) -> None:
        """Let go of everything shared, exactly once."""
        if self.gone:
            return
        self.gone = True
        if self.is_relay:
            self.house.origin.relays -= 1
        # From the last to the first, each of them whatever another one raises: what is left half
        # way is never come back to.
        with ExitStack() as leaving:
            leaving.callback(self.left, self, reason)
            leaving.callback(self.probes.clear)
            leaving.callback(self.tab.close)
            leaving.callback(self.watching.leave, error)
            leaving.callback(self.hearings.leave)
            leaving.callback(self.publishing.leave)
            leaving.callback(self.announcements.leave, error)

    def tick(self, now: float) -> None:
        """A few times a second: what is due by time."""
        self.watching.queue.tick(now)
        self.watching.awaiting.tick(now)
        self.watching.bound()
        if self.hearings.requested:
            self.house.listings.ask(self.hearings, now)
        elif self.hearings.behind:
            self.house.listings.tick(now)
        if self.watching.parting:
            self.watching.complete_parting()
        self.publishing.tick(now)
        self.announcements.tick()
        if not self.opened and now - self.began > self.settings.setup_timeout:
            self._give_up()
        if self.probes:
            self._report(now)

    def _give_up(self) -> None:
        """Nobody is waited for longer: not the peer, nor whoever is to decide on it."""
        if self._introduced is None:
            self.close(BadRequest("the peer did not introduce itself in time"))
            return
        self.too_late()
        self.close(Unavailable(f"unavailable (id {self.id})"))

    def _report(self, now: float) -> None:
        """Tell a probing peer our estimate when it changed by a quarter, or now and then."""
        bitrate, rtt = self.transport.bandwidth(), round(self.transport.rtt * 1000)
        for stream, (old_rate, old_rtt, at) in self.probes.items():
            changed = abs(bitrate - old_rate) * 4 > old_rate or abs(rtt - old_rtt) * 4 > old_rtt
            if changed or now - at >= REPORT_EVERY:
                self.probes[stream] = (bitrate, rtt, now)
                self.session.report(stream, bitrate, rtt)

    # -- what concerns the session itself ----------------------------------------------------

    def _opened(self, event: events.Opened) -> None:
        """The peer introduced itself: have it decided on, if nobody has, and begin."""
        self._introduced = event
        if self.grant is not None:
            self.welcome(self.grant)
        elif self.admit is not None:
            self.admit(self, event)
        else:
            self.close(Unauthorized("nobody decides here"))

    def welcome(self, grant: Grant) -> None:
        """The session begins, with these rights."""
        event = self._introduced
        if self.gone or self.opened or event is None:
            return
        publish, subscribe = windows(grant, event, self.talks)
        if not (subscribe or publish):
            # Decided on before it said what it came for: what it wants is not what it may do.
            self.unfit(self, grant)
            self.close(Forbidden(f"forbidden (id {self.id})"))
            return
        self.grant = grant
        self.opened = True
        if grant.cluster:
            self.session.settings = self.session.settings.of_a_link()
            self.transport.widen(LINK_STREAMS)
        self.welcomed(self, grant)
        self.scope = self.house.origin.scope(
            grant.root, publish, subscribe, grant.cluster, grant.payer, self.talks
        )
        self.house.origin.relays += grant.cluster
        for prefix in publish:
            self.session.listen(prefix)
        held, self._held = self._held, []
        self.hear(held)

    def _stream_cancelled(self, event: events.StreamCancelled) -> None:
        self.probes.pop(event.stream, None)
        self.watching.stream_ended(event.stream)

    def _probe_requested(self, event: events.ProbeRequested) -> None:
        self.probes[event.stream] = (0, 0, self.clock())

    def _limit_hit(self, event: events.LimitHit) -> None:
        reason = f"more than {event.limit} ({event.most}) at a time"
        self.house.log("request refused", id=self.id, reason=reason)

    def _goaway_received(self, event: events.GoawayReceived) -> None:
        self.house.log("peer is leaving", id=self.id, uri=event.uri[:256])


def windows(
    grant: Grant, event: events.Opened, talks: bool
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Prefixes of a grant for publishing and for subscribing, as far as the peer came for that.

    What relays tell each other passes whatever else a relay's grant covers, where it ``talks``.
    """
    always = of_every_relay(grant.root) if grant.cluster and talks else ()
    publish = covering((*grant.publish, *always)) if event.publishes else ()
    subscribe = covering((*grant.subscribe, *always)) if event.subscribes else ()
    return publish, subscribe
