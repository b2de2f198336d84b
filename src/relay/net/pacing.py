"""How fast packets may leave, and whether round trips become longer: the library's answers, sooner.

Both are asked with each acknowledgement. The law: they say what the library's own say, but for
bursts, which fit what they are measured against. This module must not know what is sent.
"""

from __future__ import annotations

from aioquic.quic.congestion.base import K_GRANULARITY, QuicRttMonitor
from aioquic.quic.recovery import K_MICRO_SECOND, K_SECOND, QuicPacketPacer

_BURST = 16
"""Packets that may leave at once, as the library has it."""

LONG_BURST = 44
"""Packets that may where a millisecond brings more: what one system call takes."""


class Pacer(QuicPacketPacer):
    """The library's pacer (RFC 9002, 7.7), with bursts that fit what they are measured against.

    The library lets no two packets be nearer than a microsecond, but makes its bursts as short as
    the rate says: at a gigabyte per second one holds a few packets instead of sixteen. And no timer
    is finer than a millisecond, so what would leave within one may leave at once.
    """

    __slots__ = (
        "_max_datagram_size",
        "bucket_max",
        "bucket_time",
        "byte_time",
        "evaluation_time",
        "least",
        "packet_time",
    )

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self.byte_time = 0.0
        """Seconds that a byte takes, where it is bytes that count; 0.0 = packets do, of any
        size."""
        self.least = 0.0
        """The lowest `bucket_time`: below zero where what left too early is made good for."""

    def update_bucket(self, now: float) -> None:
        """Time has passed."""
        if now > self.evaluation_time:
            time = self.bucket_time + now - self.evaluation_time
            self.bucket_time = time if time < self.bucket_max else self.bucket_max
            self.evaluation_time = now

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Spread a window of so many bytes over a round trip of so many seconds."""
        # With each acknowledgement, and `min` and `max` cost more than what they are asked.
        size = self._max_datagram_size
        rate = congestion_window / (
            smoothed_rtt if smoothed_rtt > K_MICRO_SECOND else K_MICRO_SECOND
        )
        time = size / rate
        self.packet_time = time if time < K_SECOND else K_SECOND
        burst, most, least = rate * K_GRANULARITY, LONG_BURST * size, _BURST * size
        if burst > most:
            burst = most
        if burst < least:
            burst = least
        if burst > congestion_window // 4:
            burst = congestion_window // 4
        if burst < 2 * size:
            burst = 2 * size
        self.bucket_max = most_time = burst / rate
        if self.bucket_time > most_time:
            self.bucket_time = most_time


class RttMonitor(QuicRttMonitor):
    """The library's (HyStart: whether round trips become longer), with fewer steps: it is asked
    with each acknowledgement until something is lost."""

    __slots__ = (
        "_filtered_min",
        "_increases",
        "_ready",
        "_sample_idx",
        "_sample_time",
        "_samples",
        "_size",
    )

    def is_rtt_increasing(self, *, now: float, rtt: float) -> bool:
        """Whether slow start has gone on for long enough."""
        if now <= self._sample_time + K_GRANULARITY:
            return False
        self._sample_time = now
        samples, index = self._samples, self._sample_idx
        samples[index] = rtt
        self._sample_idx = index = (index + 1) % len(samples)
        if not index:
            self._ready = True
        if not self._ready:
            return False
        most = max(samples)
        if self._filtered_min is None or self._filtered_min > most:
            self._filtered_min = most
        delta = min(samples) - self._filtered_min
        if delta * 4 >= self._filtered_min:
            self._increases += 1
            return self._increases >= self._size
        if delta > 0:
            self._increases = 0
        return False
