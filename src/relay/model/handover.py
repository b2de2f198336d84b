"""A track on its way from one route to a better one, without a gap.

The new route is asked for the next group; until it delivers the old one goes on, and after that the
old one only ends what it has begun. This module must not know which route is better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.model.group import Group

if TYPE_CHECKING:
    from relay.model.broadcast import Route

PATIENCE = 2.0
"""Seconds in which the new route must deliver; else the old one, if it is still there, goes on. A
track may well have one group without end."""

GRACE = 30.0
"""Seconds that the old route has at most for ending its groups once the new one delivers."""

STALL = 2.0
"""Seconds after which it has no more time if nothing of them comes: it may be cut off without our
knowing, and what the new one has of them grows old."""


class Handover:
    """The old route of a track, and what it still feeds. ``now`` is monotonic seconds."""

    __slots__ = ("began_at", "declined", "is_finishing", "live", "old", "over_at")

    def __init__(self, old: Route, live: dict[int, Group], now: float) -> None:
        self.old = old
        self.began_at = now
        self.live = live
        """Groups of the old route that have not ended."""
        self.declined: set[int] = set()
        """Those of them that the new route brought as well, in vain."""
        self.over_at: float | None = None
        """When the new route delivered first; the old one begins nothing any more."""
        self.is_finishing = False
        """Whether the track is complete as soon as the old route's groups are."""

    @property
    def is_over(self) -> bool:
        """Whether the new route delivers."""
        return self.over_at is not None

    def may_end(self, now: float) -> bool:
        """Whether the old route can be let go, its groups ended or overdue."""
        if self.over_at is None:
            return False
        heard_at = max([self.over_at, *(group.touched_at for group in self.live.values())])
        return not self.live or now - self.over_at > GRACE or now - heard_at > STALL
