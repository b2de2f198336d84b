"""Times as people write them on a command line.

The law: a time is unix seconds, a span from now or an ISO date; what is none of these is refused
and the spellings are named. This module must not know what a time is for, nor read a clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from relay.records.audit import UNITS

_SPAN = re.compile(r"(\+?|now[+-])([0-9]{1,9})([smhdw])")
_SECONDS = re.compile(r"[0-9]{1,15}")


def read_time(text: str, now: float) -> int:
    """Unix seconds of ``1735689600``, ``+1h``, ``30m``, ``7d``, ``now``, ``now-1h`` or
    ``2030-01-31T12:00Z``.

    Spans count from ``now`` (unix seconds), dates without a zone are UTC. Raises `ValueError`.
    """
    if _SECONDS.fullmatch(text):
        return int(text)
    if text == "now":
        return int(now)
    if span := _SPAN.fullmatch(text):
        seconds = int(span[2]) * UNITS[span[3]]
        return max(int(now) - seconds, 0) if span[1] == "now-" else int(now) + seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        expected = "unix seconds, now, a span like +1h or 7d, or a date like 2030-01-31T12:00Z"
        raise ValueError(f"{text!r} is no time: expected {expected}") from None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if zoned.timestamp() < 0:
        raise ValueError(f"{text!r} is before 1970")
    return int(zoned.timestamp())


def show_time(seconds: int) -> str:
    """An ISO date in UTC, or the number where no calendar reaches."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
