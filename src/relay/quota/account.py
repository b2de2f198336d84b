"""One tenant's account: what it uses now, what it has used, and what it may.

The law: a limit is asked only where there is one; a limit that changes is in force with the next
question and what was used before counts against it. This module must not know sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.errors import OverQuota
from relay.quota.limits import Quota
from relay.quota.pace import Pace, paced

if TYPE_CHECKING:
    from relay.quota.tab import Tab

BITS = 8

ROUND = 0.1
"""Seconds for which waiting sessions share out what may leave."""

LEAST = 1200
"""Bytes that a session may send at least when it is its turn: about one packet."""

Hit = Callable[[str, str, int, float], None]
"""Told of a breach: tenant, kind, limit, now."""


class Account:
    """One tenant. ``now`` is monotonic seconds in every call."""

    __slots__ = (
        "_hit",
        "_round_at",
        "announcing",
        "arriving",
        "broadcasts",
        "egress",
        "incoming",
        "ingress",
        "outgoing",
        "publishers",
        "quantum",
        "quota",
        "round",
        "sessions",
        "subscribers",
        "tenant",
        "tracks",
        "waiting",
    )

    def __init__(self, tenant: str, quota: Quota, hit: Hit) -> None:
        self.tenant = tenant
        self.quota = quota
        self.sessions = 0
        self.publishers = 0
        self.subscribers = 0
        self.broadcasts = 0
        self.tracks = 0
        self.ingress = 0
        """Bytes of groups that came in, since the account was opened."""
        self.egress = 0
        """Bytes of groups that went out."""
        self.arriving: Pace | None = None
        self.announcing: Pace | None = None
        self.incoming: Pace | None = None
        self.outgoing: Pace | None = None
        self.waiting: set[Tab] = set()
        """Sessions that have more to send than the rate allows."""
        self.round = 0
        self.quantum = 0
        """Bytes that each of them may send in this round."""
        self._round_at = -ROUND
        self._hit = hit
        self.obey(quota, 0.0)

    @property
    def is_idle(self) -> bool:
        """Whether nobody is there."""
        return not (self.sessions or self.broadcasts or self.tracks)

    def is_clear(self, now: float) -> bool:
        """Whether it owes nothing, so that forgetting it gives nothing away."""
        paces = (self.arriving, self.announcing, self.incoming, self.outgoing)
        return all(pace is None or not pace.debt(now) for pace in paces)

    def obey(self, quota: Quota, now: float) -> None:
        """Other limits, from now on."""
        self.quota = quota
        self.arriving = paced(self.arriving, quota.sessions_per_second, now)
        self.announcing = paced(self.announcing, quota.announces_per_second, now)
        self.incoming = paced(self.incoming, quota.ingress_bits / BITS, now)
        self.outgoing = paced(self.outgoing, quota.egress_bits / BITS, now)

    def usage(self) -> dict[str, int]:
        """What is used now, by the names of the quotas, and the bytes so far."""
        return {
            "sessions": self.sessions,
            "publishers": self.publishers,
            "subscribers": self.subscribers,
            "broadcasts": self.broadcasts,
            "tracks": self.tracks,
            "ingress_bytes": self.ingress,
            "egress_bytes": self.egress,
        }

    # -- at the door -----------------------------------------------------------------------------

    def arrive(self, now: float) -> None:
        """Somebody new, or one HTTP request. Raises `OverQuota` with the seconds to wait."""
        if self.arriving is not None and (wait := self.arriving.take(now)) > 0.0:
            raise self.over("sessions_per_second", now, wait)

    def require(self, kind: str, used: int, now: float) -> None:
        """Raises `OverQuota` when one more than ``used`` is more than the limit named ``kind``."""
        limit: int = getattr(self.quota, kind)
        if limit and used >= limit:
            raise self.over(kind, now)

    def over(self, kind: str, now: float, wait: float = 0.0, status: int = 429) -> OverQuota:
        """The error for a limit that was hit, which is counted; ``wait`` where waiting helps."""
        limit: int = getattr(self.quota, kind)
        self._hit(self.tenant, kind, limit, now)
        return OverQuota(
            f"the tenant {self.tenant!r} is over quotas.{kind} ({limit})", wait, status
        )

    # -- bytes -----------------------------------------------------------------------------------

    def receive(self, size: int, now: float) -> bool:
        """Bytes of a group came in; False when its tenant has no right to more of them now."""
        self.ingress += size
        pace = self.incoming
        if pace is None:
            return True
        if pace.room(now) <= 0.0:
            self._hit(self.tenant, "ingress_bits", self.quota.ingress_bits, now)
            return False
        pace.spend(now, size)
        return True

    def may_receive(self, now: float) -> bool:
        """Whether a new group may begin to come in."""
        if self.incoming is None or self.incoming.room(now) > 0.0:
            return True
        self._hit(self.tenant, "ingress_bits", self.quota.ingress_bits, now)
        return False

    def send(self, size: int, now: float) -> None:
        """Bytes of a group went out."""
        self.egress += size
        if self.outgoing is not None:
            self.outgoing.spend(now, size)

    def require_egress(self, now: float) -> None:
        """Raises `OverQuota` when nothing may go out now: for answers that cannot be slowed."""
        if self.outgoing is not None and self.outgoing.room(now) <= 0.0:
            raise self.over("egress_bits", now, self.outgoing.wait(now))

    def require_room(self, size: int, now: float) -> None:
        """Raises `OverQuota` (413) for something larger than all that may be cached."""
        limit = self.quota.cached_bytes
        if limit and size > limit:
            raise self.over("cached_bytes", now, status=413)

    def share(self, tab: Tab, now: float) -> int:
        """Bytes that one session may send now, of those that all of them may."""
        pace = self.outgoing
        if pace is None:
            return 1 << 62
        if now - self._round_at >= ROUND:
            self._round_at = now
            self.round += 1
            self.quantum = max(LEAST, int(pace.room(now)) // max(1, len(self.waiting)))
        left = self.quantum - tab.sent_in(self.round)
        return max(0, min(left, int(pace.room(now))))

    def held_back(self, tab: Tab, now: float) -> None:
        """A session has more to send than it may."""
        self.waiting.add(tab)
        self._hit(self.tenant, "egress_bits", self.quota.egress_bits, now)
