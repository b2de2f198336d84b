"""The beat: who looks again and again looks together with all others who do.

Waking a process that sleeps costs more than most looks themselves. The law: nobody waits longer
than it asked for, but for a moment. This module must not know who looks at what.
"""

from __future__ import annotations

import asyncio
import os

BEAT = 0.25
"""Seconds between two looks, unless there is a reason for others."""

_MOMENT = 0.005
"""Seconds that a timer may be early: no reason to look twice."""

_APART = 0.618
"""Seconds between the beats of a process and the next one's: workers need not look together."""


def rest(seconds: float = BEAT) -> float:
    """Seconds until the loop's clock is at a multiple of so many."""
    # Not drawn when this is loaded: workers are forked afterwards.
    phase = os.getpid() * _APART
    left = seconds - (asyncio.get_running_loop().time() + phase) % seconds
    return left if left >= _MOMENT else left + seconds


async def beat(seconds: float = BEAT) -> float:
    """Sleep that long; answers how long it was."""
    left = rest(seconds)
    await asyncio.sleep(left)
    return left
