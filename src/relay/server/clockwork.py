"""What is due by time, done once in every beat until the relay stops.

The law: one that fails costs nobody else a beat; who speaks only now and then has a last word. This
module must not know what is due.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from relay.beat import beat

Tick = Callable[[float], object]
"""Does what is due at that monotonic second."""


async def keep_time(
    due: Sequence[Tick],
    telling: Sequence[Tick],
    clock: Callable[[], float],
    late: Tick,
    escaped: Callable[[BaseException], None],
) -> None:
    """Tick until cancelled. ``telling`` ticks once more then, at the end of time, when all that was
    held back is due; ``late`` hears by how many seconds a beat came late."""
    try:
        while True:
            began = clock()
            asleep = await beat()
            now = clock()
            late(now - began - asleep)
            _tick((*due, *telling), now, escaped)
    finally:
        _tick(telling, math.inf, escaped)


def every(count: int, work: Callable[[], None]) -> Tick:
    """What is done at each ``count``-th beat only."""
    left = count

    def tick(now: float) -> None:
        nonlocal left
        left -= 1
        if not left:
            left = count
            work()

    return tick


def _tick(ticks: Sequence[Tick], now: float, escaped: Callable[[BaseException], None]) -> None:
    for tick in ticks:
        try:
            tick(now)
        except Exception as error:
            escaped(error)
