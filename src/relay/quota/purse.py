"""A rate of which others use parts too: cells that were lent, used up, asked for and given back.

The law: what is taken ahead of an answer is at most the worker's part of one interval's worth, and
is owed: it is taken off what is lent next. This module must not know who lends, nor what a cell is.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.beat import BEAT
from relay.quota.pace import GRAIN

INTERVAL = BEAT
"""Seconds between two times at which it is seen who needs what."""

FLOOR = 0.5
"""Of one second's worth, what all workers together keep at hand while nothing moves."""

AHEAD = 2.0
"""Intervals for which cells are kept at hand by whoever used as many in the last one."""


class Purse:
    """One worker's part of a rate; asked as a `Pace` is. ``now`` is monotonic seconds."""

    __slots__ = (
        "_ahead",
        "_floor",
        "_press",
        "_ran_out",
        "_short",
        "_used",
        "cells",
        "rate",
        "spent_until",
    )

    def __init__(self, rate: float, parts: int, is_kept: bool, press: Callable[[], None]) -> None:
        """``rate`` is that of all ``parts`` workers together; ``is_kept`` = cells are kept at hand
        though nothing moves; ``press`` is called when more are needed soon."""
        self.cells = 0.0
        """Below zero: owed."""
        self.spent_until = 0.0
        """Until then asking for more is of no use."""
        self._press = press
        self._used = 0.0
        self._short = 0.0
        self._ran_out = False
        self.change(rate, parts, is_kept)

    def change(self, rate: float, parts: int, is_kept: bool) -> None:
        """Another rate from now on; more than one second's worth of it is neither kept nor owed."""
        burst = max(1.0, rate)
        self.rate = rate
        self.cells = max(-burst, min(self.cells, burst))
        self.spent_until = 0.0
        self._ahead = rate * INTERVAL / parts
        self._floor = rate * FLOOR / parts if is_kept else 0.0

    def debt(self, now: float) -> float:
        """Cells that are owed."""
        return max(0.0, -self.cells)

    def room(self, now: float) -> float:
        """Cells that may be taken."""
        room = self.cells + self._on_credit(now)
        if room > 0.0:
            return room
        self._lack(now)
        return 0.0

    def wait(self, now: float, cells: float = 1.0) -> float:
        """Seconds until ``cells`` may be taken, if nobody else takes them; 0.0 = now."""
        over = min(cells, max(1.0, self.rate)) - self.cells - self._on_credit(now)
        return over / self.rate if over > GRAIN else 0.0

    def spend(self, now: float, cells: float) -> None:
        """Take cells, whether they are there or not."""
        self.cells -= cells
        self._used += cells
        if self.cells < 0.0:
            self._lack(now)

    def take(self, now: float, cells: float = 1.0) -> float:
        """Take ``cells`` if they may be taken now: 0.0; else take nothing: seconds to wait."""
        wait = self.wait(now, cells)
        if wait <= 0.0:
            self.spend(now, cells)
        else:
            self.need(cells)
            self._lack(now)
        return wait

    def need(self, cells: float) -> None:
        """So many are needed at once."""
        self._short = max(self._short, cells)

    def is_spent(self, now: float) -> bool:
        """Whether there are no more for anybody, as far as is known."""
        return now < self.spent_until

    def balance(self) -> tuple[float, float]:
        """What is given back, or asked for, by what was used since the last time."""
        target = max(self._floor, AHEAD * self._used)
        if self._ran_out:
            target = max(target, AHEAD * self.rate * INTERVAL)
        target = max(min(target, self.rate), min(self._short, max(1.0, self.rate)))
        self._used = self._short = 0.0
        self._ran_out = False
        if self.cells > target + GRAIN:
            back, self.cells = self.cells - target, target
            return back, 0.0
        return 0.0, max(0.0, target - self.cells)

    def receive(self, cells: float, is_all: bool, now: float) -> None:
        """So many were lent; ``is_all`` = as many as were asked for."""
        self.cells += cells
        if not is_all:
            self.spent_until = now + INTERVAL

    def _on_credit(self, now: float) -> float:
        return 0.0 if now < self.spent_until else self._ahead

    def _lack(self, now: float) -> None:
        self._ran_out = True
        if now >= self.spent_until:
            self._press()


def pursed(
    purse: Purse | None, rate: float, parts: int, is_kept: bool, press: Callable[[], None]
) -> Purse | None:
    """The purse of a limit that is ``rate`` from now on; ``None`` for 0, which is unlimited."""
    if rate <= 0:
        return None
    if purse is None:
        return Purse(rate, parts, is_kept, press)
    if purse.rate != rate:
        purse.change(rate, parts, is_kept)
    return purse
