"""Newcomers who are turned away unheard: counted where they come in, told once in a while.

The law: whoever knocks ever so often costs one line and one entry in `TOLD_SECONDS`. This module
must not know connections.
"""

from __future__ import annotations

from relay.net.gate import Gate
from relay.net.streams import UNIX
from relay.peer.refusing import Refusals

TOLD_SECONDS = 5.0
"""Seconds between two entries, however many there are."""


class _Count:
    """Those of one kind."""

    def __init__(self, code: str, status: int) -> None:
        self._code = code
        self._status = status
        self._count = 0
        self._known = 0
        """Those who were told of."""
        self._why = self._last = ""
        self._told_at = -TOLD_SECONDS

    def came(self, why: str, last: str) -> None:
        """One more, from ``last``."""
        self.note(self._count + 1, why, last)

    def note(self, count: int, why: str, last: str) -> None:
        """So many have come until now, the last one from ``last``."""
        self._count, self._why, self._last = count, why, last

    def tell(self, refusals: Refusals, now: float) -> None:
        """Tell of those who are new, if it is time."""
        new = self._count - self._known
        if new and now - self._told_at >= TOLD_SECONDS:
            self._known, self._told_at = self._count, now
            refusals.unheard(self._code, self._status, self._why, self._last, new)


class Crowd:
    """Those before one relay's gate, and requests that its HTTP faces have no place for."""

    def __init__(self, gate: Gate, refusals: Refusals) -> None:
        self._gate = gate
        self._refusals = refusals
        self._too_many = _Count("too_many_connections", 503)
        self._not_allowed = _Count("unix_allow", 403)
        self._no_place = _Count("too_many_requests", 429)
        self._no_room = _Count("too_many_connections", 503)

    def stranger(self, why: str) -> None:
        """A process that may not dial our unix socket did."""
        self._not_allowed.came(why, UNIX)

    def crowded(self, why: str, remote: str) -> None:
        """A request found no place."""
        self._no_place.came(why, remote)

    def unserved(self, why: str, remote: str) -> None:
        """A connection of HTTP found no room."""
        self._no_room.came(why, remote)

    def tick(self, now: float) -> None:
        """Tell of those who were turned away, if it is time; ``now`` is monotonic seconds."""
        why = "limits.max_sessions or limits.max_sessions_per_address"
        self._too_many.note(self._gate.refused, why, self._gate.refused_last)
        for kind in (self._too_many, self._not_allowed, self._no_place, self._no_room):
            kind.tell(self._refusals, now)
