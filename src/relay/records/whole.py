"""Work that goes to its end once it was begun, whoever stops waiting for it.

The law: whoever is cancelled while it runs hears of that after it has ended, so that nothing is
ever left half done and nothing goes on that nobody waits for. This module must not know what work.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def whole(
    method: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Have a method that writes go to its end even when whoever waits for it is cancelled.

    A transaction that is abandoned halfway keeps SQLite locked for everybody else, as long as
    nobody collects the connection; one that ends takes milliseconds, and seconds at the worst.
    """

    @functools.wraps(method)
    async def done(*args: P.args, **kwargs: P.kwargs) -> T:
        work = asyncio.ensure_future(method(*args, **kwargs))  # waited for below, whatever happens
        cancelled: asyncio.CancelledError | None = None
        while not work.done():
            try:
                await asyncio.wait((work,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            work.exception()  # nobody is left to hear of it
            raise cancelled
        return work.result()

    return done
