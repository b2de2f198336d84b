"""Turns for those who keep the loop busy, so that many of them hold up nobody else.

The law: whoever has used its time waits in line, and with each turn of the loop one in line goes
on; whoever uses little never waits. This module must not know what anybody does with the time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

TURN = 0.002
"""Seconds that one may use before it waits in line."""

SHARE = 0.2
"""Part of the time that does not count as used."""


class Turns:
    """The line."""

    def __init__(self) -> None:
        self._line: deque[Callable[[], None]] = deque()

    def after(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` when it is its turn; never before the loop's next."""
        self._line.append(go_on)
        if len(self._line) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    async def wait(self) -> None:
        """Return when it is the caller's turn."""
        turn = asyncio.get_running_loop().create_future()
        self.after(lambda: None if turn.done() else turn.set_result(None))
        await turn

    async def through(self, steps: Iterable[object], use: Use) -> None:
        """Take all of these steps, in line with others whenever that was enough for one turn."""
        use.begin()
        for _ in steps:
            if use.is_over():
                await self.wait()
                use.begin()
        if use.is_over():
            await self.wait()

    def take(self, steps: Iterator[object], use: Use) -> None:
        """The same without waiting: what is enough for one turn at once, where nobody stands in
        line, and the others when it is their turn."""
        some = partial(self._some, steps, use)
        if self._line:
            self.after(some)
        else:
            some()

    def _some(self, steps: Iterator[object], use: Use) -> None:
        use.begin()
        for _ in steps:
            if use.is_over():
                self.after(partial(self._some, steps, use))
                return
        if use.is_over():
            self.after(lambda: None)  # whoever comes next waits

    def _next(self) -> None:
        try:
            self._line[0]()
        finally:  # one who fails is none of the others' trouble
            self._line.popleft()
            if self._line:
                asyncio.get_running_loop().call_soon(self._next)


class Use:
    """How much of the time somebody uses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used = 0.0
        self._at = clock()

    def begin(self) -> None:
        """From now on it is used; until now it was not."""
        now = self._clock()
        self._used = max(0.0, self._used - SHARE * (now - self._at))
        self._at = now

    def is_over(self) -> bool:
        """Whether that was enough for one turn; with the answer another begins."""
        now = self._clock()
        self._used += now - self._at
        self._at = now
        if self._used <= TURN:
            return False
        self._used = 0.0
        return True
