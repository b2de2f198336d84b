"""Waiting for what is promised within a time, on a machine that may be busy with other things.

Time is counted in steps that this process slept: where all is held up, by others or by tests beside
this one, the steps grow longer and so does the promise; who keeps it waiting for more than the time
that was promised fails however fast the machine is.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

STEP = 0.01
"""Seconds."""


async def rest(seconds: float, step: float = STEP) -> None:
    """Let so much time pass, of which a machine that is held up takes one ``step`` at most: a sleep
    that ends while all is held up ends before anything was done in it."""
    for _ in range(round(seconds / step)):
        await asyncio.sleep(step)


async def within(seconds: float, holds: Callable[[], Any]) -> None:
    """Wait until something holds; ``holds`` may have to be awaited. It is asked for between the
    steps, which costs nothing of the time."""
    for _ in range(round(seconds / STEP) + 1):
        said = holds()
        if await said if inspect.isawaitable(said) else said:
            return
        await asyncio.sleep(STEP)
    raise AssertionError(f"it did not come about within {seconds} s")


async def until(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something holds that nobody promised by when; after so long it never will."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)
