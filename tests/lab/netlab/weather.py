"""What happens to a packet on its way: when it arrives, if it does.

The law: the n-th packet of a way meets the same fate for the same seed and the same weather,
whatever the others do. This module must not know packets, devices or the clock.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, replace
from typing import Any

HOLD = 0.01
"""Seconds by which a reordered packet is late; those behind it overtake it."""

MAX_FLYING = 20_000
"""Packets under way in one direction; more are dropped."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How a link behaves, in each of its two directions."""

    delay: float = 0.0
    """Seconds from one end to the other."""

    jitter: float = 0.0
    """Seconds by which the delay varies up and down, evenly. The order is kept, so packets that
    follow each other closely arrive with the slowest of them."""

    loss: float = 0.0
    """Share of packets that vanish, each on its own."""

    reorder: float = 0.0
    """Share of packets that arrive `HOLD` after their turn."""

    rate: float | None = None
    """Bits a second; ``None`` is no limit."""

    queue: float = 0.2
    """Seconds a packet may wait for its turn under ``rate``; beyond that it is dropped."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for weather that cannot be."""
        if not (0 <= self.loss <= 1 and 0 <= self.reorder <= 1):
            raise ValueError(f"loss and reorder are shares from 0 to 1: {self}")
        if min(self.delay, self.jitter, self.queue) < 0 or (
            self.rate is not None and self.rate <= 0
        ):
            raise ValueError(f"delay, jitter, queue and rate cannot be negative: {self}")

    def changed(self, **changes: Any) -> Weather:
        """The same weather but for ``changes``."""
        return replace(self, **changes)

    def dump(self) -> dict[str, Any]:
        """As `Weather` takes it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Counts:
    """What one end sent into a link, and what became of it. Bytes are those of IP packets."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    """Packets that the weather took."""

    cut: int = 0
    """Packets that met a cut."""

    dropped: int = 0
    """Packets for which a queue had no room."""


@dataclass(slots=True)
class Way:
    """One direction of a link."""

    weather: Weather
    chance: random.Random
    is_cut: bool = False
    packets: int = 0
    bytes: int = 0
    lost: int = 0
    cut: int = 0
    dropped: int = 0
    flying: int = 0
    """Packets that the caller still holds; the caller counts them."""

    _free: float = field(default=0.0)
    """When the bottleneck has sent what is already in its queue."""

    _last: float = field(default=0.0)
    """When the latest packet that keeps the order arrives."""

    def arrival(self, size: int, now: float) -> float | None:
        """When a packet of ``size`` bytes that is sent ``now`` arrives; ``None`` is never."""
        self.packets += 1
        self.bytes += size
        draw = self.chance.random
        is_lost, is_held, swing = draw(), draw(), draw()  # always three: one fate per number
        if self.is_cut:
            self.cut += 1
            return None
        weather = self.weather
        if is_lost < weather.loss:
            self.lost += 1
            return None
        sent = self._sent(size, now)
        if sent is None or self.flying >= MAX_FLYING:
            self.dropped += 1
            return None
        due = sent + weather.delay + weather.jitter * (2 * swing - 1)
        if is_held < weather.reorder:
            return max(due, now) + HOLD
        self._last = due = max(due, self._last, now)
        return due

    def _sent(self, size: int, now: float) -> float | None:
        """When the bottleneck has let the packet through; ``None`` when its queue is full."""
        rate = self.weather.rate
        if rate is None:
            return now
        start = max(now, self._free)
        if start - now > self.weather.queue:
            return None
        self._free = start + size * 8 / rate
        return self._free

    def counts(self) -> Counts:
        """What went this way so far."""
        return Counts(self.packets, self.bytes, self.lost, self.cut, self.dropped)
