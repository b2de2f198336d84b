"""Several workers towards the outside: other relays, and either kind of address."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mesh import BASE, BLIND
from several import (
    TRUST,
    WORKERS,
    Relay,
    all_nodes,
    heard,
    many,
    publishing,
    worker_of,
    writer,
)

from pace import until
from relay.client import Client, connect


@pytest.fixture
def start(process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Relay]:
    """``start(count, settings)``"""

    def run(count: int, more: str = "", base: str = BASE, host: str = "127.0.0.1") -> Relay:
        monkeypatch.setenv("MOQ_SERVER__WORKERS", f"{count}")
        return Relay(process(WORKERS + more, base), count, host)

    return run


class Beside:
    """A relay in this loop, in the same words as the other."""

    workers = 1

    def __init__(self, node: Any) -> None:
        self.url = node.url


async def seen(clients: list[Client], path: str, writers: list[Callable[[], None]]) -> None:
    """All of them hear something of a broadcast."""

    async def hear(client: Client) -> None:
        assert await heard(client, path=path) >= 1

    async with asyncio.TaskGroup() as tasks:
        hearing = [tasks.create_task(hear(client)) for client in clients]
        while not all(task.done() for task in hearing):
            for write in writers:
                write()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("dials", ["they", "we"])
@pytest.mark.parametrize("count", [2, 3])
def test_another_relay_sees_all_workers_and_all_workers_see_it(
    start: Callable[..., Relay], node: Callable[..., Any], count: int, dials: str
) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            enter = stack.enter_async_context
            if dials == "they":
                relay = await asyncio.to_thread(start, count)
                other = await enter(node(connect=[relay.url("/")]))
            else:
                other = await enter(node())
                link = f'[cluster]\nconnect = ["{other.url()}"]\ntoken = "cluster.jwt"\n{BLIND}'
                relay = await asyncio.to_thread(start, count, link)
            await until(lambda: other.relays() == 1)
            by_worker = await enter(many(relay, "/anon", 3 * count))
            writers = []
            for worker, clients in by_worker.items():  # one publishes on each worker
                broadcast = clients[0].create_broadcast(f"cam{worker}")
                writers.append(writer(broadcast, 8))
                writers[-1]()
            _, write = await enter(publishing(Beside(other), "/anon/there"))  # type: ignore[arg-type]
            there = await enter(connect(other.url("/anon"), tls=TRUST))
            here = [client for clients in by_worker.values() for client in clients[1:]]

            async def all_see_all() -> None:
                for worker in by_worker:
                    await seen([there], f"cam{worker}", writers)
                await seen(here, "there/cam", [write])

            await all_see_all()
            async with httpx.AsyncClient() as web:
                nodes = await all_nodes(web, relay)
                connections = [c for each in nodes["nodes"] for c in each["connections"]]
                assert len(connections) == 1
                await web.post(f"{relay.internal}/drain")
            await until(lambda: other.events("peer is leaving"))
            await all_see_all()  # until its time is up

        assert "Traceback" not in relay.process.log.read_text()

    asyncio.run(main())


@pytest.mark.parametrize("unsteered", [False, True])
def test_either_kind_of_address(
    start: Callable[..., Relay], monkeypatch: pytest.MonkeyPatch, unsteered: bool
) -> None:
    """``[::]`` takes both; a session is found by its connection id whichever it came over."""
    if unsteered:
        monkeypatch.setenv("RELAY_UNSTEERED", "1")
    relay = start(2, base=BASE.replace("127.0.0.1:0", "[::]:0"), host="[::1]")

    async def main() -> None:
        async with (
            publishing(relay, "/anon") as (_, write),
            many(relay, "/anon", 8) as by_worker,
        ):
            relay.host = "127.0.0.1"
            async with many(relay, "/anon", 8) as others:
                clients = [
                    c for each in (by_worker, others) for some in each.values() for c in some
                ]
                await seen(clients, "cam", [write])
                assert {worker_of(client) for client in clients} == {0, 1}

    asyncio.run(main())
    assert relay.process.stop() == 0
    assert "Traceback" not in relay.process.log.read_text()
