"""A client of our own, where no connection is needed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from relay.client import AHEAD, AHEAD_GROUPS, Client
from relay.model.origin import Origin
from relay.model.settings import CacheSettings
from relay.path import Path
from relay.peer.house import House


class Heard(Origin):
    """An origin that remembers who listens to it."""

    def __init__(self) -> None:
        super().__init__(1, CacheSettings(), keeps_own=True)
        self.watches: list[Any] = []

    def watch(self, *args: Any, **more: Any) -> Any:
        self.watches.append(super().watch(*args, **more))
        return self.watches[-1]


@pytest.mark.parametrize("is_there", [True, False])
def test_who_has_found_a_broadcast_listens_no_longer(is_there: bool) -> None:
    async def main() -> None:
        origin = Heard()
        client = Client(House(origin, lambda: 0.0), None)
        if is_there:
            client.create_broadcast("cam")
        async with asyncio.TaskGroup() as tasks:
            finding = tasks.create_task(client.find("cam"))
            await asyncio.sleep(0)
            if not is_there:
                client.create_broadcast("cam")
        assert finding.result() is origin.find(Path("cam"))
        heard = client.announcements()
        assert await anext(heard) == (True, Path("cam"))
        await heard.aclose()
        assert len(origin.watches) == 2
        assert not any(watch.is_live for watch in origin.watches)

    asyncio.run(main())


class Queue:
    """What waits for the way to the relay."""

    def __init__(self, backlog: int, groups: int) -> None:
        self.backlog, self.groups = backlog, groups

    def is_beyond(self, size: int, groups: int) -> bool:
        return self.backlog > size or self.groups > groups


def waiting(queue: Queue) -> Client:
    guest: Any = SimpleNamespace(watching=SimpleNamespace(queue=queue))
    return Client(House(Origin(1), lambda: 0.0), guest)


def test_there_is_room_while_little_waits() -> None:
    async def main() -> None:
        async with asyncio.timeout(5):
            await waiting(Queue(AHEAD, AHEAD_GROUPS)).room()

    asyncio.run(main())


@pytest.mark.parametrize("much", [(AHEAD + 1, 1), (10, AHEAD_GROUPS + 1)])
def test_where_much_waits_there_is_room_when_all_of_it_has_left(much: tuple[int, int]) -> None:
    async def main() -> None:
        queue = Queue(*much)
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(waiting(queue).room())
            await asyncio.sleep(0.02)
            queue.backlog, queue.groups = 1, 1
            await asyncio.sleep(0.02)
            assert not task.done(), "the oldest is the last to leave"
            queue.backlog, queue.groups = 0, 0

    asyncio.run(main())
