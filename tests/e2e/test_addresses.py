"""One broadcast at one path: how a session says it, and how an HTTP address does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from relay.client import Client, connect
from relay.model.track import TrackInfo
from relay.net.trust import DialTls

TRUST = DialTls(disable_verify=True)
NAME = "my cam/é 100%?#"
ESCAPED = "my%20cam/%C3%A9%20100%25%3F%23"


def face(relay: Any, token: str) -> httpx.AsyncClient:
    """The relay's HTTP face; ``token`` may be empty."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = f"http://127.0.0.1:{relay.http_addresses[0][1]}"
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=20.0)


async def put_on_air(
    client: Client, name: str, payload: bytes, web: httpx.AsyncClient, address: str
) -> None:
    """Publish one frame in a track ``t``, and wait until something is announced at an address."""
    track = client.create_broadcast(name).create_track("t", TrackInfo())
    track.append_group()
    track.write_frame(payload, 0)
    track.finish_group()
    async with asyncio.timeout(20):
        while not (await web.get(address)).text:
            await asyncio.sleep(0.02)


async def first_event(web: httpx.AsyncClient, address: str) -> str:
    """The data of the first frame of a track."""
    async with web.stream("GET", address) as stream:
        if stream.status_code == 200:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    return line.removeprefix("data: ")
    return str(stream.status_code)


@pytest.mark.parametrize(
    ("dialled", "root"),
    [("anon", ""), ("demo", "demo"), ("caf%C3%A9/a%20b", "caf%C3%A9/a%20b"), ("c%20d", "c%20d")],
)
def test_who_may_publish_at_a_url_is_read_below_it(
    running: Any, token: Callable[..., str], dialled: str, root: str
) -> None:
    async def main() -> None:
        jwt = token(root) if root else ""
        async with running() as relay, face(relay, jwt) as web:
            url = f"https://127.0.0.1:{relay.quic_address[1]}/{dialled}?jwt={jwt}"
            async with connect(url, tls=TRUST) as client:
                await put_on_air(client, NAME, b"21.5", web, f"/announced/{dialled}/my%20cam")
                listed = await web.get(f"/announced/{dialled}/my%20cam")
                assert listed.text.splitlines() == ["é 100%?#"]
                routes = await web.get(f"/routes/{dialled}/my%20cam")
                assert routes.json()["announced"] == ["é 100%?#"]
                assert (await web.get(f"/fetch/{dialled}/{ESCAPED}/t")).content == b"21.5"
                assert await first_event(web, f"/watch/{dialled}/{ESCAPED}/t") == "21.5"
                once_more = ESCAPED.replace("%", "%25")
                assert (await web.get(f"/fetch/{dialled}/{once_more}/t")).status_code == 404

    asyncio.run(main())


def test_what_is_published_by_http_has_the_name_without_escapes(
    running: Any, token: Callable[..., str]
) -> None:
    async def main() -> None:
        for dialled, root in (("anon", ""), ("caf%C3%A9", "caf%C3%A9")):
            jwt = token(root) if root else ""
            async with running() as relay, face(relay, jwt) as web:
                sent = await web.post(f"/publish/{dialled}/{ESCAPED}/t", content=b"x")
                assert sent.status_code == 202
                url = f"https://127.0.0.1:{relay.quic_address[1]}/{dialled}?jwt={jwt}"
                async with connect(url, tls=TRUST) as client, asyncio.timeout(20):
                    await client.find(NAME)

    asyncio.run(main())


def test_a_session_that_dialled_deeper_than_its_rights_say_is_found_too(running: Any) -> None:
    async def main() -> None:
        async with running() as relay, face(relay, "") as web:
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon/my%20room"
            async with connect(url, tls=TRUST) as client:
                await put_on_air(client, "cam", b"1", web, "/announced/anon/my%20room")
                for room in ("my%20room", "my%2520room"):
                    assert (await web.get(f"/routes/anon/{room}")).json()["announced"] == ["cam"]
                    assert (await web.get(f"/fetch/anon/{room}/cam/t")).content == b"1"
                    assert await first_event(web, f"/watch/anon/{room}/cam/t") == "1"

    asyncio.run(main())


def test_it_is_found_where_somebody_else_answers_for_all_that_is_above(running: Any) -> None:
    async def main() -> None:
        async with running() as relay, face(relay, "") as web:
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with connect(url, tls=TRUST) as above, connect(url, tls=TRUST) as client:
                await put_on_air(above, "", b"0", web, "/announced/anon")
                await put_on_air(client, "my%20room/cam", b"1", web, "/announced/anon/my%2520room")
                assert (await web.get("/fetch/anon/my%20room/cam/t")).content == b"1"
                assert await first_event(web, "/watch/anon/my%20room/cam/t") == "1"
                assert (await web.get("/fetch/anon/other/t")).status_code == 404
                assert await first_event(web, "/watch/anon/other/t") == "404"

    asyncio.run(main())


def test_an_address_that_may_mean_two_paths_counts_once(running: Any) -> None:
    async def main() -> None:
        for number, route in enumerate(("announced", "routes", "fetch", "watch")):
            quota = "[quotas.tenants.anon]\nsessions_per_second = 1\n"
            async with running(quota) as relay, face(relay, "") as web:
                began = time.monotonic()
                answer = await web.get(f"/{route}/anon/my%20cam/t")
                assert answer.status_code == (200 if number < 2 else 404), route
                refused = await web.get(f"/{route}/anon/my%20cam/t")
                assert refused.status_code == 429 or time.monotonic() - began > 0.9, route

    asyncio.run(main())


def test_no_escape_leads_out_of_what_a_token_is_for(
    running: Any, token: Callable[..., str]
) -> None:
    async def main() -> None:
        async with running() as relay, face(relay, token("demo")) as web:
            inside = await web.post("/publish/%64emo/x/t", content=b"x")
            assert inside.status_code == 202  # the same path, said otherwise
            for path in ("other", "%2564emo", "demo%2Fx", "demo%252Fx", "demo/%2E%2E/other"):
                for address in (f"/fetch/{path}/x/t", f"/announced/{path}", f"/routes/{path}"):
                    assert (await web.get(address)).status_code in (400, 401), address
                sent = await web.post(f"/publish/{path}/x/t", content=b"x")
                assert sent.status_code in (400, 401), path

    asyncio.run(main())
