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
        self.known = 0
        """Those who were told of."""
        self._told_at = -TOLD_SECONDS

    def tell(self, refusals: Refusals, now: float, total: int, why: str, last: str) -> None:
        """Tell of those who are new, if it is time; ``last`` is where the last came from."""
        count = total - self.known
        if count and now - self._told_at >= TOLD_SECONDS:
            self.known, self._told_at = total, now
            refusals.unheard(self._code, self._status, why, last, count)


class Crowd:
    """Those before one relay's gate, and requests that its HTTP faces have no place for."""

    def __init__(self, gate: Gate, refusals: Refusals) -> None:
        self._gate = gate
        self._refusals = refusals
        self._too_many = _Count("too_many_connections", 503)
        self._not_allowed = _Count("unix_allow", 403)
        self._no_place = _Count("too_many_requests", 429)
        self._strangers = 0
        self._why = ""
        self._askers = 0
        self._asked = "", ""
        self._no_room = _Count("too_many_connections", 503)
        self._unserved = 0
        self._came = "", ""
        self._told = 0

    def stranger(self, why: str) -> None:
        """A process that may not dial our unix socket did."""
        self._strangers += 1
        self._why = why

    def crowded(self, why: str, remote: str) -> None:
        """A request found no place."""
        self._askers += 1
        self._asked = why, remote

    def unserved(self, why: str, remote: str) -> None:
        """A connection of HTTP found no room."""
        self._unserved += 1
        self._came = why, remote

    def tick(self, now: float) -> None:
        """Tell of those who were turned away, if it is time; ``now`` is monotonic seconds."""
        gate = self._gate
        heard = gate.refused + self._strangers + self._askers + self._unserved
        if heard == self._told:
            return  # nobody new
        why = "limits.max_sessions or limits.max_sessions_per_address"
        self._too_many.tell(self._refusals, now, gate.refused, why, gate.refused_last)
        self._not_allowed.tell(self._refusals, now, self._strangers, self._why, UNIX)
        self._no_place.tell(self._refusals, now, self._askers, *self._asked)
        self._no_room.tell(self._refusals, now, self._unserved, *self._came)
        kinds = self._too_many, self._not_allowed, self._no_place, self._no_room
        self._told = sum(each.known for each in kinds)
