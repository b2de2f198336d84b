"""Newcomers for whom there is no room: counted where packets come in, told once in a while.

The law: whoever knocks ever so often costs one line and one entry in `TOLD_SECONDS`. This module
must not know connections.
"""

from __future__ import annotations

from relay.net.gate import Gate
from relay.peer.refusing import Refusals

TOLD_SECONDS = 5.0
"""Seconds between two entries, however many there are."""


class Crowd:
    """Those before one relay's gate."""

    def __init__(self, gate: Gate, refusals: Refusals) -> None:
        self._gate = gate
        self._refusals = refusals
        self._known = 0
        self._told_at = -TOLD_SECONDS

    def tick(self, now: float) -> None:
        """Tell of those who were turned away, if it is time; ``now`` is monotonic seconds."""
        count = self._gate.refused - self._known
        if count and now - self._told_at >= TOLD_SECONDS:
            self._known, self._told_at = self._gate.refused, now
            why = "limits.max_sessions or limits.max_sessions_per_address"
            last = self._gate.refused_last
            self._refusals.unheard("too_many_connections", 503, why, last, count)
