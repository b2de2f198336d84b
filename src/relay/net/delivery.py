"""How fast data is delivered, as measured by acknowledgements (draft-ietf-ccwg-bbr-06, 4.1).

What leaves together is one "packet" of the draft (4.1.3.1): it takes a ticket with what had been
delivered by then, and each acknowledgement yields one sample, by the ticket of the newest that
arrived. The law: no clock, and nothing is decided here. This module must not know what packets
carry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Any, NamedTuple

from aioquic.quic.congestion.base import QuicCongestionControl

Packet = Any
"""A train, or what the library calls a sent packet; either is given a `ticket`."""


_MOMENT = 0.1
"""Seconds that acknowledgements may be held back and still be made up for. The draft has no such
bound, and a peer that holds them back for longer and longer would be sent more and more."""


class Ticket(NamedTuple):
    """What was known when something left (4.1.2.1.2)."""

    delivered: int
    delivered_time: float
    first_send_time: float
    is_app_limited: bool
    in_flight: int
    """Bytes, with its own."""
    lost: int


class Sample:
    """What one acknowledgement shows (4.1.2.1.3)."""

    __slots__ = (
        "delivered",
        "in_flight",
        "is_app_limited",
        "lost",
        "newly_acked",
        "prior_delivered",
        "rate",
        "rtt",
    )

    def __init__(self) -> None:
        self.rate = 0.0
        """Bytes per second; 0.0 where none could be measured."""
        self.delivered = 0
        """Bytes delivered over the time it is for."""
        self.prior_delivered = 0
        """Bytes that had been delivered when the newest packet left."""
        self.in_flight = 0
        """Bytes in flight when it left."""
        self.lost = 0
        """Bytes lost since then."""
        self.newly_acked = 0
        """Bytes that this acknowledgement was for."""
        self.is_app_limited = False
        """Whether there was less to send than might have been sent."""
        self.rtt = -1.0
        """Seconds from its departure; below zero where it is not known."""


class Aggregation:
    """How much more is acknowledged at once than the rate explains (5.5.9)."""

    __slots__ = ("_begun_at", "_delivered", "_kept")

    def __init__(self) -> None:
        self._begun_at = 0.0
        self._delivered = 0
        self._kept: deque[tuple[int, float]] = deque(((0, 0.0),))
        """Falling values, each with its round trip."""

    @property
    def extra(self) -> float:
        """Bytes at most, of late."""
        return self._kept[0][1]

    def begin(self, now: float) -> None:
        """Nothing came before, and nothing was expected."""
        self._begun_at, self._delivered = now, 0

    def add(self, size: int, now: float, rate: float, most: int, count: int, keep: int) -> None:
        """So many bytes arrived in the round trip ``count``, where ``rate`` was expected; ``most``
        counts at most, nor more than comes in a moment, and for ``keep`` round trips."""
        expected = rate * (now - self._begun_at)
        if self._delivered <= expected:
            self._delivered, self._begun_at, expected = 0, now, 0.0
        self._delivered += size
        extra = min(self._delivered - expected, most, rate * _MOMENT)
        kept = self._kept
        while kept and kept[-1][1] <= extra:
            kept.pop()
        if not kept or kept[-1][0] != count:
            kept.append((count, extra))
        while kept[0][0] < count - keep:
            kept.popleft()


class Delivery(QuicCongestionControl):
    """Congestion control that sees what is delivered; how much may leave is another's decision."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._max_datagram_size = max_datagram_size
        self.delivered = 0
        self.delivered_time = 0.0
        self.first_send_time = 0.0
        self.lost = 0
        self.app_limited = 0
        """`delivered` up to which samples are limited by the application, 0 = they are not."""
        self.window_limited = 0
        """`delivered` up to which the window was in the way of what left."""
        self.sample = Sample()
        self.least_rtt = inf
        """The shortest round-trip time ever, in seconds."""
        self.gaps = 0
        """How often a run of packets was lost."""
        self._gap_ends = -2
        self._newest: Packet = None
        self._newly_acked = 0
        self._rtt = -1.0

    # What is decided elsewhere

    @property
    def bandwidth(self) -> float:
        """Bytes per second that the path carries, 0.0 while unknown."""
        raise NotImplementedError

    def restarted(self, now: float) -> None:
        """The first packet leaves after a time when nothing was under way for want of data."""
        raise NotImplementedError

    def lose(self, packet: Packet, now: float) -> None:
        """A packet was lost; `lost` has its bytes already."""
        raise NotImplementedError

    def update(self, now: float) -> None:
        """There is a new sample."""
        raise NotImplementedError

    # What is told

    def on_packet_sent(self, *, packet: Packet) -> None:
        """It leaves (4.1.2.2)."""
        before = self.bytes_in_flight
        if not before:
            self.first_send_time = self.delivered_time = packet.sent_time
            if self.app_limited:
                self.restarted(packet.sent_time)
        self.bytes_in_flight = after = before + packet.sent_bytes
        delivered = self.delivered
        if after + self._max_datagram_size > self.congestion_window:
            self.window_limited = delivered + after
        packet.ticket = Ticket(
            delivered,
            self.delivered_time,
            self.first_send_time,
            self.app_limited > 0,
            after,
            self.lost,
        )

    def on_packet_acked(self, *, now: float, packet: Packet) -> None:
        """It arrived (4.1.2.3)."""
        size = packet.sent_bytes
        self.bytes_in_flight -= size
        self._newly_acked += size
        newest = self._newest
        if newest is None or packet.sent_time >= newest.sent_time:
            self._newest = packet

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """How long it took there and back (4.2)."""
        self._rtt = rtt
        if rtt < self.least_rtt:
            self.least_rtt = rtt

    def on_packets_expired(self, *, packets: Iterable[Packet]) -> None:
        """They count no longer, and say nothing."""
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes

    def on_packets_lost(self, *, now: float, packets: Iterable[Packet]) -> None:
        """They are lost."""
        for packet in packets:
            first = getattr(packet, "first", None)  # of a train
            first, last = (packet.packet_number,) * 2 if first is None else (first, packet.last)
            self.gaps += first != self._gap_ends + 1
            self._gap_ends = last
            self.bytes_in_flight -= packet.sent_bytes
            self.lost += packet.sent_bytes
            self.lose(packet, now)

    def starved(self) -> None:
        """There is nothing more to send (4.1.2.4)."""
        if self.bytes_in_flight < self.congestion_window:
            self.limit_by_application()

    def limit_by_application(self) -> None:
        """What is delivered until all this has arrived says nothing of the path's rate."""
        self.app_limited = max(self.delivered + self.bytes_in_flight, 1)

    def acknowledged(self, now: float) -> None:
        """An acknowledgement was taken in, losses included: sample it (4.1.2.3)."""
        newest, newly_acked = self._newest, self._newly_acked
        if newest is None:
            return
        self._newest, self._newly_acked = None, 0
        self.delivered += newly_acked
        self.delivered_time = now
        if self.app_limited and self.delivered > self.app_limited:
            self.app_limited = 0
        ticket: Ticket = newest.ticket
        sent_time = self.first_send_time = newest.sent_time
        interval = max(sent_time - ticket.first_send_time, now - ticket.delivered_time)
        is_rate = interval >= self.least_rtt and interval > 0.0
        sample = self.sample
        sample.newly_acked = newly_acked
        sample.prior_delivered = ticket.delivered
        sample.delivered = self.delivered - ticket.delivered
        sample.rate = sample.delivered / interval if is_rate else 0.0
        sample.is_app_limited = ticket.is_app_limited
        sample.in_flight = ticket.in_flight
        sample.lost = self.lost - ticket.lost
        sample.rtt, self._rtt = self._rtt, -1.0
        self.update(now)

    @property
    def is_window_limited(self) -> bool:
        """Whether what was acknowledged last left when the window was full."""
        return self.delivered <= self.window_limited
