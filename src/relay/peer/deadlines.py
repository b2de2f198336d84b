"""When the grants of guests end, by a clock that nobody can turn back and by the one on the wall.

The law: a grant ends when either says so. This module must not know who has it, or what ends then.
"""

from __future__ import annotations

from collections.abc import Callable


class Deadlines:
    """Those of all guests, by their ids."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """``clock`` tells monotonic seconds, ``wall`` unix seconds."""
        self._clock = clock
        self._wall = wall
        self._ends: dict[str, tuple[float, float]] = {}

    def note(self, id: str, expires: float | None) -> None:
        """It ends at ``expires`` (unix seconds) now, or never."""
        self.forget(id)
        if expires is not None:
            self._ends[id] = self._clock() + expires - self._wall(), expires

    def forget(self, id: str) -> None:
        """It is over."""
        self._ends.pop(id, None)

    def take_due(self, now: float) -> list[str]:
        """Those that have ended, once each; ``now`` is monotonic seconds."""
        wall = self._wall() if self._ends else 0.0
        due = [id for id, (end, expires) in self._ends.items() if now >= end or wall >= expires]
        for id in due:
            del self._ends[id]
        return due
