"""Relays that find each other: each announces its URL, and of two the first in order dials.

The names stand below ``.internal/origins``, as upstream's relays write them; a name that vanishes
is forgotten a minute later, since it may only have changed its way. This module must not know how
anything is dialled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from relay.cluster.address import Address, advertised, parse
from relay.cluster.roster import Roster, Wish
from relay.errors import ConfigError, NotFound
from relay.model.board import Way
from relay.model.origin import Origin
from relay.model.track import Track
from relay.path import Path
from relay.reserve import INTERNAL

ORIGINS = INTERNAL.join("origins")
"""Where relays announce their URLs."""

FORGET = 60.0
"""Seconds until a relay that is no longer announced is no longer dialled."""


class Nothing:
    """A broadcast without tracks: being announced is all it says (the model's `Source`)."""

    def open(self, track: Track) -> None:
        """There is none."""
        track.fail(NotFound("nothing but a name is published here"))

    def learn(self, track: Track) -> None:
        """There is none."""
        track.fail(NotFound("nothing but a name is published here"))

    def update(self, track: Track) -> None:
        """There is none."""

    def close(self, track: Track) -> None:
        """There is none."""


class Gossip:
    """What relays tell of themselves (the model's `Watcher`)."""

    def __init__(
        self,
        origin: Origin,
        roster: Roster,
        changed: Callable[[], None],
        clock: Callable[[], float],
        log: Callable[..., None],
    ) -> None:
        self.nodes: dict[str, int] = {}
        """Relays announced now, by key: the id of their origin."""
        self._origin = origin
        self._roster = roster
        self._changed = changed
        self._clock = clock
        self._log = log
        self._vanished: dict[str, float] = {}

    def begin(self, node: str) -> None:
        """Tell our own URL and listen to others."""
        self._origin.announce(ORIGINS.join(node.partition("?")[0]), Nothing(), (), self._clock())
        self._origin.watch(ORIGINS, self)

    def announced(self, path: Path, way: Way) -> None:
        """A relay told its URL."""
        address = self._read(path)
        if address is None or address.key == self._roster.own:
            return
        self.nodes[address.key] = way.hops[0] if way.hops else 0
        self._vanished.pop(address.key, None)
        if address.key > (self._roster.own or ""):
            # Otherwise the other one dials; the session serves both ways.
            self._roster.add(Wish.GOSSIPED, address)
            self._changed()

    def unannounced(self, path: Path) -> None:
        """It went, or its way changed."""
        address = self._read(path)
        if address is not None:
            self.nodes.pop(address.key, None)
            self._vanished[address.key] = self._clock()

    def tick(self, now: float) -> None:
        """Forget those that did not come back."""
        for key, since in tuple(self._vanished.items()):
            if now - since >= FORGET:
                del self._vanished[key]
                self._roster.drop(Wish.GOSSIPED, key)
                self._changed()

    def came_to(self, near: Collection[int]) -> set[int]:
        """The relays that one of these has a link with, by number."""
        shown = self._origin.board.shown(ORIGINS) if near else ()
        chains = (way.hops for _, ways in shown for way in ways)
        return {hops[0] for hops in chains if len(hops) == 2 and hops[1] in near}

    def _read(self, path: Path) -> Address | None:
        try:
            return parse(advertised(path.relative_to(ORIGINS)))
        except ConfigError as error:
            self._log("node ignored", why=str(error))
            return None
