"""The byte budget that all tracks of one origin share, and the smaller ones of its tenants.

Over a budget the oldest groups that are not the latest of their track go first, then whatever has
ended; a live group goes past a second, higher mark, or when a tenant has nothing else left. Over a
tenant's budget only that tenant's groups go. This module must not know how long a publisher wants
its groups kept: that is each track's own shelf.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from relay.errors import Lagged
from relay.model.agenda import Agenda
from relay.model.errands import Errands
from relay.model.group import Group
from relay.model.settings import CacheSettings
from relay.model.traffic import Meter


class Pile:
    """Groups held, each in exactly one of three lines, in the order in which it came there."""

    __slots__ = ("live", "rested", "spare", "used")

    def __init__(self) -> None:
        self.used = 0
        """Bytes charged for all of them."""
        self.spare: OrderedDict[Group, None] = OrderedDict()
        """Not the latest of their track."""
        self.rested: OrderedDict[Group, None] = OrderedDict()
        """The latest of their track, complete."""
        self.live: OrderedDict[Group, None] = OrderedDict()
        """The latest of their track, unfinished."""

    def __len__(self) -> int:
        return len(self.spare) + len(self.rested) + len(self.live)

    def supersede(self, group: Group) -> None:
        """It is no longer the latest of its track."""
        line = self.live if group in self.live else self.rested
        if group in line:
            del line[group]
            self.spare[group] = None

    def promote(self, group: Group) -> None:
        """It became the latest of its track."""
        if group in self.spare:
            del self.spare[group]
            (self.rested if group.ended else self.live)[group] = None

    def rest(self, group: Group) -> None:
        """It is complete."""
        if group in self.live:
            del self.live[group]
            self.rested[group] = None

    def drop(self, group: Group) -> None:
        """It is held no more."""
        self.used -= group.charge
        for line in (self.spare, self.rested, self.live):
            line.pop(group, None)


class Share(Pile):
    """What is held for one tenant. Exists while anything is."""

    __slots__ = ("limit", "tenant")

    def __init__(self, tenant: str, limit: int) -> None:
        super().__init__()
        self.tenant = tenant
        self.limit = limit
        """Bytes; 0 = no limit of its own."""


class Cache:
    """Which groups are held, and how much of the budgets they use."""

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self.limit_of: Callable[[str], int] = lambda tenant: 0
        """Bytes that a tenant may have cached, 0 = no limit; after a change call `obey`."""
        self.overflowed: Callable[[str], None] = lambda tenant: None
        """Called when a tenant's own groups had to leave for its limit. Must not raise."""
        self._all = Pile()
        self._shares: dict[str, Share] = {}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def used(self) -> int:
        """Bytes charged for all groups held."""
        return self._all.used

    def used_by(self, tenant: str) -> int:
        """Bytes charged for one tenant's."""
        share = self._shares.get(tenant)
        return 0 if share is None else share.used

    def hold(self, group: Group, spare: bool, charge: int) -> None:
        """Start counting a group; ``spare`` = it is not the latest of its track."""
        group.cache = self
        share = group.share = self._share(group.track.broadcast.tenant)
        # Room is made for it, not by it: a group that came whole rests from then on.
        rests = group.native.ended and self._all.used + charge <= self.settings.cache_bytes
        for pile in (self._all, share):
            (pile.spare if spare else pile.rested if rests else pile.live)[group] = None
        self.add(group, charge)
        if group.native.ended and not rests and group.cache is self:
            self.rest(group)

    def supersede(self, group: Group) -> None:
        """The group is no longer the latest of its track."""
        self._all.supersede(group)
        if group.share is not None:
            group.share.supersede(group)

    def promote(self, group: Group) -> None:
        """The group became the latest of its track, because newer ones are gone."""
        for pile in self._piles(group):
            pile.promote(group)

    def rest(self, group: Group) -> None:
        """The group is complete."""
        for pile in self._piles(group):
            pile.rest(group)

    def release(self, group: Group) -> None:
        """Stop counting a group."""
        if group.cache is self:
            group.cache = None
            for pile in self._piles(group):
                pile.drop(group)
            share = group.share
            if share is not None and not share:
                self._shares.pop(share.tenant, None)
            group.share = None
            group.charge = 0

    def add(self, group: Group, charge: int) -> None:
        """Add bytes to a group that is held; may evict groups, even this one."""
        group.charge += charge
        self._all.used += charge
        share = group.share
        if share is not None:
            share.used += charge
            if share.limit and share.used > share.limit:
                self._make_room_in(share, group)
        if self._all.used > self.settings.cache_bytes:
            self._make_room()

    def obey(self) -> None:
        """Tenants' limits have changed: what is too much leaves now."""
        for share in tuple(self._shares.values()):
            share.limit = self.limit_of(share.tenant)
            if share.limit and share.used > share.limit:
                self._make_room_in(share)

    def _share(self, tenant: str) -> Share:
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = Share(tenant, self.limit_of(tenant))
        return share

    def _piles(self, group: Group) -> tuple[Pile, ...]:
        return (self._all,) if group.share is None else (self._all, group.share)

    def _make_room(self) -> None:
        limit = self.settings.cache_bytes
        lagged = Lagged(f"the cache is over cache_bytes ({limit})")
        held = self._all
        for line in (held.spare, held.rested):
            while line and held.used > limit:
                next(iter(line)).evict(lagged)
        while held.live and held.used > max(limit, self.settings.live_bytes):
            max(held.live, key=lambda group: group.charge).evict(
                Lagged(f"live groups are over live_bytes ({self.settings.live_bytes})")
            )

    def _make_room_in(self, share: Share, last: Group | None = None) -> None:
        """Bring a tenant below its limit; ``last`` is what grew, which may be an old group that
        somebody asked for: it goes after all others that have ended."""
        lagged = Lagged(f"the tenant is over quotas.cached_bytes ({share.limit})")
        for line in (share.spare, share.rested):
            while share.used > share.limit:
                oldest = next((each for each in line if each is not last), None)
                if oldest is None:
                    break
                oldest.evict(lagged)
        for line in (share.spare, share.rested, share.live):
            while line and share.used > share.limit:
                next(iter(line)).evict(lagged)
        self.overflowed(share.tenant)


class Stock(NamedTuple):
    """What all tracks of one origin share."""

    settings: CacheSettings
    cache: Cache
    agenda: Agenda
    meter: Meter
    errands: Errands
