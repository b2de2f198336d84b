"""One publisher at one path: the routes that lead to it and the tracks that are watched.

The best route serves; the others stand by, best first, and take over without the viewers noticing.
This module must not know which of several publishers a path belongs to: that is the stage's
decision.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from relay.errors import BadRequest, Dropped, LimitExceeded, RelayError
from relay.model.board import Price, Way, Ways
from relay.model.cache import Stock
from relay.model.fingerprint import fingerprint
from relay.model.track import Track
from relay.model.traffic import Traffic
from relay.path import ROOT, Path

if TYPE_CHECKING:
    from relay.model.stage import Stage

MAX_TRACK_NAME = 4096
"""Bytes of a track's name."""


class Source(Protocol):
    """Who can deliver a broadcast's tracks. May answer from within a call; must not raise."""

    def open(self, track: Track) -> None:
        """Feed the track: from ``track.start_at``, else from ``track.demand.start``, else from
        the latest group. Answer with `Track.accept` and groups, or `Track.fail`."""

    def update(self, track: Track) -> None:
        """``track.demand`` has changed while the track is open."""

    def close(self, track: Track) -> None:
        """Stop feeding, or finding out the properties; its groups have been aborted. Not called
        after this source ended the feed itself (`Track.finish`, `Track.fail`)."""

    def learn(self, track: Track) -> None:
        """Find out the properties only: answer with `Track.accept` or `Track.fail`.

        `open` may follow before the answer, and then one `Track.accept` answers both.
        """


class FetchSource(Source, Protocol):
    """A source that can also deliver a single old group."""

    @property
    def can_fetch(self) -> bool:
        """Whether it can at the moment."""

    def fetch(self, track: Track, sequence: int, priority: int) -> None:
        """Answer with `Track.open_fetched` and writes, or with `Track.fetch_failed`."""

    def cancel_fetch(self, track: Track, sequence: int) -> None:
        """Nobody wants that group any more, or it broke off here. Harmless after the answer."""


def is_wide(source: Source) -> bool:
    """Whether it may deliver broadcasts below its own, too: ``serves_below`` says so, `Track.below`
    which. Each announcement asks, and would take half as long again to ask for a protocol."""
    return getattr(source, "serves_below", False)


class Route:
    """One announcement of a path by one source. Created by `Origin.announce`.

    Exactly one of `withdraw` and `lose` ends it; `lose` may still follow a `withdraw` when the
    source vanishes while viewers are being served to the end.
    """

    __slots__ = (
        "__weakref__",
        "broadcast",
        "has_ended",
        "hops",
        "path",
        "price",
        "source",
        "stage",
        "tenant",
    )

    def __init__(
        self,
        stage: Stage,
        source: Source,
        hops: tuple[int, ...],
        price: Price,
        tenant: str | None,
    ) -> None:
        self.stage = stage
        self.path = stage.path
        self.source = source
        self.hops = hops
        """Chain of relay ids, the original publisher's first; 0 = unnamed."""
        self.price = price
        """What pulling this way costs; less is better."""
        self.tenant = tenant
        """Who pays for what is cached of it; ``None`` = whoever the path belongs to."""
        self.broadcast: Broadcast | None = None
        """What it leads to, or led to when it ended."""
        self.has_ended = False
        """Whether it was withdrawn, lost or revoked; it never comes back."""

    @property
    def identity(self) -> int:
        """Who publishes: the first hop; 0 = unknown, which equals nobody."""
        return self.hops[0] if self.hops else 0

    @property
    def is_final(self) -> bool:
        """Whether it is the publisher itself, or the relay where the publisher is."""
        return len(self.hops) < 3

    @property
    def is_transit(self) -> bool:
        """Whether another relay stands between the publisher and us."""
        return len(self.hops) > 1

    def rank(self, own: int, is_pulled: bool) -> tuple[int, int, int]:
        """Order of routes, best first: price, length, then a stable hash.

        ``own`` is our relay's id. While we pull the broadcast ourselves (``is_pulled``) another
        relay that does so too is only as cheap for it if its hash is lower than ours: else both
        could let go of where they have it from, each for the other. The one where the publisher is
        has nothing to let go of.
        """
        price = self.price.now
        if is_pulled and not self.is_final and price < self.price.cold:
            theirs = fingerprint(self.path, self.hops[-1:])
            if theirs >= fingerprint(self.path, (own,)):
                price = self.price.cold
        return price, len(self.hops), fingerprint(self.path, self.hops)

    def is_of_the_same(self, hops: tuple[int, ...], price: Price) -> bool:
        """Whether what is announced again is of the same publisher. An unknown one who comes anew
        looks as before; where the price alone is another nobody has come."""
        if hops[:1] != self.hops[:1]:
            return False
        return self.identity != 0 or (hops == self.hops and price != self.price)

    def update(self, hops: tuple[int, ...], now: float, price: Price | None = None) -> bool:
        """The source announced the path again (a restart).

        The same publisher: only the chain or the price changes, subscriptions go on. Another or an
        unknown one: the path is taken over, as by a new announcement. False when the chain is a
        loop or too long (the route rests until the next update) or the route was ended.
        """
        return self.stage.update(self, hops, self.price if price is None else price, now)

    def withdraw(self, now: float) -> None:
        """The source said goodbye: without a standby the path is unannounced at once.

        Viewers are served until the source finishes or loses the tracks.
        """
        self.has_ended = True
        self.stage.depart(self, None, now)

    def lose(self, now: float) -> None:
        """The source vanished: without a standby the path lingers, then viewers are dropped."""
        self.has_ended = True
        self.stage.depart(self, Dropped("the publisher vanished"), now)

    def revoke(self) -> None:
        """The right to announce was taken away: as `withdraw`, and viewers are dropped at once."""
        self.has_ended = True
        self.stage.depart(self, Dropped("the publisher lost its right"), None)


class Broadcast:
    """The tracks of one publisher at one path. Found with `Origin.find`."""

    def __init__(self, path: Path, identity: int, stock: Stock, own: int, since: float) -> None:
        self.path = path
        self._first = path.first or ""
        self.own = own
        """Our relay's id."""
        self.warmed: Callable[[Broadcast, bool], None] = lambda broadcast, is_warm: None
        """Told when the first track is pulled, and when none is any more."""
        self.mixed: Callable[[Broadcast, bool], None] = lambda broadcast, is_mixed: None
        """Told when others than the best route feed some tracks, and when they may no longer."""
        self.begun_anew: Callable[[], None] = lambda: None
        """Told when what is announced has turned out to be a later one of the same publisher."""
        self.edition = object()
        """Which one that is, for those who watch the announcements."""
        self.identity = identity
        """First hop of its routes, 0 = unknown."""
        self.since = since
        """When it came to this relay, monotonic seconds, the same in all its processes."""
        self.stock = stock
        self.routes: list[Route] = []
        """Best first: the one that serves, then those that stand by."""
        self.tracks: dict[str, Track] = {}
        """Tracks that are watched, or were a moment ago."""
        self.below: dict[tuple[Path, str], Track] = {}
        """The same of broadcasts below it that nobody has announced: its publisher is asked."""
        self.is_warm = False
        """Whether tracks are pulled, or were a moment ago, so that one viewer more is for free."""
        self.pulled = 0
        """Tracks that are pulled now."""
        self._is_mixed = False
        """Whether another route than the first fed some of them when that was last shown."""
        self.traffic = Traffic(stock.meter)
        """What has gone through it here."""
        self.is_on_air = False
        """Whether this is the broadcast announced at its path now."""
        self.is_over = False
        """Whether the publisher's own relay has taken it back: what still leads to it are others
        who do not know yet."""

    @property
    def tenant(self) -> str:
        """For whom its groups are cached: as far as nobody says, its path's first segment."""
        named = self.routes[0].tenant if self.routes else None
        return self._first if named is None else named

    @property
    def ways(self) -> Ways:
        """Its routes as the announcements show them.

        Only the first can be warm, and only while nothing is pulled another way: between equals
        nothing moves, so the first need not be the one that serves, and who serves us must not take
        us for somebody who has it from elsewhere, or we would pull from each other in a circle.
        """
        first = self.routes[0] if self.routes else None
        self._is_mixed = any(track.is_fed_besides(first) for track in self.all_tracks)
        is_warm = self.is_warm and not self._is_mixed
        return tuple(
            Way(
                route.hops,
                route.price.cold,
                is_warm and route is first,
                since=self.since,
                is_wide=is_wide(route.source),
            )
            for route in self.routes
        )

    @property
    def is_divided(self) -> bool:
        """Whether some track is served by another route than the best."""
        return any(track.is_elsewhere for track in self.all_tracks)

    @property
    def is_lingering(self) -> bool:
        """Whether it is announced although its last route was lost a moment ago."""
        return self.is_on_air and not self.routes

    @property
    def is_left_off(self) -> bool:
        """Whether something of it was complete and nobody watches anything that is not."""
        tracks = self.all_tracks
        return any(each.is_complete for each in tracks) and not any(each.viewers for each in tracks)

    @property
    def all_tracks(self) -> list[Track]:
        """Its own, and those below it."""
        return [*self.tracks.values(), *self.below.values()]

    def leads_past(self, relay: int) -> bool:
        """Whether some way to it does not lead through that peer (0 = nobody)."""
        return not (relay and self.routes) or any(relay not in each.hops for each in self.routes)

    @property
    def serves_below(self) -> bool:
        """Whether its publisher may have more below it than it announces."""
        return not self.routes or is_wide(self.routes[0].source)

    def track(self, name: str, below: Path = ROOT) -> Track:
        """The track of that name; whether it exists shows when it is watched. ``below`` is the path
        of another broadcast of the publisher's, relative to this one's.

        Raises `LimitExceeded` beyond `CacheSettings.max_tracks_per_broadcast` or, below,
        `max_tracks_below`; `BadRequest` for a name that is too long for one: on the way to the
        publisher every relay may put more of a path in front of it, and the request still has to
        fit into a message.
        """
        track = self.below.get((below, name)) if below else self.tracks.get(name)
        if track is None:
            if len(name.encode(errors="replace")) > MAX_TRACK_NAME:
                raise BadRequest(f"a track's name has at most {MAX_TRACK_NAME} bytes")
            settings = self.stock.settings
            track = Track(self, name, below)
            if below:
                self._make_room(self.below, "max_tracks_below", settings.max_tracks_below)
                self.below[below, name] = track
            else:
                limit = settings.max_tracks_per_broadcast
                self._make_room(self.tracks, "max_tracks_per_broadcast", limit)
                self.tracks[name] = track
        return track

    def forget(self, track: Track) -> None:
        """The track ended. For `Track` only."""
        if self.tracks.get(track.name) is track:
            del self.tracks[track.name]
        elif self.below.get((track.below, track.name)) is track:
            del self.below[track.below, track.name]

    def next_route(self, tried: Container[Route]) -> Route | None:
        """The best route not tried yet; none while another broadcast has the path."""
        if not self.is_on_air:
            return None
        return next((route for route in self.routes if route not in tried), None)

    def fetch_source(self, preferred: Route | None) -> FetchSource | None:
        """The source of the preferred route, else of the best one, if it can fetch.

        No other is asked: the way there may lead back through us.
        """
        route = preferred or next(iter(self.routes), None)
        if route is None or not self.is_on_air:
            return None
        source = route.source
        # Asked for each subscription; to ask for a protocol takes twenty calls.
        return cast(FetchSource, source) if getattr(source, "can_fetch", False) else None

    def add_route(self, route: Route) -> None:
        """One more route. Among equals the newest comes first: it is a publisher that is back."""
        route.broadcast = self
        self.routes.insert(0, route)
        self.sort_routes()
        for track in self.all_tracks:
            track.route_joined()

    def sort_routes(self) -> None:
        """Bring the routes into order."""
        if len(self.routes) > 1:
            self.routes.sort(key=lambda route: route.rank(self.own, self.pulled > 0))

    def is_worth_moving(self, route: Route, best: Route) -> bool:
        """Whether what ``route`` serves should come over ``best`` instead.

        Between equals nothing moves, nor between two sessions with one relay, but for a publisher
        of our own that came a second time: its first session may be dead without our knowing.
        """
        if route.hops == best.hops:
            return len(best.hops) < 2
        is_pulled = self.pulled > 0
        ours, theirs = route.rank(self.own, is_pulled)[:2], best.rank(self.own, is_pulled)[:2]
        return theirs < ours

    def pull(self, track: Track, more: int) -> None:
        """One track more, or less, is pulled."""
        was, self.pulled = self.pulled, self.pulled + more
        (self.traffic.came.began if more > 0 else self.traffic.came.ended)(self)
        if (was > 0) != (self.pulled > 0) or (more > 0 and track.is_elsewhere):
            self.warmed(self, self.pulled > 0)
        elif more > 0 and len(self.routes) > 1:
            # All are looked at only when it makes a difference: there may be thousands below.
            is_mixed = track.is_fed_besides(self.routes[0])
            if is_mixed != self._is_mixed:
                self.mixed(self, is_mixed)

    def settle(self, now: float) -> bool:
        """Move the tracks to the best route, each without a gap; answers whether some are on the
        way."""
        return any([track.hand_over(now) for track in self.all_tracks])

    def retire(self, route: Route) -> None:
        """A route said goodbye while others are left: its tracks move, each without a gap."""
        for track in self.all_tracks:
            track.route_retired(route)

    def reroute(self, route: Route, error: RelayError) -> None:
        """Move the tracks off a route that is gone; what it left unfinished ends with ``error``."""
        for track in self.all_tracks:
            track.route_left(route, error)

    def renounce(self) -> None:
        """It was taken back and has a route again, which may be to a later broadcast of the same
        publisher: only what is being watched goes on, whoever comes asks anew."""
        for track in self.all_tracks:
            if track.is_complete:
                self.forget(track)  # and what is on its way arrives
            elif track.is_idle:
                track.end(Dropped("the broadcast was taken back"))

    def outlived(self, route: Route) -> None:
        """A track is complete whose route was taken back before. Where the same relay has announced
        the path again, that was of a later broadcast: who had tracks of the last one has to hear of
        it, or takes them for complete for ever."""
        is_back = any(each.hops[-1:] == route.hops[-1:] for each in self.routes)
        if is_back and not any(each.is_behind for each in self.all_tracks):
            self.edition = object()
            self.begun_anew()

    def drain(self) -> None:
        """No longer announced: forget what nobody watches, serve the rest to its end."""
        for track in self.all_tracks:
            track.drain()

    def end(self, error: RelayError) -> None:
        """End every track with ``error``."""
        for track in self.all_tracks:
            track.end(error)

    def _make_room(self, tracks: Mapping[Any, Track], name: str, limit: int) -> None:
        if len(tracks) < limit:
            return
        for track in tuple(tracks.values()):
            if track.is_idle:
                track.end(Dropped("forgotten to make room"))
        if len(tracks) >= limit:
            raise LimitExceeded(f"{self.path} is at {name} ({limit})")


class Seat(NamedTuple):
    """Where a path is served: the broadcast that is announced there, or the next above it."""

    broadcast: Broadcast
    below: Path = ROOT
    """The rest of the path."""

    def track(self, name: str) -> Track:
        """As `Broadcast.track`."""
        return self.broadcast.track(name, self.below)
