"""Pairs of connected transports of every kind, over which a test carries packets by hand.

No sockets, and no time but that of the test: what one side sent arrives when a link settles.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.net.conftest import CERTIFICATES, flush

from dialogue import Wire as DoubleWire
from relay.net.asking import DialledQuic, DialledWeb, Terms
from relay.net.connection import Application, Connection
from relay.net.engine import Engine, configure
from relay.net.local import LocalTransport
from relay.net.qmux import QmuxTransport
from relay.net.qmux_frames import LEGACY, WIRES, Wire
from relay.net.quic import QuicTransport
from relay.net.settings import QuicLimits
from relay.net.visit import ServedWebTransport

FEW = 12
"""Streams of a kind that a link with few of them has."""

MOQ = "moq-lite-05"


class Heard:
    """A receiver that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.flushes = 0
        self.on_flush: Callable[[], None] = lambda: None
        self.on_data: Callable[[], None] = lambda: None

    def _tell(self, *what: Any) -> None:
        assert not self.lost, "nothing is told after the end"
        self.told.append(what)

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        self._tell("data", stream, bytes(data), fin)
        self.on_data()

    def stream_reset(self, stream: int, code: int) -> None:
        self._tell("reset", stream, code)

    def stream_stopped(self, stream: int, code: int) -> None:
        self._tell("stopped", stream, code)

    def datagram_received(self, data: bytes) -> None:
        self._tell("datagram", bytes(data))

    def flush(self) -> None:
        assert not self.lost, "nothing is told after the end"
        self.flushes += 1
        self.on_flush()

    def connection_lost(self, code: int, reason: str) -> None:
        self._tell("lost", code, reason)

    @property
    def lost(self) -> list[tuple[int, str]]:
        return [what[1:] for what in self.told if what[0] == "lost"]

    @property
    def datagrams(self) -> list[bytes]:
        return [what[1] for what in self.told if what[0] == "datagram"]

    def data(self, stream: int) -> bytes:
        return b"".join(what[2] for what in self.told if what[:2] == ("data", stream))

    def ends(self, stream: int) -> list[Any]:
        """How the peer's half ended: the code of its reset, or "fin"; one at most, and last."""
        mine = [what for what in self.told if what[0] != "stopped" and what[1] == stream]
        ends = [what[2] if what[0] == "reset" else "fin" for what in mine if is_end(what)]
        assert not ends or (len(ends) == 1 and is_end(mine[-1])), mine
        return ends

    def stops(self, stream: int) -> list[int]:
        return [what[2] for what in self.told if what[:2] == ("stopped", stream)]


def is_end(what: tuple[Any, ...]) -> bool:
    return what[0] == "reset" or (what[0] == "data" and what[3])


class Link:
    """Two transports and who sits above them."""

    near: Any
    far: Any

    def __init__(self) -> None:
        self.client, self.server = Heard(), Heard()
        self.errors: list[Exception] = []

    def settle(self) -> None:
        """Let everything arrive."""

    def close(self) -> None:
        """Leave nothing behind."""

    @property
    def ways(self) -> Iterator[tuple[Any, Heard, Any, Heard]]:
        """Both directions: a transport and who is above it, then those of the other side."""
        yield self.near, self.client, self.far, self.server
        yield self.far, self.server, self.near, self.client


class DoubleLink(Link):
    """The one of the tests."""

    def __init__(self, few: bool) -> None:
        super().__init__()
        self.wire = DoubleWire()
        self.near, self.far = self.wire.client, self.wire.server
        self.near.receiver, self.far.receiver = self.client, self.server
        if few:
            self.near.credit = self.far.credit = FEW
        self.settle = self.wire.run  # type: ignore[method-assign]


class QuicLink(Link):
    """Two connections, a clock, and nothing between them; also the `Host` of both."""

    is_web = False

    def __init__(self, few: bool) -> None:
        super().__init__()
        self.time = 1000.0
        self.awake: dict[Connection, None] = {}
        self.limits = QuicLimits(max_streams=FEW if few else 64)
        alpn = "h3" if self.is_web else MOQ
        asking = configure(self.limits, True, (alpn,))
        asking.verify_mode = ssl.CERT_NONE
        engine = Engine(asking, self.limits)
        serving = configure(self.limits, False, (alpn,))
        pair = CERTIFICATES.current
        serving.certificate, serving.private_key = pair.chain[0], pair.key
        cid = engine.original_destination_connection_id
        here, there = ("192.0.2.1", 1), ("192.0.2.2", 2)
        self.lines = (
            Connection(self, engine, self.limits, there, self._asks),
            Connection(self, Engine(serving, self.limits, cid), self.limits, here, self._answers),
        )
        self.places = here, there
        self.came = [False, False]
        self.loop = asyncio.new_event_loop()
        self.outcome: asyncio.Future[QuicTransport] = self.loop.create_future()
        engine.connect(there, self.time)
        self.settle()
        self.near = self.outcome.result()
        self.near.start(self.client)
        self.settle()
        assert not self.client.told
        assert not self.server.told

    def _asks(self, connection: Connection, alpn: str) -> Application:
        terms = Terms(urlsplit("https://relay.example/demo"), (MOQ,), frozenset())
        kind = DialledWeb if self.is_web else DialledQuic
        return kind(connection, terms, self.outcome)

    def _answers(self, connection: Connection, alpn: str) -> Application:
        if self.is_web:
            self.far = ServedWebTransport(connection, self._admit, 10.0, 10.0)
        else:
            self.far = QuicTransport(connection, lambda far: far.admit(self.server, None))
        return self.far

    def _admit(self, visit: Any) -> None:
        visit.accept(self.server, MOQ)

    def settle(self) -> None:
        idle = 0
        while idle < 100:
            idle += 1
            self.time += 0.001
            for index, line in enumerate(self.lines):
                is_due = (due := line.timer()) is not None and due <= self.time
                if (is_due and line.fire(self.time)) or self.came[index]:
                    self.came[index] = False
                    line.take_events()
                for data, size, _ in flush(line, self.time):
                    idle = 0
                    pieces = [data[at : at + size] for at in range(0, len(data), size)]
                    self.lines[1 - index].feed(pieces, self.places[index], self.time)
                    self.came[1 - index] = True

    def close(self) -> None:
        self.loop.close()

    def now(self) -> float:
        return self.time

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    is_in_turn = False

    def wake(self, connection: Connection) -> None: ...

    def add_id(self, connection: Connection, cid: bytes) -> None: ...

    def remove_id(self, connection: Connection, cid: bytes) -> None: ...

    def handshake_done(self, connection: Connection) -> None: ...

    def ended(self, connection: Connection) -> None: ...


class WebLink(QuicLink):
    """The same with HTTP/3 in between."""

    is_web = True


class Pipe:
    """One end of a unix stream; what is written waits here to be carried."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closed = False

    def set_write_buffer_limits(self, high: int, low: int) -> None: ...

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


class LocalLink(Link):
    """Two ends of a unix stream, carried by hand."""

    def __init__(self, few: bool) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.pipes = Pipe(), Pipe()
        self.is_over = False
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        for is_client, pipe in zip((True, False), self.pipes, strict=True):
            transport = LocalTransport(is_client, QuicLimits(), self.errors.append)
            transport.connection_made(pipe)  # type: ignore[arg-type]
            transport.start(self.client if is_client else self.server)
            if is_client:
                self.near = transport
            else:
                self.far = transport

    def settle(self) -> None:
        self.loop.run_until_complete(self._carry())

    async def _carry(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
            for pipe, mine, other in zip(
                self.pipes, (self.near, self.far), (self.far, self.near), strict=True
            ):
                if pipe.written:
                    data = bytes(pipe.written)
                    pipe.written.clear()
                    other.data_received(data)
                    mine.resume_writing()
            if any(pipe.is_closed for pipe in self.pipes) and not self.is_over:
                self.is_over = True
                self.near.connection_lost(None)
                self.far.connection_lost(None)

    def close(self) -> None:
        self.loop.close()


class QmuxLink(Link):
    """Two sides of a session in QMux's frames, whose messages are carried by hand."""

    wire: Wire

    def __init__(self, few: bool) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.limits = QuicLimits(max_streams=FEW if few else 200, max_stream_data=1 << 16)
        self.loop.run_until_complete(self._begin())
        self.settle()

    async def _begin(self) -> None:
        self.near = QmuxTransport(True, self.limits, self.errors.append)
        self.far = QmuxTransport(False, self.limits, self.errors.append)
        for transport, receiver in ((self.near, self.client), (self.far, self.server)):
            transport.begin(self.wire)
            transport.start(receiver)

    def settle(self) -> None:
        self.loop.run_until_complete(self._carry())

    async def _carry(self) -> None:
        idle = 0
        while idle < 20:
            idle += 1
            await asyncio.sleep(0)
            for mine, other in ((self.near, self.far), (self.far, self.near)):
                while (message := mine.take()) is not None:
                    idle = 0
                    list(other.hear(message))

    def close(self) -> None:
        self.loop.close()


class NewestQmuxLink(QmuxLink):
    wire = WIRES[0]


class EarlyQmuxLink(QmuxLink):
    """A frame a message."""

    wire = WIRES[2]


class LegacyQmuxLink(QmuxLink):
    """No credit, no lengths."""

    wire = LEGACY


LINKS = {
    "double": DoubleLink,
    "quic": QuicLink,
    "web": WebLink,
    "local": LocalLink,
    "qmux-02": NewestQmuxLink,
    "qmux-00": EarlyQmuxLink,
    "legacy": LegacyQmuxLink,
}

REAL = tuple(LINKS)[1:]
