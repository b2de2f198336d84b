"""Windows as wide as they are used: the library's reno and cubic, held to that.

A live stream fills no window. If each acknowledgement widened it all the same, as the library has
it, nothing would be held back any more where the path becomes narrow: groups that are too old could
not be dropped, since all have been handed over, and a viewer waits until they have come through. So
a window that is worth mentioning grows while at least half of it was used of late (RFC 9002, 7.8;
how much is RFC 7661, 4.3), and of what is beyond that, after what a viewer begins with, say, half
goes each time (RFC 2861, 3.1). The law: all else is decided by the library. This module must not
know what is sent.
"""

from __future__ import annotations

from typing import Any

from aioquic.quic.congestion.base import QuicCongestionControl, register_congestion_control
from aioquic.quic.congestion.cubic import CubicCongestionControl
from aioquic.quic.congestion.reno import RenoCongestionControl

LATELY = 10.0
"""Seconds of a period: how much was in flight counts in its own and the next. Key frames are less
apart, and it is they that fill a window."""

SMALL = 65_536
"""Bytes up to which a window grows however little of it is used: half a second of a megabit. With
less a peer cannot be asked for fewer acknowledgements, and no frame is far from it."""

_SPARE = 2
"""Times what was in flight that a window may be, and still grows."""


class Used(QuicCongestionControl):
    """Knows how much of its window is used."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._enough = SMALL
        """Bytes of the widest window that grows."""
        self._peak = self._peak_before = 0
        """Most bytes that were in flight, in this period and in the one before."""
        self._period_ends = 0.0

    @property
    def is_ample(self) -> bool:
        """Whether it is wider than what is sent needs."""
        return self.congestion_window > self._enough

    def _left(self, now: float) -> None:
        """More is in flight than ever in this period, or the period is over."""
        if now >= self._period_ends:
            window, enough = self.congestion_window, self._enough
            if self._period_ends and window > enough:
                # What it knows of the path is old: round trips that become longer tell it anew.
                self.ssthresh = None
                self.congestion_window = (window + enough) // 2
            self._peak_before, self._peak = self._peak, 0
            self._period_ends = now + LATELY
        if self.bytes_in_flight > self._peak:
            self._peak = self.bytes_in_flight
        self._enough = max(SMALL, _SPARE * max(self._peak, self._peak_before))


class Reno(Used, RenoCongestionControl):
    """The library's reno."""

    __slots__ = (
        "_congestion_recovery_start_time",
        "_congestion_stash",
        "_enough",
        "_max_datagram_size",
        "_peak",
        "_period_ends",
        "_rtt_monitor",
        "bytes_in_flight",
        "congestion_window",
        "ssthresh",
    )

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self.bytes_in_flight = 0
        self.ssthresh = None

    def on_packet_sent(self, *, packet: Any) -> None:
        """It leaves."""
        self.bytes_in_flight += packet.sent_bytes  # as the library's: for each frame and viewer
        if self.bytes_in_flight > self._peak or packet.sent_time >= self._period_ends:
            self._left(packet.sent_time)

    def on_packet_acked(self, *, now: float, packet: Any) -> None:
        """It arrived."""
        if self.congestion_window > self._enough:
            self.bytes_in_flight -= packet.sent_bytes
        else:
            super().on_packet_acked(now=now, packet=packet)


class Cubic(Used, CubicCongestionControl):
    """The library's cubic."""

    def on_packet_sent(self, *, packet: Any) -> None:
        """It leaves."""
        super().on_packet_sent(packet=packet)
        self._left(packet.sent_time)

    def on_packet_acked(self, *, now: float, packet: Any) -> None:
        """It arrived. Time in which the window does not grow is of no epoch (RFC 9438, 5.8)."""
        if self.congestion_window <= self._enough:
            super().on_packet_acked(now=now, packet=packet)
            return
        self.bytes_in_flight -= packet.sent_bytes
        self.last_ack = packet.sent_time
        self._starting_congestion_avoidance = not self._first_slow_start


register_congestion_control("reno", Reno)
register_congestion_control("cubic", Cubic)
