"""How many groups of a track came, where some come again: on another stream, or as a datagram.

This module must not know what is in them.
"""

from __future__ import annotations

LATELY = 256
"""The latest groups, by number, that are told from those that come again. What is older is taken
for new."""

_WINDOW = (1 << LATELY) - 1


class Tally:
    """The groups of one track from one peer."""

    __slots__ = ("_newest", "_seen", "count")

    def __init__(self) -> None:
        self.count = 0
        """Groups that came, or began to."""
        self._newest = -1
        """The highest of them."""
        self._seen = 0
        """Which of the latest came, a bit for each, that of the newest last."""

    def add(self, sequence: int) -> None:
        """A group comes, which may not be the first time that it does."""
        behind = self._newest - sequence
        if behind < 0:
            self._seen = (self._seen << -behind) & _WINDOW | 1 if behind > -LATELY else 1
            self._newest = sequence
        elif behind < LATELY:
            if self._seen >> behind & 1:
                return
            self._seen |= 1 << behind
        self.count += 1
