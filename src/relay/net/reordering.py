"""How far packets overtake each other on a path: learned from losses that were none.

A packet counts as lost once three later ones arrived, or an eighth of a round trip after one did
(RFC 9002, 6.1). Where it arrives after all, the path reorders more than that, and the next such are
waited for (6.1.1 and 6.1.2 leave it to us), as RACK does (RFC 8985, 6.2): not for more than a round
trip, and only until a number of losses in turn were real. The law: no clock; what a peer makes up
about packets delays its own repairs, nothing else. This module must not know packets' contents.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter

from aioquic.quic.recovery import K_PACKET_THRESHOLD, K_TIME_THRESHOLD

MOST_PACKETS = 256
"""Packets that may overtake one at most before it counts as lost."""

MOST_TIME = 2.0
"""Round-trip times that a packet may take at most, once a later one arrived."""

FORGET = 16
"""Times that packets are lost, and none of them arrives, after which it is three of them again."""

_KEPT, _KEPT_FOR = 64, 4.0
"""Runs of lost packets that are remembered, and round-trip times since they left."""

Run = tuple[int, int, float]
"""Numbers of the first and last packet, and when they left."""

Range = tuple[int, int]
"""Numbers of the first and last packet that are acknowledged together."""

_first_of, _last_of = itemgetter(0), itemgetter(1)


class Reordering:
    """What is known of one path."""

    __slots__ = ("_left", "gone", "packets", "time")

    def __init__(self) -> None:
        self.packets = K_PACKET_THRESHOLD
        """Packets that overtake a lost one."""
        self.time = K_TIME_THRESHOLD
        """Round-trip times after which one that others overtook is lost."""
        self.gone: list[Run] = []
        """What was lost of late."""
        self._left = 0

    def lost(self, runs: list[Run], rtt: float, now: float) -> bool:
        """These packets count as lost; ``rtt`` is the round-trip time in seconds. Answers whether
        they are the first of late."""
        recent = [run for run in self.gone if now - run[2] <= _KEPT_FOR * rtt]
        self.gone = (recent + runs)[-_KEPT:]
        if self._left:
            self._left -= 1
            if not self._left:
                self.packets, self.time = K_PACKET_THRESHOLD, K_TIME_THRESHOLD
        return not recent

    def touched(self, ranges: Sequence[Range]) -> list[Range]:
        """Those of some ranges, in ascending order, that something which was lost of late lies in:
        a packet may bring hundreds, none of which does."""
        found: set[int] = set()
        for begin, end, _ in self.gone:
            found.update(
                range(
                    bisect_left(ranges, begin, key=_last_of),
                    bisect_right(ranges, end, key=_first_of),
                )
            )
        return [ranges[each] for each in sorted(found)]

    def arrived(self, first: int, last: int, largest: int, rtt: float, now: float) -> bool:
        """These packets are acknowledged; ``largest`` is the highest that was before, ``rtt`` the
        round-trip time in seconds. Answers whether all that was lost of late has now arrived."""
        kept: list[Run] = []
        for run in self.gone:
            begin, end, sent_time = run
            if end < first or last < begin:
                kept.append(run)
                continue
            found = max(begin, first)
            self._left = FORGET
            self.packets = max(self.packets, min(largest - found + 1, MOST_PACKETS))
            if rtt > 0.0:
                self.time = max(self.time, min((now - sent_time) / rtt, MOST_TIME))
            if begin < first:
                kept.append((begin, first - 1, sent_time))
            if last < end:
                kept.append((last + 1, end, sent_time))
        self.gone = kept[-_KEPT:]
        return not kept
