"""How much of what an HTTP client sends is looked at in one turn of the loop.

Its law: a little. The parser has work for every chunk of a body, of which a read of the loop's own
size holds forty thousand; between two pieces everybody else has a turn, and what is not looked at
yet waits where flow control sees it. This module must not know what the bytes mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

SIP = 4096
"""Bytes that are read at a time."""


class Sips(asyncio.BufferedProtocol):
    """One TCP connection, heard by ``inner`` in small pieces, with TLS or without."""

    def __init__(self, inner: Any, is_paused: Callable[[], bool]) -> None:
        """``inner`` is one of uvicorn's protocols; ``is_paused`` says whether it has stopped
        reading by itself."""
        self._inner = inner
        self._is_paused = is_paused
        self._piece = memoryview(bytearray(SIP))
        self.connection_made = inner.connection_made  # type: ignore[method-assign]
        self.connection_lost = inner.connection_lost  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next piece goes."""
        return self._piece

    def buffer_updated(self, nbytes: int) -> None:
        """It is there; when there may be more, that is for the next turn: TLS would read on."""
        self._inner.data_received(bytes(self._piece[:nbytes]))
        transport = self._inner.transport
        if nbytes == SIP and not transport.is_closing():
            transport.pause_reading()
            self._inner.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        transport = self._inner.transport
        if not self._is_paused() and not transport.is_closing():
            transport.resume_reading()
