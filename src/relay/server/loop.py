"""The event loop that a relay runs in: uvloop's where it is installed and wanted, or asyncio's own.

Everything else is written for asyncio and knows neither. The law: nobody waits at the end for a
name server that does not answer. This module must not know what is run.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from relay.errors import ConfigError

try:
    import uvloop
except ImportError:  # not installed, or not made for this system
    uvloop = None  # type: ignore[assignment]

Wanted = Literal["auto", "asyncio", "uvloop"]

MAX_ASKING = 64
"""Names that are asked for at a time; another one cannot be found now."""


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


def factory(wanted: Wanted) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop. Raises `ConfigError`."""
    if wanted == "uvloop" and uvloop is None:
        raise ConfigError("server.loop: uvloop is not installed: pip install 'moq-relay[uvloop]'")
    kind = asyncio.SelectorEventLoop if uvloop is None or wanted == "asyncio" else uvloop.Loop
    return type("Loop", (_Resolving, kind), {})


def running() -> str:
    """Whose the running loop is: ``uvloop`` or ``asyncio``."""
    is_theirs = uvloop is not None and isinstance(asyncio.get_running_loop(), uvloop.Loop)
    return "uvloop" if is_theirs else "asyncio"


class _Resolving:
    """A loop that asks for names in threads that end with the process.

    Those of an executor, or of libuv, are waited for: without an answer for half a minute.
    """

    _asking = 0

    async def getaddrinfo(self, host: Any, port: Any, **wanted: int) -> Any:
        """As `socket.getaddrinfo`. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        if self._asking >= MAX_ASKING:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are asked for")
        answer: asyncio.Future[Any] = loop.create_future()

        def answered(found: Any, error: OSError | UnicodeError | None) -> None:
            self._asking -= 1
            if answer.cancelled():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found)

        def ask() -> None:
            found, trouble = None, None
            try:
                found = socket.getaddrinfo(host, port, **wanted)
            except (OSError, UnicodeError) as error:
                trouble = error
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(answered, found, trouble)

        try:
            threading.Thread(target=ask, daemon=True).start()
        except RuntimeError as error:
            raise socket.gaierror(socket.EAI_AGAIN, str(error)) from None
        self._asking += 1
        return await answer
