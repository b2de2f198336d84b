"""Connections that say nothing, nonsense or much before TLS is there."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pace import within
from relay.control.public import public_app
from relay.control.secure import Secure
from relay.control.serve import HttpListener, listen
from relay.control.settings import PublicLimits

ASK = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

Visit = Callable[[int, ssl.SSLContext], Awaitable[None]]


@pytest.fixture
def served(house: Any, pair: Any, tmp_path: Path) -> Callable[[PublicLimits, Visit], None]:
    cert, key = pair(tmp_path)
    believes = ssl.create_default_context(cafile=cert)

    async def run(limits: PublicLimits, visit: Visit) -> None:
        app, sockets = public_app(house, house, limits), listen("127.0.0.1", 0)
        listener = HttpListener(app, sockets, limits, Secure(cert, key))
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(listener.serve())
            await listener.started.wait()
            try:
                await visit(listener.address[1], believes)
            finally:
                listener.stop()

    return lambda limits, visit: asyncio.run(run(limits, visit))


async def answer(port: int, believes: ssl.SSLContext) -> bytes:
    """The first line of an answer; nothing where there is none."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("localhost", port, ssl=believes)
        with contextlib.closing(writer):
            writer.write(ASK)
            return await reader.readline()
    return b""


async def ended(reader: asyncio.StreamReader) -> None:
    """Wait until the connection is over, however it ends."""
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 5)


def test_who_says_nothing_is_cut_and_counted_until_then(
    served: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def visit(port: int, believes: ssl.SSLContext) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]

        async def is_full() -> bool:
            return not await answer(port, believes)

        await within(5.0, is_full)
        for reader, writer in silent:
            await ended(reader)
            writer.close()
        assert b"200" in await answer(port, believes)

    served(PublicLimits(max_connections=1, request_timeout=1.0), visit)
    assert caplog.records == []


def test_who_leaves_or_is_not_understood_is_counted_no_more(
    served: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def visit(port: int, believes: ssl.SSLContext) -> None:
        for said in (ASK, b"", b"\x16\x03\x01") * 3:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            if said != ASK:
                writer.close()
            await ended(reader)
            writer.close()

        async def is_served() -> bool:
            return b"200" in await answer(port, believes)

        await within(5.0, is_served)

    served(PublicLimits(max_connections=1), visit)
    assert caplog.records == []


def test_what_comes_right_behind_the_handshake_is_heard(served: Callable[..., None]) -> None:
    async def visit(port: int, believes: ssl.SSLContext) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        came, leaves = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = believes.wrap_bio(came, leaves, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(leaves.read())
                came.write(await reader.read(65_536))
        tls.write(ASK.replace(b"Host", b"X-Long: " + b"a" * 20_000 + b"\r\nHost") + ASK)
        writer.write(leaves.read())
        text = b""
        while text.count(b"200 OK") < 2:
            with contextlib.suppress(ssl.SSLWantReadError):
                text += tls.read(65_536)
                continue
            piece = await asyncio.wait_for(reader.read(65_536), 5)
            assert piece
            came.write(piece)
        writer.close()

    served(PublicLimits(), visit)
