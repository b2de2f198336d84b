"""The relay's numbers as broadcasts, in the shape that upstream's relays publish them.

``.stats/node/<name>`` has the tracks ``publisher.json`` (what left), ``subscriber.json`` (what came
in), both by path, and ``sessions.json`` by root; a frame is one whole snapshot, in a group of its
own. The law: nothing is gathered while nobody watches; who may watch ``.stats`` is decided like
everything else, by what the grant covers. This module must not know any protocol.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from relay.model.broadcast import Broadcast
from relay.model.demand import TrackInfo
from relay.model.scope import INTERNAL, STATS
from relay.path import Path
from relay.peer.door import Door
from relay.peer.local import LocalBroadcast

PUBLISHER, SUBSCRIBER, SESSIONS = "publisher.json", "subscriber.json", "sessions.json"

MAX_ENTRIES = 10_000
"""Paths, or roots, of one snapshot, the first in order."""


class Stats:
    """The stats broadcast of one relay. ``wall`` is unix seconds, ``interval`` seconds."""

    def __init__(self, door: Door, name: str, interval: float, wall: Callable[[], float]) -> None:
        self.path = STATS.join("node").join(name)
        self._door = door
        self._interval = interval
        self._wall = wall
        self._broadcast = LocalBroadcast(door.house.clock)
        info = TrackInfo(max_latency=0)
        self._tracks = {
            name: self._broadcast.create_track(name, info, keep=1)
            for name in (PUBLISHER, SUBSCRIBER, SESSIONS)
        }
        self._seen: dict[str, Path] = {}
        self._came: Counter[Path] = Counter()
        self._went: Counter[Path] = Counter()

    async def run(self) -> None:
        """Publish for ever. Whoever calls owns the task."""
        house = self._door.house
        house.origin.announce(self.path, self._broadcast, (), house.clock())
        makers = {
            PUBLISHER: self._publisher,
            SUBSCRIBER: self._subscriber,
            SESSIONS: self._sessions,
        }
        while True:
            for name, make in makers.items():
                track = self._tracks[name]
                if track.track is not None:
                    track.append_group()
                    text = json.dumps(make(), separators=(",", ":"))
                    track.write_frame(text.encode(), round(self._wall() * 1000))
                    track.finish_group()
            await asyncio.sleep(self._interval)

    def _shown(self) -> Iterator[Broadcast]:
        found = (
            each
            for each in self._door.house.origin.on_air()
            if not (each.path.is_under(STATS) or each.path.is_under(INTERNAL))
        )
        return iter(sorted(found, key=lambda each: each.path)[:MAX_ENTRIES])

    def _publisher(self) -> dict[str, Any]:
        return {
            each.path: {
                "announced": 1,
                "announced_closed": 0,
                "subscriptions": each.traffic.subscriptions,
                "subscriptions_closed": each.traffic.subscriptions_closed,
                "bytes": each.traffic.bytes_out,
                "groups": each.traffic.groups_out,
            }
            for each in self._shown()
        }

    def _subscriber(self) -> dict[str, Any]:
        return {
            each.path: {
                "announced": 1,
                "announced_closed": 0,
                "bytes": each.traffic.bytes_in,
                "groups": each.traffic.groups_in,
            }
            for each in self._shown()
        }

    def _sessions(self) -> dict[str, Any]:
        """By root, counted from one look to the next; a root without sessions is told once more."""
        now = {
            id: guest.grant.root
            for id, guest in self._door.guests.items()
            if guest.grant is not None and guest.opened
        }
        gone = [self._seen[id] for id in self._seen.keys() - now.keys()]
        self._went.update(gone)
        self._came.update(root for id, root in now.items() if id not in self._seen)
        self._seen = now
        told = {
            str(root): {"sessions": came, "sessions_closed": self._went[root]}
            for root, came in sorted(self._came.items())[:MAX_ENTRIES]
        }
        for root in [root for root, came in self._came.items() if came == self._went[root]]:
            del self._came[root], self._went[root]
        return told
