"""Timestamps of objects: a property in moq-transport, part of every frame in moq-lite.

What counts other units is told in microseconds of our own, which are also meant where nothing is
said (moq-loc-04, 2.3.1.1); what has no timestamp is told with the time at which it came. This
module must not know how objects are written.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.moqt.properties import TIMESCALE, Property, timestamp
from relay.wire.frame import MAX_STAMP

UNITS = 1_000_000
"""Of ours, a second."""


class Stamps:
    """Those of one track."""

    __slots__ = ("_now", "_timescale")

    def __init__(self, timescale: int, now: Callable[[], float]) -> None:
        """``timescale`` is the units a second of the track's, 0 where it does not say; ``now``
        answers seconds."""
        self._timescale = timescale
        self._now = now

    @property
    def is_plain(self) -> bool:
        """Whether the track says nothing, so that they mean the same wherever they are told."""
        return not self._timescale

    def read(self, properties: list[Property]) -> int:
        """The timestamp of an object, in our units."""
        values = dict(properties)
        timescale = values.get(TIMESCALE, self._timescale) or UNITS
        value = timestamp(values)
        if not isinstance(value, int) or not isinstance(timescale, int):
            return int(self._now() * UNITS)
        return min(value * UNITS // timescale, MAX_STAMP)
