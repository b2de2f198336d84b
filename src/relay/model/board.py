"""The board of announcements: what is shown at which path, and who watches which prefix.

Changes are told one after the other, also when somebody makes a new one from within a call, so
every watcher sees one and the same history; a change costs its depth and those of its watchers that
are told at once, not those of other prefixes, nor such as are told in their turn. Of the ways to
one broadcast each watcher sees the best that does not lead through itself, and a relay hears of a
worse one only once there is calm: what it was told is taken back at once, so that a broadcast that
is gone is not sought in circles. This module must not know what a broadcast is beyond an object
that is the same or not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from relay.errors import LimitExceeded
from relay.model.journal import Journal, Note, Room
from relay.path import ROOT, Path

if TYPE_CHECKING:
    from relay.model.roof import Roof

Hops = tuple[int, ...]
"""Relay ids, the original publisher's first; 0 = unnamed."""


class Price(NamedTuple):
    """What it costs to pull a broadcast, all links together (moq-lite-06, announcements), and how
    old it is."""

    now: int = 0
    """With what is under way on the other side already for free."""
    cold: int = 0
    """If nothing were under way there."""
    since: float = 0.0
    """When the publisher came, monotonic seconds, where another process of this relay says so; 0 =
    it comes now."""


FREE = Price()


class Way(NamedTuple):
    """One way to a broadcast."""

    hops: Hops
    cost: int = 0
    """What it costs to pull it this way if nobody does so far."""
    is_warm: bool = False
    """Whether somebody here does."""
    is_sure: bool = True
    """Whether relays may hear of it. A way that was lost is still shown to viewers, who wait."""
    since: float = 0.0
    """When the publisher came to this relay, monotonic seconds."""
    is_wide: bool = False
    """Whether the publisher may have more below it than it announces."""


Ways = tuple[Way, ...]
"""All ways to one broadcast, best first."""


def visible(ways: Ways, exclude: int, is_relay: bool) -> Way | None:
    """The best way that does not lead through ``exclude`` (0 = nobody), and for a relay is sure."""
    for way in ways:
        is_hidden = exclude and exclude in way.hops
        if not is_hidden and (way.is_sure or not is_relay):
            return way
    return None


Wake = Callable[["Watch"], None]
"""Told that changes begin to wait for a watch."""


class Watcher(Protocol):
    """Who wants to hear of broadcasts under a prefix. Must not raise."""

    def announced(self, path: Path, way: Way) -> None:
        """A broadcast is there; again for the same path: only the way to it has changed."""

    def unannounced(self, path: Path) -> None:
        """It is gone. One that was replaced is unannounced, then announced."""


class _Node:
    """One segment of the tree. A path may have many, and most hold nothing but the next one: who
    announces deep ones must not take much more room by it."""

    __slots__ = (
        "children",
        "is_calm",
        "journal",
        "parent",
        "path",
        "publisher",
        "roofs",
        "segment",
        "watches",
        "ways",
    )

    def __init__(self, parent: _Node | None, segment: str) -> None:
        self.parent = parent
        self.segment = segment
        self.path = ROOT
        """Where it is, once anything is announced or watched at it."""
        self.children: dict[str, _Node] = {}
        self.watches: dict[Watch, None] | None = None
        """Those that are told at once; none where there are none."""
        self.journal: Journal | None = None
        """For those that are told in their turn; none where there are none."""
        self.roofs: dict[Roof, None] | None = None
        """Those of prefixes below it that have looked; none where there are none."""
        self.ways: Ways = ()
        self.publisher: object = None
        self.is_calm = True


class Watch:
    """A watcher at its prefix, until it cancels."""

    __slots__ = (
        "_board",
        "_knows",
        "_node",
        "_rest",
        "_told",
        "_wake",
        "_watcher",
        "ahead",
        "exclude",
        "is_live",
        "is_lost",
        "is_relay",
        "read",
    )

    def __init__(
        self,
        board: Board,
        node: _Node,
        watcher: Watcher,
        exclude: int,
        is_relay: bool,
        wake: Wake | None,
    ) -> None:
        self._board = board
        self._node = node
        self._watcher = watcher
        self.exclude = exclude
        """Chains with this relay id are hidden; 0 hides none."""
        self.is_relay = is_relay
        """Whether it passes on what it hears."""
        self.is_live = True
        self._told: dict[Path, Way] = {}  # kept for relays only
        self._wake = wake
        self._rest: Iterator[tuple[Path, Ways]] | None = None
        self._knows: Callable[[Path], bool] = lambda path: False
        self.read = 0
        self.ahead: dict[Path, Note] = {}
        self.is_lost = False

    def cancel(self) -> None:
        """Tell nothing any more, not even what is being told right now."""
        if self.is_live:
            self.is_live = False
            self._rest = None
            self._board.remove(self, self._node)

    @property
    def prefix(self) -> Path:
        """Where it watches."""
        return self._node.path

    @property
    def is_beginning(self) -> bool:
        """Whether some of what was there when it came has still to be told."""
        return self._rest is not None

    def begin(self, rest: Iterator[tuple[Path, Ways]], knows: Callable[[Path], bool]) -> None:
        """`catch_up` tells what is there as well, but for what is known. For `Board` only."""
        self._rest, self._knows = rest, knows

    def leave_off(self) -> None:
        """Nothing more is told of what was there when it came, only what changes."""
        self._rest = None

    def wake(self) -> None:
        """See `relay.model.journal.Reader`."""
        if self.is_live and self._wake is not None:
            self._wake(self)

    def catch_up(self, limit: int) -> tuple[int, bool]:
        """Tell at most ``limit`` things that wait for their turn; answers how many were looked at
        and whether there are more. Raises `LimitExceeded` when it was too late for some."""
        journal = self._node.journal
        if self.is_lost:
            raise LimitExceeded("too many broadcasts have come and gone untold")
        if journal is None or not self.is_live:
            return 0, False
        with self._board.hold():
            begun = self._go_on(journal, (limit + 1) // 2)
            notes = journal.next_for(self, limit - begun)
            for note in notes:
                if not self.is_live:
                    break
                before, now, replaced = journal.open(self, note)
                if before != now or replaced:
                    self.tell(note.path, before, now, replaced, True)
        has_more = self.is_beginning or self.is_lost or journal.is_behind(self)
        return begun + len(notes), has_more

    def _go_on(self, journal: Journal, limit: int) -> int:
        """Tell more of what was there, as it is now; answers how many were looked at."""
        if (rest := self._rest) is None:
            return 0
        count = 0
        for path, ways in islice(rest, limit):
            count += 1
            if self.is_live and not self._knows(path):
                is_replaced = journal.look_ahead(self, path)
                if is_replaced or visible(ways, self.exclude, False) is None:
                    self._watcher.unannounced(path)  # it may know it by a change that it was told
                self.tell(path, (), ways, False, True)
        if count < limit:
            self._rest = None
        return count

    def tell(self, path: Path, old: Ways, new: Ways, replaced: bool, is_calm: bool) -> None:
        """Tell one change, as far as it is visible here. For `Board` only."""
        becomes = visible(new, self.exclude, self.is_relay) if new else None
        if self.is_relay:
            was = self._told.pop(path, None)
            if becomes is not None and not (is_calm or replaced) and _is_worse(was, becomes):
                becomes = None
            if becomes is not None:
                self._told[path] = becomes
        else:
            was = visible(old, self.exclude, False) if old else None
        if was is not None and (replaced or becomes is None) and self.is_live:
            self._watcher.unannounced(path)
        is_news = becomes is not None and (replaced or _differ(was, becomes, self.is_relay))
        if becomes is not None and is_news and self.is_live:
            self._watcher.announced(path, becomes)


class Board:
    """All that is announced on one origin."""

    def __init__(self) -> None:
        self._root = _Node(None, "")
        self._room = Room()
        self.changes = 0
        """How often anything has come or gone."""
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_telling = False

    def post(self, path: Path, ways: Ways, publisher: object, is_calm: bool = True) -> None:
        """Show the ways to a path, or nothing (none); another publisher replaces the old.

        Without calm relays hear of nothing worse than they were told before, until it is posted
        again with it.
        """
        self.defer(lambda: self._change(path, ways, publisher, is_calm))

    def repeat(self, path: Path, relay: int) -> None:
        """Tell one relay what is shown at a path once more, as of a publisher that comes now."""
        self.defer(lambda: self._repeat(path, relay))

    def watch(
        self,
        prefix: Path,
        watcher: Watcher,
        exclude: int = 0,
        is_relay: bool = False,
        wake: Wake | None = None,
        knows: Callable[[Path], bool] | None = None,
    ) -> Watch:
        """Tell ``watcher`` what is shown under ``prefix``, before this returns, and each change.

        With ``wake`` changes wait for `Watch.catch_up`, and it is called with the watch when the
        first one does.
        Of a path that changed more than once meanwhile only what became of it is told, and that it
        was gone if it was. Not for relays, from which others have to hear at once what is gone.
        With ``knows``, too, nothing is told before this returns: what the watcher does not know is
        told as changes are. It may hear then that something is gone of which it never heard.
        """
        node = self._grow(prefix)
        watch = Watch(self, node, watcher, exclude, is_relay, wake)
        if wake is None:
            node.watches = node.watches or {}
            node.watches[watch] = None
        else:
            if node.journal is None:
                node.journal = Journal(self._room)
            node.journal.join(watch)
            if knows is not None:
                watch.begin(_shown(node), knows)
                return watch
        with self.hold():
            for path, ways in tuple(_shown(node)):
                watch.tell(path, (), ways, False, True)
        return watch

    def remove(self, watch: Watch, node: _Node) -> None:
        """For `Watch.cancel` only."""
        if node.watches is not None:
            node.watches.pop(watch, None)
            node.watches = node.watches or None
        if node.journal is not None:
            node.journal.leave(watch)
            if node.journal.is_left:
                node.journal = None
        _prune(node)

    def put_up(self, roof: Roof) -> None:
        """Stir the roof at the next change of each path above its prefix, where somebody watches:
        however often they change until it looks, and is put up anew, it is stirred once for each.
        """
        for above in _upwards(self._grow(roof.prefix).parent):
            above.roofs = above.roofs or {}
            above.roofs[roof] = None

    def take_down(self, roof: Roof) -> None:
        """Stir it no more. It is still watched at its prefix."""
        for above in _upwards(self._grow(roof.prefix).parent):
            if above.roofs is not None:
                above.roofs.pop(roof, None)
                above.roofs = above.roofs or None

    def above(self, prefix: Path, exclude: int) -> tuple[Way, object] | None:
        """What is visible nearest above a prefix, and whose it is, where nothing is at it and that
        publisher may have more than it announces."""
        for node in _upwards(self._grow(prefix)):
            if (way := visible(node.ways, exclude, False)) is not None:
                return (way, node.publisher) if way.is_wide and node.path != prefix else None
        return None

    def shown(self, prefix: Path) -> Iterator[tuple[Path, Ways]]:
        """What watchers under ``prefix`` have been told so far, each as of when it is come to."""
        node: _Node | None = self._root
        for segment in prefix.segments:
            node = node and node.children.get(segment)
        return iter(()) if node is None else _shown(node)

    def defer(self, change: Callable[[], None]) -> None:
        """Make a change once everybody knows of those before it: now, unless one is being told."""
        self._waiting.append(change)
        if not self._is_telling:
            with self.hold():
                pass

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Nothing is changed for the watchers until the end of the block, unless one is open."""
        outermost = not self._is_telling
        self._is_telling = True
        try:
            yield
            while outermost and self._waiting:
                self._waiting.popleft()()
        finally:
            self._is_telling = not outermost

    def _change(self, path: Path, ways: Ways, publisher: object, is_calm: bool) -> None:
        self.changes += 1
        node = self._grow(path)
        old, replaced = node.ways, node.publisher is not publisher
        was_calm = node.is_calm
        node.ways, node.publisher, node.is_calm = ways, publisher, is_calm or not ways
        watches = _watches(node)
        if old != ways or replaced:
            for journal in _journals(node):
                journal.note(path, old, ways, replaced)
        if node.roofs and (old != ways or replaced):
            stirred, node.roofs = node.roofs, None
            for roof in stirred:
                roof.stir()
        if not ways:
            _prune(node)
        if old != ways or replaced or was_calm != is_calm:
            for watch in watches:
                watch.tell(path, old, ways, replaced, is_calm)

    def _repeat(self, path: Path, relay: int) -> None:
        node = self._grow(path)
        for watch in _watches(node):
            if watch.is_relay and watch.exclude == relay:
                watch.tell(path, node.ways, node.ways, True, node.is_calm)
        _prune(node)

    def _grow(self, path: Path) -> _Node:
        node = self._root
        for segment in path.segments:
            child = node.children.get(segment)
            if child is None:
                child = node.children[segment] = _Node(node, segment)
            node = child
        node.path = path
        return node


def _watches(node: _Node) -> list[Watch]:
    """Everybody who watches the node or one above it and is told at once."""
    return [watch for each in _upwards(node) if each.watches for watch in each.watches]


def _journals(node: _Node) -> list[Journal]:
    """Where changes at the node are noted."""
    return [each.journal for each in _upwards(node) if each.journal is not None]


def _upwards(node: _Node | None) -> Iterator[_Node]:
    """The node and those above it."""
    while node is not None:
        yield node
        node = node.parent


def _prune(node: _Node) -> None:
    """Remove the node and those above it that hold nothing any more."""
    while node.parent is not None and not (
        node.children or node.watches or node.journal is not None or node.ways
    ):
        parent = node.parent
        del parent.children[node.segment]
        node = parent


def _is_worse(was: Way | None, becomes: Way) -> bool:
    """Whether a relay that was told one way should wait before it hears of the other."""
    return was is None or (was.cost, len(was.hops)) < (becomes.cost, len(becomes.hops))


def _differ(was: Way | None, becomes: Way, is_relay: bool) -> bool:
    """Whether a watcher should hear of the change; only relays care for what it costs."""
    told = 3 if is_relay else 1
    return was is None or was[:told] != becomes[:told]


def _shown(node: _Node) -> Iterator[tuple[Path, Ways]]:
    """What is shown at the node and below it. The tree may change meanwhile."""
    rest = [node]
    while rest:
        node = rest.pop()
        rest.extend(node.children.values())
        if node.ways:
            yield node.path, node.ways
