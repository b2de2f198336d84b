"""Whether the latest group that is cached is the source's latest.

While a feed runs it is. After a pause there may be newer ones, or the source counts from the
beginning: then the source has to say it, and where it says nothing what is young has to do. This
module must not know where groups come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.model.agenda import Alarm
from relay.model.group import Group

if TYPE_CHECKING:
    from relay.model.audience import Audience
    from relay.model.broadcast import Source
    from relay.model.demand import Demand
    from relay.model.track import Track

DOUBT = 1.0
"""Seconds that the source has to say what its latest group is."""


class Freshness:
    """That of one track. ``now`` is monotonic seconds."""

    __slots__ = (
        "_alarm",
        "_audience",
        "_has_spoken",
        "_reach",
        "_track",
        "has_begun",
        "is_certain",
    )

    def __init__(self, track: Track, audience: Audience) -> None:
        self.is_certain = False
        """Whether the latest group counts as the source's latest, as far as one is cached."""
        self.has_begun = False
        """Whether a group has come since the pause."""
        self._reach: int | None = 0  # what was wanted since the pause, at most; None: from a start
        self._track = track
        self._audience = audience
        self._has_spoken = False  # of what is not cached, without having been asked for it
        self._alarm = Alarm(track.broadcast.stock.agenda, lambda now: self._trust(now - DOUBT))

    @property
    def current(self) -> int | None:
        """The source's latest group, as far as that is known and it is cached."""
        newest = self._track.shelf.newest
        if newest is not None and (self.is_certain or self._track.is_complete):
            return newest.sequence
        return None

    def ask(self, demand: Demand, now: float) -> int | None:
        """The latest group for whoever wants that, if it is known already; else the source is going
        to be asked."""
        if demand.start is not None:
            self._reach = None
            return None
        if self._reach is not None:
            self._reach = max(self._reach, demand.max_latency)
        if self.current is None and self._track.shelf.newest is not None:
            if self._track.broadcast.is_lingering:  # or rather there is nobody to ask
                self._trust(now)
            elif self._alarm.due is None and not self._has_spoken:
                self._alarm.set(now + DOUBT)
        return self.current

    def begin(self, sequence: int, source: Source | None) -> None:
        """The first group since the pause comes, and nothing older than the source's latest can.
        If it is not newer than what is cached, the source may count from the beginning, as
        `@moq/publish` does whenever somebody subscribes: what has such a number is of before, and
        leaves."""
        self.has_begun = True
        shelf = self._track.shelf
        if shelf.newest is None or self._reach is None or not _is_exact(source, self._reach):
            return
        is_had = self.is_certain and sequence == shelf.newest.sequence  # by viewers, who waited
        if is_had or sequence > shelf.newest.sequence:
            return
        gone = {n for n in shelf.groups if n >= sequence} - shelf.fetched
        for number in gone:
            shelf.groups[number].evict()
        self._track.latest = sequence
        self.is_certain = False
        self._audience.begin_anew(gone)

    def hear(self, group: Group, is_new: bool, now: float) -> None:
        """The source has a group, which is cached by now. One older than what was cached before
        says nothing: its latest may follow, or it counts from the beginning."""
        if group is self._track.shelf.newest:
            self.is_certain = True
            self._alarm.clear()
            self._audience.know(group.sequence, now, is_new)
        elif is_new and not self._audience.names_start:
            self._has_spoken = True
            self._alarm.clear()

    def settle(self, now: float) -> None:
        """Nothing newer will come."""
        newest = self._track.shelf.newest
        if newest is not None and not self.is_certain:
            self.is_certain = True
            self._audience.know(newest.sequence, now, is_new=False)

    def rest(self) -> None:
        """Nobody watches: whatever is cached may soon be old."""
        self.is_certain = self._has_spoken = False
        self.has_begun, self._reach = False, 0
        self._alarm.clear()

    def _trust(self, asked_at: float) -> None:
        newest, kept = self._track.shelf.newest, self._track.properties.max_latency / 1000
        if newest is not None and asked_at - newest.touched_at <= kept:
            self.settle(asked_at)


def _is_exact(source: Source | None, max_latency: int) -> bool:
    """Whether nothing older than its latest group comes for who names no other start: what hands
    over for a session says so (``begins_at_latest``). It takes a word for it, as `is_wide` does."""
    says = getattr(source, "begins_at_latest", None)
    return says is not None and says(max_latency)
