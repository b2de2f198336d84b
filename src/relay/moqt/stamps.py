"""Timestamps of objects: an extension in moq-transport, part of every frame in moq-lite.

What counts other units, or has no timestamp, is told in microseconds of our own: the time at which
it came. This module must not know how objects are written.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.errors import DecodeError
from relay.moqt.drafts import Draft
from relay.wire.frame import MAX_STAMP

UNITS = 1_000_000
"""Of ours, a second."""

_TIMESCALE = 0x08
_TIMESTAMPS = (0x10, 0x06)
"""Extensions: what this object's timestamp counts, and the timestamp, by its number of today and by
that of draft-ietf-moq-loc-03 (moq-loc-04, 2.3.1.1)."""


class Stamps:
    """Those of one track."""

    __slots__ = ("_draft", "_now", "_timescale")

    def __init__(self, draft: Draft, timescale: int, now: Callable[[], float]) -> None:
        """``timescale`` is the units a second of the track's, 0 where it does not say; ``now``
        answers seconds."""
        self._draft = draft
        self._timescale = timescale
        self._now = now

    def read(self, extensions: bytes) -> int:
        """The timestamp of an object, in our units."""
        try:
            values = self._values(extensions)
        except (DecodeError, IndexError):
            values = {}
        timescale = values.get(_TIMESCALE, self._timescale)
        found = (values[number] for number in _TIMESTAMPS if number in values)
        value = next(found, None)
        if value is None or not timescale:
            return int(self._now() * UNITS)
        return min(value * UNITS // timescale, MAX_STAMP)

    def _values(self, extensions: bytes) -> dict[int, int]:
        """Those of even numbers, which are integers. Raises `DecodeError` or `IndexError` for what
        is cut off."""
        values: dict[int, int] = {}
        at = number = 0
        while at < len(extensions):
            step, at = self._integer(extensions, at)
            value, at = self._integer(extensions, at)
            number += step
            if number & 1:
                at += value
            else:
                values[number] = value
        return values

    def _integer(self, data: bytes, at: int) -> tuple[int, int]:
        found = self._draft.scan_varint(data, at)
        if found is None:
            raise IndexError
        return found


def written(draft: Draft, timestamp: int) -> bytes:
    """The extensions of an object that has this one, with their size."""
    said = draft.encode_varint(_TIMESTAMPS[0]) + draft.encode_varint(timestamp)
    return draft.encode_varint(len(said)) + said
