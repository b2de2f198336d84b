"""Plain streams of a running relay: where they are, and a session spoken by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path as File
from typing import Any

from relay.net.qmux_frames import PLAIN, Frame, Kind, Parameters, frames, parameters_frame
from relay.net.streams import Records
from relay.wire.buffer import encode_varint

BOTH = """
[server.tcp]
bind = "127.0.0.1:0"
[server.unix]
bind = "{place}"
"""

AMPLE = Parameters(1 << 30, 1 << 30, 1 << 30, 1 << 30, 100, 100)


def settings(folder: File, more: str = "") -> str:
    """Both ways open."""
    return BOTH.format(place=folder / "relay.sock") + more


def tcp(relay: Any, target: str = "") -> str:
    """Where to dial by TCP."""
    return f"tcp://127.0.0.1:{relay.tcp_address[1]}{target}"


def record(*parts: bytes) -> bytes:
    """One record of these frames."""
    body = b"".join(parts)
    return encode_varint(len(body)) + body


class Plain:
    """A connection that speaks as it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._records = Records()
        self._heard: list[Frame] = []

    def say(self, *parts: bytes) -> None:
        """Send a record."""
        self.writer.write(record(*parts))

    def greet(self, *protocols: str, idle: int = 0) -> None:
        """Say what we take, what we speak, and how many milliseconds of silence we bear."""
        said = replace(AMPLE, protocols=protocols, max_idle_timeout=idle)
        self.say(parameters_frame(said))

    async def hear(self, kind: Kind, seconds: float = 10.0) -> Frame:
        """The next frame of that kind. Raises `EOFError` when the relay hangs up before."""
        async with asyncio.timeout(seconds):
            while True:
                while self._heard:
                    frame = self._heard.pop(0)
                    if frame.kind == kind:
                        return frame
                if not (data := await self.reader.read(1 << 16)):
                    raise EOFError
                for each in self._records.feed(data):
                    self._heard += frames(each, PLAIN)

    async def ended(self, seconds: float = 10.0) -> None:
        """Wait until the relay hangs up."""
        with contextlib.suppress(EOFError, ConnectionError):
            await self.hear(Kind.DATAGRAM, seconds)


@contextlib.asynccontextmanager
async def plain(relay: Any) -> AsyncIterator[Plain]:
    """Such a connection by TCP."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.tcp_address[1])
    try:
        yield Plain(reader, writer)
    finally:
        writer.transport.abort()
