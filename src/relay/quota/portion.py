"""What one of several workers holds of a tenant's limits, and who waits there for more of it.

The law: what is used is never more than what is held; only the worker itself gives up what it
holds, and only what it does not use. This module must not know who lends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from relay.quota.limits import Quota

COUNTS = ("sessions", "publishers", "subscribers", "broadcasts", "tracks")
"""Limits of what there is at a time: lent one by one."""

RATES = ("sessions_per_second", "announces_per_second", "ingress_bits", "egress_bits")
"""Limits of what there is in a second: lent as cells to use up."""

PATIENCE = 1.0
"""Seconds for which somebody waits for an answer. After that what is held has to do."""

MAX_WAITING = 1000
"""Those of one tenant that wait at a time; whoever comes then must do with what is held."""


class Waiting(NamedTuple):
    """Somebody who needs more than is held."""

    needs: tuple[str, ...]
    go: Callable[[], None]
    """Called once, when asking again is of use or waiting is not."""
    until: float
    """Monotonic seconds."""


class Portion:
    """One tenant's, in one worker."""

    __slots__ = ("denied", "has_changed", "held", "parts", "press", "waiting")

    def __init__(self, parts: int, press: Callable[[], None]) -> None:
        """``parts`` is how many workers there are; ``press`` is called when more is needed."""
        self.parts = parts
        self.press = press
        self.held = dict.fromkeys(COUNTS, 0)
        self.denied: dict[str, float] = {}
        """Until when it is known that there is no more of a limit for anybody."""
        self.waiting: list[Waiting] = []
        self.has_changed = True
        """Whether what is held is not what the lender has heard."""

    def obey(self, old: Quota, new: Quota, used: dict[str, int]) -> None:
        """Other limits: what is not used is given up where there is less than before."""
        for kind in COUNTS:
            before, after = getattr(old, kind), getattr(new, kind)
            if after != before and (not after or not before or after < before):
                self.held[kind] = used[kind] if after else 0
        self.denied.clear()
        self.has_changed = True
        self.press()

    def wanted(self, used: dict[str, int]) -> dict[str, int]:
        """How many more of each limit those need who wait."""
        found: dict[str, int] = {}
        for kind in COUNTS:
            count = sum(kind in each.needs for each in self.waiting)
            if count:
                found[kind] = max(0, used[kind] + count - self.held[kind])
        return found

    def give_up(self, kinds: Iterable[str], used: dict[str, int]) -> dict[str, int]:
        """Hold no more than is used; what is held then."""
        for kind in kinds:
            self.held[kind] = min(self.held[kind], used[kind])
        return {kind: self.held[kind] for kind in kinds}
