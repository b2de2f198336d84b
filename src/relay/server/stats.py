"""The relay's numbers as broadcasts, in the shape that upstream's relays publish them.

``.stats/node/<name>`` has the tracks ``publisher.json`` (what left), ``subscriber.json`` (what came
in), both by path, and ``sessions.json`` by root; a frame is one whole snapshot, in a group of its
own. The same tracks with ``.z`` behind them are compressed, and go on by what changed. With a depth
there is one broadcast for the first segments of the paths, ``.stats/<segments>/node/<name>``. The
law: nothing is gathered while nobody watches; who may watch is decided like everything else, by
what the grant covers. This module must not know any protocol.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from relay.errors import LimitExceeded
from relay.model.broadcast import Route
from relay.model.demand import TrackInfo
from relay.model.group import Encoding
from relay.model.scope import INTERNAL
from relay.model.traffic import Moved, Side, Traffic
from relay.path import ROOT, Path
from relay.peer.door import Door
from relay.peer.local import LocalBroadcast, LocalTrack
from relay.server.patches import Patches
from relay.wire.frame import Layout, weigh

PUBLISHER, SUBSCRIBER, SESSIONS = "publisher.json", "subscriber.json", "sessions.json"
COMPRESSED = ".z"

MAX_ENTRIES = 10_000
"""Paths, or roots, of one snapshot, the first in order."""

MAX_GROUPS = 1_000
"""Broadcasts that a depth makes, the first in order."""

Told = dict[str, dict[str, Any]]
"""By path or root."""


class Stats:
    """The stats broadcasts of one relay. ``wall`` is unix seconds, ``interval`` seconds."""

    def __init__(
        self,
        door: Door,
        name: str,
        interval: float,
        wall: Callable[[], float],
        prefix: Path,
        depth: int = 0,
    ) -> None:
        self._door = door
        self._name = name
        self._interval = interval
        self._wall = wall
        self._prefix = prefix
        self._depth = depth
        self._boards: dict[Path, Board] = {}
        self._known: dict[Path, Traffic] | None = None
        """What was told last, if that was just now."""
        self._seen: dict[str, Path] = {}
        self._came: Counter[Path] = Counter()
        self._went: Counter[Path] = Counter()
        door.house.origin.stock.meter.weigh = weighed

    async def run(self) -> None:
        """Publish for ever. Whoever calls owns the task."""
        while True:
            self._look()
            await asyncio.sleep(self._interval)

    def _look(self) -> None:
        """Make the broadcasts that there are to be, and tell those who watch."""
        if not self._depth:
            self._keep([ROOT])
        is_watched = any(board.is_watched for board in self._boards.values())
        if not (is_watched or self._depth):
            self._known = None
            return
        on_air = {
            each.path: each.traffic
            for each in self._door.house.origin.on_air()
            if not (each.path.is_under(self._prefix) or each.path.is_under(INTERNAL))
        }
        roots = self._count_sessions()
        if self._depth:
            self._keep([*on_air, *(self._known or ()), *roots])
        if not is_watched:
            self._known = None
            return
        told_of = (self._known or {}) | on_air
        self._known = on_air
        out, into = {}, {}
        for path in sorted(told_of)[:MAX_ENTRIES]:
            traffic, is_over = told_of[path], path not in on_air
            out[path] = side(path, traffic.went, traffic.stale, is_over)
            into[path] = side(path, traffic.came, NOTHING, is_over)
        told = {PUBLISHER: out, SUBSCRIBER: into, SESSIONS: roots}
        now = round(self._wall() * 1000)
        for group, board in self._boards.items():
            if board.is_watched:
                board.tell({name: self._of(group, said) for name, said in told.items()}, now)

    def _of(self, group: Path, said: dict[Path, dict[str, Any]]) -> Told:
        return {str(path): each for path, each in said.items() if self._group(path) == group}

    def _group(self, path: Path) -> Path:
        return Path("/".join(path.segments[: self._depth]))

    def _keep(self, paths: Iterable[Path]) -> None:
        """Announce a broadcast for each group of paths, and no other."""
        origin, clock = self._door.house.origin, self._door.house.clock
        wanted = sorted({self._group(path) for path in paths})[:MAX_GROUPS]
        for group in self._boards.keys() - wanted:
            self._boards.pop(group).withdraw(clock())
        for group in wanted:
            if group in self._boards:
                continue
            board = Board(clock)
            path = self._prefix.join(group).join(Path("node")).join(Path(self._name))
            try:
                board.route = origin.announce(path, board.broadcast, (), clock())
            except LimitExceeded:
                return  # the relay is full: perhaps next time
            self._boards[group] = board

    def _count_sessions(self) -> dict[Path, dict[str, Any]]:
        """By root, counted from one look to the next; a root without sessions is told once more."""
        now = {
            id: guest.grant.root
            for id, guest in self._door.guests.items()
            if guest.grant is not None and guest.opened
        }
        self._went.update([self._seen[id] for id in self._seen.keys() - now.keys()])
        self._came.update(root for id, root in now.items() if id not in self._seen)
        self._seen = now
        told = {}
        for root, came in sorted(self._came.items())[:MAX_ENTRIES]:
            told[root] = doubled("sessions", "sessions", came, self._went[root])
        for root in [root for root, came in self._came.items() if came == self._went[root]]:
            del self._came[root], self._went[root]
        return told


class Board:
    """One stats broadcast."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.broadcast = LocalBroadcast(clock)
        self.route: Route | None = None
        info = TrackInfo(max_latency=0)
        self._tracks = {
            (name, compressed): (
                self.broadcast.create_track(name + COMPRESSED * compressed, info, keep=1),
                Patches(compressed),
            )
            for name in (PUBLISHER, SUBSCRIBER, SESSIONS)
            for compressed in (False, True)
        }

    @property
    def is_watched(self) -> bool:
        """Whether anybody watches any of its tracks."""
        return any(track.track is not None for track, _ in self._tracks.values())

    def tell(self, said: dict[str, Told], now: int) -> None:
        """What there is to say, in milliseconds of the wall's clock."""
        for (name, _), (track, patches) in self._tracks.items():
            if track.track is None:
                patches.reset()
            elif (frame := patches.encode(said[name])) is not None:
                write(track, *frame, now)

    def withdraw(self, now: float) -> None:
        """Nobody has anything to say here any more."""
        for track, _ in self._tracks.values():
            track.finish()
        if self.route is not None:
            self.route.withdraw(now)


def write(track: LocalTrack, frame: bytes, begins: bool, now: int) -> None:
    """One frame, in a group of its own or in that of the one before."""
    if begins:
        track.append_group()
    track.write_frame(frame, now)


def weighed(encoding: Encoding, chunks: Sequence[bytes], size: int) -> tuple[int, int]:
    """Frames and payload of a group (see `relay.model.traffic.Weigh`)."""
    return weigh(encoding, chunks, size) if isinstance(encoding, Layout) else (0, size)


NOTHING = Moved()


def side(path: Path, side: Side, stale: Moved, is_over: bool) -> dict[str, Any]:
    """One entry of a traffic track: every number under its name of today, and of before."""
    moved = side.moved
    return {
        **doubled("announces", "announced", 1, int(is_over)),
        "announced_bytes": len(path.encode()) * (1 + is_over),
        **doubled("broadcasts", "broadcasts", side.broadcasts, side.broadcasts_ended),
        **doubled("subscriptions", "subscriptions", side.subscriptions, side.subscriptions_ended),
        "fetches": side.fetches,
        **content(moved),
        "stale": content(stale),
    }


def content(moved: Moved) -> dict[str, int]:
    """What moved."""
    return {
        "bytes": moved.bytes,
        "frames": moved.frames,
        "groups": moved.groups,
        "datagrams": moved.datagrams,
    }


def doubled(name: str, before: str, started: int, ended: int) -> dict[str, int]:
    """A pair that only grows, as it is called and as it was called."""
    return {
        f"{name}_started": started,
        before: started,
        f"{name}_ended": ended,
        f"{before}_closed": ended,
    }
