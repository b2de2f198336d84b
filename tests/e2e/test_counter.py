"""The operator's counter on running relays, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from relay.auth.credentials import NewKey, make_key
from relay.client import Client, connect
from relay.net.dial import DialTls
from relay.records.store import StoreError

TRUST = DialTls(disable_verify=True)


@pytest.fixture(scope="module")
def operator() -> NewKey:
    return make_key(100_000)


def settings(operator: NewKey, extra: str = "") -> str:
    return f'[admin]\napi_key = "{operator.hash}"\n{extra}'


@asynccontextmanager
async def counter(relay: Any, bearer: str | None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {bearer}"} if bearer is not None else {}
    base = f"http://127.0.0.1:{relay.http_addresses[0][1]}/admin/v1"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=10) as client:
        yield client


@asynccontextmanager
async def guest(relay: Any, target: str) -> AsyncIterator[Client]:
    """A session at a path, once the relay has heard who it is."""
    before = len(relay.door.guests)
    async with connect(f"https://127.0.0.1:{relay.quic_address[1]}{target}", tls=TRUST) as client:
        while sum(each.opened for each in relay.door.guests.values()) <= before:
            await asyncio.sleep(0.01)
        yield client


def test_nobody_but_the_operator_is_served(running: Any, operator: NewKey) -> None:
    async def main() -> None:
        async with running(settings(operator)) as relay:
            for bearer in (None, "x", "wrong", f"wrong.{operator.bearer.partition('.')[2]}"):
                async with counter(relay, bearer) as web:
                    for path in ("/sessions", "/nowhere", "/tokens"):
                        answer = await web.get(path)
                        assert answer.status_code in (401, 429)
                        assert answer.headers["content-type"] == "application/problem+json"
                        assert set(answer.json()) == {"type", "title", "status"}
                        assert "access-control-allow-origin" not in answer.headers
            async with counter(relay, operator.bearer) as web:
                assert (await web.get("/nowhere")).status_code == 404
                long = await web.post("/tokens", json={"name": "x" * 70_000})
                assert (long.status_code, long.json()["status"]) == (413, 413)
                wrong = await web.request("PATCH", "/sessions")
                assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")

    asyncio.run(main())


def test_without_a_key_in_the_settings_it_is_closed(running: Any, operator: NewKey) -> None:
    async def main() -> None:
        async with running() as relay, counter(relay, operator.bearer) as web:
            assert (await web.get("/sessions")).status_code == 401

    asyncio.run(main())


def test_sessions_are_listed_by_page_and_filter_and_kicked(
    running: Any, operator: NewKey, token: Any
) -> None:
    async def main() -> None:
        async with (
            running(settings(operator)) as relay,
            counter(relay, operator.bearer) as web,
            guest(relay, "/anon/one"),
            guest(relay, "/anon/two"),
            guest(relay, f"/demo?jwt={token('demo')}") as victim,
        ):
            first = (await web.get("/sessions", params={"limit": 2})).json()
            assert len(first["sessions"]) == 2
            rest = (await web.get("/sessions", params={"cursor": first["cursor"]})).json()
            assert (len(rest["sessions"]), rest["cursor"]) == (1, None)
            below = (await web.get("/sessions", params={"root": "anon/one"})).json()["sessions"]
            assert [each["root"] for each in below] == ["anon/one"]
            (one,) = (await web.get("/sessions", params={"tenant": "demo"})).json()["sessions"]
            assert (one["kid"], one["transport"], one["publish"]) == ("e2e", "webtransport", [""])
            assert one["version"].startswith("moq-lite-")
            assert (await web.get(f"/sessions/{one['id']}")).json()["root"] == "demo"
            kicked = await web.post(f"/sessions/{one['id']}/kick", json={"reason": "noise"})
            assert kicked.json() == {"ended": 1}
            await asyncio.wait_for(victim.lost, 5)
            assert (await web.get(f"/sessions/{one['id']}")).status_code == 404
            (entry,) = (await web.get("/audit", params={"action": "session.kick"})).json()[
                "entries"
            ]
            assert (entry["actor"], entry["address"]) == ("admin", "127.0.0.1")
            assert (entry["target"], entry["detail"]) == (f"session {one['id']}", "noise")

    asyncio.run(main())


def test_a_session_is_given_less_and_never_more(running: Any, operator: NewKey, token: Any) -> None:
    async def main() -> None:
        async with (
            running(settings(operator)) as relay,
            counter(relay, operator.bearer) as web,
            guest(relay, f"/demo?jwt={token('demo', put=('a',))}"),
        ):
            (one,) = (await web.get("/sessions")).json()["sessions"]
            place = f"/sessions/{one['id']}/narrow"
            more = await web.post(place, json={"publish": ["b"]})
            assert more.status_code == 400
            less = await web.post(place, json={"publish": [], "subscribe": ["x/y", "x"]})
            assert (less.json()["publish"], less.json()["subscribe"]) == ([], ["x"])
            again = await web.post(place, json={"publish": ["a"]})
            assert again.status_code == 400

    asyncio.run(main())


def test_what_cannot_be_written_down_is_not_done(
    running: Any, operator: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[tuple[str, str, Any]] = [
        ("POST", "/tokens", {"name": "x", "publish": [""]}),
        ("POST", "/revocations", {"by": "sub", "value": "x"}),
        ("PUT", "/quotas/plant", {"sessions": 1}),
        ("DELETE", "/quotas/plant", None),
        ("DELETE", "/tokens/abcdefABCDEF", None),
        ("DELETE", "/revocations/1", None),
    ]

    async def silent(fact: Any) -> None:
        raise StoreError("the disk is full")

    async def main() -> None:
        async with (
            running(settings(operator)) as relay,
            counter(relay, operator.bearer) as web,
            guest(relay, "/anon"),
        ):
            (one,) = (await web.get("/sessions")).json()["sessions"]
            monkeypatch.setattr(relay.desk.scribe, "write", silent)
            session = f"/sessions/{one['id']}"
            mine: list[tuple[str, str, Any]] = [
                ("POST", f"{session}/kick", {}),
                ("POST", f"{session}/narrow", {"subscribe": []}),
            ]
            for method, place, body in changes + mine:
                answer = await web.request(method, place, json=body)
                assert answer.status_code == 503, place
            assert (await web.get(session)).json()["subscribe"] == one["subscribe"] != []
            assert (await web.get("/tokens")).json()["tokens"] == []
            assert (await web.get("/revocations")).json()["revocations"] == []
            assert (await web.get("/quotas/plant")).json()["said"] is None

    asyncio.run(main())
