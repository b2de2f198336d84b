"""Which workers hang: who has given no sign of life for long, while others have.

The law: time counts only as far as whoever keeps the vigil was awake itself, so that a machine that
stood still accuses nobody. This module must not know the clock, nor what a worker is: ``now`` is an
argument.
"""

from __future__ import annotations

SIGN = 1.0
"""Seconds between a worker's signs of life."""

SILENCE = 10.0
"""Seconds without one after which a worker hangs."""

FRESH = 3 * SIGN
"""Seconds within which others must have given one: else it is the machine that is slow."""

STEP = 1.0
"""Seconds that may count between two looks, however far apart they were."""


class Vigil:
    """The signs of life of all workers. ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        self._silence: dict[int, float] = {}
        """Seconds since each that is watched gave its last sign."""
        self._looked_at: float | None = None

    def heard(self, worker: int) -> None:
        """It lives; from its first sign on it is watched."""
        self._silence[worker] = 0.0

    def ended(self, worker: int) -> None:
        """It is gone."""
        self._silence.pop(worker, None)

    def look(self, now: float, is_leaving: bool = False) -> list[int]:
        """Who hangs, each told once. Call at least every `STEP`.

        While all are leaving (``is_leaving``) nobody need have spoken since: they may be gone.
        """
        step = 0.0 if self._looked_at is None else min(now - self._looked_at, STEP)
        self._looked_at = now
        for worker in self._silence:
            self._silence[worker] += step
        if not is_leaving and min(self._silence.values(), default=0.0) > FRESH:
            return []
        hung = [worker for worker, silence in self._silence.items() if silence >= SILENCE]
        for worker in hung:
            self.ended(worker)
        return hung
