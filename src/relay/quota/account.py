"""One tenant's account: what it uses now, what it has used, and what it may.

The law: a limit is asked only where there is one; a limit that changes is in force with the next
question and what was used before counts against it; of several workers each goes by the portion
that it holds. This module must not know sessions, nor where a portion comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

from relay.errors import OverQuota
from relay.quota.limits import Quota
from relay.quota.pace import Pace, paced
from relay.quota.portion import COUNTS, MAX_WAITING, PATIENCE, RATES, Portion, Waiting
from relay.quota.purse import Purse, pursed

if TYPE_CHECKING:
    from relay.quota.tab import Tab

BITS = 8

ROUND = 0.1
"""Seconds for which waiting sessions share out what may leave."""

LEAST = 1200
"""Bytes that a session may send at least when it is its turn: about one packet."""

_LIMITS = attrgetter(*COUNTS, *RATES)

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
        "is_limited",
        "outgoing",
        "portion",
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

    def __init__(self, tenant: str, quota: Quota, hit: Hit, portion: Portion | None = None) -> None:
        """``portion`` is what is held of the quota, where others hold the rest."""
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
        self.portion = portion
        self.arriving: Pace | Purse | None = None
        self.announcing: Pace | Purse | None = None
        self.incoming: Pace | Purse | None = None
        self.outgoing: Pace | Purse | None = None
        self.waiting: set[Tab] = set()
        """Sessions that have more to send than the rate allows."""
        self.round = 0
        self.quantum = 0
        """Bytes that each of them may send in this round."""
        self._round_at = -ROUND
        self._hit = hit
        self._set_rates(0.0)

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
        if self.portion is not None:
            self.portion.obey(self.quota, quota, self.usage())
        self.quota = quota
        self._set_rates(now)

    def _set_rates(self, now: float) -> None:
        quota, own = self.quota, self._rate
        self.is_limited = any(_LIMITS(quota))
        self.arriving = own(self.arriving, quota.sessions_per_second, now)
        self.announcing = own(self.announcing, quota.announces_per_second, now)
        self.incoming = own(self.incoming, quota.ingress_bits / BITS, now, True)
        self.outgoing = own(self.outgoing, quota.egress_bits / BITS, now, True)

    def _rate(
        self, had: Pace | Purse | None, rate: float, now: float, is_kept: bool = False
    ) -> Pace | Purse | None:
        portion = self.portion
        if portion is None:
            return paced(had if isinstance(had, Pace) else None, rate, now)
        purse = had if isinstance(had, Purse) else None
        return pursed(purse, rate, portion.parts, is_kept, portion.press)

    @property
    def purses(self) -> dict[str, Purse]:
        """Rates that are lent, by the names of their limits."""
        rates = (self.arriving, self.announcing, self.incoming, self.outgoing)
        return {
            kind: rate for kind, rate in zip(RATES, rates, strict=True) if isinstance(rate, Purse)
        }

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

    # -- where others hold the rest --------------------------------------------------------------

    def lacks(self, needs: Iterable[str], now: float) -> bool:
        """Whether more of the limits named has to be asked for before it can be told whether there
        is one more of each. Where too many wait for that already, what is held has to do."""
        portion = self.portion
        if portion is None or len(portion.waiting) >= MAX_WAITING:
            return False
        return any(self._lacks(portion, kind, now) for kind in needs)

    def _lacks(self, portion: Portion, kind: str, now: float) -> bool:
        if kind in RATES:
            purse = self.purses.get(kind)
            return purse is not None and not purse.is_spent(now) and purse.wait(now) > 0.0
        limit: int = getattr(self.quota, kind)
        used: int = getattr(self, kind)
        is_short = bool(limit) and portion.held[kind] <= used < limit
        return is_short and now >= portion.denied.get(kind, 0.0)

    def when_known(self, needs: tuple[str, ...], now: float, go: Callable[[], None]) -> None:
        """Call ``go`` once it can be told whether there is one more of each limit: now, or soon."""
        portion = self.portion
        if portion is None or not self.lacks(needs, now):
            go()
            return
        portion.waiting.append(Waiting(needs, go, now + PATIENCE))
        portion.press()

    def release(self, now: float) -> Iterator[Callable[[], None]]:
        """Those who need not wait any longer. Each is to be called before the next is asked for:
        what it takes the others have to wait for."""
        portion = self.portion
        if portion is None or not portion.waiting:
            return
        waiting, portion.waiting = portion.waiting, []
        has_moved = False
        for each in waiting:
            if now < each.until and any(self._lacks(portion, kind, now) for kind in each.needs):
                portion.waiting.append(each)
            else:
                has_moved = True
                yield each.go
        if has_moved and portion.waiting:
            portion.press()

    def refill(self) -> None:
        """There is more to send: shares are dealt anew, and those go on who waited."""
        self._round_at = -ROUND
        for tab in tuple(self.waiting):
            tab.wake()

    # -- at the door -----------------------------------------------------------------------------

    def arrive(self, now: float) -> None:
        """Somebody new, or one HTTP request. Raises `OverQuota` with the seconds to wait."""
        if self.arriving is not None and (wait := self.arriving.take(now)) > 0.0:
            raise self.over("sessions_per_second", now, wait)

    def require(self, kind: str, used: int, now: float) -> None:
        """Raises `OverQuota` when one more than ``used`` is more than the limit named ``kind``, or
        when nobody has said, with the seconds to wait, and then no limit was hit."""
        if not self.is_full(kind, used):
            return
        if self.lacks((kind,), now):
            limit = f"quotas.{kind} ({getattr(self.quota, kind)})"
            silence = "the worker that lends has not said"
            raise OverQuota(f"the tenant {self.tenant!r} may be over {limit}: {silence}", PATIENCE)
        raise self.over(kind, now)

    def is_full(self, kind: str, used: int) -> bool:
        """Whether one more than ``used`` is more than the limit, or than what is held of it."""
        limit: int = getattr(self.quota, kind)
        if not limit:
            return False
        held = limit if self.portion is None else self.portion.held[kind]
        return used >= min(limit, held)

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

    def require_ingress(self, size: int, now: float) -> None:
        """Bytes that came in one piece. Raises `OverQuota` with the seconds to wait, and then they
        were not counted."""
        pace = self.incoming
        if pace is not None:
            if pace.room(now) <= 0.0:
                raise self.over("ingress_bits", now, pace.wait(now))
            pace.spend(now, size)
        self.ingress += size

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
        limit = part_of(self.quota.cached_bytes, self.portion.parts if self.portion else 1)
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
        if isinstance(self.outgoing, Purse) and not self.outgoing.is_spent(now):
            return  # it is not known yet that there is no more
        self._hit(self.tenant, "egress_bits", self.quota.egress_bits, now)


def part_of(limit: int, parts: int) -> int:
    """What each of so many may have of a limit; 0 stays unlimited."""
    return -(-limit // parts)
