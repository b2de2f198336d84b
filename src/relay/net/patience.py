"""How long what came is listened to before everybody else has a turn.

The law: not for long, and nothing is lost by that: what is left is heard in the next rounds of the
event loop, before more is read of where it came from, while others are read. A packet may hold
hundreds of frames, or begin a handshake, so their number says little. This module must not know
what packets hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from relay.net.udp import Run, Socket

SECONDS = 0.01
"""How long."""

PORTION = 16
"""Datagrams of one connection that are heard without looking at the clock; fewer of large ones."""

Listen = Callable[[Socket, Sequence[Run], float], Sequence[Run]]
"""Hear what came to a socket until a time; answers what is left, in the order of its turns."""


class Patience:
    """What came to the sockets of an endpoint."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listen: Listen) -> None:
        self._loop = loop
        self._listen = listen
        self.left: list[tuple[object, Socket, Sequence[Run]]] = []
        """What was read and not heard yet, by where."""

    def is_over(self, source: object) -> bool:
        """Whether something is left that was read there, and nothing more should be before."""
        return bool(self.left) and any(each is source for each, *_ in self.left)

    def hear(self, source: object, sock: Socket, runs: Sequence[Run]) -> None:
        """Hear what was read at ``source`` now, or what is left of it later."""
        if self.left:
            self.left.append((source, sock, runs))
        elif left := self._listen(sock, runs, monotonic() + SECONDS):
            self.left.append((source, sock, left))
            self._loop.call_soon(self._go_on)

    def clear(self) -> None:
        """Hear none of it."""
        self.left.clear()

    def _go_on(self) -> None:
        if not self.left:
            return
        source, sock, runs = self.left.pop(0)
        try:
            if left := self._listen(sock, runs, monotonic() + SECONDS):
                self.left.insert(0, (source, sock, left))  # before what came later
        finally:
            if self.left:
                self._loop.call_soon(self._go_on)


def turns(unheard: list[Run], late: list[Run], whose: Callable[[Run], object]) -> list[Run]:
    """What is left in the order of its turns: whoever was heard already comes ``late``, after the
    others, and what each said stays in its order."""
    slow = {whose(run) for run in late}
    others = [run for run in unheard if whose(run) not in slow]
    return others + late + [run for run in unheard if whose(run) in slow]
