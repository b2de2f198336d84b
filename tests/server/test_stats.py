"""Which stats broadcasts there are; what they say is tested with a relay around them."""

from __future__ import annotations

import asyncio
import time
from asyncio import TaskGroup
from types import SimpleNamespace

from pace import until
from relay.model.origin import Origin
from relay.path import MAX_LENGTH, Path
from relay.peer.house import House
from relay.peer.local import LocalBroadcast
from relay.server.census import Part
from relay.server.stats import Stats


async def nothing(is_watched: bool) -> dict[int, Part]:
    return {}


def test_a_path_with_no_room_for_more_around_it_has_no_broadcast() -> None:
    house = House(Origin(1), time.monotonic)
    door = SimpleNamespace(house=house)
    stats = Stats(door, "here", 0.01, time.time, Path(".stats"), 2, nothing)
    published = LocalBroadcast(time.monotonic)
    for path in ("a/" + "b" * (MAX_LENGTH - 2), "c/d"):
        house.origin.announce(Path(path), published, published.hops, time.monotonic())

    async def main() -> None:
        async with TaskGroup() as tasks:
            task = tasks.create_task(stats.run())
            await until(lambda: house.origin.find(Path(".stats/c/d/node/here")))
            task.cancel()

    asyncio.run(main())
    assert sum(each.path.is_under(Path(".stats")) for each in house.origin.on_air()) == 1
