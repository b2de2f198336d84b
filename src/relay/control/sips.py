"""How much of what an HTTP client sends is looked at in one turn of the loop.

Its law: a little. The parser has work for every chunk of a body and every frame of WebSocket, of
which a read of the loop's own size holds tens of thousands; between two pieces everybody else has a
turn, whoever makes much work waits in line with others who do, and what is not looked at yet waits
where flow control sees it. This module must not know what the bytes mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from relay.net.turns import Turns, Use

SIP = 4096
"""Bytes that are read at a time."""

LEAST = 256
"""The same of what has turned out to be a lot of work for its length."""


class Sips(asyncio.BufferedProtocol):
    """One TCP connection, heard by ``inner`` in small pieces, with TLS or without."""

    def __init__(self, inner: Any, is_paused: Callable[[], bool], turns: Turns) -> None:
        """``inner`` is one of uvicorn's protocols; ``is_paused`` says whether it has stopped
        reading by itself."""
        self.inner = inner
        """Who hears."""
        self._is_paused = is_paused
        self._turns = turns
        self._use = Use()
        self._piece = memoryview(bytearray(SIP))
        self._size = SIP
        self._is_waiting = False
        self._held = b""
        """What came meanwhile: ``inner`` may have gone on reading by itself."""
        self.connection_made = inner.connection_made  # type: ignore[method-assign]
        self.connection_lost = inner.connection_lost  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next piece goes."""
        return self._piece[: self._size]

    def buffer_updated(self, nbytes: int) -> None:
        """It is there; when there may be more, that is for the next turn: TLS would read on."""
        said = bytes(self._piece[:nbytes])
        if not self._is_waiting:
            self._hear(said)
            return
        self._held += said
        if not self.inner.transport.is_closing():
            self.inner.transport.pause_reading()

    def eof_received(self) -> bool | None:
        """Nothing more comes."""
        held, self._held = self._held, b""
        if held:
            self.inner.data_received(held)
        is_kept: bool | None = self.inner.eof_received()
        return is_kept

    def _hear(self, said: bytes) -> None:
        is_full = len(said) >= self._size
        self._use.begin()
        self.inner.data_received(said)
        has_used_much = self._use.is_over()
        self._size = max(LEAST, self._size // 2) if has_used_much else min(SIP, self._size * 2)
        transport = self.inner.transport
        if transport.is_closing() or not (has_used_much or is_full):
            return
        transport.pause_reading()
        self._is_waiting = True
        if has_used_much:
            self._turns.after(self._go_on)
        else:
            self.inner.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_waiting = False
        transport = self.inner.transport
        held, self._held = self._held, b""
        if held:
            self._hear(held)
        if not (self._is_waiting or self._is_paused() or transport.is_closing()):
            transport.resume_reading()
