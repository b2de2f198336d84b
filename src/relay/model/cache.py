"""The byte budget that all tracks of one origin share.

Over budget the oldest groups that are not the latest of their track go first, then whatever has
ended, and only past a second, higher mark a live group. This module must not know how long a
publisher wants its groups kept: that is each track's own shelf.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from relay.errors import Lagged
from relay.model.agenda import Agenda
from relay.model.group import Group
from relay.model.settings import CacheSettings


class Cache:
    """Which groups are held, and how much of the budget they use."""

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self.used = 0
        """Bytes charged for all groups held."""
        # Each group held is in exactly one of these, in the order in which it came there.
        self._spare: OrderedDict[Group, None] = OrderedDict()
        self._rested: OrderedDict[Group, None] = OrderedDict()
        self._live: OrderedDict[Group, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._spare) + len(self._rested) + len(self._live)

    def hold(self, group: Group, spare: bool, charge: int) -> None:
        """Start counting a group; ``spare`` = it is not the latest of its track."""
        group.cache = self
        (self._spare if spare else self._live)[group] = None
        self.add(group, charge)

    def supersede(self, group: Group) -> None:
        """The group is no longer the latest of its track."""
        for shelf in (self._live, self._rested):
            if group in shelf:
                del shelf[group]
                self._spare[group] = None

    def promote(self, group: Group) -> None:
        """The group became the latest of its track, because newer ones are gone."""
        if group in self._spare:
            del self._spare[group]
            (self._rested if group.ended else self._live)[group] = None

    def rest(self, group: Group) -> None:
        """The group is complete."""
        if group in self._live:
            del self._live[group]
            self._rested[group] = None

    def release(self, group: Group) -> None:
        """Stop counting a group."""
        if group.cache is self:
            group.cache = None
            self.used -= group.charge
            group.charge = 0
            for shelf in (self._spare, self._rested, self._live):
                shelf.pop(group, None)

    def add(self, group: Group, charge: int) -> None:
        """Count bytes of a group that is held; may evict groups, even this one."""
        group.charge += charge
        self.used += charge
        if self.used > self.settings.cache_bytes:
            self._make_room()

    def _make_room(self) -> None:
        limit = self.settings.cache_bytes
        lagged = Lagged(f"the cache is over cache_bytes ({limit})")
        for shelf in (self._spare, self._rested):
            while shelf and self.used > limit:
                next(iter(shelf)).evict(lagged)
        while self._live and self.used > max(limit, self.settings.live_bytes):
            max(self._live, key=lambda group: group.charge).evict(
                Lagged(f"live groups are over live_bytes ({self.settings.live_bytes})")
            )


class Stock(NamedTuple):
    """What all tracks of one origin share."""

    settings: CacheSettings
    cache: Cache
    agenda: Agenda
