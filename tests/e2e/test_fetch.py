"""Groups by number against running relays: whoever has one gives it, however far away."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from mesh import TRUST
from several import WORKERS, Relay, publishing

from pace import until
from relay.client import Client, connect
from relay.errors import RelayError
from relay.model.track import Demand, TrackInfo
from relay.path import Path
from relay.peer.reading import collect_group

LATEST = Demand()


def base(relay: Any) -> str:
    return f"http://127.0.0.1:{relay.http_addresses[0][1]}"


async def fetch(client: Client, path: str, track: str, group: int) -> list[bytes]:
    """The payloads of one group, over a session."""
    house = client.house
    found = (await client.find(path)).track(track)
    async with asyncio.timeout(5):
        sequence, frames = await collect_group(found, group, house.clock)
    assert sequence == group
    return frames


def fill(client: Client, path: str, groups: int = 5) -> Any:
    """A track ``t`` with so many groups, which nobody has watched."""
    track = client.create_broadcast(path).create_track("t", TrackInfo())
    for number in range(groups):
        track.append_group()
        track.write_frame(b"%d/a" % number, 0)
        track.write_frame(bytes(100_000), 1)
    track.finish_group()
    return track


def test_what_was_published_over_http_is_kept_for_fetches(running: Any) -> None:
    async def main() -> None:
        extra = "[ingest]\nkeep_groups = 3\n"
        async with running(extra) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            for number in range(5):
                await web.post("/publish/anon/a/x", json={"n": number})
            found = [await web.get(f"/fetch/anon/a/x?group={number}") for number in range(6)]
            assert [each.status_code for each in found] == [404, 404, 200, 200, 200, 404]
            assert found[2].json() == {"n": 2}
            assert found[2].headers["x-moq-group"] == "2"
            assert (await web.get("/fetch/anon/a/x")).json() == {"n": 4}
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with connect(url, tls=TRUST) as client:
                assert await fetch(client, "a", "x", 3) == [b'{"n":3}']
                with pytest.raises(RelayError):
                    await fetch(client, "a", "x", 0)

    asyncio.run(main())


def test_an_old_group_of_a_session_is_asked_for_once(running: Any) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with connect(url, tls=TRUST) as source, connect(url, tls=TRUST) as viewer:
                fill(source, "cam")
                await viewer.find("cam")
                answers = await asyncio.gather(
                    *(web.get("/fetch/anon/cam/t?group=2") for _ in range(5)),
                )
                assert [each.status_code for each in answers] == [200] * 5
                assert {each.content for each in answers} == {b"2/a" + bytes(100_000)}
                assert await fetch(viewer, "cam", "t", 1) == [b"1/a", bytes(100_000)]
                assert (await web.get("/fetch/anon/cam/t?group=77")).status_code == 404
                assert (await web.get("/fetch/anon/cam/no?group=1")).status_code == 404
                broadcast = relay.house.origin.find(Path("anon/cam"))
                assert broadcast is not None
                assert broadcast.traffic.came.fetches == 4
                assert broadcast.tracks["t"].viewers == 0
                assert broadcast.tracks["t"].latest is None
                assert all(track.is_idle for track in broadcast.tracks.values())
                # And who watches afterwards begins with the latest.
                assert (await web.get("/fetch/anon/cam/t")).headers["x-moq-group"] == "4"

    asyncio.run(main())


def write(track: Any, number: int) -> None:
    track.append_group()
    track.write_frame(b"%d" % number, number * 3000)
    track.finish_group()


async def begins(client: Client, path: str, demand: Demand = LATEST) -> int:
    """The first group that a viewer gets who comes now."""
    async with (
        asyncio.timeout(5),
        aclosing(client.frames(await client.find(path), "t", demand).frames()) as items,
    ):
        return (await anext(items)).group


@pytest.mark.parametrize("version", ["moq-lite-06", "moq-lite-05", "moq-lite-04"])
def test_who_comes_after_a_pause_begins_with_the_latest_group(running: Any, version: str) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with (
                connect(url, tls=TRUST, versions=[version]) as source,
                connect(url, tls=TRUST) as viewer,
            ):
                track = source.create_broadcast("cam").create_track("t", TrackInfo())
                await viewer.find("cam")
                for number in range(4):
                    write(track, number)
                    found = await web.get("/fetch/anon/cam/t")
                    assert (found.text, found.headers["x-moq-group"]) == (2 * (str(number),))
                # Nothing newer comes: the source says so at once.
                assert (await web.get("/fetch/anon/cam/t")).text == "3"
                assert await begins(viewer, "cam") == 3
                if version == "moq-lite-06":  # frames have no times of their own in each of them
                    assert await begins(viewer, "cam", Demand(max_latency=5000)) == 1
                write(track, 4)
                assert await begins(viewer, "cam") == 4

    asyncio.run(main())


@pytest.mark.usefixtures("quick")
def test_who_comes_after_a_pause_at_another_relay_gets_the_latest_group(node: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b:
            await until(lambda: b.up() and a.relays())
            async with connect(a.url("/anon"), tls=TRUST) as source:
                track = source.create_broadcast("cam").create_track("t", TrackInfo())
                await until(lambda: b.sees("anon/cam"))
                async with (
                    httpx.AsyncClient(base_url=base(b.relay)) as web,
                    connect(b.url("/anon"), tls=TRUST) as viewer,
                ):
                    for number in range(3):
                        write(track, number)
                        assert (await web.get("/fetch/anon/cam/t")).text == str(number)
                    write(track, 3)
                    assert await begins(viewer, "cam") == 3

    asyncio.run(main())


@pytest.mark.usefixtures("quick")
def test_a_group_is_fetched_through_a_cluster(node: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b:
            await until(lambda: b.up() and a.relays())
            async with connect(a.url("/anon"), tls=TRUST) as source:
                fill(source, "cam")
                await until(lambda: b.sees("anon/cam"))
                async with httpx.AsyncClient(base_url=base(b.relay)) as web:
                    found = await web.get("/fetch/anon/cam/t?group=1")
                    assert (found.status_code, found.content[:3]) == (200, b"1/a")
                    assert (await web.get("/fetch/anon/cam/t?group=77")).status_code == 404

    asyncio.run(main())


def test_a_group_is_fetched_from_another_worker(process: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("MOQ_SERVER__WORKERS", "2")
    relay = Relay(process(WORKERS))

    async def main() -> None:
        async with publishing(relay, "/anon") as (_, write):
            for _ in range(4):
                write()
            for _ in range(8):  # each worker is asked now and then, once it has heard of it
                async with (
                    asyncio.timeout(10),
                    httpx.AsyncClient(base_url=relay.http, timeout=10) as web,
                ):
                    while "cam" not in (await web.get("/announced/anon")).text:
                        await asyncio.sleep(0.05)
                    found = await web.get("/fetch/anon/cam/video?group=1")
                    assert (found.status_code, found.content[:8]) == (200, b"00000002")

    asyncio.run(main())
    assert relay.process.stop() == 0


def test_an_address_means_what_it_does_to_publish_and_watch(running: Any) -> None:
    extra = '[ingest.tracks."anon/*/t/v1"]\n[ingest.tracks."anon/*/t/v2"]\n'

    async def main() -> None:
        async with running(extra) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            for path in ("plant/foo/Model/v1", "plant/foo/plain", "a/t/v1", "a/t", "b?track=x/y"):
                posted = await web.post(f"/publish/anon/{path}", content=path.encode())
                assert posted.status_code == 202
            for path, body in (
                ("plant/foo/Model/v1", b"plant/foo/Model/v1"),
                ("plant/foo?track=Model/v1", b"plant/foo/Model/v1"),
                ("plant/foo/Model%2Fv1", b"plant/foo/Model/v1"),
                ("plant/foo/plain", b"plant/foo/plain"),
                ("a/t", b"a/t"),
                ("a/t/v1", b"a/t/v1"),
                ("b?track=x/y", b"b?track=x/y"),
            ):
                for group in ("", "group=0"):
                    query = f"{'&' if '?' in path else '?'}{group}" if group else ""
                    found = await web.get(f"/fetch/anon/{path}{query}")
                    assert (path, found.status_code, found.content) == (path, 200, body)
            assert (await web.get("/fetch/anon/plant/foo/Model/v2")).status_code == 404
            assert (await web.get("/fetch/other/foo?track=Model/v1")).status_code == 401
            # Upstream's reading comes first: the last segment is the track.
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with connect(url, tls=TRUST) as client:
                track = client.create_broadcast("plant/foo/Model").create_track("v1", TrackInfo())
                track.append_group()
                track.write_frame(b"session", 0)
                track.finish_group()
                await until(lambda: relay.house.origin.find(Path("anon/plant/foo/Model")))
                assert (await web.get("/fetch/anon/plant/foo/Model/v1")).content == b"session"

    asyncio.run(main())
