"""Who waits for something that may never come, and until when.

The law: all wait equally long, so that whoever began first has waited enough first. This module
must not know what anybody waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Waiter(Protocol):
    """Who waits; hashed by identity."""

    def too_late(self) -> None:
        """It has waited long enough."""


class Waits:
    """Those of all sessions."""

    def __init__(self, now: Callable[[], float], limit: float) -> None:
        """``now`` answers seconds of any beginning; ``limit`` is how many of them each waits."""
        self.now = now
        self._limit = limit
        self._since: dict[Waiter, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def begin(self, waiter: Waiter) -> None:
        """Have one wait. One that waits already does so no longer for that."""
        self._since.setdefault(waiter, self.now())

    def end(self, waiter: Waiter) -> None:
        """It waits no longer. Harmless when it does not wait."""
        self._since.pop(waiter, None)

    def tick(self, now: float) -> None:
        """Tell those who have waited long enough."""
        while self._since:
            waiter, since = next(iter(self._since.items()))
            if now - since <= self._limit:
                break
            del self._since[waiter]
            waiter.too_late()
