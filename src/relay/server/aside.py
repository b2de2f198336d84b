"""Work for the processor that takes long, done beside the event loop.

The law: one piece at a time, in the order in which they came, so that the loop never shares the
interpreter with more than one. This module must not know what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from relay.errors import Unavailable

T = TypeVar("T")


class Aside:
    """A thread of its own, from the first piece of work on."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._is_over = False

    async def do(self, work: Callable[[], T]) -> T:
        """What ``work`` answers or raises; it may touch nothing that the loop changes.

        Raises `Unavailable` where that is over before its turn.
        """

        def turn() -> T:
            self._require_time()
            return work()

        self._require_time()
        return await asyncio.get_running_loop().run_in_executor(self._pool, turn)

    def close(self) -> None:
        """Begin no more; the thread ends once whoever waits has been told so."""
        self._is_over = True
        self._pool.shutdown(wait=False)

    def _require_time(self) -> None:
        if self._is_over:
            raise Unavailable("the relay is stopping")
