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
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from relay.errors import BadRequest, LimitExceeded
from relay.model.broadcast import Route
from relay.model.demand import TrackInfo
from relay.model.traffic import Moved
from relay.path import ROOT, Path
from relay.peer.door import Door
from relay.peer.local import LocalBroadcast
from relay.server.census import Numbers, Part, first, moved, on_air, together
from relay.server.patches import Patches

PUBLISHER, SUBSCRIBER, SESSIONS = "publisher.json", "subscriber.json", "sessions.json"
COMPRESSED = ".z"

MAX_GROUPS = 1_000
"""Broadcasts that a depth makes, the first in order."""

Told = dict[str, dict[str, Any]]
"""By path or root."""

Ask = Callable[[bool], Awaitable[dict[int, Part]]]
"""What workers have counted, those that answer; with the numbers of broadcasts, or without."""

NO_PART = Part({}, {})


class Stats:
    """The stats broadcasts of one relay, however many workers it has.

    ``wall`` is unix seconds, ``interval`` seconds.
    """

    def __init__(
        self,
        door: Door,
        name: str,
        interval: float,
        wall: Callable[[], float],
        prefix: Path,
        depth: int,
        ask: Ask,
    ) -> None:
        """``ask`` brings what each worker has counted."""
        self._door = door
        self._name = name
        self._interval = interval
        self._wall = wall
        self._prefix = prefix
        self._depth = depth
        self._ask = ask
        self._boards: dict[Path, Board] = {}
        self._parts: dict[int, Part] = {}
        """What each worker said last."""
        self._told: set[str] = set()
        """Which broadcasts were told of last, if that was just now."""
        self._seen: dict[str, str] = {}
        self._came: Counter[str] = Counter()
        self._went: Counter[str] = Counter()

    async def run(self) -> None:
        """Publish for ever. Whoever calls owns the task."""
        while True:
            await self._look()
            await asyncio.sleep(self._interval)

    async def _look(self) -> None:
        """Make the broadcasts that there are to be, and tell those who watch."""
        if not self._depth:
            self._keep([ROOT])
        is_watched = any(board.is_watched for board in self._boards.values())
        if not (is_watched or self._depth):
            self._told.clear()
            return
        before, answers = self._parts, await self._ask(is_watched)
        self._parts = before | answers  # who was silent has nothing new to say
        here = {str(path) for path in on_air(self._door, self._prefix)}
        roots = self._count_sessions()
        if self._depth:
            self._keep(map(Path, {*here, *self._told, *roots}))
        if not is_watched:
            self._told.clear()
            return
        out, into = {}, {}
        for path in first(self._told | here):
            known = [
                part.entries.get(path) or before.get(worker, NO_PART).entries.get(path)
                for worker, part in self._parts.items()
            ]
            whole, is_over = together(filter(None, known)), path not in here
            out[path] = side(path, whole.went, whole.stale, is_over)
            into[path] = side(path, whole.came, NOTHING, is_over)
        self._told = here
        told = {PUBLISHER: out, SUBSCRIBER: into, SESSIONS: roots}
        now = round(self._wall() * 1000)
        for group, board in self._boards.items():
            if board.is_watched:
                board.tell({name: self._of(group, said) for name, said in told.items()}, now)

    def _of(self, group: Path, said: Told) -> Told:
        return {path: each for path, each in said.items() if self._group(Path(path)) == group}

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
            try:
                path = self._prefix.join(group).join(Path("node")).join(Path(self._name))
                board.route = origin.announce(path, board.broadcast, board.broadcast.hops, clock())
            except BadRequest:
                continue  # no path is as long as the group's with ours around it
            except LimitExceeded:
                return  # the relay is full: perhaps next time
            self._boards[group] = board

    def _count_sessions(self) -> Told:
        """By root, counted from one look to the next; a root without sessions is told once more."""
        now = {id: root for part in self._parts.values() for id, root in part.sessions.items()}
        self._went.update([self._seen[id] for id in self._seen.keys() - now.keys()])
        self._came.update(root for id, root in now.items() if id not in self._seen)
        self._seen = now
        told = {}
        for root in first(self._came):
            told[root] = doubled("sessions", "sessions", self._came[root], self._went[root])
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
        for (name, is_compressed), (track, patches) in self._tracks.items():
            if track.track is None:
                patches.reset()
            elif (changed := patches.encode(said[name])) is not None:
                frame, begins_group = changed
                if begins_group:
                    track.append_group()
                try:
                    track.write_frame(frame, now)
                except LimitExceeded:  # too much for a group: perhaps next time
                    patches.reset()
                if not is_compressed:  # a snapshot is all of its group: who fetches has it whole
                    track.finish_group()

    def withdraw(self, now: float) -> None:
        """Nobody has anything to say here any more."""
        for track, _ in self._tracks.values():
            track.finish()
        if self.route is not None:
            self.route.withdraw(now)


NOTHING = moved(Moved())


def side(path: str, counted: Numbers, stale: Numbers, is_over: bool) -> dict[str, Any]:
    """One entry of a traffic track: every number under its name of today, and of before."""
    return {
        **doubled("announces", "announced", 1, int(is_over)),
        "announced_bytes": len(path.encode()) * (1 + is_over),
        **doubled("broadcasts", "broadcasts", counted["broadcasts"], counted["broadcasts_ended"]),
        **doubled(
            "subscriptions",
            "subscriptions",
            counted["subscriptions"],
            counted["subscriptions_ended"],
        ),
        "fetches": counted["fetches"],
        **{name: counted[name] for name in NOTHING},
        "stale": stale,
    }


def doubled(name: str, before: str, started: int, ended: int) -> dict[str, int]:
    """A pair that only grows, as it is called and as it was called."""
    return {
        f"{name}_started": started,
        before: started,
        f"{name}_ended": ended,
        f"{before}_closed": ended,
    }
