"""What viewers want of a track, what its publisher says of it, and the sum of many wants.

Equal wants are counted, not listed, so that a thousand like-minded viewers cost one addition. This
module must not know who wants anything.
"""

from __future__ import annotations

from typing import NamedTuple


class TrackInfo(NamedTuple):
    """Properties of a track, as its publisher says (moq-lite TRACK_INFO)."""

    priority: int = 127
    ordered: bool = False
    max_latency: int = 5000
    """Milliseconds that groups other than the latest are kept after their last write."""
    timescale: int = 1000
    """Timestamp units per second."""


class Demand(NamedTuple):
    """What one viewer wants, or what all of them want together (moq-lite SUBSCRIBE)."""

    priority: int = 0
    """0 to 255; higher goes first."""
    ordered: bool = False
    max_latency: int = 0
    """Milliseconds."""
    start: int | None = None
    """First group wanted; ``None`` = the latest."""
    end: int | None = None
    """Last group wanted, inclusive; ``None`` = no end."""


class Tally:
    """Counts demands and adds them up."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[Demand, int] = {}

    def add(self, demand: Demand) -> None:
        """One more viewer wants this."""
        self._counts[demand] = self._counts.get(demand, 0) + 1

    def remove(self, demand: Demand) -> None:
        """One viewer fewer wants this."""
        left = self._counts[demand] - 1
        if left:
            self._counts[demand] = left
        else:
            del self._counts[demand]

    @property
    def names_start(self) -> bool:
        """Whether anybody wants more than the latest group and what follows."""
        return any(want.start is not None for want in self._counts)

    def total(self, max_latency: int | None, latest: int | None = None) -> Demand | None:
        """What to ask upstream; ``None`` when nobody wants anything.

        Highest priority, ordered if all say so, longest latency but never above ``max_latency``
        (milliseconds the publisher keeps), lowest explicit start, highest end or none. Where some
        want the latest group, a start that may lie beyond it is not asked for: they would get
        nothing until it comes. ``latest`` is the highest group known.
        """
        if not self._counts:
            return None
        if len(self._counts) == 1:
            demand = next(iter(self._counts))
            if max_latency is not None and demand.max_latency > max_latency:
                return demand._replace(max_latency=max_latency)
            return demand
        wants = tuple(self._counts)
        latency = max(want.max_latency for want in wants)
        starts = [want.start for want in wants if want.start is not None]
        start = min(starts, default=None)
        if start and len(starts) < len(wants) and (latest is None or start > latest):
            start = None
        ends = [want.end for want in wants if want.end is not None]
        return Demand(
            priority=max(want.priority for want in wants),
            ordered=all(want.ordered for want in wants),
            max_latency=latency if max_latency is None else min(latency, max_latency),
            start=start,
            end=max(ends) if len(ends) == len(wants) else None,
        )
