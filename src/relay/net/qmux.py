"""A session in QMux's frames: credit both ways, and records that are carried by somebody else.

Bytes that the peer gives no credit for wait with their stream, in order; what it may send us slides
with what came, since all of it goes on at once. This module must not know what carries the
messages.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain, count

from relay.errors import ProtocolViolation
from relay.net.capsule import clip
from relay.net.mux import MAX_REASON, MAX_STREAMS, MuxTransport
from relay.net.qmux_frames import (
    LEGACY,
    MAX_PIECE,
    MAX_RECORD,
    UNLIMITED,
    Frame,
    Kind,
    Parameters,
    Wire,
    close_frame,
    data_frame,
    frames,
    parameters_frame,
    parts,
    read_parameters,
    reset_frame,
)
from relay.net.settings import QuicLimits
from relay.session.transport import is_uni
from relay.wire.buffer import encode_varints

RESUME = 1 << 14
"""Bytes still waiting at which bulk data flow again."""

SPARE = 64
"""Streams of ours beyond the next that make a good many."""

EARLY = 8
"""Streams of either kind that are opened before the peer has said how many it takes: what has to be
said first must not wait for somebody to ask again."""

DATAGRAM_HEAD = 9
"""Bytes at most before a datagram in its frame."""


class Half:
    """Our half of a stream."""

    __slots__ = ("has_ended", "limit", "sent", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Bytes that the peer takes."""
        self.sent = 0
        self.waiting: deque[bytes | memoryview] = deque()
        """What it does not take yet."""
        self.has_ended = False
        """Whether nothing follows that."""


class QmuxTransport(MuxTransport):
    """One side of such a session; messages go in by `hear`, out by `take`."""

    window = 1 << 16

    def __init__(
        self, is_client: bool, limits: QuicLimits, failed: Callable[[Exception], None]
    ) -> None:
        """``failed`` hears what cost the session."""
        super().__init__(is_client, limits, failed)
        self.due = asyncio.Event()
        """Set while there is something to be taken."""
        self._wire = LEGACY
        self._peer: Parameters | None = None
        """What the peer takes, once it has said so."""
        self._out: list[bytes] = []
        self._messages: deque[bytes] = deque()
        self._pending = self._held = 0
        """Bytes of frames that wait to be taken, and of streams that wait for credit."""
        self._used = self._credit = 0
        """Bytes of all streams that have left, and that may."""
        self._allowed = {False: EARLY, True: EARLY}
        """Streams that the peer lets us open in all, two-way and one-way."""
        self._halves: dict[int, Half] = {}
        self._starved: dict[int, None] = {}
        """Streams that wait for credit of all streams together, in order; some wait no more."""
        self._arrived = 0
        self._arrivals: dict[int, int] = {}
        """Bytes that came of all streams, and of those that have not ended."""
        self._streams = min(limits.max_streams, MAX_STREAMS)
        self._ended = {False: 0, True: 0}
        """The peer's streams that have ended."""
        self._granted = {False: self._streams, True: self._streams}
        """Those that it may open in all."""
        self._pings = count()

    def begin(self, wire: Wire, idle: float = 0.0, protocols: Sequence[str] = ()) -> None:
        """Speak that version, before anything is said, and say after how many seconds of silence it
        is over, and which ``protocols`` are spoken inside, where nothing else says so."""
        self._wire = wire
        if not wire.has_credit:
            self._believe(UNLIMITED)
            return
        window = self._limits.max_stream_data
        size = MAX_RECORD if wire.has_records else 0
        streams = self._streams
        said = Parameters(
            *(self._limits.max_data, window, window, window, streams, streams, size),
            max_idle_timeout=int(idle * 1000),
            protocols=tuple(protocols),
        )
        self._put(parameters_frame(said))
        self.wake()

    # What carries the messages asks

    @property
    def is_over(self) -> bool:
        """Whether it has ended and all it had to say was taken."""
        return self.is_closed and not self._turn_due and not self._messages

    @property
    def is_believed(self) -> bool:
        """Whether the peer has said what it takes."""
        return self._peer is not None

    def hear(self, message: bytes) -> Iterator[None]:
        """Read a message, one frame with each step: a record has thousands when somebody wants
        that, and others may have their turn in between. One that cannot be ends the session."""
        try:
            if self._wire.has_records and len(message) > MAX_RECORD:
                raise ProtocolViolation(f"a record of {len(message)} bytes")
            for frame in chain.from_iterable(map(parts, frames(message, self._wire))):
                if self.is_closed:
                    return
                self._heard(frame)
                self.wake()
                self._bound()
                yield
        except ProtocolViolation as error:
            self.close(error.session_code, str(error))

    def lost(self, reason: str) -> None:
        """There is nobody any more to take messages to."""
        self._end(0, reason)
        self._messages.clear()
        self._out.clear()
        self._pending = 0

    def end_if_silent(self, heard_at: float, idle: float) -> None:
        """Nobody is there of whom nothing was heard for so many seconds."""
        if self._loop.time() - heard_at > idle:
            self.lost(f"nothing was heard for {idle:g} s")

    def take(self) -> bytes | None:
        """The next message to be carried, ``None`` when there is none."""
        if not self._messages:
            self.due.clear()
            return None
        message = self._messages.popleft()
        before = self._pending
        self._pending -= len(message)
        if before > RESUME >= self._pending:
            self.wake()
        return message

    async def write(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Carry all messages, one after the other, until it is over."""
        while not self.is_over:
            await self.due.wait()
            while (message := self.take()) is not None:
                await send(message)

    # What those above may ask

    def capacity(self, stream: int | None = None) -> int:
        """Bytes that would leave soon."""
        room = min(super().capacity(stream), self._credit - self._used - self._held)
        if stream is not None and (half := self._halves.get(stream)) is not None:
            room = min(room, half.limit - half.sent)
        return max(0, room)

    def is_ample(self, room: int) -> bool:
        """Whether there is so much room, and a good many more streams."""
        spare = self._allowed[True] - (self._next[True] >> 2)
        return spare > SPARE and self.capacity() >= room

    def send_datagram(self, data: bytes) -> bool:
        """Send unreliably: False when it is too big, not taken, or would have to wait."""
        most = self._peer.max_datagram_frame_size if self._peer is not None else 0
        if self.is_closed or self._unsent() >= self.window:
            return False
        if len(data) + DATAGRAM_HEAD > min(most, MAX_RECORD):
            return False
        self._sent += len(data)
        self._put(encode_varints((Kind.SIZED_DATAGRAM, len(data))) + data)
        self.wake()
        return True

    def widen(self, streams: int) -> None:
        """Let the peer have so many streams of each kind open."""
        if streams > self._streams:
            self._streams = min(streams, MAX_STREAMS)
            for uni in (False, True):
                self._grant(uni)
            self.wake()

    def ping(self) -> None:
        """Say something, where there is a word for it."""
        if not self.is_closed and self._wire.has_records:
            self._put(encode_varints((Kind.PING, next(self._pings))))
            self.wake()

    # What `MuxTransport` leaves to its carrier

    def _write_data(self, stream: int, data: bytes, fin: bool) -> None:
        half = self._half(stream)
        if half.has_ended:
            self._sending.add(stream)  # as it stays until all of it has left
            return
        half.waiting.append(data)
        half.has_ended = fin
        self._held += len(data)
        self._say(stream, half)

    def _write_reset(self, stream: int, code: int) -> None:
        half = self._halves.pop(stream, None)
        self._starved.pop(stream, None)
        if half is not None:
            self._held -= sum(map(len, half.waiting))
        self._put(reset_frame(self._wire, stream, code, half.sent if half is not None else 0))

    def _write_stop(self, stream: int, code: int) -> None:
        self._put(encode_varints((Kind.STOP, stream, code)))

    def _write_close(self, code: int, reason: str) -> None:
        self._put(close_frame(self._wire, code, clip(reason, MAX_REASON)))

    def _unsent(self) -> int:
        return self._pending + self._held

    def _may_open(self, uni: bool) -> bool:
        return self._next[uni] >> 2 < self._allowed[uni] and super()._may_open(uni)

    def _most(self, uni: bool) -> int:
        if self._wire.has_credit:
            return self._granted[uni] - (self._expected[uni] >> 2)
        return self._streams - len(self._receiving)

    def _over(self, stream: int) -> None:
        super()._over(stream)
        self._arrivals.pop(stream, None)
        if not self._is_ours(stream):
            uni = is_uni(stream)
            self._ended[uni] += 1
            if 2 * (self._granted[uni] - self._ended[uni]) <= self._streams:
                self._grant(uni)

    def _let_go(self) -> None:
        self._messages.extend(_packed(self._out) if self._wire.has_records else self._out)
        self._out.clear()
        if self._messages or self.is_closed:
            self.due.set()

    def _end(self, code: int, reason: str) -> None:
        super()._end(code, reason)
        self._halves.clear()
        self._starved.clear()
        self._arrivals.clear()
        self._held = 0

    # What came

    def _heard(self, frame: Frame) -> None:
        kind, numbers, body = frame
        if self._wire.has_credit and (kind == Kind.PARAMETERS) == (self._peer is not None):
            raise ProtocolViolation("transport parameters are said once, and first")
        if kind == Kind.DATA:
            self._heard_data(numbers[0], body, bool(numbers[1]))
        elif kind in (Kind.RESET, Kind.RESET_AT):
            self._accept(numbers[0])
            if self._wire.has_credit and numbers[0] in self._receiving:
                # Credit was used for what is not coming any more as well (RFC 9000, 4.5).
                self._count(max(0, numbers[2] - self._arrivals.get(numbers[0], 0)))
            self._heard_reset(numbers[0], numbers[1])
        elif kind == Kind.STOP:
            self._accept_half(numbers[0])
            self._heard_stop(numbers[0], numbers[1])
        elif kind in (Kind.DATAGRAM, Kind.SIZED_DATAGRAM):
            self._heard_datagram(body)
        elif kind in (Kind.CLOSE, Kind.TRANSPORT_CLOSE):
            reason = clip(body.decode("utf-8", "replace"), MAX_REASON).decode()
            self._end(numbers[0] if kind == Kind.CLOSE else 0, reason)
        elif kind == Kind.PARAMETERS:
            self._believe(read_parameters(body))
        elif kind == Kind.PING:
            if self._unsent() < self.window:  # whoever asks without reading is not answered
                self._put(encode_varints((Kind.PONG, numbers[0])))
        else:
            self._heard_credit(kind, numbers)

    def _heard_data(self, stream: int, body: bytes, fin: bool) -> None:
        if self._wire.has_credit:
            self._accept(stream)
            self._count(len(body))
            self._count_one(stream, len(body))
        super()._heard_data(stream, body, fin)

    def _heard_credit(self, kind: Kind, numbers: tuple[int, ...]) -> None:
        """The peer takes more than it did (RFC 9000, 19.9 to 19.11)."""
        if kind == Kind.MAX_DATA:
            self._credit = max(self._credit, numbers[0])
            self._feed()
        elif kind == Kind.MAX_STREAM_DATA:
            self._accept_half(numbers[0])
            if numbers[0] in self._sending:
                half = self._half(numbers[0])
                half.limit = max(half.limit, numbers[1])
                self._say(numbers[0], half)
        elif kind in (Kind.MAX_STREAMS_BIDI, Kind.MAX_STREAMS_UNI):
            uni = kind == Kind.MAX_STREAMS_UNI
            self._allowed[uni] = max(self._allowed[uni], numbers[0])

    def _count(self, size: int) -> None:
        """Bytes came. Raises `ProtocolViolation` when they are more than might."""
        if told := _slid(self._arrived, size, self._limits.max_data, "max_data"):
            self._put(encode_varints((Kind.MAX_DATA, told)))
        self._arrived += size

    def _count_one(self, stream: int, size: int) -> None:
        """The same for one stream, of which more may come."""
        if stream not in self._receiving:
            return
        before = self._arrivals.get(stream, 0)
        told = _slid(before, size, self._limits.max_stream_data, "max_stream_data")
        if told and stream not in self._stopped:
            self._put(encode_varints((Kind.MAX_STREAM_DATA, stream, told)))
        self._arrivals[stream] = before + size

    # Below

    def _accept_half(self, stream: int) -> None:
        """Note a stream that begins with a word on our half of it (RFC 9000, 3.1). Raises
        `ProtocolViolation` for one that cannot be."""
        if not is_uni(stream):
            self._accept(stream)

    def _put(self, frame: bytes) -> None:
        self._out.append(frame)
        self._pending += len(frame)

    def _believe(self, peer: Parameters) -> None:
        """The peer takes so much. Raises `ProtocolViolation` where it is nothing at all."""
        self._peer = peer
        self._credit = peer.max_data
        self._allowed = {False: peer.max_streams_bidi, True: peer.max_streams_uni}
        if any(self._next[uni] >> 2 > most for uni, most in self._allowed.items()):
            raise ProtocolViolation("too few streams for a session (max_streams)")
        for stream, half in tuple(self._halves.items()):
            half.limit = self._limit(stream)
            self._say(stream, half)

    def _half(self, stream: int) -> Half:
        """Our half of a stream that has one."""
        half = self._halves.get(stream)
        if half is None:
            half = self._halves[stream] = Half(self._limit(stream))
        return half

    def _limit(self, stream: int) -> int:
        """Bytes that the peer takes of a stream before it says more of it."""
        peer = self._peer or Parameters()
        if is_uni(stream):
            return peer.max_stream_data_uni
        if self._is_ours(stream):
            return peer.max_stream_data_bidi_remote
        return peer.max_stream_data_bidi_local

    def _grant(self, uni: bool) -> None:
        """Let the peer open more streams of a kind, where it must be let."""
        self._granted[uni] = self._ended[uni] + self._streams
        if self._wire.has_credit:
            kind = Kind.MAX_STREAMS_UNI if uni else Kind.MAX_STREAMS_BIDI
            self._put(encode_varints((kind, self._granted[uni])))

    def _feed(self) -> None:
        """Say what waits for credit, the first first, until it is used up: it may be a byte each
        time, and what is told of it fills thousands of frames to a record."""
        while self._starved and self._used < self._credit:
            stream = next(iter(self._starved))
            if (half := self._halves.get(stream)) is not None:
                self._say(stream, half)
            if self._used < self._credit:
                del self._starved[stream]

    def _say(self, stream: int, half: Half) -> None:
        """What waits with a stream, as far as there is credit."""
        waiting = half.waiting
        while waiting:
            data = waiting[0]
            room = min(half.limit - half.sent, self._credit - self._used, MAX_PIECE)
            if self._peer is None or (data and room <= 0):
                if half.has_ended:
                    self._sending.add(stream)  # it can still be broken off
                if self._used >= self._credit:
                    self._starved[stream] = None
                return
            if len(data) > room > 0:
                piece, waiting[0] = data[:room], memoryview(data)[room:]
            else:
                piece = waiting.popleft()
            is_last = half.has_ended and not waiting
            self._put(data_frame(self._wire, stream, half.sent, piece, is_last))
            half.sent += len(piece)
            self._used += len(piece)
            self._held -= len(piece)
        if half.has_ended:
            del self._halves[stream]
            self._sending.discard(stream)


def _slid(before: int, size: int, window: int, setting: str) -> int:
    """How many bytes may come in all after ``size`` more, where that is to be told: with each half
    window. Raises `ProtocolViolation` when they are more than might come."""
    half = max(1, window // 2)
    was, most = (count // half * half + window for count in (before, before + size))
    if before + size > was:
        raise ProtocolViolation(f"more bytes than there was credit for ({setting})")
    return most if most > was else 0


def _packed(waiting: list[bytes]) -> Iterator[bytes]:
    """Frames in as few records as hold them, in order."""
    record: list[bytes] = []
    size = 0
    for frame in waiting:
        if record and size + len(frame) > MAX_RECORD:
            yield b"".join(record)
            record, size = [], 0
        record.append(frame)
        size += len(frame)
    if record:
        yield b"".join(record)
