"""Relays as processes in either event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from samples import scrape
from several import WORKERS, Relay, audience, many, publishing


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_broadcast_is_relayed(
    process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, loop: str, workers: int
) -> None:
    monkeypatch.setenv("MOQ_SERVER__WORKERS", f"{workers}")
    monkeypatch.setenv("MOQ_SERVER__LOOP", loop)
    relay = Relay(process(WORKERS), workers)

    async def main() -> None:
        async with (
            publishing(relay, "/anon") as (_, write),
            many(relay, "/anon", 4) as by_worker,
        ):
            clients = [client for each in by_worker.values() for client in each]
            assert await audience(clients, write) == [3] * len(clients)
            found = await scrape(relay.internal)
            assert {has["loop"] for has, _ in found["relay_build_info"]} == {loop}

    asyncio.run(main())
    assert relay.process.stop() == 0
    assert "Traceback" not in relay.process.log.read_text()
