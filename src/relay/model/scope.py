"""One session's view of an origin: a root, and the prefixes below it that it may use.

Every path in and out is relative to the root, and the root is joined here and nowhere else, so no
caller can name anything outside it; what relays tell each other below `INTERNAL` exists for no one
else. This module must not know why a session may see what it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from relay.errors import BadRequest, Forbidden
from relay.model.board import FREE, Price, Watcher, Ways, visible
from relay.model.roof import Roof
from relay.path import Path, covering
from relay.reserve import INTERNAL

if TYPE_CHECKING:
    from relay.model.board import Watch, Way
    from relay.model.broadcast import Route, Seat, Source
    from relay.model.origin import Origin

Windows = tuple[Path, ...]
"""Absolute prefixes, none under another."""


class Hearer(Watcher, Protocol):
    """Who wants to hear of broadcasts, and can say what it has heard of."""

    def known(self) -> Iterable[Path]:
        """What it was told is there, and not that it is gone: all of now, whatever is told while
        that is gone through."""


class ScopeWatch:
    """A watcher at a prefix of a scope, until it cancels.

    Who is told of changes in turn is told in turn of other windows, too: what it has still to hear
    from the parts that end comes first, then that what it was told outside the windows is gone,
    then what is there in them.
    """

    def __init__(
        self,
        scope: Scope,
        prefix: Path,
        watcher: Hearer,
        exclude: int,
        wake: Callable[[], None] | None = None,
    ) -> None:
        self._scope = scope
        self._prefix = prefix
        self._watcher = watcher
        self._exclude = exclude
        self._wake = None if scope.is_relay else wake
        self._parts: list[Watch] = []
        self._behind: dict[Watch, None] = {}
        """Those for which something waits, the next one first."""
        self._told: Windows = ()
        self._windows: Windows = ()
        """Those that the parts are of."""
        self._known: Windows = ()
        """In these it knows everything but what the parts have still to tell."""
        self._is_to_move = False
        """Whether it has other windows than the parts by now."""
        self._ending: list[Watch] = []
        """Parts that end then."""
        self._roofs: dict[Path, Roof] = {}
        """Of the parts that watch less than everything, by prefix."""
        self._stirred: dict[Roof, None] = {}
        self._heard_of: Iterator[Path] | None = None
        """What it was told of, which is gone as far as it is not known."""
        self._is_live = True

    def cancel(self) -> None:
        """Tell nothing any more."""
        self._is_live = False
        self._scope.forget(self)
        self._close()

    def catch_up(self, limit: int) -> tuple[int, bool]:
        """As `Watch.catch_up`."""
        told = 0
        while told < limit:
            if self._is_to_move and self._behind.keys().isdisjoint(self._ending):
                self._move_on()
                told += 1
            elif self._heard_of is not None:
                told += self._take_back(self._heard_of, limit - told)
            elif self._behind:
                part = next(iter(self._behind))
                del self._behind[part]
                count, has_more = part.catch_up(limit - told)
                told += count
                if has_more:
                    self._behind[part] = None  # no window waits for another
            elif self._stirred:
                roof = next(iter(self._stirred))
                del self._stirred[roof]
                roof.look()
                told += 1
            else:
                break
        waits = self._is_to_move or self._heard_of is not None or self._behind or self._stirred
        return told, bool(waits)

    def _woke(self, part: Watch) -> None:
        assert self._wake is not None
        self._behind[part] = None
        self._wake()

    def announced(self, path: Path, way: Way) -> None:
        """For the board: pass on what lies in the window and was not told before."""
        if not self._is_live or (self._told and _inside(path, self._told)):
            return
        if (roof := self._roofs.get(path)) is not None:
            roof.give_way()
        self._say(path, way)

    def unannounced(self, path: Path) -> None:
        """For the board."""
        self._take_away(path)
        if (roof := self._roofs.get(path)) is not None:
            roof.step_in()

    def _say(self, path: Path, way: Way) -> None:
        if self._wake is not None and not _inside(path, self._scope.windows):
            return  # it may not be known any more that it is there
        if self._is_live and self._scope.knows(path):
            self._watcher.announced(path.relative_to(self._scope.root), way)

    def _take_away(self, path: Path) -> None:
        if self._is_live and self._scope.knows(path):
            self._watcher.unannounced(path.relative_to(self._scope.root))

    def _cover(self, prefix: Path, begin: Callable[[Roof], None]) -> None:
        """Tell of what is announced above a part's prefix, too, as of something at it, from when
        the roof that is begun with looks.

        Not to relays, which are told of it itself where they may see it.
        """
        origin = self._scope.origin
        if prefix and not self._scope.is_relay and not origin.reserve.bars("publish", prefix):
            tell = self._say, self._take_away, self._stir
            roof = self._roofs[prefix] = Roof(origin.board, prefix, self._exclude, *tell)
            begin(roof)

    def _uncover(self, prefix: Path) -> None:
        if (roof := self._roofs.pop(prefix, None)) is not None:
            self._stirred.pop(roof, None)
            roof.close()

    def _stir(self, roof: Roof) -> None:
        if self._wake is None:
            self._scope.origin.board.defer(roof.look)
        else:
            self._stirred[roof] = None
            self._wake()

    def open(self, windows: Windows) -> None:
        """Watch what of the prefix lies in ``windows``. For `Scope` only."""
        board = self._scope.origin.board
        self._windows = self._known = windows
        with board.hold():  # all parts belong to one moment
            for part in _overlap(self._prefix, windows):
                wake = None if self._wake is None else self._woke
                watch = board.watch(part, self, self._exclude, self._scope.is_relay, wake)
                self._parts.append(watch)
                self._cover(part, Roof.look)
            if not self._is_live:
                self._close()

    def move(self, old: Windows, new: Windows) -> None:
        """Tell the difference between two windows and watch the new one. For `Scope` only."""
        if not self._is_live:
            return
        if self._wake is not None:
            self._will_move(new, self._wake)
            return
        self._close()
        for part in _overlap(self._prefix, old):
            for path, ways in tuple(self._scope.origin.board.shown(part)):
                if not _inside(path, new) and self._sees(ways):
                    self.unannounced(path)
        self._told = old
        self.open(new)
        self._told = ()

    def _sees(self, ways: Ways) -> bool:
        return visible(ways, self._exclude, self._scope.is_relay) is not None

    def _will_move(self, new: Windows, wake: Callable[[], None]) -> None:
        """Go on with other windows in turn. What lay in them all the time, and was known, still is:
        a part that watches nothing else stays."""
        is_moving = self._is_to_move or self._heard_of is not None
        if not (is_moving or any(part.is_beginning for part in self._parts)):
            self._known = self._windows
        self._known = _shared(self._known, new)
        wanted = _overlap(self._prefix, new)
        self._ending = [
            part
            for part in self._parts
            if part.prefix not in wanted or not _inside(part.prefix, self._known)
        ]
        for part in self._ending:
            part.leave_off()
        if is_moving or self._ending or len(wanted) > len(self._parts):
            self._is_to_move = True
            wake()
        else:
            self._windows = new

    def _move_on(self) -> None:
        """All that ends has told everything: watch the windows of now."""
        board, known = self._scope.origin.board, self._known
        if not all(_inside(part.prefix, known) for part in self._ending):
            self._heard_of = iter(self._watcher.known())
        ending, self._ending = self._ending, []
        self._parts = [part for part in self._parts if part not in ending]
        with board.hold():  # what ends and what begins belong to one moment
            for part in ending:
                self._uncover(part.prefix)
                part.cancel()
            self._is_to_move, self._windows = False, self._scope.windows
            there = {part.prefix for part in self._parts}
            for prefix in _overlap(self._prefix, self._windows) if self._is_live else ():
                if prefix not in there:
                    self._begin(prefix, known)

    def _begin(self, prefix: Path, known: Windows) -> None:
        """Watch one more prefix, and tell in turn what is there and not known."""
        board, exclude = self._scope.origin.board, self._exclude
        part = board.watch(
            prefix, self, exclude, wake=self._woke, knows=lambda path: _inside(path, known)
        )
        self._parts.append(part)
        self._cover(prefix, self._stir)  # once it has been told what is gone
        if _inside(prefix, known):
            part.leave_off()
        else:
            self._behind[part] = None

    def _take_back(self, heard_of: Iterator[Path], limit: int) -> int:
        """Say what is gone of what it was told of; answers how many were looked at."""
        root, count = self._scope.root, 0
        with self._scope.origin.board.hold():
            for path in islice(heard_of, limit):
                count += 1
                if self._is_live and not _inside(root.join(path), self._known):
                    self._watcher.unannounced(path)
        if count < limit:
            self._heard_of = None
        return count

    def _close(self) -> None:
        for part in self._parts:
            self._uncover(part.prefix)
            part.cancel()
        self._parts.clear()
        self._behind.clear()
        self._ending.clear()
        self._is_to_move, self._heard_of = False, None


class Scope:
    """The only thing a session ever holds of an origin. Created by `Origin.scope`."""

    def __init__(
        self,
        origin: Origin,
        root: Path,
        publish: Iterable[Path],
        subscribe: Iterable[Path],
        is_relay: bool = False,
        tenant: str | None = None,
        talks: bool = True,
    ) -> None:
        self.origin = origin
        self.tenant = tenant
        """Who pays for what is announced here; ``None`` = whoever the path belongs to."""
        self.is_relay = is_relay
        """Whether the session's peer is a relay of the cluster."""
        self.root = root
        """Where the session's own paths begin, in the origin's paths."""
        self._hidden = _hidden(root, talks) if is_relay else (INTERNAL,)
        self._publish = self._windows(publish)
        self._subscribe = self._windows(subscribe)
        self._routes: WeakSet[Route] = WeakSet()
        self._watches: dict[ScopeWatch, None] = {}

    def announce(
        self,
        path: Path,
        source: Source,
        hops: tuple[int, ...],
        now: float,
        price: Price = FREE,
    ) -> Route | None:
        """As `Origin.announce`, below the root. Raises `Forbidden` outside the publish prefixes,
        `BadRequest` for a path too long below the root, `LimitExceeded`."""
        whole = self.root.join(path)
        if not _inside(whole, self._publish):
            raise Forbidden(f"may not publish {path!r}")
        if why := self._barred("publish", whole):
            raise Forbidden(why)
        route = self.origin.announce(whole, source, hops, now, price, self.tenant)
        if route is not None:
            self._routes.add(route)
        return route

    def watch(
        self,
        prefix: Path,
        watcher: Hearer,
        exclude: int = 0,
        wake: Callable[[], None] | None = None,
    ) -> ScopeWatch:
        """As `Origin.watch`, of what ``prefix`` and the subscribe prefixes share; never twice.

        With ``wake`` changes wait for their turn as in `Board.watch`, those of the windows as well,
        unless the peer is a relay.
        """
        try:
            watch = ScopeWatch(self, self.root.join(prefix), watcher, exclude, wake)
        except BadRequest:  # too long for anything to be there, now or later
            return ScopeWatch(self, self.root, watcher, exclude)
        self._watches[watch] = None
        watch.open(self._subscribe)
        return watch

    def names(self) -> Iterator[str]:
        """What `watch` would tell of at the root, in no order, each as of when it is come to: what
        comes or goes meanwhile may be among it or not."""
        for window in self._subscribe:
            for path, ways in self.origin.board.shown(window):
                if self.knows(path) and visible(ways, 0, self.is_relay) is not None:
                    yield str(path.relative_to(self.root))

    def seek(self, path: Path, asker: int = 0) -> Seat | None:
        """As `Origin.seek`; ``None`` outside the subscribe prefixes."""
        if not self.allows_subscribe(path):
            return None
        return self.origin.seek(self.root.join(path), asker)

    def knows(self, path: Path) -> bool:
        """Whether an absolute path exists for this session, whatever it may do there."""
        return not _inside(path, self._hidden)

    def ignores(self, path: Path) -> bool:
        """Whether a path of the session's is another relay's news where relays tell each other
        nothing: who dialled a host that stands for a place (`auth.domains`) does not know."""
        return self.is_relay and bool(self._hidden) and path.is_under(INTERNAL)

    def allows_publish(self, path: Path) -> bool:
        """Whether `announce` would be allowed there now."""
        return self._allows("publish", path, self._publish)

    def allows_subscribe(self, path: Path) -> bool:
        """Whether `seek` would look there now. To be asked again after `narrow` for each path
        that is being watched: the model does not know which viewer belongs to which scope."""
        return self._allows("subscribe", path, self._subscribe)

    def narrow(
        self,
        publish: Iterable[Path],
        subscribe: Iterable[Path],
        revoke: Callable[[Iterable[Route]], None] | None = None,
    ) -> None:
        """Replace both windows now: watchers hear the difference, routes outside are revoked.

        ``revoke`` does that in its own time; what waits for it must serve nobody any more.
        Who is told in turn hears at once of nothing any more that lies outside, and of the rest of
        the difference in turn. Called from within a watcher's call, the watchers hear it right
        after that change.
        """
        old, self._subscribe = self._subscribe, self._windows(subscribe)
        self._publish = self._windows(publish)
        outside = [route for route in self._routes if not _inside(route.path, self._publish)]
        if revoke is not None:
            revoke(outside)
        else:
            for route in outside:
                route.revoke()
        new = self._subscribe
        with self.origin.board.hold():  # all hear it before what follows from that
            for watch in tuple(self._watches):
                self.origin.board.defer(lambda watch=watch: watch.move(old, new))  # type: ignore[misc]

    @property
    def windows(self) -> Windows:
        """Where it may subscribe now."""
        return self._subscribe

    def forget(self, watch: ScopeWatch) -> None:
        """For `ScopeWatch.cancel` only."""
        self._watches.pop(watch, None)

    def _windows(self, prefixes: Iterable[Path]) -> Windows:
        return covering(self.root.join(prefix) for prefix in prefixes)

    def _barred(self, verb: str, whole: Path) -> str:
        if not self.is_relay:
            return self.origin.reserve.bars(verb, whole)
        return "" if self.knows(whole) else "relays tell each other nothing below a path"

    def _allows(self, verb: str, path: Path, windows: Windows) -> bool:
        try:
            whole = self.root.join(path)
        except BadRequest:
            return False
        return _inside(whole, windows) and not self._barred(verb, whole)


def _hidden(root: Path, talks: bool) -> Windows:
    """Below what nothing exists for a relay. One below a root has its names in common with all who
    publish and watch there: what it calls `INTERNAL` would be anybody's."""
    if talks and not root:
        return ()
    try:
        return INTERNAL, root.join(INTERNAL)
    except BadRequest:  # too long for anything to be there
        return (INTERNAL,)


def _inside(path: Path, windows: Windows) -> bool:
    for window in windows:  # noqa: SIM110 - for each watcher of each broadcast
        if not window or path == window or path.startswith(window + "/"):
            return True
    return False


def _shared(ones: Windows, others: Windows) -> Windows:
    """What lies in windows of both."""
    return covering(
        (
            *(one for one in ones if _inside(one, others)),
            *(other for other in others if _inside(other, ones)),
        )
    )


def _overlap(prefix: Path, windows: Windows) -> Windows:
    """The widest prefixes that lie under ``prefix`` and in a window."""
    if _inside(prefix, windows):
        return (prefix,)
    return tuple(window for window in windows if window.is_under(prefix))
