"""Rights at the door of a running relay, over every way in, with our own client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from ends import ends_with
from mesh import REFUSALS

from pace import until, within
from relay.client import connect
from relay.errors import SessionLost
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.path import Path

TRUST = DialTls(disable_verify=True)
Token = Callable[..., str]


def address(relay: Any, scheme: str, target: str) -> str:
    return f"{scheme}://127.0.0.1:{relay.quic_address[1]}{target}"


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_each_has_exactly_the_rights_of_its_token(running: Any, token: Token, scheme: str) -> None:
    async def main() -> None:
        async with running() as relay:
            both = address(relay, scheme, f"/demo?jwt={token('demo', put=('a',), get=('b',))}")
            full = address(relay, scheme, f"/demo?jwt={token('demo')}")
            async with connect(both, tls=TRUST) as narrow, connect(full, tls=TRUST) as wide:
                for client, name in ((narrow, "a/x"), (narrow, "c"), (wide, "b/y"), (wide, "d")):
                    client.create_broadcast(name).create_track("t", TrackInfo())
                heard_wide, heard_narrow = set(), set()

                async def hear(client: Any, into: set[str]) -> None:
                    async for active, path in client.announcements():
                        assert active
                        into.add(str(path))

                tasks = [
                    asyncio.ensure_future(hear(wide, heard_wide)),
                    asyncio.ensure_future(hear(narrow, heard_narrow)),
                ]
                await until(lambda: {"a/x"} <= heard_wide and {"b/y"} <= heard_narrow)
                await asyncio.sleep(0.2)
                for task in tasks:
                    task.cancel()
                # each client also sees what it publishes itself
                assert heard_wide == {"a/x", "b/y", "d"}
                assert heard_narrow == {"a/x", "c", "b/y"}

    asyncio.run(main())


@pytest.mark.parametrize(("target", "status"), REFUSALS)
def test_refusals_over_webtransport_raw_quic_and_http(
    running: Any, target: str, status: int
) -> None:
    async def main() -> None:
        async with running() as relay:
            with pytest.raises(SessionLost) as refused:
                async with connect(address(relay, "https", target), tls=TRUST):
                    pass
            assert refused.value.status == status
            async with connect(address(relay, "moqt", target), tls=TRUST) as client:
                reason = await asyncio.wait_for(client.lost, 5)
            assert "id " in reason
            path, _, query = target.partition("?")
            url = f"http://127.0.0.1:{relay.http_addresses[0][1]}/announced{path}?{query}"
            async with httpx.AsyncClient() as http:
                answer = await http.send(httpx.Request("GET", httpx.URL(url)))
            # httpx resolves dot segments itself, so that row asks for /anon and is let in
            assert answer.status_code == (200 if ".." in target else status)
            if answer.status_code != 200:
                assert answer.json()["id"] == answer.headers["x-request-id"]

    asyncio.run(main())


def test_wrong_root_and_foreign_key_are_refused(running: Any, token: Token) -> None:
    from relay.auth import keys, mint
    from relay.auth.claims import Claims

    forged = mint.sign(
        Claims(root=Path("demo"), put=(Path(""),)), keys.generate("HS256", kid="e2e"), time.time()
    )

    async def main() -> None:
        async with running() as relay:
            for jwt, path in ((token("demo"), "/other"), (forged, "/demo")):
                with pytest.raises(SessionLost) as refused:
                    async with connect(address(relay, "https", f"{path}?jwt={jwt}"), tls=TRUST):
                        pass
                assert refused.value.status == 401
                assert "; the relay's log says why)" in str(refused.value)

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_a_session_ends_within_a_second_of_its_expiry(
    running: Any, token: Token, scheme: str
) -> None:
    async def main() -> None:
        async with running() as relay:
            jwt = token("demo", ttl=4)
            async with connect(address(relay, scheme, f"/demo?jwt={jwt}"), tls=TRUST) as client:
                await ends_with(client, jwt)
            await until(lambda: not relay.door.guests)

    asyncio.run(main())


def test_the_wall_clock_stepping_back_does_not_lengthen_a_session(
    running: Any, token: Token
) -> None:
    async def main() -> None:
        async with running() as relay:
            url = address(relay, "https", f"/demo?jwt={token('demo', ttl=4)}")
            async with connect(url, tls=TRUST) as client:
                relay.judge.wall = lambda: time.time() - 3600
                await asyncio.wait_for(asyncio.shield(client.lost), 10)

    asyncio.run(main())


def test_http_faces_follow_the_same_decisions(running: Any, token: Token) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as http:
            base = f"http://127.0.0.1:{relay.http_addresses[0][1]}"
            jwt = token("demo")
            async with connect(address(relay, "https", f"/demo?jwt={jwt}"), tls=TRUST) as client:
                broadcast = client.create_broadcast("cam")
                track = broadcast.create_track("log", TrackInfo())
                for number in range(3):
                    track.append_group()
                    track.write_frame(b"frame %d" % number, number)
                    track.write_frame(b"!", number)
                track.finish_group()
                bearer = {"authorization": f"Bearer {jwt}"}

                async def listed() -> bool:
                    answer = await http.get(f"{base}/announced/demo", headers=bearer)
                    return answer.text == "cam\n"

                async with asyncio.timeout(20):
                    while not await listed():
                        await asyncio.sleep(0.02)
                assert (await http.get(f"{base}/announced/demo")).status_code == 401
                url = f"{base}/fetch/demo/cam/log?jwt={jwt}"
                answer = await http.get(url)
                assert (answer.status_code, answer.content) == (200, b"frame 2!")
                assert answer.headers["x-moq-group"] == "2"
                assert (await http.get(f"{base}/fetch/demo/cam/log")).status_code == 401
                assert (await http.get(f"{base}/fetch/demo/cam/no?jwt={jwt}")).status_code == 404
                assert (await http.get(f"{base}/fetch/demo/no/log?jwt={jwt}")).status_code == 404

    asyncio.run(main())


def test_our_own_client_leaves_cleanly_and_says_why_it_was_refused(
    running: Any, token: Token
) -> None:
    async def main() -> None:
        async with running() as relay:
            url = address(relay, "https", f"/demo?jwt={token('demo')}")
            async with connect(url, tls=TRUST) as viewer:
                async with connect(url, tls=TRUST) as publisher:
                    broadcast = publisher.create_broadcast("cam")
                    track = broadcast.create_track("t", TrackInfo())
                    track.append_group()
                    track.write_frame(bytes(8_000_000), 0)
                    track.finish()
                    found = await asyncio.wait_for(viewer.find("cam"), 5)
                    frames = viewer.frames(found, "t").frames()
                    frame = await asyncio.wait_for(anext(frames), 20)
                    assert len(frame.payload) == 8_000_000
                    await frames.aclose()
                    await until(publisher.idle)
                # taken back, not merely lost: nobody waits for it to come back
                await within(2.0, lambda: viewer.origin.find(Path("cam")) is None)
            with pytest.raises(SessionLost) as refused:
                async with connect(address(relay, "https", "/demo"), tls=TRUST):
                    pass
            assert "(id " in str(refused.value)

    asyncio.run(main())


def test_an_idle_session_of_our_own_stays(running: Any) -> None:
    async def main() -> None:
        async with running("[quic]\nidle_timeout = 6\n") as relay:
            url = address(relay, "https", "/anon")
            async with connect(url, tls=TRUST) as client:
                await asyncio.wait((client.lost,), timeout=8)
                assert not client.lost.done()

    asyncio.run(main())
