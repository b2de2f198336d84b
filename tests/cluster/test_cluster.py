"""Who is dialled; what travels over a link is looked at with whole relays in `tests/e2e`."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from relay.cluster.cluster import Cluster
from relay.cluster.gossip import ORIGINS, Nothing
from relay.cluster.settings import ClusterSettings
from relay.errors import SessionLost
from relay.model.origin import Origin

NEAR = SimpleNamespace(is_near=True, opened=True, session=SimpleNamespace(peer_origin=5))


async def fails(url: str) -> Any:
    raise SessionLost("nobody is there")


def test_who_has_come_to_another_process_of_this_relay_is_not_dialled() -> None:
    async def main() -> None:
        origin = Origin(1)
        door: Any = SimpleNamespace(
            house=SimpleNamespace(origin=origin), guests={}, links={"w": NEAR}
        )
        settings = ClusterSettings(mesh=True, node="https://a/")
        cluster = Cluster(door, settings, fails, None, lambda: 0.0, lambda event, **facts: None)  # type: ignore[arg-type]
        running = asyncio.ensure_future(cluster.run())
        await asyncio.sleep(0)
        for name, hops in (("https://b/", (2, 5)), ("https://c/", (3, 2)), ("https://d/", (4,))):
            origin.announce(ORIGINS.join(name), Nothing(), hops, 0.0)
        assert sorted(cluster.links) == ["https://c/", "https://d/"]
        origin.announce(ORIGINS.join("https://c/"), Nothing(), (3, 5), 0.0)
        cluster._follow()
        assert sorted(cluster.links) == ["https://d/"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())
