"""The event loop that a relay runs in: uvloop's where it is installed and wanted, or asyncio's own.

Everything else is written for asyncio and knows neither. The law: nobody waits at the end for a
name server that does not answer. This module must not know what is run.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from relay.errors import ConfigError, first_of
from relay.hosts import look_up
from relay.net.listening import EXHAUSTED

try:
    import uvloop
except ImportError:  # not installed, or not made for this system
    uvloop = None  # type: ignore[assignment]

Wanted = Literal["auto", "asyncio", "uvloop"]

SWITCH = 0.001
"""Seconds for which another thread may go on when the loop has something to do. Each time that the
loop has waited for the system it waits for this as well while there is one."""


def run(main: Coroutine[Any, Any, None], wanted: Wanted) -> None:
    """Run to the end. Raises `ConfigError` when a loop is wanted that is not there, or the system
    has no room for what is needed, and whatever ``main`` raises: the first `ConfigError` by itself,
    where a group holds nothing else."""
    sys.setswitchinterval(SWITCH)
    sys.unraisablehook = _cannot_be_raised
    try:
        with asyncio.Runner(loop_factory=factory(wanted)) as runner:
            runner.run(main)
    except (OSError, BaseExceptionGroup) as error:
        # Not by `except*`: what is raised there comes in a group again, before Python 3.11.4.
        if isinstance(error, BaseExceptionGroup) and error.split(_is_told_in_a_line)[1] is not None:
            raise
        first = first_of(error)
        if isinstance(first, OSError) and _is_told_in_a_line(first):
            first = ConfigError(f"no room to run in: {first.strerror} (ulimit)")
        raise first from None
    finally:
        main.close()  # there may have been nothing to run it


def _is_told_in_a_line(error: BaseException) -> bool:
    """Whether it is nobody's mistake but the operator's, or that of the system."""
    is_short = isinstance(error, OSError) and error.errno in EXHAUSTED
    return is_short or isinstance(error, ConfigError)


def factory(wanted: Wanted) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop. Raises `ConfigError`."""
    if wanted == "uvloop" and uvloop is None:
        raise ConfigError("server.loop: uvloop is not installed here: pip install -e '.[uvloop]'")
    kind = asyncio.SelectorEventLoop if uvloop is None or wanted == "asyncio" else uvloop.Loop
    return type("Loop", (_Ours, kind), {})


def running() -> str:
    """Whose the running loop is: ``uvloop`` or ``asyncio``."""
    is_theirs = uvloop is not None and isinstance(asyncio.get_running_loop(), uvloop.Loop)
    return "uvloop" if is_theirs else "asyncio"


def _cannot_be_raised(what: sys.UnraisableHookArgs) -> None:
    """In place of a traceback for whoever asks over TLS for a host in letters that none has: Python
    reads the name before anybody can, and the connection is refused as it is."""
    # Python 3.14 has the name in its message, where those before have it as the object.
    is_name = isinstance(what.object, bytes) or "ssl servername" in (what.err_msg or "")
    if not (is_name and isinstance(what.exc_value, UnicodeDecodeError)):
        sys.__unraisablehook__(what)


class _Ours:
    """A loop that does not wait for names at its end, as executors and libuv do, and does not
    repeat itself."""

    async def getaddrinfo(self, host: Any, port: Any, **wanted: int) -> Any:
        """As `socket.getaddrinfo`. Raises `OSError`, `UnicodeError`."""
        return await look_up(host, port, **wanted)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As asyncio's, which would say with a traceback each second that a socket has no
        descriptor for who comes: that is told once (`relay.server.descriptors`)."""
        error = context.get("exception")
        if "accept()" in context.get("message", "") and getattr(error, "errno", 0) in EXHAUSTED:
            return
        super().call_exception_handler(context)  # type: ignore[misc]
