"""The numbers of a running relay: they parse, they move, and strangers cannot make them many."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
from mesh import BLIND
from samples import scrape, total

from pace import until
from relay.client import connect
from relay.errors import SessionLost
from relay.net.trust import DialTls
from relay.server import metrics

TRUST = DialTls(disable_verify=True)
INTERNAL = '[internal]\nlisten = "127.0.0.1:0"\n[quotas.tenants.anon]\nsessions = 3\n'


def face(relay: Any) -> str:
    return f"http://127.0.0.1:{relay.internal_address[1]}"


def dial(relay: Any, target: str) -> Any:
    return connect(f"https://127.0.0.1:{relay.quic_address[1]}{target}", tls=TRUST)


def test_numbers_move(running: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            relay = await stack.enter_async_context(running(INTERNAL))
            before = await scrape(face(relay))
            assert total(before, "relay_sessions") == 0
            assert total(before, "relay_build_info") == 1
            assert total(before, "relay_announces") == total(before, "relay_broadcasts") == 0
            clients = [await stack.enter_async_context(dial(relay, "/anon")) for _ in range(3)]
            clients[0].create_broadcast("cam")
            for target in ("/anon", "/private"):
                try:
                    async with dial(relay, target):
                        raise AssertionError(target)
                except SessionLost:
                    pass
            while total(found := await scrape(face(relay)), "relay_announces") < 1:
                await asyncio.sleep(0.05)
            assert total(found, "relay_sessions_admitted_total") == 3
            assert total(found, "relay_announces") == total(found, "relay_broadcasts") == 1
            assert total(found, "relay_sessions", transport="webtransport", tenant="anon") == 3
            assert total(found, "relay_tenant_usage", tenant="anon", quota="sessions") == 3
            assert total(found, "relay_quota_breaches_total", quota="sessions") == 1
            assert total(found, "relay_sessions_refused_total") == 2
            assert total(found, "relay_keys") == 1
            for name in ("bytes", "datagrams"):
                for direction in ("in", "out"):
                    label = {"direction": direction}
                    moved = f"relay_udp_{name}_total"
                    assert total(found, moved, **label) > total(before, moved, **label)
            assert 0 <= total(found, "relay_loop_lag_seconds_max") < 5
            assert 0 <= total(found, "relay_revocations_age_seconds") < 5

    asyncio.run(main())


def test_bytes_of_tenants_that_came_and_went_between_two_looks_are_counted(running: Any) -> None:
    async def main() -> None:
        async with running(INTERNAL) as relay, httpx.AsyncClient() as web:
            url = f"http://127.0.0.1:{relay.http_addresses[0][1]}"
            body = b"x" * 1000
            await web.post(f"{url}/publish/anon/cam/v", content=body)
            for looks in (1, 2, 3):
                assert (await web.get(f"{url}/fetch/anon/cam/v")).content == body
                for path, booth in tuple(relay.press.station.booths.items()):
                    booth.published = -1e9
                    assert path == "anon/cam"
                relay.press.tick(relay.house.clock())
                relay.house.ledger.tick(relay.house.clock() + 10.0 * looks)
                assert "anon" not in relay.house.ledger.accounts
                if looks != 2:
                    found = await scrape(face(relay))
                    for direction in ("in", "out"):
                        label = {"tenant": "anon", "direction": direction}
                        assert total(found, "relay_tenant_bytes_total", **label) == 1000 * looks
                await web.post(f"{url}/publish/anon/cam/v", content=body)

    asyncio.run(main())


def test_what_became_of_copies_is_among_them(running: Any) -> None:
    sink = '[sinks.lake]\nkind = "kafka"\nbrokers = ["127.0.0.1:9"]\ntracks = ["anon/**:t"]\n'
    more = "max_message_bytes = 1000\ndrain = 0.0\n"

    async def main() -> None:
        async with running(INTERNAL + sink + more) as relay, httpx.AsyncClient() as web:
            url = f"http://127.0.0.1:{relay.http_addresses[0][1]}/publish/anon/a/t"
            for size in (1, 2, 2000):
                assert (await web.post(url, content=b"x" * size)).status_code == 202
            found = await scrape(face(relay))
            assert total(found, "relay_sink_waiting", sink="lake") == 2
            for outcome, count in (("failed", 1), ("delivered", 0), ("dropped", 0), ("unsent", 0)):
                what = {"sink": "lake", "outcome": outcome}
                assert total(found, "relay_sink_records_total", **what) == count

    asyncio.run(main())


def test_tenants_beyond_the_limit_are_counted_together(running: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(metrics, "MAX_TENANTS", 2)
    base = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost", "127.0.0.1"]
[auth]
key = "key.jwk"
public = ["a", "b", "c", "d"]
"""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            relay = await stack.enter_async_context(
                running('[internal]\nlisten = "127.0.0.1:0"\n', base)
            )
            for target in ("/a", "/a", "/b", "/b", "/c", "/d"):
                await stack.enter_async_context(dial(relay, target))
            found = await scrape(face(relay))
            tenants = {has["tenant"] for has, _ in found["relay_sessions"]}
            assert tenants == {"a", "b", metrics.OTHERS}
            assert total(found, "relay_sessions", tenant=metrics.OTHERS) == 2
            assert total(found, "relay_tenant_usage", tenant=metrics.OTHERS, quota="sessions") == 2

    asyncio.run(main())


def test_other_relays_are_counted_as_relays(node: Any, minted: Any) -> None:
    async def main() -> None:
        async with (
            node(extra=INTERNAL) as a,
            node(extra=BLIND, connect=[a.url()]) as b,
            node(extra=BLIND, connect=[a.url("/plant")]) as c,
        ):
            await until(lambda: b.up() and c.up() and a.relays() == 2)

            async def counted() -> dict[str, float]:
                found = await scrape(face(a.relay))
                tenants = {has["tenant"] for has, _ in found["relay_sessions"]}
                return {each: total(found, "relay_sessions", tenant=each) for each in tenants}

            assert await counted() == {metrics.RELAYS: 2}
            with_token = f"jwt={minted()}"
            async with dial(a.relay, f"/?{with_token}"), dial(a.relay, f"/plant?{with_token}"):
                assert await counted() == {metrics.RELAYS: 2, "": 1, "plant": 1}
            name = metrics.RELAYS
            async with dial(a.relay, f"/{name}?jwt={minted(name)}"):
                assert (await counted())[metrics.RELAYS] == 2
                assert (await counted())[metrics.OTHERS] == 1

    asyncio.run(main())
