"""The numbers of packets that came, so that none is heard twice (RFC 9000, 12.3).

The library keeps each of them; they come in a row but for a few, so ranges are kept here. The law:
it answers as the library's does. This module must not know what packets carry.
"""

from __future__ import annotations

from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketNumberWindow

SIZE = 2 * MAX_ACK_RANGES
"""Numbers below the largest that are told apart. All before them count as heard."""


class Window(QuicPacketNumberWindow):
    """The most recent numbers."""

    __slots__ = ("_came", "_lower")

    def __init__(self, known: QuicPacketNumberWindow) -> None:
        """What is ``known`` goes on being so."""
        # Not the library's: it would make a set.
        self._lower = known._lower
        self._came = RangeSet()
        for number in sorted(known._received):
            if number >= self._lower:
                self._came.add(number)

    def add(self, packet_number: int) -> None:
        """One came, in whichever order."""
        if packet_number < self._lower:
            return
        self._came.add(packet_number)
        lower = packet_number - SIZE + 1
        if lower > self._lower:
            self._lower = lower
            self._came.subtract(0, lower)

    def add_next(self, start: int, stop: int) -> None:
        """Some came in a row, all of them above all before."""
        ranges: list[range] = self._came._RangeSet__ranges  # type: ignore[attr-defined]
        if ranges and ranges[-1].stop == start:
            ranges[-1] = range(ranges[-1].start, stop)
        else:
            self._came.add(start, stop)
        if stop - SIZE > self._lower:
            self._lower = stop - SIZE
            if len(ranges) > 1:
                self._came.subtract(0, self._lower)

    def __contains__(self, packet_number: int) -> bool:
        return packet_number < self._lower or packet_number in self._came
