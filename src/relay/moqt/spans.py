"""Subscriptions that have a last group: which of their groups have left.

The law: one is over once all of them have, in whichever order; a group that never comes leaves it
open. This module must not know streams, nor messages.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_AHEAD = 1_024
"""Groups kept that have left before an earlier one. More: it is not found out that all have."""


class Span:
    """One subscription's."""

    __slots__ = ("_ahead", "_next", "_over", "last")

    def __init__(self, first: int, last: int | None, over: Callable[[], None]) -> None:
        """``over`` is told that all groups from ``first`` to ``last`` have left."""
        self._next = first
        self._ahead: set[int] = set()
        self._over = over
        self.last = last
        """``None``: there is none any more."""

    def left(self, group: int) -> None:
        """A group has left whole."""
        if group >= self._next and len(self._ahead) < MAX_AHEAD:
            self._ahead.add(group)
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1
        self.check()

    def check(self) -> None:
        """The last group may be another one."""
        if self.last is not None and self._next > self.last:
            self._over()
