"""Two publishers of one path that keep displacing each other, and how that ends.

Normally the newest publisher wins. Where two are announced on both sides of a link at once, each
side hears of the other as the newer one, gives way, and hears of its own again; after a few rounds
the lower hash wins, on every relay alike, until there has been peace for a while. Publishers that
come one after the other and do not come back are no such case: who is dead without our knowing must
not win, nor may who had no part in it be kept out. This module must not know routes or viewers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, TypeVar

from relay.model.fingerprint import fingerprint
from relay.path import Path

ROUNDS = 3
"""Takeovers within `WINDOW` by who had taken the path in it before: then the hash decides."""

REMEMBERED = 16
"""Takeovers that are looked at."""

WINDOW = 5.0
"""Seconds."""

TRUCE = 60.0
"""Seconds for which the hash goes on deciding after the last takeover it prevented."""


class Party(Protocol):
    """Who may have the path."""

    identity: int


P = TypeVar("P", bound=Party)


class Dispute:
    """The takeovers at one path. ``now`` is monotonic seconds."""

    __slots__ = ("_parties", "_path", "_takeovers", "_until")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._takeovers: list[tuple[float, int, int]] = []
        """When, by whom, and from whom."""
        self._until = float("-inf")
        self._parties: frozenset[int] = frozenset()
        """Whose dispute it is: who took the path, or lost it, more than once."""

    def note(self, newcomer: int, incumbent: int, now: float) -> None:
        """A publisher displaces another."""
        self._takeovers.append((now, newcomer, incumbent))
        self._takeovers = [each for each in self._takeovers if now - each[0] < WINDOW][-REMEMBERED:]
        newcomers = [newcomer for _, newcomer, _ in self._takeovers]
        if len(newcomers) - len(set(newcomers)) >= ROUNDS:
            times = Counter(newcomers + [incumbent for _, _, incumbent in self._takeovers])
            self._parties = frozenset(each for each in times if times[each] > 1)
            self._until = now + TRUCE

    def prefers(self, incumbent: int, newcomer: int, now: float) -> bool:
        """Whether the incumbent stays although the newcomer is newer."""
        if now >= self._until or newcomer not in self._parties:
            return False
        stays = self._rank(incumbent) < self._rank(newcomer)
        if stays:
            self._until = now + TRUCE
        return stays

    def ranks_before(self, one: Party, other: Party) -> bool:
        """Whether one is preferred to another by the hash."""
        return self._rank(one.identity) < self._rank(other.identity)

    def next_of(self, parties: Sequence[P], now: float | None) -> P:
        """Who of those that wait comes next; the newest stands last."""
        if now is None or now >= self._until:
            return parties[-1]
        return min(parties, key=lambda party: self._rank(party.identity))

    def _rank(self, identity: int) -> int:
        return fingerprint(self._path, (identity,))
