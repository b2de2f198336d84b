"""Everything one relay knows: who announces what, who watches, and what is due when.

The only entrance of this room; sessions get a `Scope` of it, never the origin itself. This module
must not know who may see what (a scope does) nor any peer.
"""

from __future__ import annotations

from collections.abc import Iterator

from relay.errors import LimitExceeded
from relay.model.agenda import Agenda
from relay.model.board import FREE, Board, Price, Watch, Watcher
from relay.model.broadcast import Broadcast, Route, Seat, Source
from relay.model.cache import Cache, Stock
from relay.model.errands import Errands
from relay.model.scope import Scope
from relay.model.settings import CacheSettings
from relay.model.stage import Stage
from relay.model.traffic import Meter
from relay.path import Path
from relay.reserve import INTERNAL, NOTHING_MORE

MAX_HOPS = 32
"""Relays in one chain; announcements with longer chains are dropped."""


class Origin:
    """All broadcasts of one relay. ``now`` is monotonic seconds in every call."""

    def __init__(
        self, id: int, settings: CacheSettings | None = None, keeps_own: bool = False
    ) -> None:
        self.id = id
        """This relay's own hop id: chains that contain it are loops."""
        self.keeps_own = keeps_own
        """Whether what is published here is never displaced by what others announce, as in a
        client, which must not give way to what it is about to replace."""
        settings = settings or CacheSettings()
        self.stock = Stock(settings, Cache(settings), Agenda(), Meter(), Errands())
        self.board = Board()
        self.reserve = NOTHING_MORE
        """Where only relays publish or watch."""
        self.routes = 0
        """Announcements in force, those of parked and standby routes included."""
        self._talk = 0
        """Of these, what relays tell each other. In a mesh every relay hears of all others from
        each of them, and that takes nobody's room."""
        self.relays = 0
        """Relays that we exchange announcements with now."""
        self._stages: dict[Path, Stage] = {}

    def announce(
        self,
        path: Path,
        source: Source,
        hops: tuple[int, ...],
        now: float,
        price: Price = FREE,
        tenant: str | None = None,
    ) -> Route | None:
        """``source`` can deliver the broadcast at ``path``.

        ``hops`` is the full chain, the original publisher first (0 = unknown); ``price`` orders
        routes; ``tenant`` pays for what is cached. ``None``: dropped, since the chain is a loop or
        longer than `MAX_HOPS`.
        Raises `LimitExceeded` beyond `CacheSettings.max_broadcasts`, but not for what relays tell
        each other.
        """
        if not self.admits(hops):
            return None
        self.count_route(path)
        stage = self.stage_at(path)
        route = Route(stage, source, hops, price, tenant)
        stage.enter(route, now)
        return route

    def watch(
        self, prefix: Path, watcher: Watcher, exclude: int = 0, is_relay: bool = False
    ) -> Watch:
        """Tell ``watcher`` of every broadcast under ``prefix``, those of now before this returns.

        Ways that contain ``exclude`` are hidden from it (0 = none), and from a relay those that may
        be gone already.
        """
        return self.board.watch(prefix, watcher, exclude, is_relay)

    def find(self, path: Path) -> Broadcast | None:
        """The broadcast announced at ``path`` now."""
        stage = self._stages.get(path)
        return None if stage is None else stage.on_air

    def seek(self, path: Path, asker: int = 0) -> Seat | None:
        """Who serves a path: the broadcast announced there, else the one at the longest prefix of
        it to which some way does not lead through ``asker`` (0 = nobody).

        An announcement is of everything below it as well (moq-lite-06), but not of what only relays
        publish; who does not have what is asked for there says so, and no other is asked.
        """
        if (there := self.find(path)) is not None:
            return Seat(there)
        if self.reserve.bars("publish", path):
            return None
        for prefix in path.parents:
            above = self.find(prefix)
            if above is not None and above.leads_past(asker):
                return Seat(above, path.relative_to(prefix)) if above.serves_below else None
        return None

    def on_air(self) -> Iterator[Broadcast]:
        """Every broadcast that is announced now, in no order. Nothing may change meanwhile."""
        return (stage.on_air for stage in self._stages.values() if stage.on_air is not None)

    def tick(self, now: float) -> None:
        """Do what is due (linger, retention, forgotten tracks)."""
        self.stock.agenda.tick(now)

    def scope(
        self,
        root: Path,
        publish: tuple[Path, ...],
        subscribe: tuple[Path, ...],
        is_relay: bool = False,
        tenant: str | None = None,
        talks: bool = True,
    ) -> Scope:
        """The part of this origin that one session may see; prefixes are relative to ``root``.
        ``tenant`` pays for what is announced there. A relay ``talks`` where what relays tell each
        other passes.

        Raises `BadRequest` when a prefix is too long below the root.
        """
        return Scope(self, root, publish, subscribe, is_relay, tenant, talks)

    @property
    def room(self) -> int:
        """How many announcements more it takes now."""
        return max(0, self.stock.settings.max_broadcasts - self.routes + self._talk)

    # For stages.

    def admits(self, hops: tuple[int, ...]) -> bool:
        """Whether a chain is neither a loop nor too long."""
        return len(hops) <= MAX_HOPS and self.id not in hops

    def count_route(self, path: Path) -> None:
        """One more announcement, at ``path``. Raises `LimitExceeded`."""
        if path.is_under(INTERNAL):
            self._talk += 1
        elif not self.room:
            limit = self.stock.settings.max_broadcasts
            raise LimitExceeded(f"the relay is at max_broadcasts ({limit})")
        self.routes += 1

    def discount_route(self, path: Path) -> None:
        """One announcement at ``path`` less."""
        self.routes -= 1
        self._talk -= path.is_under(INTERNAL)

    def stage_at(self, path: Path) -> Stage:
        """The stage of a path, a new one if nothing is there."""
        stage = self._stages.get(path)
        if stage is None:
            stage = self._stages[path] = Stage(self, path)
        return stage

    def forget(self, stage: Stage) -> None:
        """Nothing is left at the stage's path."""
        if self._stages.get(stage.path) is stage:
            del self._stages[stage.path]
