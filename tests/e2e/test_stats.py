"""A relay's numbers as a broadcast: what they say, who may watch and who may publish them."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from several import WORKERS, Relay, audience, many, publishing

from relay.auth.credentials import make_key
from relay.client import Client, connect
from relay.errors import Unauthorized
from relay.model.demand import TrackInfo
from relay.net.trust import DialTls
from relay.peer.reading import ReadFrame
from relay.records.audit import Query

TRUST = DialTls(disable_verify=True)
STATS = '[stats]\nenabled = true\ninterval = 0.2\nnode = "here/1"\n'
PATH = ".stats/node/here/1"


FIELDS = [
    *("announces_started", "announced", "announces_ended", "announced_closed", "announced_bytes"),
    *("broadcasts_started", "broadcasts", "broadcasts_ended", "broadcasts_closed"),
    *("subscriptions_started", "subscriptions", "subscriptions_ended", "subscriptions_closed"),
    *("fetches", "bytes", "frames", "groups", "datagrams", "stale"),
]
"""Of one entry, in upstream's order (moq-net 0.3.18)."""


def pair(name: str, before: str, started: int, ended: int) -> dict[str, int]:
    """A pair of counters under both its names."""
    now = {f"{name}_started": started, f"{name}_ended": ended}
    return now | {before: started, f"{before}_closed": ended}


def numbers(broadcasts: int, subscriptions: int, ended: int = 0, **more: int) -> dict[str, Any]:
    """An entry of demo/cam, with no datagram and nothing stale."""
    nothing = {"bytes": 0, "frames": 0, "groups": 0, "datagrams": 0}
    return {
        **pair("announces", "announced", 1, ended),
        "announced_bytes": len("demo/cam") * (1 + ended),
        **pair("broadcasts", "broadcasts", broadcasts, ended * broadcasts),
        **pair("subscriptions", "subscriptions", subscriptions, ended * subscriptions),
        "datagrams": 0,
        "stale": nothing,
        **more,
    }


def dial(relay: Any, root: str, token: str) -> Any:
    return connect(f"https://127.0.0.1:{relay.quic_address[1]}/{root}?jwt={token}", tls=TRUST)


async def until(client: Client, name: str, holds: Any, path: str = PATH) -> dict[str, Any]:
    """The first snapshot of a track for which something holds."""
    broadcast = await client.find(path)
    said: dict[str, Any] = {}
    inflate = None
    async with asyncio.timeout(20):
        async for item in client.frames(broadcast, name).frames():
            if not isinstance(item, ReadFrame):
                continue
            text = item.payload
            if name.endswith(".z"):
                if item.number == 0:
                    inflate, said = zlib.decompressobj(-zlib.MAX_WBITS), {}
                assert inflate is not None
                text = inflate.decompress(text + b"\0\0\xff\xff")
            said = merged(said if item.number else {}, json.loads(text))
            if holds(said):
                return said
    raise AssertionError("it ended")


def merged(old: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """A merge patch applied (RFC 7396)."""
    made = {name: value for name, value in old.items() if said.get(name, 0) is not None}
    for name, value in said.items():
        if isinstance(value, dict):
            made[name] = merged(made.get(name, {}), value)
        elif value is not None:
            made[name] = value
    return made


def test_numbers_of_broadcasts_and_sessions(running: Any, token: Any) -> None:
    async def main() -> None:
        async with (
            running(STATS) as relay,
            dial(relay, "", token("", put=())) as watcher,
            dial(relay, "demo", token("demo")) as publisher,
            dial(relay, "demo", token("demo")) as viewer,
        ):
            cam = publisher.create_broadcast("cam").create_track("video", TrackInfo())
            cam.append_group()
            cam.write_frame(b"x" * 1000, 0)
            cam.write_frame(b"x" * 500, 1)
            cam.finish_group()
            seen = viewer.frames(await viewer.find("cam"), "video").frames()
            assert [len((await anext(seen)).payload) for _ in range(2)] == [1000, 500]
            out = await until(
                watcher, "publisher.json", lambda said: said.get("demo/cam", {}).get("groups")
            )
            assert set(out) == {"demo/cam"}
            facts = out["demo/cam"]
            assert list(facts) == FIELDS
            assert facts == numbers(1, 1, fetches=0, groups=1, frames=2, bytes=1500)
            into = await until(watcher, "subscriber.json", lambda said: said["demo/cam"]["groups"])
            assert into["demo/cam"] == numbers(1, 1, fetches=0, groups=1, frames=2, bytes=1500)
            who = await until(watcher, "sessions.json", lambda said: len(said) == 2)
            assert who["demo"] == pair("sessions", "sessions", 2, 0)
            assert who[""] == pair("sessions", "sessions", 1, 0)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_snapshot_is_fetched_whole_while_nothing_changes(running: Any, token: Any) -> None:
    async def main() -> None:
        async with running(STATS) as relay, httpx.AsyncClient(timeout=10) as web:
            base = f"http://127.0.0.1:{relay.http_addresses[0][1]}/fetch/{PATH}"
            for name in ("publisher.json", "sessions.json"):
                answer = await web.get(f"{base}/{name}", params={"jwt": token("", put=())})
                assert (answer.status_code, answer.json()) == (200, {})

    asyncio.run(asyncio.wait_for(main(), 20))


def test_the_compressed_tracks_say_the_same_and_go_on_by_patches(running: Any, token: Any) -> None:
    async def main() -> None:
        async with (
            running(STATS) as relay,
            dial(relay, "", token("", put=())) as watcher,
            dial(relay, "demo", token("demo")) as viewer,
            asyncio.TaskGroup() as tasks,
        ):
            async with dial(relay, "demo", token("demo")) as publisher:
                cam = publisher.create_broadcast("cam").create_track("video", TrackInfo())
                counted = tasks.create_task(
                    until(
                        watcher,
                        "publisher.json.z",
                        lambda said: said.get("demo/cam", {}).get("groups") == 3,
                    )
                )
                seen = viewer.frames(await viewer.find("cam"), "video").frames()
                for number in range(3):
                    cam.append_group()
                    cam.write_frame(b"x" * 10, number)
                    cam.finish_group()
                    await anext(seen)
                    await asyncio.sleep(0.3)
                out = await counted
                assert out["demo/cam"] == numbers(1, 1, fetches=0, groups=3, frames=3, bytes=30)
                ended = tasks.create_task(
                    until(
                        watcher,
                        "subscriber.json.z",
                        lambda said: said.get("demo/cam", {}).get("announces_ended"),
                    )
                )
                await until(watcher, "subscriber.json.z", lambda said: "demo/cam" in said)
            last = (await ended)["demo/cam"]
            assert last == numbers(1, 1, 1, fetches=0, groups=3, frames=3, bytes=30)
            assert await until(watcher, "subscriber.json", lambda said: not said) == {}

    asyncio.run(asyncio.wait_for(main(), 20))


def test_with_a_depth_a_tenant_may_see_its_own_and_nothing_else(running: Any, token: Any) -> None:
    said = STATS + 'depth = 1\nprefix = "numbers"\n'

    async def main() -> None:
        async with (
            running(said) as relay,
            dial(relay, "", token("", put=(), get=("numbers/demo",))) as watcher,
            dial(relay, "demo", token("demo")) as one,
            dial(relay, "other", token("other")) as two,
        ):
            one.create_broadcast("cam")
            two.create_broadcast("cam")
            path = "numbers/demo/node/here/1"
            out = await until(watcher, "publisher.json", lambda said: said, path)
            assert set(out) == {"demo/cam"}
            who = await until(watcher, "sessions.json", lambda said: said, path)
            assert set(who) == {"demo"}
            assert relay.house.origin.find("numbers/other/node/here/1") is not None
            assert not watcher.hears("numbers/other/node/here/1")
        async with running(said) as relay, dial(relay, "other", token("other")) as gone:
            gone.create_broadcast("cam")
            while relay.house.origin.find("numbers/other/node/here/1") is None:
                await asyncio.sleep(0.02)
            for guest in tuple(relay.door.guests.values()):
                guest.close(Unauthorized("enough"))
            while relay.house.origin.find("numbers/other/node/here/1") is not None:
                await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_tenant_neither_sees_nor_makes_them(running: Any, token: Any) -> None:
    async def main() -> None:
        async with (
            running(STATS) as relay,
            dial(relay, "demo", token("demo")) as tenant,
            dial(relay, "", token("", get=("demo",))) as narrow,
            dial(relay, "", token("")) as whole,
        ):
            await whole.find(PATH)
            for client, path in ((tenant, PATH), (narrow, PATH)):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await client.find(path)
            whole.create_broadcast(".stats/node/forged")
            whole.create_broadcast("honest")
            while relay.house.origin.find("honest") is None:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)
            assert relay.house.origin.find(".stats/node/forged") is None

    asyncio.run(asyncio.wait_for(main(), 20))


def test_who_makes_them_in_vain_is_told_so_everywhere(running: Any, minted: Any) -> None:
    operator = make_key(100_000)
    toml = f'{STATS}[admin]\napi_key = "{operator.hash}"\n'
    places = {".stats": ".stats/node/forged", ".internal": ".internal/relays/7"}
    whys = {path: f"only relays publish below {place}" for place, path in places.items()}

    async def main() -> None:
        async with running(toml) as relay, dial(relay, "", minted()) as client:
            said: list[tuple[str, dict[str, Any]]] = []
            relay.house.log = lambda event, **facts: said.append((event, facts))
            url = "http://{}:{}".format(*relay.http_addresses[0][:2])
            async with httpx.AsyncClient(base_url=url) as web:
                asked = {"token": minted(), "publish": list(whys)}
                for face in ("/admin/explain", "/admin/v1/explain"):
                    headers = {"authorization": f"Bearer {operator.bearer}"}
                    told = (await web.post(face, json=asked, headers=headers)).json()
                    assert {each["path"]: each["why"] for each in told["paths"]} == whys
                    assert not any(each["covered"] for each in told["paths"])
                for cluster, (path, why) in enumerate(whys.items()):
                    headers = {"authorization": f"Bearer {minted(cluster=bool(cluster))}"}
                    answer = await web.post(f"/publish/{path}/x", content=b"x", headers=headers)
                    assert answer.status_code == 403
                    (facts,) = [facts for event, facts in said if event == "refused"]
                    assert facts["id"] == answer.json()["id"] == answer.headers["x-request-id"]
                    assert (facts["reason"], facts["why"]) == ("no_access", why)
                    assert "publish elsewhere" in facts["hint"]
                    said.clear()
                    await relay.desk.scribe.flush()
                    entries = await relay.desk.records.audit.entries(
                        Query(action="deny", id=facts["id"])
                    )
                    assert [entry.target for entry in entries] == [f"/{path}"]
            while not client.guest.hearings.answered:
                await asyncio.sleep(0.02)
            (request,) = client.guest.hearings.answered
            for _ in range(2):  # our client hides one of them itself
                for path in whys:
                    client.guest.session.announce(request, path, (77,))
                    client.guest.session.unannounce(request, path)
            client.guest.transport.wake()
            client.create_broadcast("honest")
            while relay.house.origin.find("honest") is None:
                await asyncio.sleep(0.02)
            denied = [facts for event, facts in said if event == "publish denied"]
            assert {facts["path"]: facts["reason"] for facts in denied} == whys
            assert len(denied) == len(whys)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_several_workers_are_one_relay(
    process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOQ_SERVER__WORKERS", "2")
    relay = Relay(process(f'{WORKERS}\n{STATS}prefix = "anon/stats"\n'))
    path = "stats/node/here/1"

    async def main() -> None:
        async with (
            connect(relay.url("/anon"), tls=TRUST) as watcher,
            publishing(relay, "/anon") as (home, write),
            many(relay, "/anon", 6) as by_worker,
            asyncio.TaskGroup() as tasks,
        ):
            viewers = [client for clients in by_worker.values() for client in clients]
            assert len(by_worker[1 - home]) >= 2  # those have it from the other worker

            def is_counted(said: dict[str, Any]) -> bool:
                return said.get("anon/cam", {}).get("subscriptions_ended", 0) == len(viewers)

            out = tasks.create_task(until(watcher, "publisher.json", is_counted, path))
            await asyncio.sleep(0.5)  # groups that were over before are looked at only now
            got = await audience(viewers, write, 3)
            went = (await out)["anon/cam"]
            assert (went["broadcasts"], went["subscriptions"]) == (len(viewers), len(viewers))
            assert sum(got) <= went["groups"] <= sum(got) + 3 * len(viewers)
            assert went["frames"] == went["groups"]
            assert went["bytes"] == went["frames"] * 8000
            came = await until(watcher, "subscriber.json", lambda said: "anon/cam" in said, path)
            assert 3 <= came["anon/cam"]["groups"] < sum(got)
            assert came["anon/cam"]["bytes"] == came["anon/cam"]["groups"] * 8000
            whole = pair("sessions", "sessions", len(viewers) + 2, 0)
            who = await until(watcher, "sessions.json", lambda said: said["anon"] == whole, path)
            assert set(who) == {"anon"}

    asyncio.run(asyncio.wait_for(main(), 60))


def test_they_are_off_unless_asked_for(running: Any) -> None:
    async def main() -> None:
        async with running() as relay:
            paths = [each.path for each in relay.house.origin.on_air()]
            assert not any(path.startswith(".stats") for path in paths)

    asyncio.run(asyncio.wait_for(main(), 20))
