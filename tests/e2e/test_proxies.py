"""Behind a reverse proxy: who asks is whom the proxy names, if it is one that is believed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mesh import BASE
from websockets.asyncio.client import connect as open_socket

from pace import until

SEEN = "198.51.100.7"


def behind(*proxies: str) -> str:
    return f"[web]\ntrusted_proxies = [{', '.join(map(repr, proxies))}]\n"


@pytest.fixture
def refused(running: Any) -> Callable[..., list[str]]:
    """``refused(host, extra)``: the addresses in the log of a request that names its client, over
    HTTP and over WebSocket."""

    def ask(host: str, said: str, extra: str) -> list[str]:
        async def main() -> list[str]:
            toml = BASE.replace("127.0.0.1:0", f"{host}:0", 1)
            async with running(extra, base=toml) as relay, asyncio.timeout(10):
                told: list[str] = []
                before = relay.house.audit
                relay.house.audit = lambda action, **facts: (
                    told.append(facts.get("remote", "")),
                    before(action, **facts),
                )
                address, headers = relay.http_addresses[0], {"x-forwarded-for": said}
                url = f"127.0.0.1:{address[1]}"
                async with httpx.AsyncClient(base_url=f"http://{url}", headers=headers) as web:
                    assert (await web.get("/announced/demo")).status_code == 401
                offer: Any = ["qmux-02.moq-lite-06"]
                dialled = open_socket(
                    f"ws://{url}/anon", subprotocols=offer, additional_headers=headers
                )
                async with dialled:
                    await until(lambda: relay.door.guests)
                    (guest,) = relay.door.guests.values()
                    told.append(guest.remote)
                assert len(told) > 1
                return [each.partition(":")[0] for each in told]

        return asyncio.run(main())

    return ask


@pytest.mark.parametrize("host", ["127.0.0.1", "[::]"])
def test_who_is_behind_a_trusted_proxy_is_seen(refused: Any, host: str) -> None:
    assert set(refused(host, SEEN, behind("127.0.0.1"))) == {SEEN}


@pytest.mark.parametrize("extra", ["", behind("127.0.0.2", "10.0.0.0/8")])
def test_nobody_else_says_who_asks(refused: Any, extra: str) -> None:
    assert set(refused("127.0.0.1", SEEN, extra)) == {"127.0.0.1"}


def test_everybody_behind_a_trusted_proxy_has_a_share_of_their_own(running: Any) -> None:
    async def main() -> None:
        said = f"[ingest]\nmax_watchers_per_address = 1\n{behind('127.0.0.1')}"
        async with running(said) as relay, contextlib.AsyncExitStack() as closing:
            web = httpx.AsyncClient(base_url=f"http://127.0.0.1:{relay.http_addresses[0][1]}")
            await closing.enter_async_context(web)
            await web.post("/publish/anon/a/x", json={})

            async def watched(name: str) -> int:
                asking = web.stream("GET", "/watch/anon/a/x", headers={"x-forwarded-for": name})
                return (await closing.enter_async_context(asking)).status_code

            names = [SEEN, "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", SEEN, "198.51.100.8"]
            told = [await watched(each) for each in [*names, "made:up", "made:up"]]
            assert told == [200, 200, 429, 200, 429, 200, 200, 429]

    asyncio.run(main())


def test_of_several_proxies_the_first_that_is_not_believed_is_who_asks(refused: Any) -> None:
    said = f"203.0.113.1, {SEEN}, 10.1.2.3"
    assert set(refused("127.0.0.1", said, behind("127.0.0.1", "10.0.0.0/8"))) == {SEEN}
