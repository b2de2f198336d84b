"""The lender's side of shared limits: who holds how much of what, and who gets more.

The law: of a limit of what there is at a time never more is lent than there is, whatever is lost on
the way: what a worker was lent counts as held until it says otherwise or is known to have died, and
nothing is lent before all of them have said what they hold. Of a rate no more is lent than one
process would let pass. This module must not know what limits are for, nor how anything is sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.quota.account import BITS
from relay.quota.limits import Limits, Quota
from relay.quota.pace import GRAIN
from relay.quota.purse import INTERVAL

CHUNK = 64
"""Of a limit, how many more than it needs a worker is lent at most."""

HUNGRY = 2 * INTERVAL
"""Seconds for which somebody who got less than it asked for counts as one who still wants more."""

SWEEP = 5.0
"""Seconds between looks for rates that nobody owes anything of."""

Short = dict[str, list[str]]
"""Limits by tenant of which somebody needs more than there is left, or more is lent than there
is."""


@dataclass(slots=True)
class Flow:
    """One tenant's rate as a whole."""

    rate: float
    """Cells a second, of which one second's worth may come at once."""
    room: float
    """Cells that may be lent."""
    at: float
    """When that was."""
    held: dict[int, float] = field(default_factory=dict)
    """Cells that workers have at hand: as long as they lie there no others come in their place."""
    hungry: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Who got less than it asked for: when, and with what weight."""
    asked: dict[int, float] = field(default_factory=dict)
    """When each asked last."""

    @property
    def burst(self) -> float:
        """Cells that there may be at most."""
        return max(1.0, self.rate)

    def accrue(self, now: float) -> None:
        """Take in what has come since."""
        cap = max(0.0, self.burst - sum(self.held.values()))
        self.room = max(self.room, min(cap, self.room + (now - self.at) * self.rate))
        self.at = now

    def change(self, rate: float) -> None:
        """Another rate from now on."""
        self.rate = rate
        self.room = min(self.room, self.burst)

    def hold(self, worker: int, cells: float) -> None:
        """A worker has so many at hand."""
        if cells > GRAIN:
            self.held[worker] = cells
        else:
            self.held.pop(worker, None)


class Lender:
    """What all workers hold. ``now`` is monotonic seconds in every call.

    A new one begins with each rate's one second at hand: what was let pass before is not known.
    """

    def __init__(self, limits: Callable[[], Limits], count: int) -> None:
        """``limits`` are those in force when it is called; ``count`` is how many workers there
        are."""
        self.name = secrets.token_hex(8)
        self._limits = limits
        self._count = count
        self._held: dict[str, dict[str, dict[int, int]]] = {}
        """By tenant, limit and worker."""
        self._flows: dict[tuple[str, str], Flow] = {}
        self._turns: dict[int, tuple[str, int]] = {}
        """The latest heard of each worker, and its life."""
        self._ended: dict[int, str] = {}
        """The life that each worker lost last."""
        self._unknown = set(range(count))
        self._swept_at = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether it is known what everybody holds."""
        return not self._unknown

    def lent(self, tenant: str, kind: str) -> int:
        """How much of a limit is lent."""
        return sum(self._held.get(tenant, {}).get(kind, {}).values())

    def hear(self, worker: int, report: Mapping[str, Any], now: float) -> tuple[Any, Short]:
        """A worker's report: the answer, and of what some must be taken back."""
        answer = {"lender": self.name, "turn": report["turn"], "is_stale": False}
        if not self._is_next(worker, report["life"], report["turn"]):
            answer |= {"turn": self._turns.get(worker, ("", 0))[1], "is_stale": True}
            return answer | {"counts": {}, "rates": {}, "is_ready": self.is_ready}, {}
        if report["full"]:
            self._holds_nothing(worker)
        for tenant, kinds in report["counts"].items():
            for kind, (held, _) in kinds.items():
                self._set(tenant, kind, worker, held)
        limits = self._limits()
        counts: dict[str, dict[str, list[int]]] = {}
        short: Short = {}
        for tenant, kinds in report["counts"].items():
            quota = limits.of(tenant)
            for kind, (_, want) in kinds.items():
                if want:
                    granted = self._lend(tenant, kind, worker, want, quota)
                    counts.setdefault(tenant, {})[kind] = [granted, want]
                    if granted < want and self.is_ready:
                        short.setdefault(tenant, []).append(kind)
                elif 0 < getattr(quota, kind) < self.lent(tenant, kind):
                    # Where there was no limit before: some were lent more before others had told
                    # what they use, and what of that is not used goes back.
                    short.setdefault(tenant, []).append(kind)
        rates = {
            tenant: {
                kind: self._pour(tenant, kind, worker, limits.of(tenant), moved, now)
                for kind, moved in kinds.items()
            }
            for tenant, kinds in report["rates"].items()
        }
        self._sweep(now)
        return answer | {"counts": counts, "rates": rates, "is_ready": self.is_ready}, short

    def lost(self, worker: int, life: str) -> None:
        """A worker has died: it holds nothing any more, unless its successor was heard already."""
        if self._turns.get(worker, (life, 0))[0] == life:
            self._ended[worker] = life  # what it said and is still on its way counts no more
            self._holds_nothing(worker)

    def holders(self, worker: int, short: Short) -> dict[int, Short]:
        """Who else holds anything of what there is too little of."""
        found: dict[int, Short] = {}
        for tenant, kinds in short.items():
            for kind in kinds:
                for other, held in self._held.get(tenant, {}).get(kind, {}).items():
                    if held and other != worker:
                        found.setdefault(other, {}).setdefault(tenant, []).append(kind)
        return found

    def recalled(self, worker: int, told: Mapping[str, Any]) -> None:
        """What a worker holds after it gave up what it does not use."""
        if self._turns.get(worker, ("", 0))[0] != told["life"]:
            return  # another life: its full report tells what it holds
        if self._is_next(worker, told["life"], told["turn"]):
            for tenant, kinds in told["held"].items():
                for kind, held in kinds.items():
                    self._set(tenant, kind, worker, held)

    def again(self, worker: int, answer: Any, short: Short) -> None:
        """Lend what others gave up meanwhile, into the answer."""
        if self._ended.get(worker) == self._turns[worker][0]:
            return  # it died while they were asked
        limits = self._limits()
        for tenant, kinds in short.items():
            quota = limits.of(tenant)
            for kind in kinds:
                entry = answer["counts"].get(tenant, {}).get(kind)
                if entry is not None and entry[1] > entry[0]:
                    entry[0] += self._lend(tenant, kind, worker, entry[1] - entry[0], quota)

    def _is_next(self, worker: int, life: str, turn: int) -> bool:
        """Whether this is later than what was heard of the worker before."""
        known = self._turns.get(worker)
        if self._ended.get(worker) == life or (
            known is not None and known[0] == life and turn <= known[1]
        ):
            return False
        self._turns[worker] = life, turn
        return True

    def _holds_nothing(self, worker: int) -> None:
        """It is known that a worker holds nothing, but for what it says now."""
        self._unknown.discard(worker)
        for tenant in tuple(self._held):
            for kind in tuple(self._held[tenant]):
                self._set(tenant, kind, worker, 0)
        for flow in self._flows.values():
            flow.hold(worker, 0.0)

    def _set(self, tenant: str, kind: str, worker: int, held: int) -> None:
        kinds = self._held.setdefault(tenant, {})
        workers = kinds.setdefault(kind, {})
        workers[worker] = held
        if not held:
            del workers[worker]
            if not workers:
                del kinds[kind]
            if not kinds:
                del self._held[tenant]

    def _lend(self, tenant: str, kind: str, worker: int, want: int, quota: Quota) -> int:
        """How many more the worker holds from now on."""
        limit: int = getattr(quota, kind)
        if not self.is_ready:
            return 0
        free = limit - self.lent(tenant, kind) if limit else want
        granted = max(0, min(free, want))
        if limit and free > granted:
            granted += min(CHUNK, (free - granted) // (2 * self._count))
        if granted:
            held = self._held.get(tenant, {}).get(kind, {}).get(worker, 0)
            self._set(tenant, kind, worker, held + granted)
        return granted

    def _pour(
        self, tenant: str, kind: str, worker: int, quota: Quota, moved: list[float], now: float
    ) -> list[float]:
        """Cells for a worker, and whether they are all that it wanted (1) or not (0)."""
        back, want, weight, cells = moved
        rate = getattr(quota, kind) / (BITS if kind.endswith("_bits") else 1)
        key = tenant, kind
        if not rate:
            self._flows.pop(key, None)
            return [want, 1]
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = Flow(rate, max(1.0, rate), now)
        flow.accrue(now)
        if flow.rate != rate:
            flow.change(rate)
        flow.room = min(flow.room + back, flow.burst)
        granted = min(want, max(0.0, flow.room), self._part(flow, worker, want, weight, now))
        flow.room -= granted
        flow.hold(worker, cells + granted)
        is_all = granted >= want - GRAIN
        if is_all:
            flow.hungry.pop(worker, None)
        else:
            flow.hungry[worker] = now, weight
        return [granted, int(is_all)]

    def _part(self, flow: Flow, worker: int, want: float, weight: float, now: float) -> float:
        """How many cells a worker may have while others want more too: what came in since it asked
        last, for as many as it is among them."""
        last = flow.asked.get(worker, now - INTERVAL)
        flow.asked[worker] = now
        flow.hungry = {
            other: entry for other, entry in flow.hungry.items() if now - entry[0] < HUNGRY
        }
        others = sum(heft for other, (_, heft) in flow.hungry.items() if other != worker)
        if not others:
            return want
        came = max(flow.rate * min(now - last, 1.0), flow.room)
        return came * weight / (weight + others)

    def _sweep(self, now: float) -> None:
        if now - self._swept_at >= SWEEP:
            self._swept_at = now
            limits = self._limits()
            for key, flow in tuple(self._flows.items()):
                flow.accrue(now)
                is_full = not flow.held and flow.room >= flow.burst
                if is_full or not getattr(limits.of(key[0]), key[1]):
                    del self._flows[key]
