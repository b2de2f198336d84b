"""A client of a QMux session that holds the relay to every rule of credit, and a table for both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.net.links import Heard

from relay.net.qmux import QmuxTransport
from relay.net.qmux_frames import (
    MAX_RECORD,
    WIRES,
    Kind,
    Parameters,
    Wire,
    frames,
    parameters_frame,
    read_parameters,
)
from relay.net.settings import QuicLimits
from relay.session.transport import is_server_opened, is_uni
from relay.wire.buffer import encode_varints

NEWEST = WIRES[0]
AMPLE = Parameters(1 << 20, 1 << 18, 1 << 18, 1 << 18, 100, 100, MAX_RECORD)


class Peer:
    """A client that keeps what it is told, and no rule is broken before it (RFC 9000, 3 and 4)."""

    def __init__(self, relay: QmuxTransport, wire: Wire, takes: Parameters) -> None:
        self.relay, self.wire, self.takes = relay, wire, takes
        self.told: Parameters | None = None
        self.streams: dict[int, bytearray] = {}
        self.ended: dict[int, Any] = {}
        self.stopped: dict[int, int] = {}
        self.credit, self.used = takes.max_data, 0
        self.most = {False: takes.max_streams_bidi, True: takes.max_streams_uni}
        self.limits: dict[int, int] = {}
        self.granted: list[tuple[Kind, tuple[int, ...]]] = []
        self.pongs: list[int] = []
        self.datagrams: list[bytes] = []
        self.closed: tuple[int, bytes] | None = None

    def limit(self, stream: int) -> int:
        if is_uni(stream):
            first = self.takes.max_stream_data_uni
        elif is_server_opened(stream):
            first = self.takes.max_stream_data_bidi_remote
        else:
            first = self.takes.max_stream_data_bidi_local
        return self.limits.setdefault(stream, first)

    def say(self, *written: bytes) -> None:
        for message in [b"".join(written)] if self.wire.has_records else written:
            list(self.relay.hear(message))

    def take(self) -> None:
        """What the relay has to say by now."""
        while (message := self.relay.take()) is not None:
            assert not self.wire.has_records or len(message) <= MAX_RECORD
            count = 0
            for kind, numbers, body in frames(message, self.wire):
                count += 1
                assert self.closed is None, "nothing follows the end"
                self._hear(kind, numbers, body)
            assert self.wire.has_records or count == 1

    def _hear(self, kind: Kind, numbers: tuple[int, ...], body: bytes) -> None:
        if self.wire.has_credit:
            assert (kind == Kind.PARAMETERS) == (self.told is None), "said first, and once"
        if kind == Kind.PARAMETERS:
            self.told = read_parameters(body)
        elif kind in (Kind.DATA, Kind.RESET, Kind.STOP):
            stream = numbers[0]
            if self.wire.has_credit and is_server_opened(stream) and kind != Kind.STOP:
                assert stream >> 2 < self.most[is_uni(stream)], "more streams than are taken"
            if kind == Kind.STOP:
                self.stopped[stream] = numbers[1]
                return
            assert stream not in self.ended, "nothing follows the end of a stream"
            so_far = self.streams.setdefault(stream, bytearray())
            if kind == Kind.RESET:
                self.ended[stream] = numbers[1]
                assert not self.wire.has_credit or numbers[2] == len(so_far)
                return
            so_far += body
            self.used += len(body)
            if self.wire.has_credit:
                assert self.used <= self.credit, "more than all streams may have"
                assert len(so_far) <= self.limit(stream), "more than the stream may have"
            if numbers[1]:
                self.ended[stream] = "fin"
        elif kind == Kind.CLOSE:
            self.closed = numbers[0], body
        elif kind == Kind.PONG:
            self.pongs.append(numbers[0])
        elif kind == Kind.SIZED_DATAGRAM:
            self.datagrams.append(body)
        else:
            self.granted.append((kind, numbers))

    def grant(self, size: int) -> None:
        """Take so many bytes more of all streams."""
        self.credit += size
        self.say(encode_varints((Kind.MAX_DATA, self.credit)))

    def grant_stream(self, stream: int, size: int) -> None:
        self.limits[stream] = self.limit(stream) + size
        self.say(encode_varints((Kind.MAX_STREAM_DATA, stream, self.limits[stream])))

    def grant_streams(self, uni: bool, count: int) -> None:
        self.most[uni] += count
        kind = Kind.MAX_STREAMS_UNI if uni else Kind.MAX_STREAMS_BIDI
        self.say(encode_varints((kind, self.most[uni])))


class Table:
    """The relay's side, its receiver, and the peer."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wire: Wire, takes: Parameters, limits: QuicLimits
    ) -> None:
        self.loop = loop
        self.errors: list[Exception] = []
        self.heard = Heard()
        self.relay: QmuxTransport
        loop.run_until_complete(self._begin(wire, limits))
        self.peer = Peer(self.relay, wire, takes)

    async def _begin(self, wire: Wire, limits: QuicLimits) -> None:
        self.relay = QmuxTransport(False, limits, self.errors.append)
        self.relay.begin(wire)
        self.relay.start(self.heard)

    def introduce(self) -> None:
        if self.peer.wire.has_credit:
            self.peer.say(parameters_frame(self.peer.takes))
        self.settle()

    def settle(self) -> None:
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))
            self.peer.take()

    def is_empty(self) -> bool:
        """Whether nothing is left of what was there."""
        relay = self.relay
        kept = relay._halves, relay._arrivals, relay._messages, relay._out
        return not any(kept) and relay._held == relay._pending == 0


@contextmanager
def table(
    wire: Wire = NEWEST,
    takes: Parameters = AMPLE,
    limits: QuicLimits = QuicLimits(),  # noqa: B008
    introduced: bool = True,
) -> Iterator[Table]:
    loop = asyncio.new_event_loop()
    try:
        made = Table(loop, wire, takes, limits)
        if introduced:
            made.introduce()
        yield made
        assert not made.errors
    finally:
        loop.close()
