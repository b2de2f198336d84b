"""One worker's side of shared limits: what it tells the lender, and what it makes of the answer.

The law: one report is under way at a time, and an answer counts only for the latest one, so that an
answer that is lost or late makes what is held less than what was lent and never more. This module
must not know how anything is sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from relay.quota.account import Account
from relay.quota.ledger import Ledger
from relay.quota.portion import COUNTS, RATES, Portion
from relay.quota.purse import INTERVAL

Told = dict[str, Any]
"""What goes from one worker to another: only what JSON can say."""


class Borrower:
    """What one worker borrows. ``now`` is monotonic seconds in every call."""

    def __init__(
        self, ledger: Ledger, escaped: Callable[[BaseException], None] = lambda error: None
    ) -> None:
        """``escaped`` is told of errors of those who waited."""
        self.life = secrets.token_hex(8)
        """Names this worker until it ends; its successor is another."""
        self.ledger = ledger
        self._escaped = escaped
        self._turn = 0
        self._lender = ""
        self._is_full = True
        """Whether the lender has to be told of everything."""
        self._held: set[str] = set()
        """Tenants of which the lender believes that something is held."""

    def report(self) -> Told:
        """What is held, given back and wanted: all of it, or where it is another than before."""
        self._turn += 1
        counts: dict[str, dict[str, list[int]]] = {}
        rates: dict[str, dict[str, list[float]]] = {}
        for tenant, account, portion in self._accounts():
            if self._is_full or portion.has_changed or portion.waiting:
                portion.has_changed = False
                wanted = portion.wanted(account.usage())
                kinds = {
                    kind: [portion.held[kind], wanted.get(kind, 0)]
                    for kind in COUNTS
                    if getattr(account.quota, kind)
                }
                if kinds:
                    self._held.add(tenant)
                    counts[tenant] = kinds
            if moved := dict(_moved(account, portion)):
                self._held.add(tenant)
                rates[tenant] = moved
        for tenant in self._held - self.ledger.accounts.keys():
            self._held.discard(tenant)
            counts[tenant] = {kind: [0, 0] for kind in COUNTS}
            rates[tenant] = {kind: [0.0, 0.0, 1.0, 0.0] for kind in RATES}
        told = {"life": self.life, "turn": self._turn, "full": self._is_full}
        return told | {"counts": counts, "rates": rates}

    def settle(self, answer: Mapping[str, Any], now: float) -> bool:
        """What the lender answered; false when there is something to tell it at once."""
        if answer["turn"] != self._turn or answer["is_stale"]:
            # Something was given up since; or the lender knows of a later turn.
            self._turn = max(self._turn, int(answer["turn"]))
            self._mark_all()
            self._release(now)
            return False
        is_new, self._lender = answer["lender"] != self._lender, answer["lender"]
        for tenant, lent in answer["counts"].items():
            self._held.add(tenant)
            if (account := self.ledger.accounts.get(tenant)) is not None:
                _take(account, lent, answer["is_ready"], now)
        for tenant, flows in answer["rates"].items():
            if (account := self.ledger.accounts.get(tenant)) is not None:
                _fill(account, flows, now)
        is_told = self._is_full or not is_new
        self._is_full = not is_told
        self._release(now)
        return is_told

    def fail(self, now: float) -> None:
        """There was no answer: what is held has to do, and those who waited long enough go on."""
        self._mark_all()
        self._release(now)

    def recall(self, kinds: Mapping[str, list[str]]) -> Told:
        """Give up what is not used of some tenants' limits, for others who need it."""
        self._turn += 1
        held: dict[str, dict[str, int]] = {}
        for tenant, named in kinds.items():
            account = self.ledger.accounts.get(tenant)
            portion = account.portion if account is not None else None
            if account is None or portion is None:
                held[tenant] = dict.fromkeys(named, 0)
            else:
                held[tenant] = portion.give_up(named, account.usage())
        return {"life": self.life, "turn": self._turn, "held": held}

    def _accounts(self) -> Iterator[tuple[str, Account, Portion]]:
        for tenant, account in tuple(self.ledger.accounts.items()):
            if account.portion is not None and account.is_limited:
                yield tenant, account, account.portion

    def _mark_all(self) -> None:
        """What was told may not have been heard."""
        for tenant in self._held:
            account = self.ledger.accounts.get(tenant)
            if account is not None and account.portion is not None:
                account.portion.has_changed = True

    def _release(self, now: float) -> None:
        for account in tuple(self.ledger.accounts.values()):
            for go in account.release(now):
                try:
                    go()
                except Exception as error:  # one guest's trouble is not the others'
                    self._escaped(error)


def _moved(account: Account, portion: Portion) -> Iterator[tuple[str, list[float]]]:
    """What is given back and wanted of each rate, how many want it, and what is at hand."""
    for kind, purse in account.purses.items():
        waiting = sum(kind in each.needs for each in portion.waiting)
        if waiting:
            purse.need(float(waiting))
        back, want = purse.balance()
        if back or want:
            weight = len(account.waiting) if kind == "egress_bits" else waiting
            yield kind, [back, want, max(1, weight), max(0.0, purse.cells)]


def _take(account: Account, lent: Mapping[str, list[int]], is_ready: bool, now: float) -> None:
    portion = account.portion
    assert portion is not None
    for kind, (granted, wanted) in lent.items():
        portion.held[kind] += granted
        if granted < wanted and is_ready:
            portion.denied[kind] = now + INTERVAL
        else:
            portion.denied.pop(kind, None)


def _fill(account: Account, flows: Mapping[str, list[float]], now: float) -> None:
    purses = account.purses
    for kind, (granted, is_all) in flows.items():
        if kind in purses:
            purses[kind].receive(granted, bool(is_all), now)
    if "egress_bits" in flows and flows["egress_bits"][0] > 0.0:
        account.refill()
