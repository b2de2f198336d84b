"""What is shown of several workers is shown as of one relay, also when one of them hangs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from samples import scrape, total
from several import WORKERS, Relay, asked_again, audience, heard, many, publishing

from pace import until
from relay.auth.credentials import NewKey, make_key
from relay.client import Client
from relay.server.vigil import SILENCE

COUNT = 3


@pytest.fixture(scope="module")
def operator() -> NewKey:
    return make_key(100_000)


@pytest.fixture
def relay(process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, operator: NewKey) -> Relay:
    monkeypatch.setenv("MOQ_SERVER__WORKERS", f"{COUNT}")
    return Relay(process(f'{WORKERS}\n[admin]\napi_key = "{operator.hash}"\n'), COUNT)


@contextlib.asynccontextmanager
async def counter(relay: Relay, operator: NewKey) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {operator.bearer}"}
    base = f"{relay.http}/admin/v1"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=10) as web:
        yield web


def all_of(by_worker: dict[int, list[Client]]) -> list[Client]:
    return [client for clients in by_worker.values() for client in clients]


async def patiently(web: httpx.AsyncClient, address: str) -> httpx.Response:
    """The answer once no worker is held up for a second."""
    ask = partial(web.get, address)
    return await asked_again(ask, lambda answer: answer.status_code != 503, 10.0)


async def pages(web: httpx.AsyncClient, what: str, limit: int) -> list[dict[str, Any]]:
    """All rows, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await web.get(f"/{what}", params={"limit": limit} | cursor)).json()
        if page["silent"]:  # held up for a second: from the start
            rows, cursor = [], {}
            continue
        assert len(page[what]) <= limit
        rows += page[what]
        if page["cursor"] is None:
            return rows
        assert len(page[what]) == limit
        cursor = {"cursor": page["cursor"]}


def test_numbers_are_of_all_workers(relay: Relay) -> None:
    async def main() -> None:
        async with (
            publishing(relay, "/anon") as (_, write),
            many(relay, "/anon", 9) as by_worker,
        ):
            clients = all_of(by_worker)
            hearing = [asyncio.ensure_future(heard(client, 1000)) for client in clients]
            async with asyncio.timeout(10):
                written = 8000.0 * len(clients)
                while (
                    total(found := await scrape(relay.internal), "relay_subscriptions")
                    < len(clients)
                    or total(found, "relay_udp_bytes_total", direction="out") < written
                ):
                    write()
                    await asyncio.sleep(0.1)
            for each in hearing:
                each.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)
            assert total(found, "relay_subscriptions") == len(clients)
            assert total(found, "relay_sessions", tenant="anon") == len(clients) + 1
            assert total(found, "relay_sessions_admitted_total") == len(clients) + 1
            assert total(found, "relay_connections") == len(clients) + 1
            used = {"tenant": "anon", "quota": "sessions"}
            assert total(found, "relay_tenant_usage", **used) == len(clients) + 1
            assert total(found, "relay_tenant_usage", tenant="anon", quota="broadcasts") == 1
            assert total(found, "relay_build_info") == 1
            assert total(found, "relay_tracks") == 1
            assert (total(found, "relay_workers"), total(found, "relay_workers_silent")) == (3, 0)
            assert {has["worker"] for has, _ in found["relay_uptime_seconds"]} == {"0", "1", "2"}

    asyncio.run(main())


def test_sessions_are_listed_and_ended_wherever_they_are(relay: Relay, operator: NewKey) -> None:
    async def main() -> None:
        async with many(relay, "/anon", 9) as by_worker, counter(relay, operator) as web:
            clients = all_of(by_worker)
            async with asyncio.timeout(5):
                while len(rows := await pages(web, "sessions", 4)) < len(clients):
                    await asyncio.sleep(0.05)
            ids = [row["id"] for row in rows]
            assert ids == sorted(set(ids))
            assert len(ids) == len(clients)
            summary = (await web.get("/summary")).json()
            assert (summary["admitted"], summary["connections"]) == (len(ids), len(ids))
            assert (await web.get("/nodes")).json()["own"]["sessions"] == len(ids)
            usage = (await web.get("/quotas/anon")).json()["usage"]
            assert usage["sessions"] == len(ids)
            for id in ids:
                assert (await patiently(web, f"/sessions/{id}")).json()["id"] == id
                narrowed = await web.post(f"/sessions/{id}/narrow", json={"publish": ["less"]})
                assert narrowed.json()["publish"] == ["less"]
            more = await web.post(f"/sessions/{ids[0]}/narrow", json={"publish": [""]})
            assert more.status_code == 400
            for id in ids:
                said = {"reason": "enough"}
                assert (await web.post(f"/sessions/{id}/kick", json=said)).json() == {"ended": 1}
                assert (await patiently(web, f"/sessions/{id}")).status_code == 404
            await asyncio.wait_for(asyncio.gather(*(client.lost for client in clients)), 5)
            kicked = (await web.get("/audit", params={"action": "session.kick"})).json()["entries"]
            assert {entry["target"] for entry in kicked} == {f"session {id}" for id in ids}
            assert {entry["detail"] for entry in kicked} == {"enough"}
            assert {entry["address"] for entry in kicked} == {"127.0.0.1"}

    asyncio.run(main())


def test_a_broadcast_has_one_row_and_its_own_viewers(relay: Relay, operator: NewKey) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            enter = stack.enter_async_context
            for name in ("a", "b", "c", "d"):
                await enter(publishing(relay, f"/anon/{name}"))
            _, write = await enter(publishing(relay, "/anon"))
            by_worker = await enter(many(relay, "/anon", 6))
            web = await enter(counter(relay, operator))
            clients = all_of(by_worker)
            watching = asyncio.ensure_future(audience(clients, write, 10_000))
            named = ["anon/a/cam", "anon/b/cam", "anon/c/cam", "anon/cam", "anon/d/cam"]
            async with asyncio.timeout(10):
                while True:
                    rows = [
                        row
                        for row in await pages(web, "broadcasts", 2)
                        if not row["path"].startswith(".")
                    ]
                    assert [row["path"] for row in rows] == named
                    cam = rows[3]
                    groups = sum(track["groups"] for track in cam["tracks"])
                    if cam["viewers"] == len(clients) and groups > 1:  # one alone has no rate
                        break
                    await asyncio.sleep(0.05)
            assert len(cam["routes"]) == 1
            (track,) = cam["tracks"]
            assert (track["name"], track["viewers"]) == ("video", len(clients))
            assert track["bits_per_second"] > 0
            await asyncio.sleep(1.0)
            again = (await web.get("/broadcasts", params={"prefix": "anon/cam"})).json()
            assert again["broadcasts"][0]["viewers"] == len(clients)
            ways = [row for row in await pages(web, "routes", 2) if row["path"] in named]
            assert [row["path"] for row in ways] == named  # each once, where it ends
            assert {(row["by"], row["serves"]) for row in ways} == {("session", True)}
            assert ways[3]["viewers"] == len(clients)
            assert ways[3]["id"] in {row["id"] for row in await pages(web, "sessions", 100)}
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(main())


@contextlib.contextmanager
def hung(relay: Relay, worker: int) -> Any:
    pid = relay.pid(worker)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_worker_that_hangs_is_left_out_and_named(relay: Relay, operator: NewKey) -> None:
    async def main() -> None:
        async with many(relay, "/anon", 6) as by_worker, counter(relay, operator) as web:
            rest = len(by_worker[0]) + len(by_worker[2])
            with hung(relay, 1):
                began = time.monotonic()
                page = await alone_silent(web, "/sessions")
                assert time.monotonic() - began < 3
                assert len(page["sessions"]) == rest
                while total(found := await scrape(relay.internal), "relay_workers_silent") > 1:
                    assert time.monotonic() - began < SILENCE
                assert total(found, "relay_workers_silent") == 1
                assert total(found, "relay_sessions", tenant="anon") == rest
                await alone_silent(web, "/summary")
                assert (await web.get("/sessions/nobody")).status_code == 503
            details = [line["detail"] for line in relay.said("warning")]
            assert any(line.startswith("worker 1 did not answer") for line in details)
            await until(lambda: not client_lost(by_worker))
            assert len(await pages(web, "sessions", 100)) == len(all_of(by_worker))
            assert (await patiently(web, "/sessions/nobody")).status_code == 404

    async def alone_silent(web: httpx.AsyncClient, what: str) -> Any:
        """What is answered where nobody else is held up meanwhile."""

        def is_good(answer: httpx.Response) -> bool:
            silent = answer.json()["silent"]
            assert 1 in silent
            return bool(silent == [1])

        return (await asked_again(partial(web.get, what), is_good, SILENCE)).json()

    def client_lost(by_worker: dict[int, list[Client]]) -> bool:
        return any(client.lost.done() for client in all_of(by_worker))

    asyncio.run(main())


def test_what_every_worker_writes_down_is_posted_also_when_it_stops(
    process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOQ_SERVER__WORKERS", "2")
    posted: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            posted.extend(json.loads(body)["entries"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Not on standard error."""

    async def main(relay: Relay) -> int:
        async with many(relay, "/anon", 4) as by_worker:
            return len(all_of(by_worker))

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        listening = threading.Thread(target=server.serve_forever, args=(0.05,))
        listening.start()
        secret = 'webhook_private = true\nwebhook_secret = "0123456789abcdef"\nflush = 5.0\n'
        hook = f'[audit]\nwebhook = "http://127.0.0.1:{server.server_port}/"\n{secret}'
        relay = Relay(process(f"{WORKERS}\n{hook}"))
        count = asyncio.run(main(relay))
        assert relay.process.stop() == 0
        server.shutdown()
        listening.join()
    assert [each["action"] for each in posted] == ["allow"] * count
    assert sorted(each["number"] for each in posted) == list(range(1, count + 1))
