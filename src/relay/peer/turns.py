"""Where a group stands among those of other tracks with the same priority.

The later one goes first, and of those that began at about the same time now one track's and now
another's: numbers of groups say nothing across tracks, and where a path is too narrow for all of
them, who began to publish an hour ago would leave nothing at all to who began just now. This module
must not know how bytes are queued or written.
"""

from __future__ import annotations

from zlib import crc32

TURN = 1.0
"""Seconds within which groups began at about the same time."""

_BITS = 20


class Turns:
    """One subscription's. Its later groups always stand before its earlier ones."""

    __slots__ = ("_number", "_place", "_sequence")

    def __init__(self, number: int) -> None:
        """``number`` is what tells the subscription from the others of its connection."""
        self._number = number
        self._sequence = -1
        self._place = 0

    def place(self, sequence: int, opened_at: float) -> int:
        """Where a group stands that began at ``opened_at`` (seconds): the greatest goes first."""
        turn = int(opened_at / TURN)
        place = turn << _BITS | _lot(self._number, turn)
        if sequence < self._sequence:
            return min(place, self._place - (self._sequence - sequence))
        self._sequence, self._place = sequence, max(place, self._place + 1)
        return self._place


def _lot(number: int, turn: int) -> int:
    """Who goes first this time."""
    return crc32(b"%d %d" % (number, turn)) >> 32 - _BITS
