"""The socket and its connections: limits, garbage, Retry, timers, shutting down."""

import asyncio
import errno
import gc
import os
import socket
import weakref
from collections.abc import Iterator
from time import monotonic

import psutil
import pytest
import uvloop
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from ports import free_ports
from relay.errors import SessionLost
from relay.net import udp
from relay.net.dial import dial
from relay.net.endpoint import Endpoint
from relay.net.engine import Engine
from relay.net.settings import ListenSettings, QuicLimits


def first_flight(**changes) -> list[bytes]:
    client = QuicConnection(configuration=QuicConfiguration(alpn_protocols=["h3"], **changes))
    client.connect(("127.0.0.1", 1), 0.0)
    return [data for data, _ in client.datagrams_to_send(0.0)]


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """A socket of somebody we do not know."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        yield made


async def answers(sock: socket.socket, seconds: float = 0.05) -> list[bytes]:
    await asyncio.sleep(seconds)
    return [data for _, some in udp.receive(sock, 100, 0)[0] for data in some]


async def test_both_transports_on_one_port_at_once(house) -> None:
    async with house() as home:
        web, raw = await asyncio.gather(home.pair("https"), home.pair("moqt"))
        assert {web.visit.knock.transport, raw.visit.knock.transport} == {"webtransport", "quic"}
        assert home.endpoint.sessions == 2
        assert home.gate.handshakes == 0
        assert home.endpoint.datagrams_in >= 4
        assert home.endpoint.outbox.bytes > 1200


async def test_raw_quic_knocks_with_what_it_knows(house) -> None:
    async with house() as home:
        pair = await home.pair("moql")
        knock = pair.visit.knock
        assert (knock.transport, knock.target, knock.offered) == ("quic", None, ("moq-lite-05",))
        assert knock.remote[0] == "127.0.0.1"
        assert pair.dialled.protocol == "moq-lite-05"


@pytest.mark.parametrize(("status", "code"), [(401, 2), (403, 2), (404, 1), (503, 1)])
async def test_raw_quic_is_refused_with_a_session_code(house, status, code, recorder) -> None:
    async with house() as home:
        dialled = await dial(home.url("moqt"), protocols=("moq-lite-05",), tls=home.trust)
        (await home.visits.get()).refuse(status, (("x-request-id", "d-1"),))
        heard = recorder()
        dialled.start(heard)
        await heard.until(lambda: heard.lost)
        assert heard.lost == [(code, f"refused ({status}, x-request-id: d-1)")]


async def test_raw_quic_tells_the_name_that_was_dialled(house) -> None:
    async with house(host="::") as home:
        home.url = lambda scheme, path="": f"{scheme}://localhost:{home.port}"
        pair = await home.pair("moqt")
        assert pair.visit.knock.authority == "localhost"


async def test_a_mistake_of_the_room_itself_stops_nobody_else(house, monkeypatch) -> None:
    async with house() as home:
        bad, good = await home.pair("moqt"), await home.pair("moqt")

        def broken() -> None:
            raise RuntimeError("a mistake of the room")

        monkeypatch.setattr(bad.far.connection, "speak", broken)
        bad.far.connection.wake()
        for pair in (bad, good):
            stream = pair.near.open_uni()
            pair.near.send(stream, b"x", True)
        await good.server.until(lambda: good.server.finished and home.errors)
        assert str(home.errors[0]) == "a mistake of the room"
        monkeypatch.undo()


async def test_a_connection_that_cannot_even_say_goodbye_is_given_up(
    house, sock, monkeypatch
) -> None:
    def broken(self: Engine, peer_cid: bytes) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with house() as home:
        with monkeypatch.context() as patched:
            patched.setattr(Engine, "_initialize", broken)
            sock.sendto(*first_flight(), ("127.0.0.1", home.port))
            assert await answers(sock) == []
        assert [type(error) for error in home.errors] == [OSError, KeyError]
        assert home.endpoint.connections == 0
        await home.pair("moqt")


async def test_who_was_not_told_all_that_came_hears_no_more(house, monkeypatch) -> None:
    async with house() as home:
        pair = await home.pair("moqt")
        stream = pair.near.open_uni()
        take, engine = pair.far.connection.engine.next_event, pair.far.connection.engine

        def out_of_memory() -> None:
            take()
            monkeypatch.undo()
            raise MemoryError

        monkeypatch.setattr(engine, "next_event", out_of_memory)
        pair.near.send(stream, b"lost", False)
        await pair.server.until(lambda: pair.server.lost)
        assert [type(error) for error in home.errors] == [MemoryError]
        assert not pair.server.streams


async def test_the_servers_order_of_protocols_decides(house) -> None:
    async with house() as home:
        pair = await home.pair("moqt", None, protocols=("x", "moq-lite-04", "moq-lite-05"))
        assert pair.dialled.protocol == "moq-lite-05"


async def test_a_door_that_raises_refuses_with_500(house) -> None:
    async with house() as home:

        def broken(visit: object) -> None:
            raise RuntimeError("the door is stuck")

        home.serving._door = broken
        with pytest.raises(SessionLost) as caught:
            await dial(home.url("https"), protocols=(), tls=home.trust)
        assert caught.value.status == 500
        assert [str(error) for error in home.errors] == ["the door is stuck"]


async def test_dual_stack_and_plain_addresses(house) -> None:
    async with house(host="::") as home:
        pair = await home.pair("https")
        assert pair.visit.knock.remote[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\x40" * 20,
        b"\x00" * 1200,
        b"\xc0" + b"\x00" * 1300,
        b"\xc0\x00\x00\x00\x01\xff" + bytes(1300),
    ],
)
async def test_garbage_gets_no_answer_and_leaves_nothing(house, data, sock) -> None:
    async with house() as home:
        sock.sendto(data, ("127.0.0.1", home.port))
        assert await answers(sock) == []
        assert home.endpoint.connections == 0


async def test_a_first_packet_that_cannot_be_read_leaves_nothing(house, sock) -> None:
    async with house() as home:
        (flight,) = first_flight()
        sock.sendto(flight[:200] + os.urandom(len(flight) - 200), ("127.0.0.1", home.port))
        sock.sendto(flight[:1000], ("127.0.0.1", home.port))
        assert await answers(sock) == []
        assert home.endpoint.connections == 0
        assert home.gate.handshakes == 0


async def test_unknown_versions_are_negotiated_and_negotiation_is_not_answered(house, sock) -> None:
    async with house() as home:
        odd = b"\xc0\x1a\x2a\x3a\x4a\x08" + b"d" * 8 + b"\x08" + b"s" * 8
        sock.sendto(odd + bytes(1200), ("127.0.0.1", home.port))
        (answer,) = await answers(sock)
        header = pull_quic_header(Buffer(data=answer), host_cid_length=8)
        assert header.packet_type == QuicPacketType.VERSION_NEGOTIATION
        assert (header.destination_cid, header.source_cid) == (b"s" * 8, b"d" * 8)
        sock.sendto(odd, ("127.0.0.1", home.port))
        sock.sendto(answer + bytes(1200), ("127.0.0.1", home.port))
        assert await answers(sock) == []


async def test_handshakes_over_the_limit_prove_their_address_first(house) -> None:
    async with house(ListenSettings(max_handshakes=0)) as home:
        for scheme in ("https", "moqt"):
            pair = await home.pair(scheme)
            stream = pair.near.open_uni()
            pair.near.send(stream, b"x", True)
            await pair.server.until(lambda p=pair: p.server.finished)
            assert pair.near.connection.engine._retry_count == 1
        assert home.endpoint.sessions == 2


async def test_a_foreign_token_is_refused_under_load_and_ignored_otherwise(house, sock) -> None:
    (flight,) = first_flight(token=b"somebody else's token")
    for limit, handshakes in ((0, 0), (10, 1)):
        async with house(ListenSettings(max_handshakes=limit)) as home:
            sock.sendto(flight, ("127.0.0.1", home.port))
            assert await answers(sock)
            assert home.gate.handshakes == handshakes


async def test_a_handshake_that_stalls_is_dropped(house, sock, wait) -> None:
    async with house(ListenSettings(handshake_timeout=0.1)) as home:
        sock.sendto(first_flight()[0], ("127.0.0.1", home.port))
        await wait(lambda: home.endpoint.handshakes_failed == 1)
        assert (home.gate.handshakes, home.gate.inside) == (0, 0)


@pytest.mark.parametrize(
    "settings",
    [ListenSettings(max_sessions=2), ListenSettings(max_sessions_per_address=2)],
    ids=["in-all", "per-address"],
)
async def test_sessions_are_limited_and_places_come_back(house, scheme, settings, wait) -> None:
    async with house(settings) as home:
        first, _ = await home.pair(scheme), await home.pair(scheme)
        with pytest.raises(SessionLost, match="takes no more connections"):
            await dial(home.url(scheme), protocols=("moq-lite-05",), tls=home.trust)
        assert home.gate.refused == 1
        first.near.close(0)
        await first.server.until(lambda: first.server.lost)
        await wait(lambda: home.endpoint.sessions == 1)
        await home.pair(scheme)


async def test_a_closed_gate_keeps_those_inside(house) -> None:
    async with house() as home:
        pair = await home.pair("moqt")
        home.gate.is_open = False
        with pytest.raises(SessionLost, match="takes no more connections"):
            await dial(home.url("moqt"), protocols=("moq-lite-05",), tls=home.trust)
        stream = pair.near.open_uni()
        pair.near.send(stream, b"x", True)
        await pair.server.until(lambda: pair.server.finished)


async def test_closing_the_endpoint_says_goodbye_to_all(house) -> None:
    async with house() as home:
        pairs = [await home.pair("https"), await home.pair("moqt")]
        await home.endpoint.close(9, "maintenance")
        for pair in pairs:
            await pair.client.until(lambda p=pair: p.client.lost)
            assert pair.server.lost == pair.client.lost == [(9, "maintenance")]


async def test_a_full_kernel_queue_is_waited_for(house, monkeypatch) -> None:
    async with house() as home:
        pair = await home.pair("moqt")
        outbox = home.endpoint.outbox
        send, full = outbox.way, True
        monkeypatch.setattr(outbox, "way", lambda *a: 0 if full else send(*a))
        stream = pair.far.open_uni()
        pair.far.send(stream, b"x" * 5000, True)
        await asyncio.sleep(0.02)
        assert len(home.endpoint.outbox.waiting) > 0
        full = False
        await pair.client.until(lambda: pair.client.finished)
        assert len(home.endpoint.outbox.waiting) == 0
        assert home.endpoint.outbox.dropped == 0


async def test_the_backlog_is_bounded(house, monkeypatch) -> None:
    async with house(ListenSettings(max_backlog=1)) as home:
        pair = await home.pair("moqt")
        outbox = home.endpoint.outbox
        send, full = outbox.way, True
        monkeypatch.setattr(outbox, "way", lambda *a: 0 if full else send(*a))
        for count in range(1, 50):
            pair.far.send(pair.far.open_uni(), b"x" * 9000, True)
            async with asyncio.timeout(5):
                while not outbox.waiting:
                    await asyncio.sleep(0.001)
            if outbox.dropped:
                break
            full = False  # one packet came alone, by the pacer's leave: nothing to drop
            await pair.client.until(lambda n=count: len(pair.client.finished) == n)
            full = True
        assert outbox.dropped
        assert len(outbox.waiting) == 1
        full = False
        await pair.client.until(lambda: len(pair.client.finished) == count)


async def test_many_connections_leave_nothing(house, scheme, wait) -> None:
    """In batches on loopback; the count is kept small, what could leak would show."""
    process = psutil.Process()
    async with house() as home:
        sizes: list[int] = []
        last: list[weakref.ref] = []
        for _ in range(5):
            pairs = [await home.pair(scheme) for _ in range(12)]
            for pair in pairs:
                stream = pair.near.open_uni()
                pair.near.send(stream, b"x", True)
            for pair in pairs:
                await pair.server.until(lambda p=pair: p.server.finished)
                pair.near.close(0)
            for pair in pairs:
                await pair.server.until(lambda p=pair: p.server.lost)
            await wait(lambda: home.endpoint.connections == 0)
            last = [weakref.ref(pair.visit.transport.connection) for pair in pairs]
            pairs.clear()
            del pair
            home.dialled.clear()
            gc.collect()
            sizes.append(process.memory_info().rss)
        assert not home.endpoint._routes
        assert not home.endpoint._lines
        assert not home.endpoint.awake
        assert len(home.endpoint._timers) == 0
        assert home.gate.inside == 0
        assert not home.gate._inside
        await asyncio.sleep(0)
        gc.collect()
        assert sum(ref() is not None for ref in last) <= 1
        assert sizes[-1] - sizes[1] < 6 << 20


async def test_an_idle_endpoint_has_few_timers(house) -> None:
    async with house(ListenSettings(limits=QuicLimits())) as home:
        for _ in range(5):
            await home.pair("moqt")
        assert len(home.endpoint._timers) <= 4 * 5 + 64
        assert 1 <= len(home.endpoint._timers._handles) <= 4


async def test_traffic_brings_the_look_at_who_waits_with_it(house) -> None:
    async with house(ListenSettings(limits=QuicLimits())) as home:
        pair = await home.pair("moqt")
        timers, rounds = home.endpoint._timers, []
        look = home.endpoint._look_round
        home.endpoint._round_due = timers._round_due = lambda: rounds.append("woken")
        home.endpoint._look_round = lambda now: (rounds.append("with traffic"), look(now))
        stream = pair.far.open_uni()
        until = monotonic() + 20.0
        while len(rounds) < 3 and monotonic() < until:
            pair.far.send(stream, b"x")
            began = monotonic()
            await asyncio.sleep(0.005)
            if monotonic() - began > 0.02:  # there was no traffic for a while: from the start
                await asyncio.sleep(0)
                rounds.clear()
        assert rounds[:3] == ["with traffic"] * 3


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_port_that_was_closed_for_a_moment_is_heard_afterwards(factory) -> None:
    async def hear_again() -> None:
        loop = asyncio.get_running_loop()
        address = "127.0.0.1", free_ports(1)[0]
        dialling = Endpoint(ListenSettings())
        mine = udp.connect(socket.AF_INET, address, 65536)
        dialling.add_socket(mine)
        for _ in range(3):
            udp.send(mine, b"x", 1, None)  # which the kernel answers: nobody is there
            await asyncio.sleep(0.02)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
            second.bind(address)
            second.sendto(b"x" * 40, mine.getsockname())
            until = loop.time() + 2.0
            while not dialling.datagrams_in and loop.time() < until:
                await asyncio.sleep(0.01)
        assert dialling.datagrams_in == 1
        await dialling.close(linger=0.0)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(hear_again())
