"""The cached groups of one track: which is the latest, and when the others are too old.

The latest group stays; any other stays until the retention has passed since its last write. What a
fetch brought is never the latest, and begins to age once it is complete. This module must not know
who watches the track or which source its groups come from.
"""

from __future__ import annotations

import heapq

from relay.errors import Lagged, RelayError
from relay.model.agenda import Agenda, Alarm
from relay.model.cache import Cache
from relay.model.group import CHUNK_COST, GROUP_COST, Group


class Shelf:
    """Groups by sequence, in order of arrival. Aborted groups are never on it."""

    def __init__(self, cache: Cache, agenda: Agenda, retention: float) -> None:
        self.groups: dict[int, Group] = {}
        self.newest: Group | None = None
        """The group with the highest sequence held, but for those that a fetch brought."""
        self.fetched: set[int] = set()
        """Those that a fetch brought, as long as the feed has not had them, too. Read only."""
        self.retention = retention
        """Seconds that a group stays after its last write, once it is not the latest."""
        self._cache = cache
        # (due, sequence): numbers, not groups, so that a stale entry holds no bytes.
        self._ages: list[tuple[float, int]] = []
        self._alarm = Alarm(agenda, self.expire)

    def put(self, group: Group, now: float, is_fetched: bool = False) -> None:
        """Hold a group; the one it supersedes starts to age, and what is too old leaves."""
        if self._ages and self._ages[0][0] <= now:
            self.expire(now)
        self.groups[group.sequence] = group
        if is_fetched:
            self.fetched.add(group.sequence)
        elif self._is_older(group):
            self._age(group)
        else:
            self._lead(group)
        log = group.native
        charge = GROUP_COST + log.size + CHUNK_COST * len(log.chunks)
        self._cache.hold(group, group is not self.newest, charge)
        if len(self.groups) > self._cache.settings.max_groups_per_track:
            self._thin_out()

    def confirm(self, group: Group) -> None:
        """The feed has a group that is held; one that a fetch brought is now like any other."""
        if group.sequence not in self.fetched:
            return
        self.fetched.remove(group.sequence)
        if self._is_older(group):
            self._age(group)
        else:
            self._lead(group)
            self._cache.promote(group)

    def settle(self, group: Group) -> None:
        """The group is complete."""
        self._cache.rest(group)
        if group.sequence in self.fetched:
            self._age(group)

    def remove(self, group: Group) -> None:
        """Let go of a group, if it is held; nobody is told."""
        if self.groups.get(group.sequence) is not group:
            return
        del self.groups[group.sequence]
        self.fetched.discard(group.sequence)
        self._cache.release(group)
        if self.newest is group:
            latest = max((each for each in self.groups if each not in self.fetched), default=None)
            self.newest = None if latest is None else self.groups[latest]
            if self.newest is not None:
                self._cache.promote(self.newest)

    def clear(self, error: RelayError) -> None:
        """Let go of everything: the unfinished is aborted with ``error``."""
        self._alarm.clear()
        self._ages.clear()
        for group in tuple(self.groups.values()):
            group.evict(error)

    def is_younger(self, sequence: int, due: float) -> bool:
        """Whether a group is held that was written to after ``due``."""
        group = self.groups.get(sequence)
        return group is not None and group.touched_at > due

    def expire(self, now: float) -> None:
        """Evict what is older than the retention; `Expired` for what is unfinished."""
        while self._ages and self._ages[0][0] <= now:
            _, sequence = heapq.heappop(self._ages)
            group = self.groups.get(sequence)
            if group is None or group is self.newest:
                continue
            if sequence in self.fetched and not group.ended:
                continue
            due = group.touched_at + self.retention
            if due > now:
                heapq.heappush(self._ages, (due, sequence))
            else:
                group.evict()
        if self._ages:
            self._alarm.set(self._ages[0][0])

    def _is_older(self, group: Group) -> bool:
        return self.newest is not None and group.sequence < self.newest.sequence

    def _lead(self, group: Group) -> None:
        """The group is the latest now."""
        before, self.newest = self.newest, group
        if before is not None:
            self._cache.supersede(before)
            self._age(before)

    def _age(self, group: Group) -> None:
        if len(self._ages) > 2 * len(self.groups) + 64:
            self._ages = [entry for entry in self._ages if entry[1] in self.groups]
            heapq.heapify(self._ages)
        heapq.heappush(self._ages, (group.touched_at + self.retention, group.sequence))
        self._alarm.set(self._ages[0][0])

    def _thin_out(self) -> None:
        limit = self._cache.settings.max_groups_per_track
        lagged = Lagged(f"the track is over max_groups_per_track ({limit})")
        while len(self.groups) > max(limit, 1):
            others = (group for group in self.groups.values() if group is not self.newest)
            first = next(others)
            # Whoever watches has a while for what is complete; what is not would be lost to all.
            victim = first if first.ended else next((each for each in others if each.ended), first)
            victim.evict(lagged)
