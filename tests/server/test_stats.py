"""Which stats broadcasts there are; what they say is tested with a relay around them."""

from __future__ import annotations

import asyncio
import json
import random
import time
import zlib
from asyncio import TaskGroup
from types import SimpleNamespace

import pytest

from pace import until
from relay.model.broadcast import Route
from relay.model.demand import Demand
from relay.model.origin import Origin
from relay.path import MAX_LENGTH, Path
from relay.peer import local
from relay.peer.house import House
from relay.peer.local import LocalBroadcast
from relay.peer.reading import Collector, ReadFrame
from relay.server import census
from relay.server.census import Part
from relay.server.patches import TAIL
from relay.server.stats import Stats


async def nothing(is_watched: bool) -> dict[int, Part]:
    return {}


def made(*paths: str, depth: int) -> tuple[Stats, Origin, list[Route]]:
    """The stats of a relay where these are announced."""
    house = House(Origin(1), time.monotonic)
    door = SimpleNamespace(house=house, guests={}, links={})
    stats = Stats(door, "here", 0.01, time.time, Path(".stats"), depth, nothing)
    published = LocalBroadcast(time.monotonic)
    hops, now = published.hops, time.monotonic()
    routes = [house.origin.announce(Path(path), published, hops, now) for path in paths]
    return stats, house.origin, routes


def test_a_path_with_no_room_for_more_around_it_has_no_broadcast() -> None:
    stats, origin, _ = made("a/" + "b" * (MAX_LENGTH - 2), "c/d", depth=2)

    async def main() -> None:
        async with TaskGroup() as tasks:
            task = tasks.create_task(stats.run())
            await until(lambda: origin.find(Path(".stats/c/d/node/here")))
            task.cancel()

    asyncio.run(main())
    assert sum(each.path.is_under(Path(".stats")) for each in origin.on_air()) == 1


@pytest.mark.parametrize("track", ["publisher.json", "publisher.json.z"])
def test_what_no_group_holds_is_not_told(track: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_GROUP", 2_000)
    stats, origin, routes = made("a", random.Random(1).randbytes(2_000).hex(), depth=0)
    frames: list[bytes] = []

    async def main() -> None:
        async with TaskGroup() as tasks:
            task = tasks.create_task(stats.run())
            await until(lambda: origin.find(Path(".stats/node/here")))
            found = origin.find(Path(".stats/node/here"))
            async for item in Collector(found.track(track), Demand(), time.monotonic).frames():
                if isinstance(item, ReadFrame):
                    frames.append(item.payload)
                    break
                routes[1].withdraw(time.monotonic())  # a group without a frame came
            task.cancel()

    asyncio.run(main())
    (frame,) = frames
    if track.endswith(".z"):
        frame = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame + TAIL)
    assert list(json.loads(frame)) == ["a"]


def test_of_many_long_paths_the_first_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "MAX_LETTERS", 2_000)
    paths = [letter * 900 for letter in "cab"]
    stats, origin, _ = made(*paths, depth=0)

    async def main() -> bytes:
        async with TaskGroup() as tasks:
            task = tasks.create_task(stats.run())
            await until(lambda: origin.find(Path(".stats/node/here")))
            found = origin.find(Path(".stats/node/here"))
            reading = Collector(found.track("publisher.json"), Demand(), time.monotonic)
            async for item in reading.frames():
                if isinstance(item, ReadFrame):
                    task.cancel()
                    return item.payload
        raise AssertionError("the track ended")

    assert [path[0] for path in json.loads(asyncio.run(main()))] == ["a", "b"]
