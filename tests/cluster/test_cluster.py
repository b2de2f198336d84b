"""Who is dialled; what travels over a link is looked at with whole relays in `tests/e2e`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pace import until
from relay.cluster import cluster as module
from relay.cluster import link
from relay.cluster.cluster import Cluster
from relay.cluster.gossip import ORIGINS, Nothing
from relay.cluster.settings import ClusterSettings
from relay.errors import SessionLost
from relay.model.origin import Origin

NEAR = SimpleNamespace(is_near=True, opened=True, session=SimpleNamespace(peer_origin=5))


class Mesh:
    """One relay's links, of whom nobody answers; ``dialled`` is whom it tried, in turn."""

    def __init__(self, **settings: Any) -> None:
        self.origin = Origin(1)
        self.guests: dict[str, Any] = {}
        self.said: list[str] = []
        self.dialled: list[str] = []
        house = SimpleNamespace(origin=self.origin)
        door: Any = SimpleNamespace(house=house, guests=self.guests, links={"w": NEAR})
        chosen = ClusterSettings(**settings)
        self.cluster = Cluster(door, chosen, self._dial, lambda: 0.0, self._log)

    async def _dial(self, url: str) -> Any:
        self.dialled.append(url)
        raise SessionLost("nobody is there")

    def _log(self, event: str, **facts: Any) -> None:
        self.said.append(event)

    def hear(self, name: str, *hops: int) -> None:
        self.origin.announce(ORIGINS.join(name), Nothing(), hops, 0.0)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Cluster]:
        running = asyncio.ensure_future(self.cluster.run())
        try:
            await asyncio.sleep(0)
            yield self.cluster
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "beat", lambda: asyncio.sleep(0.01))
    monkeypatch.setattr(link, "FIRST_WAIT", 60.0)
    monkeypatch.setattr(link, "LONGEST_WAIT", 60.0)


def test_who_has_come_to_another_process_of_this_relay_is_not_dialled() -> None:
    async def main() -> None:
        mesh = Mesh(mesh=True, node="https://a/")
        async with mesh.running() as cluster:
            mesh.hear("https://b/", 2, 5)
            mesh.hear("https://c/", 3, 2)
            mesh.hear("https://d/", 4)
            assert sorted(cluster.links) == ["https://c/", "https://d/"]
            mesh.hear("https://c/", 3, 5)
            cluster._follow()
            assert sorted(cluster.links) == ["https://d/"]

    asyncio.run(main())


@pytest.mark.parametrize("is_relay", [True, False])
def test_a_relay_that_has_come_to_us_is_not_dialled(is_relay: bool) -> None:
    async def main() -> None:
        mesh = Mesh(mesh=True, node="https://a/")
        session = SimpleNamespace(peer_origin=2)
        came = SimpleNamespace(is_relay=is_relay, session=session, remote="there", id="d-1")
        mesh.guests["d-1"] = came
        async with mesh.running() as cluster:
            mesh.hear("https://b/", 2)
            assert list(cluster.links) == ([] if is_relay else ["https://b/"])

    asyncio.run(main())


def test_whom_the_list_no_longer_names_nobody_dials(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "relays"
        file.write_text(json.dumps(["https://b/", "https://c/"]))
        mesh = Mesh(connect_api=str(file))
        async with mesh.running() as cluster:
            await until(lambda: sorted(cluster.links) == ["https://b/", "https://c/"])
            dropped = cluster.links["https://c/"]
            await until(lambda: dropped.state.attempts)
            file.write_text(json.dumps(["https://b/"]))
            await until(lambda: list(cluster.links) == ["https://b/"])
            assert "link dropped" in mesh.said
            dropped.renew()  # nobody would dial for half a minute otherwise
            before = mesh.dialled.count("https://c/")
            await asyncio.sleep(0.05)
            assert mesh.dialled.count("https://c/") == before

    asyncio.run(main())


def test_links_are_renewed_when_the_token_in_its_file_is_another(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "token"
        file.write_text("one")
        mesh = Mesh(connect=("https://b/", "https://c/?jwt=own"), token=file)
        async with mesh.running():
            await until(lambda: len(mesh.dialled) == 2)
            mesh.dialled.clear()
            file.write_text("another")
            await until(lambda: mesh.dialled)  # the next try would come in half a minute
            assert mesh.dialled == ["https://b/?jwt=another"]
            assert mesh.said.count("cluster token changed") == 1

    asyncio.run(main())
