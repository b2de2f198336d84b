"""The board of announcements: what is shown at which path, and who watches which prefix.

Changes are told one after the other, also when somebody makes a new one from within a call, so
every watcher sees one and the same history; a change costs its depth and its watchers, not those of
other prefixes. This module must not know what a broadcast is beyond an object that is the same or
not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from relay.path import ROOT, Path

Hops = tuple[int, ...]
"""Relay ids, the original publisher's first; 0 = unnamed."""


class Watcher(Protocol):
    """Who wants to hear of broadcasts under a prefix. Must not raise."""

    def announced(self, path: Path, hops: Hops) -> None:
        """A broadcast is there; again for the same path: only its chain has changed."""

    def unannounced(self, path: Path) -> None:
        """It is gone. One that was replaced is unannounced, then announced."""


class _Node:
    """One segment of the tree."""

    __slots__ = ("children", "hops", "parent", "path", "publisher", "segment", "watches")

    def __init__(self, parent: _Node | None, segment: str, path: Path) -> None:
        self.parent = parent
        self.segment = segment
        self.path = path
        self.children: dict[str, _Node] = {}
        self.watches: dict[Watch, None] = {}
        self.hops: Hops | None = None
        self.publisher: object = None


class Watch:
    """A watcher at its prefix, until it cancels."""

    __slots__ = ("_board", "_node", "_watcher", "exclude", "is_live")

    def __init__(self, board: Board, node: _Node, watcher: Watcher, exclude: int) -> None:
        self._board = board
        self._node = node
        self._watcher = watcher
        self.exclude = exclude
        """Chains with this relay id are hidden; 0 hides none."""
        self.is_live = True

    def cancel(self) -> None:
        """Tell nothing any more, not even what is being told right now."""
        if self.is_live:
            self.is_live = False
            self._board.remove(self, self._node)

    def shows(self, hops: Hops | None) -> bool:
        """Whether this watcher may see a chain."""
        return hops is not None and not (self.exclude and self.exclude in hops)

    def tell(self, path: Path, old: Hops | None, new: Hops | None, replaced: bool) -> None:
        """Tell one change, as far as it is visible here. For `Board` only."""
        was, becomes = self.shows(old), self.shows(new)
        if was and (replaced or not becomes) and self.is_live:
            self._watcher.unannounced(path)
        changed = replaced or not was or old != new
        if becomes and changed and self.is_live and new is not None:
            self._watcher.announced(path, new)


class Board:
    """All that is announced on one origin."""

    def __init__(self) -> None:
        self._root = _Node(None, "", ROOT)
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_telling = False

    def post(self, path: Path, hops: Hops | None, publisher: object) -> None:
        """Show a chain at a path, or nothing (``None``); another publisher replaces the old."""
        self.defer(lambda: self._change(path, hops, publisher))

    def watch(self, prefix: Path, watcher: Watcher, exclude: int = 0) -> Watch:
        """Tell ``watcher`` what is shown under ``prefix``, before this returns, and each change."""
        node = self._grow(prefix)
        watch = Watch(self, node, watcher, exclude)
        node.watches[watch] = None
        with self.hold():
            for path, hops in _shown(node):
                watch.tell(path, None, hops, False)
        return watch

    def remove(self, watch: Watch, node: _Node) -> None:
        """For `Watch.cancel` only."""
        node.watches.pop(watch, None)
        _prune(node)

    def shown(self, prefix: Path) -> list[tuple[Path, Hops]]:
        """What watchers under ``prefix`` have been told so far."""
        node: _Node | None = self._root
        for segment in prefix.segments:
            node = node and node.children.get(segment)
        return [] if node is None else _shown(node)

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

    def _change(self, path: Path, hops: Hops | None, publisher: object) -> None:
        node = self._grow(path)
        old, replaced = node.hops, node.publisher is not publisher
        node.hops, node.publisher = hops, publisher
        watches: list[Watch] = []
        above: _Node | None = node
        while above is not None:
            watches.extend(above.watches)
            above = above.parent
        if hops is None:
            _prune(node)
        if old != hops or replaced:
            for watch in watches:
                watch.tell(path, old, hops, replaced)

    def _grow(self, path: Path) -> _Node:
        node, segments = self._root, path.segments
        for depth, segment in enumerate(segments, start=1):
            child = node.children.get(segment)
            if child is None:
                name = Path("/".join(segments[:depth]))
                child = node.children[segment] = _Node(node, segment, name)
            node = child
        return node


def _prune(node: _Node) -> None:
    """Remove the node and those above it that hold nothing any more."""
    while node.parent is not None and not node.children and not node.watches and node.hops is None:
        parent = node.parent
        del parent.children[node.segment]
        node = parent


def _shown(node: _Node) -> list[tuple[Path, Hops]]:
    """What is shown at the node and below it."""
    found: list[tuple[Path, Hops]] = []
    rest = [node]
    while rest:
        node = rest.pop()
        if node.hops is not None:
            found.append((node.path, node.hops))
        rest.extend(node.children.values())
    return found
