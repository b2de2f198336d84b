"""The event loop that a relay runs in: uvloop's where it is installed and wanted, or asyncio's own.

Everything else is written for asyncio and knows neither. This module must not know what is run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from relay.errors import ConfigError

try:
    import uvloop
except ImportError:  # not installed, or not made for this system
    uvloop = None  # type: ignore[assignment]

Wanted = Literal["auto", "asyncio", "uvloop"]


def run(main: Coroutine[Any, Any, None], wanted: Wanted) -> None:
    """Run to the end. Raises `ConfigError` when a loop is wanted that is not there, and whatever
    ``main`` raises."""
    try:
        made_by = factory(wanted)
    except ConfigError:
        main.close()
        raise
    with asyncio.Runner(loop_factory=made_by) as runner:
        runner.run(main)


def factory(wanted: Wanted) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop, ``None`` for asyncio's own. Raises `ConfigError`."""
    if wanted == "asyncio":
        return None
    if uvloop is not None:
        return uvloop.new_event_loop
    if wanted == "uvloop":
        raise ConfigError("server.loop: uvloop is not installed: pip install 'moq-relay[uvloop]'")
    return None


def running() -> str:
    """Whose the running loop is: ``uvloop`` or ``asyncio``."""
    is_theirs = uvloop is not None and isinstance(asyncio.get_running_loop(), uvloop.Loop)
    return "uvloop" if is_theirs else "asyncio"
