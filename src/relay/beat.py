"""The beat: who looks again and again looks together with all others who do.

Waking a process that sleeps costs more than most looks themselves. The law: nobody waits longer
than it asked for, but for a moment. This module must not know who looks at what.
"""

from __future__ import annotations

import asyncio
import random

BEAT = 0.25
"""Seconds between two looks, unless there is a reason for others."""

_MOMENT = 0.005
"""Seconds that a timer may be early: no reason to look twice."""

_PHASE = random.random()  # processes of one machine need not look at the same time


async def beat(seconds: float = BEAT) -> float:
    """Sleep until the loop's clock is at a multiple of so many seconds; answers how many it was."""
    rest = seconds - (asyncio.get_running_loop().time() + _PHASE) % seconds
    if rest < _MOMENT:
        rest += seconds
    await asyncio.sleep(rest)
    return rest
