"""Shapes that relays are linked in, and what must cross their links.

A pair is a link whose second relay dials the first; numbers start at 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from netlab import Link

Pairs = list[tuple[int, int]]


def chain(count: int) -> Pairs:
    """Each dials the one before."""
    return [(number - 1, number) for number in range(1, count)]


def ring(count: int) -> Pairs:
    """A chain whose first dials the last."""
    return [*chain(count), (count - 1, 0)]


def star(count: int) -> Pairs:
    """All dial the first."""
    return [(0, number) for number in range(1, count)]


def mesh(count: int) -> Pairs:
    """Everybody dials everybody before."""
    return list(combinations(range(count), 2))


@dataclass(frozen=True)
class Crossing:
    """Bytes that crossed each link in a stretch of time, by the one who sent them."""

    sent: dict[tuple[str, str], int]
    """By sender and receiver."""

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(self.sent.values())

    def told(self, stream: float) -> dict[str, float]:
        """As multiples of ``stream`` bytes, for a report."""
        return {f"{one}>{other}": round(n / stream, 2) for (one, other), n in self.sent.items()}


def tally(links: Iterable[Link]) -> Crossing:
    """What has crossed so far."""
    return Crossing(
        {
            (sender.name, receiver.name): link.bytes(sender)
            for link in links
            for sender, receiver in (link.hosts, link.hosts[::-1])
        }
    )


def between(before: Crossing, after: Crossing) -> Crossing:
    """What crossed from one tally to the next."""
    return Crossing({way: count - before.sent[way] for way, count in after.sent.items()})


def is_each_once(groups: Sequence[int]) -> bool:
    """Whether no group is missing between the first and the last, and none came twice."""
    return sorted(groups) == list(range(min(groups), max(groups) + 1)) if groups else True
