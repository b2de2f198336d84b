"""Standard input and output that the loop can wait for, instead of standing still.

The law: whoever stands still says nothing either, and a relay lets go of a session that says
nothing. This module must not know what goes in or comes out.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
from typing import BinaryIO

PIECE = select.PIPE_BUF
"""Bytes that whatever says it is ready takes at once."""


def makes_wait(stream: BinaryIO) -> bool:
    """Whether reading or writing may take long: not files, nor the likes of ``/dev/null``."""
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stream.isatty()


class Output:
    """A stream whose reader may take its time, as a pager does."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waits = makes_wait(stream)
        self._ready = select.poll()
        self._ready.register(stream.fileno(), select.POLLOUT)

    async def write(self, data: bytes) -> None:
        """Write all of it at once, or as soon as the other end takes it."""
        if not self._waits:
            self._stream.write(data)
            self._stream.flush()
            return
        left = memoryview(data)
        while left:
            if not self._ready.poll(0):
                await self._takes()
            left = left[os.write(self._stream.fileno(), left[:PIECE]) :]

    async def _takes(self) -> None:
        """Return when more is taken, or never will be."""
        loop, number = asyncio.get_running_loop(), self._stream.fileno()
        taken = asyncio.Event()
        loop.add_writer(number, taken.set)
        try:
            await taken.wait()
        finally:
            loop.remove_writer(number)
