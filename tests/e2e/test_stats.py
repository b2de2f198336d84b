"""A relay's numbers as a broadcast: what they say, who may watch and who may publish them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from relay.client import Client, connect
from relay.model.demand import TrackInfo
from relay.net.dial import DialTls
from relay.peer.local import ReadFrame

TRUST = DialTls(disable_verify=True)
STATS = '[stats]\nenabled = true\ninterval = 0.2\nnode = "here/1"\n'
PATH = ".stats/node/here/1"


def dial(relay: Any, root: str, token: str) -> Any:
    return connect(f"https://127.0.0.1:{relay.quic_address[1]}/{root}?jwt={token}", tls=TRUST)


async def until(client: Client, name: str, holds: Any) -> dict[str, Any]:
    """The first snapshot of a track for which something holds."""
    broadcast = await client.find(PATH)
    async with asyncio.timeout(20):
        async for item in client.frames(broadcast, name).frames():
            if isinstance(item, ReadFrame):
                said: dict[str, Any] = json.loads(item.payload)
                if holds(said):
                    return said
    raise AssertionError("it ended")


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
            cam.finish_group()
            seen = viewer.frames(await viewer.find("cam"), "video").frames()
            assert len((await anext(seen)).payload) == 1000
            out = await until(
                watcher, "publisher.json", lambda said: said.get("demo/cam", {}).get("groups")
            )
            assert set(out) == {"demo/cam"}
            facts = out["demo/cam"]
            assert 1000 <= facts["bytes"] <= 1010
            assert (facts["groups"], facts["announced"], facts["announced_closed"]) == (1, 1, 0)
            assert facts["subscriptions"] - facts["subscriptions_closed"] == 1
            into = await until(watcher, "subscriber.json", lambda said: said["demo/cam"]["groups"])
            assert 1000 <= into["demo/cam"]["bytes"] <= 1010
            who = await until(watcher, "sessions.json", lambda said: len(said) == 2)
            assert who["demo"] == {"sessions": 2, "sessions_closed": 0}
            assert who[""] == {"sessions": 1, "sessions_closed": 0}

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


def test_they_are_off_unless_asked_for(running: Any) -> None:
    async def main() -> None:
        async with running() as relay:
            paths = [each.path for each in relay.house.origin.on_air()]
            assert not any(path.startswith(".stats") for path in paths)

    asyncio.run(asyncio.wait_for(main(), 20))
