"""Bodies that are a lot of work for their length."""

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
from relay.control.sips import SIP

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
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
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
