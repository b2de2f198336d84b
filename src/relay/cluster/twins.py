"""Relays that go by one number, which is seen where both have a link.

Each takes what the other publishes for its own that comes back, and nobody tells it to either. The
law: what is no more than a link that is being replaced is not said, the rest once. This module must
not know how anything is dialled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

PATIENCE = 60.0
"""Seconds for which a number has to be met twice: a session may be dead without our knowing, and a
relay that was given another name is told of by both for a while."""

EVERY = 10.0
"""Seconds between two looks."""

Met = tuple[int, str, str]
"""A relay's number (0 = unknown), how it is met, and as whom: one relay may be met in several ways,
but in each of them once."""


class Twins:
    """Numbers under which we meet more than one relay."""

    def __init__(self, log: Callable[..., None]) -> None:
        self._log = log
        self._since: dict[int, float] = {}
        """When each number that is met twice was so first; infinite once that was said."""
        self._due = 0.0

    def tick(self, now: float, meet: Callable[[], Iterable[Met]]) -> None:
        """Look whom we meet, now and then. ``now`` is monotonic seconds."""
        if now < self._due:
            return
        self._due = now + EVERY
        found: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
        for number, way, name in meet():
            if number:
                found[number, way].add(name)
        twice = {number: names for (number, _), names in found.items() if len(names) > 1}
        self._since = {number: self._since.get(number, now) for number in twice}
        for number, names in twice.items():
            if now - self._since[number] >= PATIENCE:
                self._since[number] = float("inf")
                self._log(
                    "warning",
                    detail=f"{' and '.join(sorted(names))} have the same number, {number}: where "
                    "cluster.id is given twice neither relay sees what the other publishes",
                )
