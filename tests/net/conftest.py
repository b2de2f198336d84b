"""An endpoint on loopback, peers that dial it, and receivers that write down what they hear."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent, StreamDataReceived
from aioquic.tls import Epoch

from pace import until
from relay.net import udp
from relay.net.authority import Authorities
from relay.net.connection import Application, Connection
from relay.net.dial import Dialled, dial
from relay.net.endpoint import Endpoint
from relay.net.engine import Engine, configure
from relay.net.gate import Gate
from relay.net.quic import QuicTransport
from relay.net.serving import Serving
from relay.net.settings import ListenSettings, QuicLimits
from relay.net.short_way import Departure
from relay.net.tls import Certificates, Choice
from relay.net.trust import DialTls
from relay.net.visit import OpenVisit, ServedWebTransport, knock_raw
from relay.session.transport import Transport, Visit

PATIENCE = 5.0


class Recorder:
    """A receiver that keeps everything, and lets a test wait for a condition."""

    def __init__(self) -> None:
        self.streams: dict[int, bytearray] = {}
        self.chunks: dict[int, int] = {}
        self.finished: list[int] = []
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.datagrams: list[bytes] = []
        self.lost: list[tuple[int, str]] = []
        self.flushes = 0
        self.on_flush: Callable[[], None] | None = None
        self.raise_on: str | None = None
        self._changed = asyncio.Event()

    def _note(self, name: str) -> None:
        self._changed.set()
        if self.raise_on == name:
            raise RuntimeError(f"a mistake in {name}")

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        assert not self.lost
        self.streams.setdefault(stream, bytearray()).extend(data)
        self.chunks[stream] = self.chunks.get(stream, 0) + 1
        if fin:
            self.finished.append(stream)
        self._note("stream_received")

    def stream_reset(self, stream: int, code: int) -> None:
        assert not self.lost
        self.resets[stream] = code
        self._note("stream_reset")

    def stream_stopped(self, stream: int, code: int) -> None:
        assert not self.lost
        self.stops[stream] = code
        self._note("stream_stopped")

    def datagram_received(self, data: bytes) -> None:
        assert not self.lost
        self.datagrams.append(data)
        self._note("datagram_received")

    def flush(self) -> None:
        assert not self.lost
        self.flushes += 1
        if self.on_flush is not None:
            self.on_flush()
        self._note("flush")

    def connection_lost(self, code: int, reason: str) -> None:
        self.lost.append((code, reason))
        self._note("connection_lost")

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds; it is looked at whenever something is heard."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@dataclass
class Pair:
    """Both ends of one session."""

    visit: Visit
    server: Recorder
    client: Recorder
    dialled: Dialled

    @property
    def near(self) -> Transport:
        return self.dialled.transport

    @property
    def far(self) -> Transport:
        return self.visit.transport


@dataclass
class House:
    """One endpoint and what knocked at it."""

    endpoint: Endpoint
    serving: Serving
    port: int
    certificates: Certificates
    visits: asyncio.Queue[Visit]
    errors: list[Exception] = field(default_factory=list)
    dialled: list[Dialled] = field(default_factory=list)

    def url(self, scheme: str, path: str = "/demo?jwt=a.b") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    @property
    def gate(self) -> Gate:
        return self.serving.gate

    @property
    def trust(self) -> DialTls:
        return DialTls(fingerprints=(self.certificates.fingerprint,))

    async def pair(self, scheme: str, protocol: str | None = "moq-lite-05", **options: Any) -> Pair:
        """Dial, accept, and put a recorder on both ends."""
        options.setdefault("protocols", ("moq-lite-05", "moq-lite-04"))
        options.setdefault("tls", self.trust)
        server, client = Recorder(), Recorder()

        async def answer() -> Visit:
            visit = await self.visits.get()
            visit.accept(server, protocol)
            return visit

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            answering = group.create_task(answer())
            dialled = await dial(self.url(scheme), **options)
        self.dialled.append(dialled)
        dialled.start(client)
        return Pair(answering.result(), server, client, dialled)


@asynccontextmanager
async def open_house(
    settings: ListenSettings | None = None,
    certificates: Certificates | None = None,
    protocols: tuple[str, ...] = ("moq-lite-05", "moq-lite-04"),
    host: str = "127.0.0.1",
    authorities: Authorities | None = None,
    more: Sequence[Certificates] = (),
) -> AsyncIterator[House]:
    """An endpoint for the length of a test; nothing may be left of it afterwards."""
    certificates = certificates or CERTIFICATES
    visits: asyncio.Queue[Visit] = asyncio.Queue()
    errors: list[Exception] = []
    settings = settings or ListenSettings()
    choice = Choice(certificates, *more)
    serving = Serving(visits.put_nowait, settings, choice, protocols, authorities)
    endpoint = Endpoint(settings, serving, errors.append)
    port = endpoint.listen(udp.bind(host, 0, settings.socket_buffer))[1]
    house = House(endpoint, serving, port, certificates, visits, errors)
    try:
        yield house
    finally:
        for dialled in house.dialled:
            await dialled.close()
        await endpoint.close(linger=0.5)
    assert endpoint.connections == 0
    assert not endpoint._routes
    assert endpoint.sessions == 0
    assert serving.gate.handshakes == 0
    assert serving.gate.inside == 0


CERTIFICATES = Certificates.generated(["localhost", "127.0.0.1", "::1"])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests in an event loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def limited() -> None:
        async with asyncio.timeout(30):
            await pyfuncitem.obj(**arguments)

    asyncio.run(limited())
    return True


@pytest.fixture(params=["https", "moqt"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Both transports: what holds for one must hold for the other."""
    return str(request.param)


@pytest.fixture
def house() -> Callable[..., Any]:
    """`open_house`, by name."""
    return open_house


@pytest.fixture
def recorder() -> type[Recorder]:
    """`Recorder`, by name."""
    return Recorder


@pytest.fixture
def wait() -> Callable[[Callable[[], Any]], Awaitable[None]]:
    """`pace.until`, by name."""
    return until


def flush(line: Connection, now: float) -> list[Departure]:
    """What an endpoint does with each connection when a turn ends."""
    line.speak()
    try:
        left = line.engine.departures(now)
    except Exception as error:
        left = line.fall_silent(error)
    line.tell_ids()
    return left


class Bench:
    """A served connection and a plain QUIC client in one process, with a clock of their own."""

    def __init__(
        self,
        limits: QuicLimits | None = None,
        alpn: str = "h3",
        settings: bool = True,
        parameters: bytes = b"",
    ) -> None:
        """``parameters`` are said by the client beside those of its library."""
        self.time = 1000.0
        self.limits = limits or QuicLimits()
        self.visits: list[Visit] = []
        self.errors: list[Exception] = []
        self.heard: list[QuicEvent] = []
        self.ends = 0
        self.client = QuicConnection(configuration=configure(QuicLimits(), True, (alpn,)))
        self.client.configuration.verify_mode = ssl.CERT_NONE
        said = self.client._serialize_transport_parameters
        self.client._serialize_transport_parameters = lambda: said() + parameters  # type: ignore[method-assign]
        serving = configure(self.limits, False, ("moq-lite-05", "moqt-18", "moq-00", "h3"))
        pair = CERTIFICATES.current
        serving.certificate, serving.private_key = pair.chain[0], pair.key
        engine = Engine(serving, self.limits, self.client.original_destination_connection_id)
        self.server = Connection(self, engine, self.limits, ("192.0.2.1", 1), self._begin)
        self.client.connect(("192.0.2.2", 2), self.time)
        self.pump()
        self.h3: H3Connection | None = None
        """The client's HTTP/3, once its SETTINGS are sent."""
        if alpn == "h3" and settings:
            self.h3 = H3Connection(self.client, enable_webtransport=True)
        self.pump()

    def _begin(self, connection: Connection, alpn: str) -> Application:
        if alpn == "h3":
            return ServedWebTransport(connection, self.visits.append, 10.0, 10.0)
        visit = lambda transport: self.visits.append(  # noqa: E731
            OpenVisit(knock_raw(transport), transport)
        )
        return QuicTransport(connection, visit)

    def now(self) -> float:
        return self.time

    is_in_turn = False

    def wake(self, connection: Connection) -> None: ...

    def add_id(self, connection: Connection, cid: bytes) -> None: ...

    def remove_id(self, connection: Connection, cid: bytes) -> None: ...

    def handshake_done(self, connection: Connection) -> None: ...

    def ended(self, connection: Connection) -> None:
        self.ends += 1

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    def pump(self, seconds: float = 0.05, mute: bool = False) -> None:
        """Let packets travel and timers fire; those of a mute server are lost."""
        end = self.time + seconds
        while self.time < end:
            for data, _ in self.client.datagrams_to_send(self.time):
                self.server.feed([data], ("192.0.2.1", 1), self.time)
            if (due := self.server.timer()) is not None and due <= self.time:
                self.server.fire(self.time)
            self.server.take_events()
            sent = flush(self.server, self.time)
            for data in [
                each[at : at + size] for each, size, _ in sent for at in range(0, len(each), size)
            ]:
                if not mute:
                    self.client.receive_datagram(data, ("192.0.2.2", 2), self.time)
            if (due := self.client.get_timer()) is not None and due <= self.time:
                self.client.handle_timer(self.time)
            while (event := self.client.next_event()) is not None:
                self.heard.append(event)
            self.time += 0.001

    def say(self, frames: bytes) -> None:
        """Bring a packet of these frames of the client's."""
        client = self.client
        head = b"\x41" + client._peer_cid.cid + client._packet_number.to_bytes(2, "big")
        crypto = client._cryptos[Epoch.ONE_RTT].send
        data = crypto.encrypt_packet(head, frames.ljust(8, b"\0"), client._packet_number)
        client._packet_number += 1
        self.server.feed([data], ("192.0.2.1", 1), self.time)
        self.pump()

    def of(self, kind: type[Any], stream: int | None = None) -> list[Any]:
        """What the client heard of one kind."""
        found = [event for event in self.heard if isinstance(event, kind)]
        return [e for e in found if stream is None or e.stream_id == stream]

    def closed_with(self) -> int | None:
        """The code with which the server closed, as the client heard it."""
        end = self.client._close_event
        return None if end is None else end.error_code

    def request(self, stream: int | None = None, **pseudo: str) -> int:
        """Send a CONNECT (or what ``pseudo`` makes of it) and answer its stream."""
        assert self.h3 is not None
        stream = self.client.get_next_available_stream_id() if stream is None else stream
        fields = {
            "method": "CONNECT",
            "scheme": "https",
            "authority": "relay.example",
            "path": "/demo?jwt=a.b",
            "protocol": "webtransport",
        } | pseudo
        headers = [(b":" + k.encode(), v.encode()) for k, v in fields.items() if v]
        self.h3.send_headers(stream, headers)
        self.pump()
        return stream

    def status(self, stream: int) -> str | None:
        """The status answered on a request stream."""
        return self.answer(stream).get(":status")

    def answer(self, stream: int) -> dict[str, str]:
        """The headers answered on a request stream, of which one can ask once."""
        for event in self.of(StreamDataReceived, stream):
            for answer in self._reader().handle_event(event):
                if isinstance(answer, HeadersReceived):
                    return {name.decode(): value.decode() for name, value in answer.headers}
        return {}

    def _reader(self) -> H3Connection:
        assert self.h3 is not None
        return self.h3

    def session(self) -> tuple[int, Visit, Recorder]:
        """An accepted session."""
        stream = self.request()
        recorder = Recorder()
        self.visits[-1].accept(recorder, None)
        self.pump()
        return stream, self.visits[-1], recorder


@pytest.fixture
def bench() -> type[Bench]:
    """`Bench`, by name."""
    return Bench
