"""A viewer behind a link that loses or reorders: it gets every byte, the short way or not."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet, until
from fleet.people import MAX_LATENCY, TRACK, Person
from netlab import Lab

from relay.client import Client
from relay.model.track import Demand, TrackInfo
from relay.peer.reading import ReadFrame

pytestmark = pytest.mark.slow

DELAY = 0.025
"""Seconds each way."""

GROUPS, SIZE = 16, 50_000
"""Groups that are published at once, and bytes of each one's only frame."""

SEEDS, MOST = 3, 9
"""Runs of each, and how many there are at most where these do not decide: which packets meet
the weather is chance, and so is what else the machine has to do."""

WORTH = 0.9
"""Share of the library's speed that the short way has to reach, over all runs together but for the
slowest of either, in which the machine may have stood still."""

WEATHERS = [
    pytest.param({"loss": 0.01}, id="one in a hundred lost"),
    pytest.param({"loss": 0.05}, id="one in twenty lost"),
    pytest.param({"reorder": 0.02}, id="reordered"),
]


def payload(group: int) -> bytes:
    """What a group holds; the first only shows that it is heard."""
    return b"ready" if not group else random.Random(group).randbytes(SIZE)


class Library(Person):
    """Publishes one group, and the others at once when it is told to."""

    may_go = False

    async def _act(self, client: Client) -> None:
        track = client.create_broadcast("cam").create_track(
            TRACK, TrackInfo(timescale=1000, max_latency=MAX_LATENCY), keep=2 * GROUPS
        )
        for group in range(GROUPS + 1):
            while group and not self.may_go:
                await asyncio.sleep(0.01)
            track.append_group()
            track.write_frame(payload(group), group)
            track.finish_group()
        await asyncio.Event().wait()


class Reader(Person):
    """Reads all groups and notes when it had the last byte of the last one."""

    def __init__(self, *arguments: Any) -> None:
        self.got: dict[int, bytes] = {}
        self.ended = 0.0
        super().__init__(*arguments)

    async def _act(self, client: Client) -> None:
        broadcast = await client.find("cam")
        demand = Demand(max_latency=MAX_LATENCY)
        async for item in client.frames(broadcast, TRACK, demand).frames():
            if isinstance(item, ReadFrame):
                self.got[item.group] = item.payload
                if len(self.got) > GROUPS:
                    self.ended = time.monotonic()
        await asyncio.Event().wait()


def seconds(folder: Path, seed: int, is_short: bool, weather: dict[str, float]) -> float:
    """How long it takes until all groups have arrived, whole and in one session."""
    folder.mkdir()
    with Lab(seed=seed) as lab, Fleet(lab, folder) as fleet:
        station = fleet.station(lab.host("relay"))
        far = lab.host("far")
        lab.link(station.host, far, delay=DELAY, **weather)
        station.configure(quic=f"short_way = {str(is_short).lower()}")
        fleet.start()
        here, there = station.crowd(), fleet.crowd(far)
        library = here._come(Library(here, [station.url]))
        reader = there._come(Reader(there, [station.url]))
        until(lambda: reader.got, 10, "the first group")
        begun, library.may_go = time.monotonic(), True
        until(lambda: reader.ended, 60, "all groups")
        assert reader.got == {group: payload(group) for group in range(GROUPS + 1)}
        assert (reader.connected, reader.lost) == (1, [])
        return reader.ended - begun


@pytest.mark.parametrize("weather", WEATHERS)
def test_every_byte_arrives_and_the_short_way_is_no_slower(networks, tmp_path, weather, figures):
    took: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(1, MOST + 1):
        for is_short in (True, False) if seed % 2 else (False, True):
            run = tmp_path / f"{seed}-{is_short}"
            took[is_short].append(seconds(run, seed, is_short, weather))
        short, stock = (sum(took[each]) - max(took[each]) for each in (True, False))
        if seed >= SEEDS and short * WORTH <= stock:
            break
    figures["runs"], figures["short_s"], figures["stock_s"] = seed, short, stock
    assert short * WORTH <= stock
