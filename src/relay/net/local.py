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

from relay.errors import LimitExceeded, ProtocolViolation, RelayError, SessionLost
from relay.net.capsule import clip
from relay.net.inbox import Inbox
from relay.net.listening import bind_unix
from relay.net.settings import QuicLimits
from relay.session.transport import Receiver, Transport, is_server_opened, is_uni
from relay.wire.buffer import encode_varint, scan_varint

MAX_FRAME = 1 << 16
"""Bytes of one frame's body; longer data go in several, and whoever sends more is cut off."""

WINDOW = 1 << 18
"""Bytes that may wait to be written before bulk data are held back."""

RESUME = WINDOW // 4
"""Bytes still waiting at which bulk data flow again."""

MAX_STREAMS = 65_536
"""Streams that one side may have open at a time."""

MAX_DATAGRAM = 60_000
"""Bytes of one datagram."""

MAX_REASON = 512
"""Bytes of the text that goes with an end."""


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
                if buffer[at] > Kind.PING:
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
                whole = Kind(buffer[at]), stream[0], bytes(buffer[size[1] : end])
                at = end
                yield whole
        finally:
            del buffer[:at]


class LocalTransport(asyncio.Protocol):
    """One side of such a session: `Transport` for those above, a protocol for the event loop."""

    rtt = 0.0

    def __init__(
        self,
        is_client: bool,
        limits: QuicLimits,
        failed: Callable[[Exception], None],
        ready: Callable[[LocalTransport], None] = lambda transport: None,
    ) -> None:
        """``failed`` hears what cost the session, ``ready`` that it began."""
        self._role = 0 if is_client else 1
        self._limits = limits
        self._failed = failed
        self._ready = ready
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(limits, self._receiver_failed)
        self._reader = Reader()
        self._pipe: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._pending = 0
        self._turn_due = False
        self._next = {False: self._role, True: 2 | self._role}
        """Our next stream, two-way and one-way."""
        self._expected = {False: 1 - self._role, True: 2 | (1 - self._role)}
        """The same of the peer."""
        self._sending: set[int] = set()
        self._receiving: set[int] = set()
        self._stopped: set[int] = set()
        """Streams whose half of the peer's is to end and has not yet."""
        self._sent = self._received = 0
        self._waiters: list[asyncio.Future[None]] = []
        self.is_closed = False

    def start(self, receiver: Receiver) -> None:
        """Name the receiver; what came before is replayed in order, never inside this call."""
        self._inbox.start(receiver)
        self.wake()

    # What those above may ask (`relay.session.transport.Transport`)

    def open_uni(self, head: bytes = b"", fin: bool = False) -> int | None:
        """A new outgoing stream that begins with ``head``, ``None`` while too many are open."""
        stream = self._open(True)
        if stream is not None and (head or fin):
            self.send(stream, head, fin)
        return stream

    def open_bidi(self) -> int | None:
        """A new two-way stream, ``None`` while too many are open."""
        return self._open(False)

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        """Append to the stream; after its end or the session's nothing happens."""
        if self.is_closed or stream not in self._sending:
            return
        while len(data) > MAX_FRAME:
            self._write(Kind.DATA, stream, data[:MAX_FRAME])
            data = data[MAX_FRAME:]
        self._write(Kind.LAST if fin else Kind.DATA, stream, data)
        if fin:
            self._sending.discard(stream)
        if self._unsent() > self._limits.max_unsent:
            self.close(LimitExceeded.session_code, "the peer reads too slowly (max_unsent)")

    def capacity(self, stream: int | None = None) -> int:
        """Bytes that would leave soon."""
        if self.is_closed or (stream is not None and stream not in self._sending):
            return 0
        return max(0, WINDOW - self._unsent())

    def is_ample(self, room: int) -> bool:
        """Whether there is so much room; streams there are many."""
        return self.capacity() >= room

    def offer(self, stream: int, data: bytes, room: int) -> bool:
        """Append to the stream where there is so much room."""
        has_room = self.capacity(stream) >= room
        if has_room:
            self.send(stream, data)
        return has_room

    def reset(self, stream: int, code: int) -> None:
        """Break off our half."""
        if not self.is_closed and stream in self._sending:
            self._sending.discard(stream)
            self._write(Kind.RESET, stream, encode_varint(code))

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to break off its half; of what still comes only the end is told."""
        if stream in self._receiving and stream not in self._stopped:
            self._stopped.add(stream)
            self._write(Kind.STOP, stream, encode_varint(code))

    def send_datagram(self, data: bytes) -> bool:
        """Send unreliably: False when it is too big, or would have to wait."""
        if self.is_closed or len(data) > MAX_DATAGRAM or self._unsent() >= WINDOW:
            return False
        self._write(Kind.DATAGRAM, 0, data)
        return True

    def bandwidth(self) -> int:
        """Not known."""
        return 0

    def is_quiet(self) -> bool:
        """Whether everything handed over has been taken by the kernel."""
        return self.is_closed or not self._unsent()

    def oldest_under_way(self) -> int | None:
        """None: what is said later comes later."""
        return None

    def traffic(self) -> tuple[int, int]:
        """Bytes of stream data and datagrams handed over, and received."""
        return self._sent, self._received

    def widen(self, streams: int) -> None:
        """It has all there are."""

    def ping(self) -> None:
        """Say something."""
        if not self.is_closed:
            self._write(Kind.PING, 0, b"")

    def wake(self) -> None:
        """Have the receiver's flush called before this turn's frames are written."""
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def close(self, code: int, reason: str = "") -> None:
        """End the session; the receiver hears of it at the next turn."""
        if not self.is_closed:
            self._write(Kind.CLOSE, 0, encode_varint(code) + clip(reason, MAX_REASON))
            self._end(code, reason)

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

    # Below

    def _open(self, uni: bool) -> int | None:
        if self.is_closed or len(self._sending) >= MAX_STREAMS:
            return None
        stream = self._next[uni]
        self._next[uni] += 4
        self._sending.add(stream)
        if not uni:
            self._receiving.add(stream)
        self._write(Kind.DATA, stream, b"")
        return stream

    def _write(self, kind: Kind, stream: int, body: bytes) -> None:
        self._out.append(frame(kind, stream, body))
        self._pending += len(self._out[-1])
        self._sent += len(body)
        self.wake()

    def _unsent(self) -> int:
        return self._pending + (self._pipe.get_write_buffer_size() if self._pipe else 0)

    def _turn(self) -> None:
        """The receiver's last word, then everything in one write."""
        self._turn_due = False
        self._inbox.flush()
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

    def _heard(self, kind: Kind, stream: int, body: bytes) -> None:
        if kind <= Kind.LAST:
            self._received += len(body)
            self._accept(stream)
            if stream in self._receiving:
                if stream in self._stopped:
                    body = b""
                if kind == Kind.LAST:
                    self._receiving.discard(stream)
                    self._stopped.discard(stream)
                if body or kind == Kind.LAST:
                    self._inbox.stream_received(stream, body, kind == Kind.LAST)
        elif kind == Kind.RESET:
            if stream in self._receiving:
                self._receiving.discard(stream)
                self._stopped.discard(stream)
                self._inbox.stream_reset(stream, _code(body)[0])
        elif kind == Kind.STOP:
            if stream in self._sending:
                code = _code(body)[0]
                self.reset(stream, code)  # as QUIC answers it (RFC 9000, 3.5)
                self._inbox.stream_stopped(stream, code)
        elif kind == Kind.DATAGRAM:
            self._received += len(body)
            self._inbox.datagram_received(body)
        elif kind == Kind.CLOSE:
            code, rest = _code(body)
            self._end(code, rest.decode("utf-8", "replace"))

    def _accept(self, stream: int) -> None:
        """Note a stream that begins. Raises `ProtocolViolation` for one that cannot be."""
        uni = is_uni(stream)
        if is_server_opened(stream) == bool(self._role):
            if uni or stream >= self._next[uni]:
                raise ProtocolViolation(f"data on stream {stream}, which is not the peer's")
            return
        if stream < self._expected[uni]:
            return
        if stream > self._expected[uni] or len(self._receiving) >= 2 * MAX_STREAMS:
            raise ProtocolViolation(f"stream {stream} is out of turn, or one too many")
        self._expected[uni] += 4
        self._receiving.add(stream)
        if not uni:
            self._sending.add(stream)

    def _end(self, code: int, reason: str) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._sending.clear()
            self._receiving.clear()
            self._stopped.clear()
            self._inbox.lost(code, reason)
            self.wake()

    def _receiver_failed(self, error: Exception) -> None:
        self._failed(error)
        self.close(RelayError.session_code, "internal error")


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
