"""Requests as RFC 9112 allows them, and as it warns of them, over real connections."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from relay.control.asking import raw_path
from relay.control.internal import internal_app
from relay.control.serve import HttpListener, listen
from relay.control.settings import PublicLimits

LIMITS = PublicLimits(request_timeout=2.0)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
BODY = b"3\r\nabc\r\n0\r\n\r\n"


async def told(request):
    body = (await request.body()).decode()
    host, query = request.headers.get("host"), request.url.query
    return JSONResponse([raw_path(request), request.url.path, query, host, body])


def answers(data, app=None):
    """Everything that comes back for ``data``, until the connection is closed."""
    app = app or Starlette(routes=[Route("/{any:path}", told, methods=["GET", "POST"])])

    async def main():
        listener = HttpListener(app, listen("127.0.0.1", 0), LIMITS)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(listener.serve())
            await listener.started.wait()
            reader, writer = await asyncio.open_connection(*listener.address)
            writer.write(data)
            found = await reader.read()
            writer.close()
            listener.stop()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "path", "plain", "query", "host"),
    [
        ("http://a.example:80/x%20y/z?q=1", "/x%20y/z", "/x y/z", "q=1", "a.example:80"),
        ("HTTPS://a.example", "/", "/", "", "a.example"),
        ("http://me@a.example?q", "/", "/", "q", "a.example"),
        ("/http://a.example/x", "/http://a.example/x", "/http://a.example/x", "", "b.example"),
    ],
)
def test_a_whole_address_is_its_path_at_its_host(target, path, plain, query, host):
    said = f"GET {target} HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n"
    head, _, body = answers(said.encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == JSONResponse([path, plain, query, host, ""]).body


def test_the_host_of_the_address_is_the_one_that_is_judged():
    said = (
        b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert answers(said, internal_app(None)).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(("two", "count"), [(b"Content-Length: 5\r\n", 1), (b"", 2)])
def test_after_a_body_with_two_lengths_nothing_is_read(two, count):
    first = b"POST /x HTTP/1.1\r\nHost: a\r\n" + two + CHUNKED + b"\r\n" + BODY
    second = b"GET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    found = answers(first + second)
    assert found.count(b"HTTP/1.1 200") == count
    assert b'"abc"' in found
    assert (b'"/y"' in found) is (count == 2)
