"""Dialling WebSocket: servers that answer wrongly, stop reading, or say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from absent import module
from relay.errors import ConfigError, SessionLost
from relay.net import dial_websocket
from relay.net.dial import Session, dial
from relay.net.dial_websocket import SocketAttempt
from relay.net.qmux import QmuxTransport
from relay.net.qmux_frames import Parameters, parameters_frame
from relay.net.settings import QuicLimits
from relay.net.trust import DialTls

VERSION = "moq-lite-06"
SPOKEN: Any = f"qmux-02.{VERSION}"
AMPLE = parameters_frame(Parameters(1 << 30, 1 << 30, 1 << 30, 1 << 30, 100, 100, 1 << 16))
BRIEF = replace(QuicLimits(), idle_timeout=0.9, close_timeout=0.2)
SECRET = "?jwt=SECRET"
TURNS = 6
"""Turns of the loop after which somebody may give up."""


class Ending:
    """A receiver that wants to know the end alone."""

    def __init__(self) -> None:
        self.reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_lost(self, code: int, reason: str) -> None:
        if not self.reason.done():
            self.reason.set_result(reason)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says this to every request."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/demo{SECRET}"


@contextlib.asynccontextmanager
async def speaking(
    handler: Callable[[ServerConnection], Awaitable[None]], **more: Any
) -> AsyncIterator[tuple[Session, Ending]]:
    """A session with a server that speaks as it is told."""
    spoken = [Subprotocol(SPOKEN)]
    quiet: Any = {"subprotocols": spoken, "ping_interval": None, "close_timeout": 0.1}
    async with serve(handler, "127.0.0.1", 0, **quiet) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        session = await dial(url, protocols=(VERSION,), limits=BRIEF, **more)
        ending = Ending()
        session.start(ending)  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(20):
                yield session, ending
        finally:
            async with asyncio.timeout(5):
                await session.close()


async def refused(url: str, tls: DialTls | None = None) -> SessionLost:
    with pytest.raises(SessionLost) as lost:
        await dial(url, protocols=(VERSION,), timeout=5, tls=tls)
    assert "SECRET" not in str(lost.value)
    return lost.value


@pytest.mark.parametrize(
    ("head", "said", "status"),
    [
        (
            "401 X\r\nx-request-id: a\r\nx-request-id: b",
            "401 (id b; the relay's log says why)",
            401,
        ),
        (f"401 X\r\nx-request-id: {'a' * 4000}", f"401 (id {'a' * 64}; the relay's", 401),
        ("301 X\r\nlocation: /a\r\nlocation: /b", "301", 301),
        ("301 X\r\nlocation: #x", "301", 301),
        ("307 X\r\nlocation: /demo", "307", 307),
    ],
)
async def test_an_answer_is_a_refusal_and_nobody_is_followed(
    head: str, said: str, status: int
) -> None:
    async with answering(f"HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n".encode()) as url:
        lost = await refused(url)
        assert str(lost).startswith(f"refused with status {said}")
        assert lost.status == status


async def test_who_hangs_up_within_tls_is_said_to_have_done_so() -> None:
    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        lost = await refused(f"wss://127.0.0.1:{port}/{SECRET}", DialTls(disable_verify=True))
        assert str(lost).split(": ", 1)[1] in ("the peer hung up", "connection reset by peer")


@pytest.mark.parametrize(
    "url",
    [
        f"tcp://127.0.0.1/{SECRET}",
        f"tcp://127.0.0.1:0/{SECRET}",
        f"ws://127.0.0.1:0/{SECRET}",
        f"ws://127.0.0.1:x/{SECRET}",
        f"unix://host/x{SECRET}",
        f"unix:{SECRET}",
        f"https://u:SECRET@:1/{SECRET}",
    ],
)
async def test_what_is_wrong_with_a_url_is_said_without_its_token(url: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        await dial(url, protocols=(VERSION,))
    assert "SECRET" not in str(wrong.value)


async def test_a_user_without_a_password_is_no_reason() -> None:
    async with answering(b"HTTP/1.1 403 X\r\ncontent-length: 0\r\n\r\n") as url:
        assert (await refused(url.replace("ws://", "ws://SECRET@"))).status == 403


async def test_a_server_that_has_pings_answered_and_reads_no_answer_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dial_websocket, "MAX_UNREAD", 1 << 17)
    most = 0

    async def flood(socket: ServerConnection) -> None:
        await socket.send(AMPLE)
        socket.transport.pause_reading()
        ping = bytes((0x89, 125)) + b"x" * 125
        while not socket.transport.is_closing():
            socket.transport.write(ping * 500)
            await socket.drain()
            await asyncio.sleep(0)

    async with speaking(flood) as (session, ending):
        line: Any = session._socket  # type: ignore[attr-defined]
        while not ending.reason.done():
            most = max(most, line.transport.get_write_buffer_size())
            await asyncio.sleep(0.01)
        assert await ending.reason == "the connection is gone"
    assert most < 1 << 20


async def test_a_server_that_stops_reading_is_lost_when_it_says_nothing_and_closing_ends() -> None:
    async def stall(socket: ServerConnection) -> None:
        await socket.send(AMPLE)
        socket.transport.pause_reading()
        await asyncio.sleep(3)

    async with speaking(stall) as (session, ending):
        transport = session.transport
        stream = transport.open_uni(b"x")
        while not ending.reason.done():
            if stream is not None and transport.capacity(stream):
                transport.send(stream, b"x" * min(transport.capacity(stream), 1 << 16))
            await asyncio.sleep(0.005)
        assert await ending.reason == "nothing was heard for 0.9 s"


async def test_a_server_that_never_says_what_it_takes() -> None:
    async with speaking(lambda socket: asyncio.sleep(2)) as (_, ending):
        assert await ending.reason == "it did not introduce itself"


async def test_a_quiet_server_that_answers_pings_is_no_lost_one() -> None:
    async def rest(socket: ServerConnection) -> None:
        await socket.send(AMPLE)
        await socket.wait_closed()

    async with speaking(rest) as (_, ending):
        await asyncio.sleep(2.0)
        assert not ending.reason.done()


async def test_text_is_no_message_of_ours_and_why_a_server_closes_is_told() -> None:
    async def text(socket: ServerConnection) -> None:
        await socket.send(AMPLE)
        await socket.send("hello")
        await socket.wait_closed()

    async with speaking(text) as (_, ending):
        assert await ending.reason == "a message of text"

    async def close(socket: ServerConnection) -> None:
        await socket.send(AMPLE)
        await socket.close(1008, "token\nexpired")

    async with speaking(close) as (_, ending):
        assert await ending.reason == "the connection was closed with 1008: token\nexpired"
    assert str(SessionLost("token\nexpired" + "x" * 900)) == "token expired" + "x" * 487


async def test_a_session_that_nobody_reads_any_more_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server answers pings, so that silence would not end it."""
    said: list[Exception] = []
    hear = QmuxTransport.hear

    def failing(self: QmuxTransport, message: bytes) -> Iterator[None]:
        if message != AMPLE:
            raise LookupError("nobody thought of this")
        return hear(self, message)

    monkeypatch.setattr(QmuxTransport, "hear", failing)

    async def handler(server: ServerConnection) -> None:
        await server.send(AMPLE)
        await server.send(b"?")
        await server.wait_closed()

    async with speaking(handler, on_error=said.append) as (_, ending), asyncio.timeout(3):
        await ending.reason
    assert [type(error) for error in said] == [LookupError]


def test_who_gives_up_leaves_no_error_of_a_server_without_tls_to_nobody() -> None:
    """As where QUIC is there at last: the relay's log has no trace of what nobody waits for."""
    uvloop = module("uvloop")
    heard: list[dict[str, Any]] = []
    answered: list[socket.socket] = []

    def plainly(listening: socket.socket) -> None:
        """From another thread: the answer is there as soon as the connection is."""
        with contextlib.suppress(OSError):
            while True:
                answered.append(listening.accept()[0])
                answered[-1].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def given_up(port: int, turns: int) -> None:
        target, tls = urlsplit(f"wss://127.0.0.1:{port}/"), DialTls(disable_verify=True)
        attempt = SocketAttempt(target, (VERSION,), tls, BRIEF, lambda error: None)
        dialling = asyncio.ensure_future(attempt.run(socket.AF_INET, ("127.0.0.1", port)))
        for _ in range(turns):
            await asyncio.sleep(0)
        dialling.cancel()
        await asyncio.wait((dialling,))

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, facts: heard.append(facts))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            threading.Thread(target=plainly, args=(listening,), daemon=True).start()
            listening.settimeout(1.0)
            for turns in 3 * tuple(range(TURNS)):
                await given_up(listening.getsockname()[1], turns)
                await asyncio.sleep(0.02)
                gc.collect()
        for each in answered:
            each.close()

    uvloop.run(main())
    assert heard == []
