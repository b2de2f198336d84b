"""A session between two processes of one machine: the streams of QUIC over one unix stream.

Each frame is a kind, a stream, a length and that many bytes; numbers are varints. Nothing is lost,
encrypted or acknowledged here, so what is left of a transport is order, bounds and back pressure: a
reader that falls behind fills the kernel's buffer, then ours, and then there is no capacity. What
the other side says wrong ends this session and nothing else. This module must not know who the two
processes are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import cast

from relay.errors import ProtocolViolation, SessionLost
from relay.net.capsule import clip
from relay.net.listening import bind_unix
from relay.net.mux import MAX_REASON, RESUME, WINDOW, MuxTransport
from relay.net.settings import QuicLimits
from relay.session.transport import Receiver, Transport
from relay.wire.buffer import encode_varint, scan_varint

MAX_FRAME = 1 << 16
"""Bytes of one frame's body; longer data go in several, and whoever sends more is cut off."""

MAX_DATAGRAM = 60_000
"""Bytes of one datagram."""


class Kind(IntEnum):
    """What a frame says."""

    DATA = 0
    """The next bytes of a stream; the first frame of a stream opens it, and may be empty."""
    LAST = 1
    """The same, and they are the last."""
    RESET = 2
    """The sender's half is broken off, with a code."""
    STOP = 3
    """The receiver's half should be, with a code."""
    DATAGRAM = 4
    CLOSE = 5
    """The end, with a code and a text."""
    PING = 6


_KINDS = tuple(Kind)

Frame = tuple[Kind, int, bytes]


def frame(kind: Kind, stream: int, body: bytes) -> bytes:
    """One frame as it is written."""
    return bytes((kind,)) + encode_varint(stream) + encode_varint(len(body)) + body


class Reader:
    """Frames from bytes, however those are cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Raises `ProtocolViolation` for what is none."""
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while at < len(buffer):
                if buffer[at] >= len(_KINDS):
                    raise ProtocolViolation(f"a frame of kind {buffer[at]}")
                stream = scan_varint(buffer, at + 1)
                size = scan_varint(buffer, stream[1]) if stream else None
                if stream is None or size is None:
                    break
                if size[0] > MAX_FRAME:
                    raise ProtocolViolation(f"a frame of {size[0]} bytes")
                end = size[1] + size[0]
                if end > len(buffer):
                    break
                whole = _KINDS[buffer[at]], stream[0], bytes(buffer[size[1] : end])
                at = end
                yield whole
        finally:
            del buffer[:at]


class LocalTransport(MuxTransport, asyncio.Protocol):
    """One side of such a session: `Transport` for those above, a protocol for the event loop."""

    def __init__(
        self,
        is_client: bool,
        limits: QuicLimits,
        failed: Callable[[Exception], None],
        ready: Callable[[LocalTransport], None] = lambda transport: None,
    ) -> None:
        """``failed`` hears what cost the session, ``ready`` that it began."""
        super().__init__(is_client, limits, failed)
        self._ready = ready
        self._reader = Reader()
        self._pipe: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._pending = 0
        self._waiters: list[asyncio.Future[None]] = []

    # What only a connection within the machine can say

    def send_datagram(self, data: bytes) -> bool:
        """Send unreliably: False when it is too big, or would have to wait."""
        if self.is_closed or len(data) > MAX_DATAGRAM or self._unsent() >= WINDOW:
            return False
        self._sent += len(data)
        self._write(Kind.DATAGRAM, 0, data)
        self.wake()
        return True

    def widen(self, streams: int) -> None:
        """It has all there are."""

    def ping(self) -> None:
        """Say something."""
        if not self.is_closed:
            self._write(Kind.PING, 0, b"")
            self.wake()

    async def wait_closed(self) -> None:
        """Until the kernel has let go of the connection."""
        if self._pipe is not None:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    # What the event loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a connection."""
        self._pipe = cast(asyncio.Transport, transport)
        self._pipe.set_write_buffer_limits(high=RESUME, low=RESUME)
        self._ready(self)

    def data_received(self, data: bytes) -> None:
        """Read frames; one that cannot be ends the session."""
        try:
            for kind, stream, body in self._reader.feed(data):
                if not self.is_closed:
                    self._heard(kind, stream, body)
        except ProtocolViolation as error:
            self.close(error.session_code, str(error))
        self.wake()

    def resume_writing(self) -> None:
        """There is room again."""
        self.wake()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._pipe = None
        self._end(0, str(error) if error else "the other process hung up")
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    # What `MuxTransport` leaves to its carrier

    def _write_data(self, stream: int, data: bytes, fin: bool) -> None:
        while len(data) > MAX_FRAME:
            self._write(Kind.DATA, stream, data[:MAX_FRAME])
            data = data[MAX_FRAME:]
        self._write(Kind.LAST if fin else Kind.DATA, stream, data)

    def _write_reset(self, stream: int, code: int) -> None:
        self._write(Kind.RESET, stream, encode_varint(code))

    def _write_stop(self, stream: int, code: int) -> None:
        self._write(Kind.STOP, stream, encode_varint(code))

    def _write_close(self, code: int, reason: str) -> None:
        self._write(Kind.CLOSE, 0, encode_varint(code) + clip(reason, MAX_REASON))

    def _unsent(self) -> int:
        return self._pending + (self._pipe.get_write_buffer_size() if self._pipe else 0)

    def _let_go(self) -> None:
        written, self._pending = self._pending, 0
        out, self._out = self._out, []
        if self._pipe is None or self._pipe.is_closing():
            return
        if out:
            self._pipe.write(b"".join(out))
        if self.is_closed:
            self._pipe.close()
        elif written >= RESUME and self._unsent() <= RESUME:
            self.wake()  # the kernel took all of it at once, so nobody will tell of new room

    # Below

    def _write(self, kind: Kind, stream: int, body: bytes) -> None:
        self._out.append(frame(kind, stream, body))
        self._pending += len(self._out[-1])

    def _heard(self, kind: Kind, stream: int, body: bytes) -> None:
        if kind <= Kind.LAST:
            self._heard_data(stream, body, kind == Kind.LAST)
        elif kind == Kind.RESET:
            self._heard_reset(stream, _code(body)[0])
        elif kind == Kind.STOP:
            self._heard_stop(stream, _code(body)[0])
        elif kind == Kind.DATAGRAM:
            self._heard_datagram(body)
        elif kind == Kind.CLOSE:
            code, rest = _code(body)
            self._end(code, rest.decode("utf-8", "replace"))


def _code(body: bytes) -> tuple[int, bytes]:
    """The code that a frame begins with, and what follows. Raises `ProtocolViolation`."""
    found = scan_varint(body, 0)
    if found is None:
        raise ProtocolViolation("a frame without its code")
    return found[0], body[found[1] :]


class DialledLocal:
    """A session that we asked for; it waits for its receiver."""

    def __init__(self, transport: LocalTransport, protocol: str) -> None:
        self.transport: Transport = transport
        self.protocol: str | None = protocol
        self._transport = transport

    def start(self, receiver: Receiver) -> None:
        """Set the receiver."""
        self._transport.start(receiver)

    async def close(self, code: int = 0, reason: str = "", linger: float = 1.5) -> None:
        """End the session and wait at most ``linger`` seconds for what is still to be written."""
        self._transport.close(code, reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(linger):
                await self._transport.wait_closed()


async def dial_local(
    place: str, protocol: str, limits: QuicLimits, failed: Callable[[Exception], None]
) -> DialledLocal:
    """Open a session to whoever listens at a unix socket. Raises `SessionLost`."""
    loop = asyncio.get_running_loop()
    try:
        _, transport = await loop.create_unix_connection(
            lambda: LocalTransport(True, limits, failed), place
        )
    except OSError as error:
        raise SessionLost(f"{Path(place).name}: {error.strerror or error}") from None
    return DialledLocal(transport, protocol)


async def listen_local(
    place: str,
    limits: QuicLimits,
    failed: Callable[[Exception], None],
    knocked: Callable[[LocalTransport], None],
) -> asyncio.Server:
    """Take sessions at a unix socket; one that was left there is replaced. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(
        lambda: LocalTransport(False, limits, failed, knocked), sock=bind_unix(place)
    )
