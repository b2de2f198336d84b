"""Foreign clients read what was published by HTTP: the same bytes, groups, and the relay's time."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from rig.client import Client
from rig.frames import Frame
from rig.house import Relay

pytestmark = pytest.mark.interop

READERS = ["moq-rs", "moq-rs-raw", pytest.param("chromium", marks=pytest.mark.browser)]
TRACK = "temperature"
SLACK = 2_000_000
"""Microseconds that a timestamp may be off from the clock of this machine."""

_numbers = itertools.count(1)


@pytest.fixture
def web(relay: Relay) -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
    """``await web(broadcast, json)``: publish below demo."""
    if relay.foreign:
        pytest.skip("the Rust stack's server takes nothing by HTTP")
    token = relay.key.token("demo")

    async def publish(broadcast: str, value: Any, query: str = "") -> dict[str, Any]:
        url = f"{relay.http_url}/publish/demo/{broadcast}/{TRACK}{query}"
        async with httpx.AsyncClient() as client:
            answer = await client.post(
                url, json=value, headers={"authorization": f"Bearer {token}"}
            )
        assert answer.status_code == 202, answer.text
        said: dict[str, Any] = answer.json()
        return said

    return publish


@pytest.mark.parametrize("reader", READERS)
def test_records_arrive_as_frames_with_the_relays_time(
    relay: Relay,
    client: Callable[[str], Client],
    run: Callable[[Coroutine[Any, Any, Any]], Any],
    web: Any,
    reader: str,
) -> None:
    far, broadcast = client(reader), f"plant-{next(_numbers)}/line"
    records = [{"c": 21.5, "unit": "°C"}, {"c": 22}, {"c": 23}, {"c": 24}]
    began = time.time()

    async def scenario() -> list[Frame]:
        target = relay.target(far, "demo", relay.key.token("demo"))
        async with far.connect(target) as session:
            assert (await web(broadcast, records[0]))["groups"] == [0]
            await (await session.listen()).until(broadcast)
            watch = await session.watch(broadcast, TRACK)
            await watch.collect(groups=1)
            said = await web(broadcast, records[1:3], "?group=one")
            assert [each["frame"] for each in said["records"]] == [0, 1]
            await watch.collect(groups=2)
            await web(broadcast, records[3])
            return await watch.collect(groups=3)

    arrived = sorted(run(scenario()), key=lambda each: (each.group, each.index))
    assert [(each.group, each.index) for each in arrived] == [(0, 0), (1, 0), (1, 1), (2, 0)]
    assert [json.loads(each.payload) for each in arrived] == records
    assert arrived[0].payload == '{"c":21.5,"unit":"°C"}'.encode()
    times = [each.timestamp_us for each in arrived]
    assert times == sorted(times)
    assert began * 1e6 - SLACK < times[0] <= times[-1] < time.time() * 1e6 + SLACK
