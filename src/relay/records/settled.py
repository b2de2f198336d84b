"""The time by which things are forgotten: one that a clock set forward by mistake does not reach.

The law: nothing has ended before every reading of the wall clock in the last `GRACE` seconds says
so, however far it was set forward meanwhile. This module must not know what is forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

GRACE = 3600.0
"""Seconds for which a clock that was set forward may be set back with nothing lost."""

GRAIN = 60.0
"""Seconds between readings that are kept, those that go back apart."""


class SettledTime:
    """Unix seconds by the earliest of the latest readings. Call it at least every few minutes."""

    def __init__(self, wall: Callable[[], float], clock: Callable[[], float]) -> None:
        """``wall`` tells unix seconds, which may be set, ``clock`` monotonic ones."""
        self._wall = wall
        self._clock = clock
        self._readings: deque[tuple[float, float]] = deque()
        """When, and how far the wall was ahead of the clock then: rising in both."""
        self()

    def __call__(self) -> float:
        """The time; takes a reading."""
        now = self._clock()
        ahead = self._wall() - now
        readings = self._readings
        while readings and readings[0][0] <= now - GRACE:
            readings.popleft()
        while readings and readings[-1][1] >= ahead:
            readings.pop()
        if not readings or readings[-1][0] <= now - GRAIN:
            readings.append((now, ahead))
        return now + readings[0][1]
