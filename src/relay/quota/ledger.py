"""The books of all tenants: an account for each that is there, and what was breached.

The law: an account lives while somebody or something of its tenant is there or it owes anything;
other limits are in force for every account when `obey` returns. This module must not know where
limits come from or who is told of breaches.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.errors import LimitExceeded
from relay.quota.account import Account, part_of
from relay.quota.breach import Breach, Breaches
from relay.quota.limits import Limits
from relay.quota.portion import Portion
from relay.quota.tab import Tab

MAX_ACCOUNTS = 100_000
"""Tenants that are there at a time; whoever would be one more is turned away."""

SWEEP = 5.0
"""Seconds between looks for accounts that nobody needs."""

MAX_PAST = 1_000
"""Tenants that are gone and whose bytes are remembered; those who left first are forgotten. Each
takes some microseconds of whoever asks for the numbers."""


class Ledger:
    """Every tenant's account. ``now`` is monotonic seconds in every call."""

    def __init__(self, limits: Limits | None = None, parts: int = 1) -> None:
        """``parts`` is how many workers go by these limits together."""
        self.limits = limits or Limits()
        self.parts = parts
        self.pressed: Callable[[], None] = lambda: None
        """Called when more is needed of what is lent. Must not raise nor wait."""
        self.accounts: dict[str, Account] = {}
        self.past: dict[str, tuple[int, int]] = {}
        """Bytes that came in and went out of tenants that are gone, who left last at the end."""
        self.told: Callable[[Breach], None] = lambda breach: None
        """Called with each breach that is to be told. Must not raise nor wait."""
        self.limits_changed: Callable[[], None] = lambda: None
        """Called after other limits came into force."""
        self._breaches = Breaches()
        self._swept_at = 0.0

    @property
    def breached(self) -> dict[str, int]:
        """How often each kind of limit was hit since the start."""
        return self._breaches.counts

    def account(self, tenant: str | None) -> Account:
        """The account of a tenant (``None``: of whoever has none). Raises `LimitExceeded`."""
        name = tenant or ""
        found = self.accounts.get(name)
        if found is None:
            if len(self.accounts) >= MAX_ACCOUNTS:
                raise LimitExceeded(f"{MAX_ACCOUNTS} tenants at a time (MAX_ACCOUNTS)")
            portion = Portion(self.parts, lambda: self.pressed()) if self.parts > 1 else None
            found = self.accounts[name] = Account(name, self.limits.of(name), self._hit, portion)
            found.ingress, found.egress = self.past.pop(name, (0, 0))
            if portion is not None:
                portion.press()
        return found

    def arrive(self, tenant: str | None, now: float) -> None:
        """One HTTP request. Raises `OverQuota`, `LimitExceeded`."""
        self.account(tenant).arrive(now)

    def enter(self, tenant: str | None, now: float) -> Tab:
        """One new session; close its tab when it leaves. Raises `OverQuota`, `LimitExceeded`."""
        account = self.account(tenant)
        account.require("sessions", account.sessions, now)
        account.arrive(now)
        return Tab(account)

    def usage(self) -> dict[str, dict[str, int]]:
        """What each tenant that is there uses now, and has used so far."""
        return {tenant: account.usage() for tenant, account in sorted(self.accounts.items())}

    def moved(self) -> dict[str, tuple[int, int]]:
        """Bytes that came in and went out of each tenant so far, also of those that are gone: a
        count that ended with them would be taken for a new one when they are back."""
        now = {tenant: (each.ingress, each.egress) for tenant, each in self.accounts.items()}
        return self.past | now

    def obey(self, limits: Limits, now: float) -> None:
        """Other limits, in force at once, for running sessions too."""
        self.limits = limits
        for account in self.accounts.values():
            quota = limits.of(account.tenant)
            if quota != account.quota:
                account.obey(quota, now)
        self.limits_changed()

    def cache_limit(self, tenant: str) -> int:
        """Bytes that a tenant may have cached; 0 = no limit."""
        return part_of(self.limits.of(tenant).cached_bytes, self.parts)

    def overflowed(self, tenant: str, now: float) -> None:
        """A tenant's cached groups were too many, and the oldest have left."""
        self._hit(tenant, "cached_bytes", self.limits.of(tenant).cached_bytes, now)

    def tick(self, now: float) -> None:
        """A few times a second: tell what is due, forget who is gone."""
        for breach in self._breaches.due(now):
            self.told(breach)
        if now - self._swept_at >= SWEEP:
            self._swept_at = now
            for tenant, account in tuple(self.accounts.items()):
                waits = account.portion is not None and account.portion.waiting
                if account.is_idle and account.is_clear(now) and not waits:
                    del self.accounts[tenant]
                    self._remember(account)

    def _remember(self, account: Account) -> None:
        if account.ingress or account.egress:
            self.past[account.tenant] = account.ingress, account.egress
            if len(self.past) > MAX_PAST:
                del self.past[next(iter(self.past))]

    def _hit(self, tenant: str, kind: str, limit: int, now: float) -> None:
        breach = self._breaches.hit(tenant, kind, limit, now)
        if breach is not None:
            self.told(breach)
