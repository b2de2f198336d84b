"""Connections that say nothing, half of something, or do not read."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pace import until, within
from relay.control.patience import SHALLOW, Patience, PatientSocket
from relay.control.public import public_app
from relay.control.serve import HttpListener, listen
from relay.control.settings import PublicLimits

ASK = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
FETCH = b"GET /fetch/demo/video HTTP/1.1\r\nHost: x\r\n\r\n"

Visit = Callable[[str, int], Awaitable[None]]


def served(
    house: Any,
    limits: PublicLimits,
    visit: Visit,
    calls: ASGIApp | None = None,
    app: ASGIApp | None = None,
) -> None:
    """Run ``visit`` against a listener; ``calls`` are WebSocket's, ``app`` is in place of the
    public face."""

    async def run() -> None:
        face, sockets = app or public_app(house, house, limits), listen("127.0.0.1", 0)
        listener = HttpListener(face, sockets, limits, calls=calls)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(listener.serve())
            await listener.started.wait()
            try:
                await visit(*listener.address)
            finally:
                listener.stop()

    asyncio.run(run())


def the_visitor() -> PatientSocket:
    """The only one there is. Those of earlier tests may not have been collected yet."""
    # Not `isinstance`: who asks that of a weak proxy asks what may be gone.
    found = [each for each in gc.get_objects() if type(each) is PatientSocket]
    [visitor] = [each for each in found if not each.transport.is_closing()]
    return visitor


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Everything until the connection is over, however it ends."""
    got = b""
    try:
        while piece := await reader.read(65_536):
            got += piece
    except ConnectionError:
        pass
    return got


def test_who_never_finishes_a_request_is_cut(house: Any) -> None:
    async def visit(host: str, port: int) -> None:
        for words in (b"", b"GET /hea", ASK[:-2], ASK + b"GET /he"):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(words)
            got = await asyncio.wait_for(ended(reader), 8)
            assert got.count(b"200 OK") == words.count(b"\r\n\r\n")
            writer.close()

    served(house, PublicLimits(request_timeout=0.4, keep_alive=5), visit)


def test_a_byte_now_and_then_buys_no_time(house: Any) -> None:
    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        said = 0
        while said < 100 and not (reader.at_eof() or writer.is_closing()):
            writer.write(b"GET /health?"[said : said + 1] or b"x")
            said += 1
            await asyncio.sleep(0.05)
        assert said < 100  # five seconds' worth, and it has 0.2
        await ended(reader)
        writer.close()

    served(house, PublicLimits(request_timeout=0.2), visit)


BREAKS = (
    b"POST /%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize("where", [b"nowhere", b"auth/login", b"ticket"])
@pytest.mark.parametrize("is_at_once", [True, False])
def test_a_body_that_is_none_costs_no_line(
    house: Any, caplog: pytest.LogCaptureFixture, where: bytes, is_at_once: bool
) -> None:
    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(BREAKS % where + b"5\r\nhello\r\n" + b"zz\r\n" * is_at_once)
        if not is_at_once:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.readuntil(b"}"), 0.3)  # where that needs no body
            writer.write(b"zz\r\n")
        assert (await asyncio.wait_for(ended(reader), 8)).count(b"HTTP/1.1") <= 1
        writer.close()

    served(house, PublicLimits(), visit)
    assert caplog.records == []


def test_an_answer_that_is_being_given_ends_with_what_is_no_http(
    house: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def answers(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"more"})

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(BREAKS % b"")
        await reader.readuntil(b"begun\r\n")
        writer.write(b"zz\r\n")
        assert await asyncio.wait_for(ended(reader), 8) == b""
        writer.close()

    served(house, PublicLimits(), visit, app=answers)
    assert caplog.records == []


def test_an_answer_may_take_longer_than_a_request(house: Any) -> None:
    house.delay = 1.0

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(FETCH)
        assert b"200 OK" in await reader.readline()
        writer.close()

    served(house, PublicLimits(request_timeout=0.5), visit)


def test_who_says_that_it_was_all_has_the_answer(house: Any) -> None:
    house.delay = 0.3

    async def visit(host: str, port: int) -> None:
        for words, count in ((FETCH, 1), (FETCH + ASK, 2), (FETCH[:-2], 0)):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(words)
            writer.write_eof()
            got = await asyncio.wait_for(ended(reader), 5)
            assert got.count(b"200 OK") == count
            writer.close()

    served(house, PublicLimits(request_timeout=2.0, keep_alive=20), visit)


def test_who_leaves_is_gone_once_its_answer_has_begun(house: Any) -> None:
    over = asyncio.Event()

    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        over.set()

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(ASK)
        await reader.readuntil(b"begun")
        writer.close()
        await asyncio.wait_for(over.wait(), 2)

    served(house, PublicLimits(), visit, app=streams)


def test_an_answer_to_what_came_with_another_request_may_take_long(house: Any) -> None:
    house.delay = 0.8

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(ASK + FETCH)
        await reader.readuntil(b"ok\n")
        assert b"200 OK" in await reader.readline()
        writer.close()

    served(house, PublicLimits(request_timeout=0.3), visit)


def test_an_idle_connection_is_kept_longer_than_a_request_may_take(house: Any) -> None:
    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(2):
            writer.write(ASK)
            await reader.readuntil(b"ok\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.6)
        writer.write(ASK[:-2])
        assert await asyncio.wait_for(ended(reader), 4) == b""  # its first byte has come
        writer.close()

    served(house, PublicLimits(request_timeout=0.2, keep_alive=8), visit)


def test_who_does_not_read_loses_its_seat(house: Any) -> None:
    house.group = (7, [bytes(1 << 20)] * 16)

    async def visit(host: str, port: int) -> None:
        _, sleeper = await asyncio.open_connection(host, port, limit=1024)
        sleeper.write(FETCH)
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(FETCH)
        assert b"429" in await reader.readline()
        writer.close()

        async def fetched() -> bool:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(FETCH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            with contextlib.closing(writer):
                return len(await ended(reader)) > 16 << 20

        await within(10.0, fetched)
        sleeper.close()

    served(house, PublicLimits(answer_timeout=4.0, max_fetches=1), visit)


@pytest.mark.parametrize("share", ["max_fetched_bytes", "max_fetched_bytes_per_address"])
def test_what_is_fetched_and_not_read_yet_has_a_limit(house: Any, share: str) -> None:
    house.group = (7, [bytes(1 << 20)] * 16)
    most = 20 << 20
    limits = PublicLimits(
        max_fetched_bytes=most if share == "max_fetched_bytes" else 2 * most,
        max_fetched_bytes_per_address=most,
    )

    async def asked(host: str, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(FETCH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        with contextlib.closing(writer):
            return await ended(reader)

    async def visit(host: str, port: int) -> None:
        reader, sleeper = await asyncio.open_connection(host, port, limit=1024)
        sleeper.write(FETCH)
        await reader.readuntil(b"\r\n\r\n")
        answer = await asked(host, port)
        assert b" 429 " in answer.splitlines()[0]
        assert f"more than {most} bytes of groups at a time".encode() in answer
        assert f"(web.limits.{share})".encode() in answer
        house.group = (7, [bytes(1 << 10)])  # there is room for others
        assert b" 200 " in await asked(host, port)
        house.group = (7, [bytes(1 << 20)] * 16)
        sleeper.close()

        async def fetched() -> bool:
            return len(await asked(host, port)) > 16 << 20

        await within(10.0, fetched)

    served(house, limits, visit)


HELLO = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("ask", "then", "ends"),
    [
        (HELLO + b"\r\n", b"no HTTP\r\n\r\n", True),
        (HELLO + b"Connection: close\r\n\r\n", None, True),
        (HELLO + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n", False),
        (HELLO + b"\r\n", b"", False),
    ],
)
def test_who_does_not_read_what_is_left_when_it_is_over_is_cut(
    house: Any, ask: bytes, then: bytes | None, ends: bool
) -> None:
    """So little waits that writing was never paused; then comes no HTTP, nothing, or the end."""
    left: list[Patience] = []

    async def fills(scope: Scope, receive: Receive, send: Send) -> None:
        [visitor] = [
            each
            for each in gc.get_objects()
            if issubclass(type(each), Patience) and each in each.here and each.cycle
        ]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not visitor.transport.get_write_buffer_size():
            await send({"type": "http.response.body", "body": bytes(4096), "more_body": True})
            await asyncio.sleep(0)
        assert not visitor._is_full
        if ends:
            await send({"type": "http.response.body", "body": b""})
        left.append(visitor)
        while (await receive())["type"] != "http.disconnect":
            pass

    async def visit(host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            sock.setblocking(False)
            await loop.sock_connect(sock, (host, port))
            await loop.sock_sendall(sock, ask)
            await until(lambda: left)
            if then:
                await loop.sock_sendall(sock, then)
            elif then == b"":
                sock.shutdown(socket.SHUT_WR)
            await until(lambda: left[0] not in left[0].here)

    limits = PublicLimits(answer_timeout=0.3, request_timeout=0.3, keep_alive=0.3)
    served(house, limits, visit, app=fills)


def test_lists_that_nobody_reads_are_few(house: Any) -> None:
    house.names = [f"{number}{'x' * 4000}" for number in range(2000)]
    ask = FETCH.replace(b"fetch/demo/video", b"announced/demo")

    async def visit(host: str, port: int) -> None:
        _, sleeper = await asyncio.open_connection(host, port, limit=1024)
        sleeper.write(ask)
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(ask + FETCH)
        assert b"429" in await reader.readline()
        await reader.readuntil(b"200 OK")  # the group
        sleeper.close()
        writer.close()

    served(house, PublicLimits(max_fetches=1), visit)


def test_a_fetch_that_fails_gives_its_seat_back(house: Any) -> None:
    from relay.errors import NotFound

    house.error = NotFound("no such group")

    async def visit(host: str, port: int) -> None:
        for _ in range(3):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(FETCH)
            assert b"404" in await reader.readline()
            writer.close()

    served(house, PublicLimits(max_fetches=1), visit)


def test_connections_have_a_ceiling(house: Any) -> None:
    async def visit(host: str, port: int) -> None:
        pairs = [await asyncio.open_connection(host, port) for _ in range(4)]
        await asyncio.sleep(0.05)
        reader, over = await asyncio.open_connection(host, port)
        assert await asyncio.wait_for(ended(reader), 8) == b""
        for reader, writer in pairs[2:]:
            writer.write(ASK)
            assert b"503" in await asyncio.wait_for(ended(reader), 8)
        for _ in range(2):  # whoever was there is served on, whoever else comes
            for reader, writer in pairs[:2]:
                writer.write(ASK)
                assert b"200" in await reader.readline()
                await reader.readuntil(b"ok\n")
        pairs[0][1].close()
        await asyncio.sleep(0.05)
        reader, late = await asyncio.open_connection(host, port)
        late.write(ASK)
        assert b"200" in await reader.readline()
        for each in (*(writer for _, writer in pairs), over, late):
            each.close()

    served(house, PublicLimits(max_connections=2, max_connections_per_address=2), visit)


UPGRADE = (
    b"GET /room HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n"
)
SMALL_BUFFER = 8192


def test_who_is_turned_away_or_leaves_costs_no_line(
    house: Any, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[bytes, bytes]] = []

    async def denies(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append((scope["raw_path"], dict(scope["headers"])[b"host"]))
        await receive()
        if scope["raw_path"] == b"/deny":
            await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b""})

    async def visit(host: str, port: int) -> None:
        for target in (b"/deny", b"http://other/room"):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(UPGRADE.replace(b"/room", target))
            got = await ended(reader)
            assert got.startswith(b"HTTP/1.1 401") == (target == b"/deny")
            writer.close()

    served(house, PublicLimits(), visit, denies)
    assert asked == [(b"/deny", b"x"), (b"/room", b"other")]
    assert caplog.records == []


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="not said by this system")
def test_little_waits_below_a_websocket_that_is_not_read(house: Any) -> None:
    """What a system buffers by itself would be seconds of a stream that nobody can drop."""
    sent, left = 0, list[PatientSocket]()

    async def talks(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "websocket.accept"})
        left.append(the_visitor())
        while True:
            await send({"type": "websocket.send", "bytes": bytes(4096)})
            sent += 4096

    async def visit(host: str, port: int) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=SMALL_BUFFER)
        writer.write(UPGRADE)
        assert b" 101 " in await reader.readline()
        await within(5.0, lambda: left and left[0].disconnected)  # it was waited for long enough
        got = await ended(reader)
        assert sent < 300_000
        assert len(got) <= sent + 4096
        writer.close()

    served(house, PublicLimits(answer_timeout=0.2), visit, talks)


def masked(first: int, body: bytes = b"") -> bytes:
    """A client's frame (RFC 6455, 5.2), with a mask that changes nothing."""
    return bytes((first, 0x80 | len(body))) + bytes(4) + body


BEGIN, MORE, LAST, PING = 0x02, 0x00, 0x80, 0x89


def test_pieces_of_a_message_cost_their_bytes(house: Any) -> None:
    got: list[bytes] = []

    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            got.extend(filter(None, [message.get("bytes")]))

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        for round_ in (b"1", b"2"):
            writer.write(masked(BEGIN, b"be") + masked(MORE) * 20_000 + masked(MORE, b"gun "))
            writer.write(masked(PING, b"still there?"))
            await reader.readuntil(b"still there?")
            visitor = the_visitor()
            assert (len(visitor.frames), len(visitor._pieces)) == (0, 6)
            writer.write(masked(LAST, round_) + masked(LAST | BEGIN, b"whole"))
            writer.write(masked(PING, b"and now?"))
            await reader.readuntil(b"and now?")
        writer.close()

    served(house, PublicLimits(), visit, listens)
    assert got == [b"begun 1", b"whole", b"begun 2", b"whole"]


def test_who_asks_without_reading_is_not_answered_for_ever(house: Any) -> None:
    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async def visit(host: str, port: int) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (host, port))
        await loop.sock_sendall(sock, UPGRADE)
        assert b" 101 " in await loop.sock_recv(sock, 4096)
        await loop.sock_sendall(sock, masked(PING, bytes(125)) * 20_000)
        visitor = the_visitor()
        while visitor.writable.is_set():
            await asyncio.sleep(0.01)
        for _ in range(100):  # what it is still to hear
            await asyncio.sleep(0.01)
            assert visitor.transport.get_write_buffer_size() < 100_000
        sock.close()

    served(house, PublicLimits(), visit, listens)


TEXT, WHOLE, CLOSE = 0x81, 0x82, 0x88
UNMASKED = b"\x82\x00"
HEAD_END = b"\r\n\r\n"


async def greets(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})


@pytest.mark.parametrize(
    "request_",
    [
        UPGRADE.replace(b"GET", b"POST", 1),
        UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        UPGRADE[:-2] + b"Content-Length: 4\r\n\r\nbody",
        UPGRADE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        UPGRADE[:-2] + b"X-Odd: a\x01b\r\n\r\n",
    ],
)
def test_what_cannot_go_over_is_a_request_like_any(
    house: Any, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request_)
        answer = await asyncio.wait_for(reader.readline(), 2)
        assert answer.split()[1] in (b"403", b"405")
        writer.close()

    served(house, PublicLimits(), visit, greets)
    assert caplog.records == []


def test_as_much_may_be_said_as_in_any_request(house: Any) -> None:
    seen: list[tuple[int, int, bytes]] = []

    async def counts(scope: Scope, receive: Receive, send: Send) -> None:
        fields = dict(scope["headers"])
        seen.append((len(scope["query_string"]), len(fields[b"x-long"]), fields[b"x-odd"]))
        await send({"type": "websocket.accept"})

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        fields = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
        more = b"X-Odd: \xe4\r\nX-Long: " + bytes(9000).replace(b"\0", b"a") + b"\r\n"
        asks = UPGRADE.replace(b"/room", b"/room?" + bytes(9000).replace(b"\0", b"j"))
        writer.write(asks[:-2] + fields + more + b"\r\n")
        assert b" 101 " in await asyncio.wait_for(reader.readline(), 2)
        writer.close()

    served(house, PublicLimits(), visit, counts)
    assert seen == [(9000, 9000, b"\xe4")]


def test_text_that_is_none_costs_no_line(house: Any, caplog: pytest.LogCaptureFixture) -> None:
    got: list[Message] = []

    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        got.extend([await receive(), await receive()])

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(UPGRADE)
        await reader.readuntil(HEAD_END)
        writer.write(masked(TEXT, b"\xff\xfe") + masked(WHOLE, b"bytes"))
        await ended(reader)
        writer.close()

    served(house, PublicLimits(), visit, listens)
    assert got == [
        {"type": "websocket.receive", "text": ""},
        {"type": "websocket.receive", "bytes": b"bytes"},
    ]
    assert caplog.records == []


@pytest.mark.parametrize("said", [UNMASKED, masked(WHOLE), masked(PING), masked(TEXT, b"\xff")])
def test_who_speaks_before_it_is_let_in_is_cut(
    house: Any, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    heard: list[str] = []
    ask = asyncio.Event()

    async def ponders(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])
        ask.set()
        heard.append((await receive())["type"])

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(UPGRADE)
        await ask.wait()
        writer.write(said)
        assert await asyncio.wait_for(ended(reader), 2) == b""
        writer.close()

    served(house, PublicLimits(), visit, ponders)
    assert heard == ["websocket.connect", "websocket.disconnect"]
    assert caplog.records == []


def test_who_closes_while_the_listener_stops_costs_no_line(
    house: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        heard.append((await receive())["type"])

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(UPGRADE)
        await reader.readuntil(HEAD_END)

        def leave() -> None:
            writer.write(masked(CLOSE, b"\x03\xe8"))
            writer.close()

        # The listener stops when this visit is over.
        asyncio.get_running_loop().call_later(0.2, leave)

    served(house, PublicLimits(), visit, listens)
    assert heard == ["websocket.disconnect"]
    assert caplog.records == []


def test_what_is_said_after_the_peer_broke_the_rules_is_for_nobody(house: Any) -> None:
    said: list[type[BaseException]] = []

    async def talks(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        try:
            await send({"type": "websocket.send", "bytes": b"too late"})
        except Exception as error:
            said.append(type(error))
            raise

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(UPGRADE)
        await reader.readuntil(HEAD_END)
        writer.write(UNMASKED)
        await ended(reader)
        writer.close()

    served(house, PublicLimits(), visit, talks)
    assert [issubclass(each, OSError) for each in said] == [True]


def test_who_does_not_read_the_last_word_is_cut(house: Any) -> None:
    """So little waits that writing was never paused."""
    left: list[PatientSocket] = []

    async def fills(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        visitor = the_visitor()
        while not visitor.transport.get_write_buffer_size():
            await send({"type": "websocket.send", "bytes": bytes(4096)})
            await asyncio.sleep(0)
        assert visitor.transport.get_write_buffer_size() < SHALLOW
        left.append(visitor)

    async def visit(host: str, port: int) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (host, port))
        await loop.sock_sendall(sock, UPGRADE)
        while not left or not left[0].disconnected:
            await asyncio.sleep(0.01)
        sock.close()

    served(house, PublicLimits(answer_timeout=0.2), visit, fills)


def test_small_words_are_not_kept_for_more_to_go_with_them(house: Any) -> None:
    """Nagle's algorithm (RFC 9293, 3.7.4) would wait for each acknowledgement of the last one."""
    said: list[int] = []

    async def looks(scope: Scope, receive: Receive, send: Send) -> None:
        visitor = the_visitor()
        below = visitor.transport.get_extra_info("socket")
        said.append(below.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await send({"type": "websocket.accept"})

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(UPGRADE)
        await reader.readuntil(HEAD_END)
        writer.close()

    served(house, PublicLimits(), visit, looks)
    assert said == [1]


def test_who_asked_for_something_first_is_not_cut_later(house: Any) -> None:
    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def visit(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(ASK + UPGRADE)
        await reader.readuntil(b" 101 ")
        await reader.readuntil(HEAD_END)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 1.2)
        writer.close()

    served(house, PublicLimits(request_timeout=0.5), visit, listens)
