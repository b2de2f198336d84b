"""A rate, and who may go now: the generic cell rate algorithm, in credit.

The law: a rate that changes keeps the debt that was run up, in cells and not in seconds, so that
the new rate counts at once for old debt too. This module must not know what a cell is.
"""

from __future__ import annotations

GRAIN = 1e-9
"""Cells that are none: what floating point leaves over."""


class Pace:
    """At most ``rate`` cells a second, those of a second (or one) at once. ``now`` is monotonic.

    Whoever is within the burst may take any number of cells and is in debt afterwards, so that one
    large thing passes where the burst is smaller than it, and is waited for after.
    """

    __slots__ = ("_clear_at", "burst", "rate")

    def __init__(self, rate: float) -> None:
        """``rate`` is above zero."""
        self.rate = rate
        self.burst = max(1.0, rate)
        """Cells that may be taken at once."""
        self._clear_at = 0.0
        """When the debt is paid (the algorithm's theoretical arrival time)."""

    def debt(self, now: float) -> float:
        """Cells that were taken and have not been waited for."""
        return max(0.0, self._clear_at - now) * self.rate

    def room(self, now: float) -> float:
        """Cells that may be taken without debt beyond the burst."""
        return max(0.0, self.burst - self.debt(now))

    def wait(self, now: float, cells: float = 1.0) -> float:
        """Seconds until ``cells`` (at most the burst) may be taken; 0.0 = now."""
        over = self.debt(now) + min(cells, self.burst) - self.burst
        return over / self.rate if over > GRAIN else 0.0

    def spend(self, now: float, cells: float) -> None:
        """Take cells, whether they are there or not."""
        self._clear_at = max(self._clear_at, now) + cells / self.rate

    def take(self, now: float, cells: float = 1.0) -> float:
        """Take ``cells`` if they may be taken now: 0.0; else take nothing: seconds to wait."""
        wait = self.wait(now, cells)
        if wait <= 0.0:
            self.spend(now, cells)
        return wait

    def change(self, rate: float, now: float) -> None:
        """Another rate from now on; the debt stays, as far as the new burst allows one."""
        burst = max(1.0, rate)
        debt = min(self.debt(now), burst)
        self.rate, self.burst = rate, burst
        self._clear_at = now + debt / rate


def paced(pace: Pace | None, rate: float, now: float) -> Pace | None:
    """The pace of a limit that is ``rate`` from now on; ``None`` for 0, which is unlimited."""
    if rate <= 0:
        return None
    if pace is None:
        return Pace(rate)
    if pace.rate != rate:
        pace.change(rate, now)
    return pace
