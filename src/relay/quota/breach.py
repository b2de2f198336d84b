"""Limits that were hit: counted each time, told once in a while.

The law: whoever runs against a limit a thousand times a second causes one entry every few seconds,
with the number. This module must not know who is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BREACH_SECONDS = 5.0
"""Seconds between two entries of one tenant and kind."""

MAX_KINDS = 10_000
"""Pairs of tenant and kind that are being watched at a time; breaches beyond are only counted."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that was hit ``count`` times since it was last told."""

    tenant: str
    kind: str
    """The name of the quota."""
    limit: int
    """What it was; 0 when it has been lifted since."""
    count: int


class Breaches:
    """What was hit lately."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """How often each kind of limit was hit, since the start, over all tenants."""
        self._open: dict[tuple[str, str], tuple[float, int, int]] = {}
        """When it was last told, how often it was hit since, and the limit."""

    def hit(self, tenant: str, kind: str, limit: int, now: float) -> Breach | None:
        """A limit was hit; the answer is to be told."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        key = (tenant, kind)
        if (known := self._open.get(key)) is not None:
            self._open[key] = (known[0], known[1] + 1, limit)
            return None
        if len(self._open) >= MAX_KINDS:
            return None
        self._open[key] = (now, 0, limit)
        return Breach(tenant, kind, limit, 1)

    def due(self, now: float) -> Iterator[Breach]:
        """What is to be told now; what was not hit again is forgotten."""
        for key, (told, count, limit) in tuple(self._open.items()):
            if now - told < BREACH_SECONDS:
                continue
            if not count:
                del self._open[key]
                continue
            self._open[key] = (now, 0, limit)
            yield Breach(*key, limit, count)
