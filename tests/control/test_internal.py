"""The internal face: a filter in, sessions or their ids out."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from relay.control.internal import internal_app
from relay.control.silence import SILENT
from relay.errors import BadRequest


class Ward:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def sessions(self, query: str) -> tuple[list[dict[str, Any]], list[int]]:
        self.asked.append(query)
        if query == "nonsense":
            raise BadRequest("no field is called 'nonsense'")
        return [{"id": "1"}], [2] if query == "path=b" else []

    async def revalidate(self, query: str) -> list[str]:
        self.asked.append(query)
        return ["1"] if query == "id=1" else []

    async def nodes(self) -> dict[str, Any]:
        return {"nodes": []}

    async def metrics(self) -> bytes:
        return b"relay_sessions 3.0\n"

    async def routes(self, prefix: str) -> dict[str, Any]:
        if "//" in prefix:
            raise BadRequest("too long")
        return {"below": prefix}

    async def drain(self) -> int:
        self.is_leaving = True
        return 2

    is_leaving = False


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/health", 200, "ok"),
        ("GET", "/sessions?path=a", 200, '{"sessions":[{"id":"1"}]}'),
        ("GET", "/sessions?nonsense", 400, "no field"),
        ("POST", "/sessions/revalidate?id=1", 202, '{"ids":["1"]}'),
        ("POST", "/sessions/revalidate?id=2", 200, '{"ids":[]}'),
        ("GET", "/sessions/revalidate", 405, ""),
        ("GET", "/nodes", 200, '{"nodes":[]}'),
        ("GET", "/metrics", 200, "relay_sessions 3.0"),
        ("GET", "/routes", 200, '{"below":""}'),
        ("GET", "/routes/a%20b/c", 200, '{"below":"/a%20b/c"}'),
        ("GET", "/routes/a%0Ab", 200, '{"below":"/a%0Ab"}'),
        ("GET", "/%72outes/a", 400, "without escapes"),
        ("GET", "/routes/a//b", 400, "too long"),
        ("GET", "/health%0A", 404, ""),
        ("POST", "/drain", 202, '{"sessions":2}'),
        ("GET", "/drain", 405, ""),
    ],
)
def test_what_it_answers(method: str, path: str, status: int, text: str) -> None:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=internal_app(Ward()))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, path)

    answer = asyncio.run(ask())
    assert answer.status_code == status
    assert text in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/metrics", 200),
        ("GET", "/nodes", 200),
        ("GET", "/routes", 403),
        ("GET", "/routes/a", 403),
        ("GET", "/sessions", 403),
        ("POST", "/sessions/revalidate", 403),
        ("POST", "/drain", 403),
    ],
)
def test_other_machines_read_the_numbers_and_the_mesh(method: str, path: str, status: int) -> None:
    ward = Ward()

    async def ask(peer: str) -> int:
        transport = httpx.ASGITransport(app=internal_app(ward), client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            return (await client.request(method, path)).status_code

    assert asyncio.run(ask("192.0.2.1")) == asyncio.run(ask("2001:db8::1")) == status
    assert (ward.is_leaving, ward.asked) == (False, [])
    assert asyncio.run(ask("::ffff:127.0.0.1")) in (200, 202)


def test_workers_that_did_not_answer_are_named() -> None:
    async def ask() -> None:
        transport = httpx.ASGITransport(app=internal_app(Ward()))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            whole, partial = [await client.get(f"/sessions?path={name}") for name in "ab"]
            assert SILENT not in whole.headers
            assert partial.headers[SILENT] == "2"

    asyncio.run(ask())


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example.com"},
        {"sec-fetch-site": "same-origin"},
        {"host": "rebound.example.com:4441"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", "/sessions"),
        ("POST", "/sessions/revalidate"),
        ("GET", "/nodes"),
        ("GET", "/metrics"),
        ("GET", "/routes"),
        ("GET", "/routes/a"),
        ("POST", "/drain"),
    ],
)
def test_a_page_in_a_browser_gets_nothing(method: str, path: str, headers: dict[str, str]) -> None:
    ward = Ward()

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=internal_app(ward))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, headers=headers)

    assert asyncio.run(ask()).status_code == 403
    assert (ward.asked, ward.is_leaving) == ([], False)


def test_a_relay_that_is_about_to_stop_is_not_healthy() -> None:
    async def ask() -> tuple[int, int]:
        transport = httpx.ASGITransport(app=internal_app(Ward()))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            drained = await client.post("/drain")
            health = await client.get("/health")
            return drained.status_code, health.status_code

    assert asyncio.run(ask()) == (202, 503)
