"""Recovery where congestion control is by delivery rate: each acknowledgement is sampled, paced so.

Both kinds of recovery can be such, the library's own and that of the short way. The law: what is
lost and how long a round trip takes is decided as ever, only the pace is another. This module must
not know how a rate is found.
"""

from __future__ import annotations

from typing import Any

from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import K_SECOND, QuicPacketRecovery, QuicPacketSpace

from relay.net import bbr
from relay.net.pacing import LONG_BURST, Pacer
from relay.net.recovery import Recovery, Train

_BURST = 10
"""Packets that may leave at once after a rest: what any connection may begin with (RFC 9002, 7.2).
"""


class RatePacer(Pacer):
    """A pacer to which the rate is told."""

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """The window does not say how fast."""

    def pace(self, rate: float, window: int) -> None:
        """Let so many bytes a second leave (draft-ietf-ccwg-bbr-06, 5.6.2)."""
        size = self._max_datagram_size
        self.packet_time = min(size / rate, K_SECOND)
        self.byte_time = self.packet_time / size
        self.least = -self.packet_time
        burst = max(_BURST * size, min(rate * bbr.QUANTUM_TIME, LONG_BURST * size))
        self.bucket_max = min(window, burst) / rate
        if self.bucket_time > self.bucket_max:
            self.bucket_time = self.bucket_max

    def update_after_send(self, now: float) -> None:
        """The library sends a packet; how large it is `sized` tells."""
        if self.packet_time is not None:
            self.update_bucket(now)
            self.bucket_time = max(self.bucket_time - self.packet_time, self.least)

    def sized(self, size: int) -> None:
        """A packet that the library sent has so many bytes."""
        if self.packet_time is not None:
            self.bucket_time += max(self.packet_time - size * self.byte_time, 0.0)


class ByRate(QuicPacketRecovery):
    """The library's recovery, by delivery rate."""

    _cc: bbr.Bbr
    _pacer: RatePacer

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pacer = RatePacer(max_datagram_size=options["max_datagram_size"])

    def on_ack_received(self, *, now: float, **rest: Any) -> None:
        """Take in an acknowledgement that the library read."""
        super().on_ack_received(now=now, **rest)
        self._sample(now)

    def on_packet_sent(self, *, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        """Note a packet that the library built."""
        super().on_packet_sent(packet=packet, space=space)
        if space.is_application_data:
            self._pacer.sized(packet.sent_bytes)

    def _sample(self, now: float) -> None:
        control = self._cc
        control.acknowledged(now)
        if control.pacing_rate:
            self._pacer.pace(control.pacing_rate, control.congestion_window)


class TrainsByRate(ByRate, Recovery):
    """That of the short way, by delivery rate."""

    _pacer: RatePacer

    def _arrived(
        self, trains: list[Train], space: QuicPacketSpace, largest: int, delay: float, now: float
    ) -> None:
        super()._arrived(trains, space, largest, delay, now)
        self._sample(now)

    def regained(self) -> None:
        """All that was lost of late has arrived: only another order was seen."""
        self._cc.unlost()


def kind_of(algorithm: str, is_short: bool) -> type[QuicPacketRecovery]:
    """The recovery for a connection with this congestion control."""
    if algorithm == bbr.NAME:
        return TrainsByRate if is_short else ByRate
    return Recovery if is_short else QuicPacketRecovery
