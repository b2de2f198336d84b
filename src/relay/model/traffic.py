"""What has gone through one broadcast at this relay, counted when a group is over.

The law: nothing is counted per chunk or per reader, so that counting costs nothing where bytes
move, and frames are looked for only where somebody wants to know. This module must not know who
asks, nor what a frame looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from relay.model.group import Encoding, Log

E = TypeVar("E")

Weigh = Callable[["Encoding", Sequence[bytes], int, list[Any]], tuple[int, int]]
"""Whole frames, and bytes of payload, within that many bytes of a group in some layout. What it
puts in the list, which is the group's own, it is given with the next question."""


class Meter:
    """How frames are counted, for all broadcasts of one origin."""

    __slots__ = ("weigh",)

    def __init__(self) -> None:
        self.weigh: Weigh | None = None
        """``None``: nobody wants to know; then a group is as many bytes as it takes up."""


class Moved:
    """Groups that went one way; no number ever falls."""

    __slots__ = ("bytes", "datagrams", "frames", "groups")

    def __init__(self) -> None:
        self.groups = 0
        """Those over, complete or not, datagrams included."""
        self.frames = 0
        self.bytes = 0
        """Of payload."""
        self.datagrams = 0

    def add(self, weight: tuple[int, int], groups: int = 1) -> None:
        """One group of (frames, bytes), or none but the rest of one."""
        self.groups += groups
        self.frames += weight[0]
        self.bytes += weight[1]

    def add_datagram(self, size: int) -> None:
        """One group of a single frame, in a datagram."""
        self.add((1, size))
        self.datagrams += 1


class Side:
    """One direction: from the publisher to us, or from us to viewers."""

    __slots__ = (
        "_tracks_of",
        "broadcasts",
        "broadcasts_ended",
        "fetches",
        "moved",
        "subscriptions",
        "subscriptions_ended",
    )

    def __init__(self) -> None:
        self.moved = Moved()
        self.subscriptions = 0
        """Subscriptions to tracks that were begun."""
        self.subscriptions_ended = 0
        self.broadcasts = 0
        """How often a session that watched none of the tracks began to watch one."""
        self.broadcasts_ended = 0
        self.fetches = 0
        """Single groups that were asked for."""
        self._tracks_of: dict[Hashable, int] = {}

    def began(self, who: Hashable) -> None:
        """``who`` subscribed to one more track."""
        self.subscriptions += 1
        tracks = self._tracks_of[who] = self._tracks_of.get(who, 0) + 1
        self.broadcasts += tracks == 1

    def ended(self, who: Hashable) -> None:
        """``who`` watches one track less."""
        self.subscriptions_ended += 1
        tracks = self._tracks_of.pop(who, 1) - 1
        if tracks:
            self._tracks_of[who] = tracks
        else:
            self.broadcasts_ended += 1


class Traffic:
    """Counters of one broadcast."""

    __slots__ = ("_meter", "came", "stale", "went")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.came = Side()
        """From the publisher."""
        self.went = Side()
        """To viewers, each time."""
        self.stale = Moved()
        """What viewers were too slow for: whole groups, and the rest of others."""

    def add(self, moved: Moved, log: Log, encoding: Encoding, size: int) -> None:
        """One group is over of which ``size`` bytes have moved."""
        if self._meter.weigh is None:
            moved.groups += 1
            moved.bytes += size
        else:
            moved.add(self.weigh(log, encoding, size))

    def weigh(self, log: Log, encoding: Encoding, size: int) -> tuple[int, int]:
        """Frames and payload of the first ``size`` bytes."""
        weigh = self._meter.weigh
        if weigh is None:
            return 0, size
        return weight(log, encoding, size, weigh)


def weight(
    log: Log,
    encoding: E,
    size: int,
    weigh: Callable[[E, Sequence[bytes], int, list[Any]], tuple[int, int]],
) -> tuple[int, int]:
    """Frames and payload of the first ``size`` bytes, as ``weigh`` has them; the last answer for a
    log is kept."""
    known = log.weight
    if known is None or known[0] != size:
        if log.marks is None:
            log.marks = []
        known = log.weight = (size, *weigh(encoding, log.chunks, size, log.marks))
    return known[1:]
