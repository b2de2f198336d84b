"""A relay in this process, until a signal ends it. This module must not know what a relay does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from relay.config import Settings
from relay.errors import ConfigError
from relay.server.log import write_log
from relay.server.relay import Relay


async def serve(settings: Settings, ready: Callable[[Relay], None] = lambda relay: None) -> None:
    """Run until SIGTERM or SIGINT."""
    write_log(settings)
    relay = Relay(settings)
    hurry = asyncio.Event()

    def told(number: int) -> None:
        if number == signal.SIGINT or relay.draining.is_set():
            hurry.set()
        relay.draining.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    async with relay.running():
        ready(relay)
        await relay.draining.wait()
        if not hurry.is_set():
            await relay.drain(hurry)


def run(settings: Settings, ready: Callable[[Relay], None] = lambda relay: None) -> None:
    """Run a relay in this process until it is told to stop. Raises `ConfigError`."""
    try:
        asyncio.run(serve(settings, ready))
    except* ConfigError as group:
        raise group.exceptions[0] from None
