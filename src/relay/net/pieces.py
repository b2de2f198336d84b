"""What came on streams before its turn: which pieces, found by halving, and how many there are.

The library looks at each piece for every frame and takes any number of them, so a stranger who
leaves gaps between single bytes could keep a relay busy with a few packets. The law: to the library
these are its own ranges, and one connection has a limited number of them. This module must not
know what the bytes are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter

from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.rangeset import RangeSet

MOST = 8192
"""Pieces that wait on all streams of a connection together. Beyond: INTERNAL_ERROR ends it. A peer
whose packets are lost leaves fewer gaps than it has packets under way."""

_START, _STOP = attrgetter("start"), attrgetter("stop")


class Tally:
    """How many pieces wait on a connection."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Pieces(RangeSet):
    """The pieces of one stream."""

    def __init__(self, tally: Tally) -> None:
        """``tally`` counts them with those of the connection's other streams."""
        super().__init__()
        self._all: list[range] = self._RangeSet__ranges  # type: ignore[attr-defined]
        self._tally = tally

    def add(self, start: int, stop: int | None = None) -> None:
        """A piece came. Raises `QuicConnectionError` when there are too many."""
        ranges, end = self._all, start + 1 if stop is None else stop
        # Those that it touches become one with it.
        low = bisect_left(ranges, start, key=_STOP)
        high = bisect_right(ranges, end, low, key=_START)
        if low < high:
            start, end = min(start, ranges[low].start), max(end, ranges[high - 1].stop)
        ranges[low:high] = [range(start, end)]
        self._tally.count += 1 + low - high
        if self._tally.count > MOST:
            raise QuicConnectionError(
                QuicErrorCode.INTERNAL_ERROR, QuicFrameType.PADDING, "too many gaps in streams"
            )

    def shift(self) -> range:
        """The first one's turn has come."""
        self._tally.count -= 1
        return super().shift()

    def clear(self) -> None:
        """None of them is wanted any more."""
        self._tally.count -= len(self._all)
        self._all.clear()
