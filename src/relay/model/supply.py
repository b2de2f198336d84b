"""Where a track comes from: the route that feeds it, and the way from one route to the next.

A route that fails is followed by the next one at the first missing group; where there is time for
it, the next one delivers before the last one is let go, so that nothing is missing at all. This
module must not know which route is best (the broadcast does) nor who watches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Cancelled, Dropped, RelayError, RemoteError, Unroutable
from relay.model.group import Group
from relay.model.handover import PATIENCE, Handover

if TYPE_CHECKING:
    from relay.model.broadcast import Route, Source
    from relay.model.track import Track

SPLICE_WINDOW = 256
"""Groups behind the latest; one that is missing further back is not asked for after a splice. Fifty
a second, as sound has them, are that many in the five seconds for which groups are kept."""

SLACK = 16
"""Groups more than those that are remembered before the oldest are forgotten, all at once."""

BROKEN_OFF = Dropped, RemoteError
"""Why a group ends that the next route may well have whole; the others are our own limits."""


class Supply:
    """The upstream side of one track. ``now`` is monotonic seconds."""

    __slots__ = (
        "_begins_at",
        "_had",
        "_is_open",
        "awaits",
        "handover",
        "live",
        "route",
        "start_at",
        "track",
        "tried",
    )

    def __init__(self, track: Track) -> None:
        self.track = track
        self.route: Route | None = None
        self._is_open = False
        self.tried: dict[Route, None] = {}
        """Routes that failed since a group came."""
        self.live: dict[int, Group] = {}
        """Unfinished groups of the present feed."""
        self._had: dict[int, bool] = {}
        """What came of the last `SPLICE_WINDOW` groups, but for those that broke off, and whether
        it is kept, as datagrams are not."""
        self._begins_at: int | None = None
        """The lowest group that came."""
        self.start_at: int | None = None
        """The first missing group, for whoever is asked next."""
        self.handover: Handover | None = None
        self.awaits: int | None = None
        """The latest group (-1: none yet) when the present route was asked in place of another, as
        long as it has brought none that is newer."""

    @property
    def is_open(self) -> bool:
        """Whether the route feeds us, or was only asked for the properties."""
        return self._is_open

    @is_open.setter
    def is_open(self, is_open: bool) -> None:
        if is_open != self._is_open:
            self._is_open = is_open
            self.track.broadcast.pull(self.track, 1 if is_open else -1)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is worth moving to the best route of those not tried in vain."""
        broadcast, route = self.track.broadcast, self.route
        if not self.is_open or route is None:
            return False
        best = broadcast.next_route(self.tried)
        if best is None or best is route:
            return False
        return route not in broadcast.routes or broadcast.is_worth_moving(route, best)

    def is_fed_besides(self, route: Route | None) -> bool:
        """Whether another route than this one feeds us, alone or until the next delivers."""
        handover = self.handover
        if handover is not None and not handover.is_over:
            return handover.old is not route
        return self.is_open and self.route is not route

    # -- asked by the track --------------------------------------------------------------------

    def fit(self, watched: bool, changed: bool, error: RelayError | None) -> None:
        """Have the track fed if it is watched, else its properties found out.

        ``changed`` says that the viewers' wishes did. Without a route left the track ends.
        """
        track = self.track
        if self.route is None:
            self.route = track.broadcast.next_route(self.tried)
            if self.route is None:
                if not track.broadcast.is_lingering:
                    track.end(error or Unroutable(f"nobody serves {track.path}"))
                return
            if not watched:
                self.route.source.learn(track)
        if self.route is not None and watched:
            if not self.is_open:
                self.is_open = True
                self.route.source.open(track)
            elif changed:
                self.route.source.update(track)

    def hears(self, source: Source | None, now: float) -> bool:
        """Whether what a source brings is wanted; the new route's first word ends the old."""
        handover = self.handover
        if not self._is_open or self.route is None:
            return False
        if handover is not None and self.is_old(source):
            return not handover.is_over
        if source is not None and source is not self.route.source:
            return False
        if handover is None:
            return True
        if handover.over_at is None:
            handover.over_at = now
        if handover.may_end(now):
            asked, is_missing = self.start_at, bool(handover.live)
            self._let_go(handover)
            if is_missing:
                return not self._make_up(handover, asked, is_missing)
        return True

    def is_old(self, source: Source | None) -> bool:
        """Whether the route that is being left is speaking."""
        handover = self.handover
        return handover is not None and source is not None and source is handover.old.source

    def past(self, source: Source | None) -> Route | None:
        """Who speaks, if that route was taken back while others are there."""
        handover, routes = self.handover, self.track.broadcast.routes
        speaks = handover.old if handover is not None and self.is_old(source) else self.route
        return speaks if routes and speaks not in routes else None

    @property
    def is_behind(self) -> bool:
        """Whether the route that feeds us was taken back while others are there."""
        handover = self.handover
        is_old = handover is not None and not handover.is_over
        feeds = handover.old.source if handover is not None and is_old else None
        return self.past(feeds) is not None

    def began(self, group: Group, source: Source | None) -> None:
        """A group is under way."""
        if not group.native.ended:
            handover = self.handover
            live = handover.live if handover is not None and self.is_old(source) else self.live
            live[group.sequence] = group
        self.came(group.sequence, source)
        self.tried.clear()

    def came(self, sequence: int, source: Source | None, is_kept: bool = True) -> None:
        """A source brings a group, which may be a datagram and then is not kept."""
        self._had[sequence] = is_kept
        if len(self._had) > SPLICE_WINDOW + SLACK:
            oldest = self._newest() - SPLICE_WINDOW
            self._had = {n: kept for n, kept in self._had.items() if n > oldest}
        if self._begins_at is None or sequence < self._begins_at:
            self._begins_at = sequence
        if self.awaits is not None and sequence > self.awaits and not self.is_old(source):
            self.awaits = None

    def decline(self, group: Group, source: Source | None) -> None:
        """A source brings a group that is here already."""
        handover = self.handover
        if handover is not None and group.sequence in handover.live and not self.is_old(source):
            handover.declined.add(group.sequence)

    def ended(self, group: Group, error: RelayError | None) -> bool:
        """A group is no longer under way; answers whether it was the track's last."""
        handover = self.handover
        if isinstance(error, BROKEN_OFF):
            self._had.pop(group.sequence, None)
        if self.live.get(group.sequence) is group:
            del self.live[group.sequence]
        elif handover is not None and handover.live.get(group.sequence) is group:
            del handover.live[group.sequence]
            is_broken = isinstance(error, BROKEN_OFF)
            if not is_broken:
                handover.declined.discard(group.sequence)
            if handover.may_end(group.touched_at):
                asked = self.start_at
                self._let_go(handover)
                if handover.is_finishing:
                    return True
                if is_broken or error is None:  # our own limits are met while a source speaks
                    self._make_up(handover, asked)
        return False

    def finished(self, source: Source | None, now: float) -> bool:
        """A source says that the track is complete; answers whether it is, here and now."""
        handover = self.handover
        if self._is_stranger(source):
            return False
        if handover is not None and self.is_old(source):
            self.handover = None
            if handover.is_over:
                return False  # the new route has the rest, and the last word
            if self.route is not None:
                self.route.source.close(self.track)
        elif handover is not None:
            if handover.over_at is None:
                handover.over_at = now
            if handover.live:
                handover.is_finishing = True
                self.route, self.is_open = None, False
                return False
            self._let_go(handover)
        self.route, self.is_open = None, False
        self.live.clear()
        return True

    def failed(self, source: Source | None, error: RelayError) -> None:
        """A source has ended the feed by itself."""
        if self.handover is not None and self.is_old(source):
            self._old_failed(self.handover, error)
        elif self.route is not None and not self._is_stranger(source):
            self.tried[self.route] = None
            self._part(error)

    def _is_stranger(self, source: Source | None) -> bool:
        """Whether who speaks was let go of, by what it said a moment ago perhaps."""
        is_ours = self.route is not None and source is self.route.source
        return source is not None and not is_ours and not self.is_old(source)

    def detach(self, error: RelayError) -> None:
        """Let go of all routes; what is unfinished ends with ``error``."""
        route, handover = self.route, self.handover
        self.route, self.is_open, self.handover = None, False, None
        self._break_off(error)
        if route is not None:
            route.source.close(self.track)
        if handover is not None:
            self._let_go(handover, error)

    def rest(self) -> None:
        """Nobody watches: the next feed starts where its viewers say."""
        self.start_at = None
        self.awaits = None
        self._had.clear()
        self._begins_at = None
        self.tried.clear()

    # -- asked by the broadcast ------------------------------------------------------------------

    def route_left(self, route: Route, error: RelayError) -> None:
        """A route was lost."""
        self.tried.pop(route, None)
        if self.handover is not None and self.handover.old is route:
            self._old_failed(self.handover, error)
            route.source.close(self.track)
        elif self.route is route:
            self._part(error)
            route.source.close(self.track)

    def serves_to_its_end(self) -> bool:
        """All routes said goodbye: whether one of them still serves us.

        One that was asked in place of another and has brought nothing new may have it from us: two
        relays that were both told goodbye by the publisher's each go to the other. The publisher
        itself and its own relay never have.
        """
        if (handover := self.handover) is not None and not handover.is_over:
            self._give_up(handover)
        route = self.route
        return route is not None and (route.is_final or self.awaits is None)

    def route_retired(self, route: Route) -> None:
        """A route said goodbye while others are left: it serves until the next one delivers."""
        self.tried.pop(route, None)
        if self.route is not route:
            return
        best = self.track.broadcast.next_route(self.tried)
        if self.is_open and best is not None:
            handover = self.handover
            if handover is not None and not (handover.is_over and (self.live or not handover.live)):
                self._give_up(handover)  # it has nothing under way, and the one before serves on
                self.tried.pop(route, None)
            if self.route is not best:
                self._move_to(best)
        else:
            self.detach(Cancelled("the route is gone"))
            self.track.adjust()

    def hand_over(self, now: float) -> bool:
        """Move to the best route, if it is another one, and back if that does not deliver.

        Answers whether it is on its way.
        """
        handover = self.handover
        if handover is not None and not self.is_elsewhere:
            if handover.is_over or handover.old not in self.track.broadcast.routes:
                return False
            if now - handover.began_at < PATIENCE:
                return True
            self._give_up(handover)
            return False
        best = self.track.broadcast.next_route(self.tried)
        if best is None or not self.is_elsewhere:
            return False
        self._move_to(best)
        return True

    # -- from one route to another ---------------------------------------------------------------

    def _move_to(self, route: Route) -> None:
        """Have another route deliver from the next group on; the present one serves until then."""
        if self.handover is not None:
            self._let_go(self.handover)
        assert self.route is not None
        now = self.track.broadcast.stock.agenda.now
        self.handover = Handover(self.route, self.live, now)
        self.live = {}
        self.route = route
        self.awaits = self._newest()
        self.start_at = self._first_missing()
        route.source.open(self.track)

    def _newest(self) -> int:
        """The latest group, -1 before the first."""
        return -1 if self.track.latest is None else self.track.latest

    def _first_missing(self) -> int | None:
        """Where the next route is to begin: lost packets and a route's death leave gaps.

        What is here and would be sent again is stopped; what has been here would come twice, so
        nothing before it is asked for.
        """
        if (latest := self.track.latest) is None:
            return self.start_at
        first = latest + 1
        begins_at = first if self._begins_at is None else self._begins_at
        for sequence in range(latest, max(begins_at - 1, latest - SPLICE_WINDOW), -1):
            is_kept = self._had.get(sequence)
            if is_kept is None:
                first = sequence
            elif is_kept and sequence not in self.track.groups:
                break
        return first

    def _give_up(self, handover: Handover) -> None:
        """The new route delivers nothing: the old one, which has never stopped, stays."""
        futile, self.handover, self.awaits = self.route, None, None
        self.route, self.live = handover.old, handover.live
        if futile is not None:
            self.tried[futile] = None
            futile.source.close(self.track)

    def _part(self, error: RelayError) -> None:
        """The present route feeds us no longer: back to the one we were leaving, or to the next."""
        handover, self.handover = self.handover, None
        self.route, self.is_open = None, False
        self._break_off(error)
        if handover is None or handover.is_over:
            if handover is not None:
                self._let_go(handover, error)
            self.awaits = self._newest()
            self.track.adjust(error)
            return
        self.awaits = None
        self.route, self.is_open, self.live = handover.old, True, handover.live
        if handover.old not in self.track.broadcast.routes:
            self.route_retired(handover.old)

    def _old_failed(self, handover: Handover, error: RelayError) -> None:
        """The old route is gone too early: the new one is asked for what is missing."""
        self.handover = None
        is_missing, asked = bool(handover.live), self.start_at
        self._break_off(error, handover.live)
        if handover.is_finishing:
            self.track.end(error)
        else:
            self._make_up(handover, asked, is_missing)

    def _make_up(self, handover: Handover, asked: int | None, is_missing: bool = False) -> bool:
        """The old route is gone: the present one is asked for what that left unfinished, anew where
        it had brought it already, since nobody brings a group twice; answers whether that was so.
        """
        track, route = self.track, self.route
        if route is None:
            return True
        if not track.groups.keys() >= handover.declined:
            self._break_off(Dropped("it comes once more"))
            if self.route is route:  # and everybody is still there
                route.source.close(track)
                route.source.open(track)
            return True
        if is_missing or self._is_before(asked):
            route.source.update(track)
        return False

    def _is_before(self, asked: int | None) -> bool:
        """Whether more is missing than what the present route was asked for."""
        return self.start_at is not None and (asked is None or self.start_at < asked)

    def _let_go(self, handover: Handover, error: RelayError | None = None) -> None:
        """The old route has done its part, or must do without."""
        if self.handover is handover:
            self.handover = None
        self._break_off(error or Cancelled("another route delivers"), handover.live)
        handover.old.source.close(self.track)

    def _break_off(self, error: RelayError, live: dict[int, Group] | None = None) -> None:
        """End unfinished groups, those of the present feed by default; they are missing then."""
        if live is None:
            live, self.live = self.live, {}
        groups = dict(live)
        for sequence in groups:
            self._had.pop(sequence, None)
        self.start_at = self._first_missing()
        for group in groups.values():
            group.abort(error)
