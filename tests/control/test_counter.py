"""The operator's counter over HTTP: how its questions are read, with nobody behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette

from relay.control.admin.guard import Guard
from relay.control.admin.routes import counter_routes
from relay.control.asking import exact


class Cardboard:
    """Answers whatever is asked with nothing, and knows what it was."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        async def answer(who: Any, asked: BaseModel) -> dict[str, Any]:
            self.asked.append((name, asked.model_dump(exclude_unset=True)))
            return {}

        return answer


async def _right(bearer: str) -> bool:
    return True


def ask(method: str, path: str, **options: Any) -> tuple[httpx.Response, Any]:
    """The answer to one request of the operator's, and what was asked of the counter for it."""
    counter: Any = Cardboard()

    async def run() -> httpx.Response:
        guard = Guard(lambda bearer: True, _right, lambda: 1.0)
        transport = httpx.ASGITransport(app=Starlette(routes=exact(counter_routes(counter, guard))))
        headers = {"authorization": "Bearer k"}
        async with httpx.AsyncClient(transport=transport, headers=headers) as client:
            place = path if path.startswith("http") else f"http://relay/admin/v1{path}"
            return await client.request(method, place, **options)

    return asyncio.run(run()), counter.asked


@pytest.mark.parametrize("name", ["alice", "bob\n\x01\x7f\u2028", "\u202ebob"])
def test_whoever_a_credential_names_is_found_and_revoked(name: str) -> None:
    """Whoever gives out tokens may have let them choose."""
    answer, asked = ask("POST", "/revocations", json={"by": "sub", "value": name})
    assert (answer.status_code, asked[0][1]) == (201, {"by": "sub", "value": name})
    looked = {"subject": name, "tenant": name, "root": name}
    answer, asked = ask("GET", "/sessions", params=looked)
    assert (answer.status_code, asked) == (200, [("list_sessions", looked)])


def test_what_no_store_keeps_is_refused_in_words() -> None:
    answer, asked = ask("POST", "/revocations", json={"by": "sub", "value": "a\0b"})
    detail = "value: expected text without the character U+0000"
    assert (answer.status_code, answer.json()["detail"], asked) == (400, detail, [])


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("HEAD", "/sessions", 200, None),
        ("PUT", "/sessions", 405, "GET, HEAD"),
        ("PATCH", "/revocations", 405, "GET, HEAD, POST"),
        ("GET", "/keys/rotate", 405, "POST"),
        ("GET", "/sessions%0A", 404, None),
        ("GET", "/no%0Awhere", 404, None),
    ],
)
def test_places_and_what_they_take(
    method: str, path: str, status: int, allowed: str | None
) -> None:
    answer, asked = ask(method, path)
    assert (answer.status_code, answer.headers.get("allow")) == (status, allowed)
    assert bool(asked) == (status == 200)
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("start", ["%61dmin/v1", "admin%2fv1", "admin%2Fv1"])
def test_the_address_is_taken_as_a_proxy_takes_it(start: str) -> None:
    """One that lets nobody in below /admin looks at the letters."""
    for place in ("summary", "openapi.json", "nowhere"):
        answer, asked = ask("GET", f"http://relay/{start}/{place}")
        assert (answer.status_code, asked) == (400, [])
    answer, asked = ask("GET", "/%73ummary")
    assert (answer.status_code, asked) == (200, [("show_summary", {})])


def test_a_member_that_is_said_twice_is_refused() -> None:
    body = b'{"by": "sub", "value": "alice", "value": "bob"}'
    answer, asked = ask("POST", "/revocations", content=body)
    detail = "the body is JSON with a member twice in one object"
    assert (answer.status_code, answer.json()["detail"], asked) == (400, detail, [])
