"""A client of our own, where no connection is needed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay.client import Client
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
