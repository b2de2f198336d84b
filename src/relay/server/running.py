"""A relay in this process, until a signal ends it, or several where the settings want them.

This module must not know what a relay does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.config import Settings
from relay.server import loop
from relay.server.crew import Crew
from relay.server.endings import are_over, endings, pass_over
from relay.server.log import write_log
from relay.server.notify import tell_ready

if TYPE_CHECKING:
    from relay.server.relay import Relay

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

Ready = Callable[["Relay | Crew"], None]
"""Hears where the relay listens, once it does."""


async def serve(settings: Settings, ready: Ready = lambda relay: None) -> None:
    """Run until SIGTERM, SIGHUP or SIGINT."""
    relay = _made(settings)
    hurry = asyncio.Event()

    hung_up = False

    def told(number: int) -> None:
        # A hangup comes twice when a terminal is closed, and beside SIGTERM, before it or after it,
        # from some who stop services: that is no haste.
        nonlocal hung_up
        is_second = number == signal.SIGTERM and relay.draining.is_set() and not hung_up
        if number == signal.SIGINT or is_second:
            hurry.set()
        hung_up = number == signal.SIGHUP and not relay.draining.is_set()
        relay.draining.set()

    def is_up(relay: Relay | Crew) -> None:
        ready(relay)
        tell_ready()

    for number in endings():
        asyncio.get_running_loop().add_signal_handler(number, told, number)
    await relay.serve(hurry, is_up)
    are_over()


def _made(settings: Settings) -> Relay | Crew:
    if settings.server.count > 1:
        return Crew(settings)
    from relay.server.relay import Relay  # a third of a start, which a crew can do without

    return Relay(settings)


def run(settings: Settings, ready: Ready = lambda relay: None) -> None:
    """Run a relay in this process until it is told to stop. Raises `ConfigError`."""
    widen()
    heed_children()
    pass_over()
    with write_log(settings):
        loop.run(serve(settings, ready), settings.server.loop)


def widen() -> None:
    """Have as many file descriptors as this process may take for itself, and its workers with it.

    Where nobody asks, most systems give 1,024: one face's `max_connections` can need more.
    """
    if resource is not None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):  # some systems name more than they allow
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def heed_children() -> None:
    """Hear how workers end, also where whoever started us did not want to hear of theirs.

    A signal that is ignored is inherited. With this one the system forgets at once how a child
    ended: a worker that left in good order seemed to have died. One that is held back is inherited
    as well, and we would never hear of it.
    """
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask") and hasattr(signal, "SIGCHLD"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
