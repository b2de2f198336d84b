"""Work for the processor that takes long, done beside the event loop.

The law: one piece at a time, so that the loop never shares the interpreter with more than one; of
each address in its turn, so that nobody waits for all that another one has sent. This module must
not know what the work is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from relay.errors import Unavailable
from relay.peer.refusing import STOPPING

T = TypeVar("T")


class Aside:
    """A thread of its own, from the first piece of work on."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        """Who waits, by whose work it is; the first of the first goes next."""
        self._is_busy = False
        self._is_over = False

    async def do(self, work: Callable[[], T], whose: str) -> T:
        """What ``work`` answers or raises; it may touch nothing that the loop changes.

        Raises `Unavailable` where that is over before its turn.
        """
        if self._is_over:
            raise Unavailable(STOPPING)
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._lines.setdefault(whose, deque()).append(turn)
        if not self._is_busy:
            self._next()
        try:
            await turn
            if self._is_over:
                raise Unavailable(STOPPING)
            return await loop.run_in_executor(self._pool, work)
        finally:
            if turn.done() and not turn.cancelled():
                self._next()

    def close(self) -> None:
        """Begin no more; the thread ends once whoever waits has been told so."""
        self._is_over = True
        for line in self._lines.values():
            for turn in line:
                if not turn.done():
                    turn.set_exception(Unavailable(STOPPING))
        self._lines.clear()
        self._pool.shutdown(wait=False)

    def _next(self) -> None:
        self._is_busy = False
        while self._lines and not self._is_busy:
            whose = next(iter(self._lines))
            line = self._lines.pop(whose)
            turn = line.popleft()
            if line:
                self._lines[whose] = line  # behind the others
            if not turn.done():  # else whoever waited has left
                turn.set_result(None)
                self._is_busy = True
