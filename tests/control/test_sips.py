"""What is a lot of work for its length is taken in turns, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from relay.control.secure import Secure
from relay.control.serve import HttpListener, listen
from relay.control.settings import PublicLimits
from relay.control.sips import LEAST, SIP, Sips
from relay.net import turns
from relay.net.turns import Turns

CHUNK = b"1\r\nx\r\n"
CHUNKS = 150_000
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("is_secure", [False, True])
def test_chunks_of_one_byte_do_not_hold_everybody_up(
    pair: Callable[..., Any], tmp_path: Any, is_secure: bool
) -> None:
    pieces: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async for piece in Request(scope, receive).stream():
            pieces.append(len(piece))
        await PlainTextResponse("done")(scope, receive, send)

    async def run() -> bytes:
        cert, key = pair(tmp_path)
        limits = PublicLimits()
        secure = Secure(cert, key) if is_secure else None
        listener = HttpListener(app, listen("127.0.0.1", 0), limits, secure)
        context = ssl.create_default_context(cafile=cert) if is_secure else None
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(listener.serve())
            await listener.started.wait()
            reader, writer = await asyncio.open_connection(
                *listener.address, ssl=context, server_hostname="localhost" if context else None
            )
            writer.write(HEAD + CHUNK * CHUNKS + b"0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            listener.stop()
        return answer

    assert b"200 OK" in asyncio.run(run())
    assert sum(pieces) == CHUNKS
    # A piece is what came until whoever reads it had a turn.
    assert max(pieces) <= 2 * SIP / len(CHUNK)


class Line:
    """A transport that says whether it reads."""

    def __init__(self) -> None:
        self.reads = True
        self.is_lost = False

    def is_closing(self) -> bool:
        return self.is_lost

    def pause_reading(self) -> None:
        assert not self.is_lost
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.is_lost
        self.reads = True


class Inner:
    """One of uvicorn's protocols."""

    def __init__(self) -> None:
        self.transport = Line()
        self.loop = asyncio.get_running_loop()
        self.heard = b""
        self.is_paused = False
        self.has_ended = False

    def data_received(self, data: bytes) -> None:
        assert not self.has_ended
        self.heard += data

    def eof_received(self) -> None:
        self.has_ended = True

    connection_made = connection_lost = pause_writing = resume_writing = eof_received


@pytest.fixture
def laborious(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is heard is a lot of work."""
    monkeypatch.setattr(turns, "TURN", -1.0)


def say(sips: Sips, data: bytes) -> int:
    """What the loop does with what came; answers how much of it was taken."""
    room = sips.get_buffer(-1)
    size = min(len(room), len(data))
    room[:size] = data[:size]
    sips.buffer_updated(size)
    return size


def several(count: int) -> list[tuple[Inner, Sips]]:
    """So many connections of one listener."""
    line = Turns()

    def one() -> tuple[Inner, Sips]:
        inner = Inner()
        return inner, Sips(inner, lambda: inner.is_paused, line)

    return [one() for _ in range(count)]


@pytest.mark.usefixtures("laborious")
def test_one_of_many_goes_on_with_each_turn_of_the_loop() -> None:
    async def main() -> None:
        all = several(4)
        for _, sips in all:
            say(sips, b"x")
        for most in range(4):
            assert [inner.transport.reads for inner, _ in all].count(True) == most
            await asyncio.sleep(0)

    asyncio.run(main())


@pytest.mark.usefixtures("laborious")
def test_pieces_grow_smaller_and_what_is_easy_is_read_at_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        [(_, sips)] = several(1)
        sizes = []
        for _ in range(6):
            sizes.append(say(sips, bytes(SIP)))
            await asyncio.sleep(0)
        assert sizes == [4096, 2048, 1024, 512, LEAST, LEAST]
        monkeypatch.setattr(turns, "TURN", 1e9)
        for _ in range(4):
            say(sips, b"x")
        assert say(sips, bytes(SIP)) == SIP

    asyncio.run(main())


@pytest.mark.usefixtures("laborious")
@pytest.mark.parametrize("ends", [False, True])
def test_what_comes_before_its_turn_is_kept_in_order(ends: bool) -> None:
    async def main() -> None:
        (inner, sips), (_, other) = several(2)
        say(other, b"x")
        say(sips, b"a")
        inner.transport.resume_reading()  # as uvicorn does when its queue is empty
        say(sips, b"b")
        assert (inner.heard, inner.transport.reads) == (b"a", False)
        if ends:
            sips.eof_received()
            assert inner.has_ended
        for _ in range(6):
            await asyncio.sleep(0)
        assert inner.heard == b"ab"
        assert inner.transport.reads

    asyncio.run(main())


@pytest.mark.usefixtures("laborious")
def test_who_stopped_reading_by_itself_or_is_gone_is_left_alone() -> None:
    async def main() -> None:
        (paused, one), (gone, two) = several(2)
        for sips in (one, two):
            say(sips, b"x")
        paused.is_paused = gone.transport.is_lost = True
        for _ in range(3):
            await asyncio.sleep(0)
        assert not paused.transport.reads
        assert not gone.transport.reads

    asyncio.run(main())


def test_what_is_heard_late_is_not_the_last_that_is_read(laborious: None, monkeypatch: Any) -> None:
    async def main() -> None:
        [(inner, sips)] = several(1)
        say(sips, b"a")
        inner.transport.resume_reading()
        say(sips, b"b")
        monkeypatch.setattr(turns, "TURN", 1e9)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (inner.heard, inner.transport.reads) == (b"ab", True)

    asyncio.run(main())
