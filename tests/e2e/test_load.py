"""Many viewers with one asleep, very many short groups, very many sessions: nothing piles up."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import moq
import psutil
import pytest

pytestmark = [pytest.mark.interop, pytest.mark.slow]

MIB = 1 << 20

PATIENCE = 240.0
"""Seconds that all of it may take on a machine that is busy with other things."""

KEEP = int(PATIENCE * 1e6)
"""Microseconds within which both ends want every group, however late; the default is none."""


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    return int(psutil.Process(pid).memory_info().rss)


def client(url: str) -> moq.Client:
    """A Rust client whose two sides do not see each other."""
    return moq.Client(
        url,
        tls_verify=False,
        websocket_enabled=False,
        reconnect=False,
        publish=moq.OriginProducer(),
        subscribe=moq.OriginProducer(),
    )


async def watch(viewer: moq.Client, name: str, track: str) -> moq.TrackConsumer:
    """Subscribe once the broadcast is announced."""
    found = await asyncio.wait_for(viewer.announced_broadcast(name).available(), 10)
    return await found.subscribe_track(track, moq.Subscription(max_age_us=KEEP))


def test_fifty_viewers_one_asleep(process: Any) -> None:
    """49 miss nothing while the fiftieth, a stopped process, reads nothing at all."""
    relay = process('[peer]\nmax_backlog = 4194304\n[auth]\npublic = ""\n', NO_KEY)
    port = relay.ready()["quic"][1]
    url = f"https://127.0.0.1:{port}/load"
    groups, frames, size = 60, 4, 16_384

    async def read(consumer: moq.TrackConsumer) -> dict[int, int]:
        """Bytes by group, until the track ends."""
        got: dict[int, int] = {}
        async for group in consumer.groups_as_arrived():
            got[group.sequence] = 0
            async for frame in group:
                got[group.sequence] += len(frame.payload)
        return got

    async def main() -> list[dict[int, int]]:
        async with AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(client(url))
            broadcast = publisher.create_broadcast("cam")
            track = broadcast.publish_track("video", moq.TrackInfo(max_age_us=KEEP))
            broadcast.announce()
            sleeper = subprocess.Popen(
                [
                    *(sys.executable, "-m", "relay", "subscribe", url, "cam", "video"),
                    *("--raw", "--tls-disable-verify"),
                ],
                stdout=subprocess.DEVNULL,
            )
            stack.callback(sleeper.wait)
            stack.callback(sleeper.kill)
            await asyncio.wait_for(track.demand().used(), 15)
            viewers = [await stack.enter_async_context(client(url)) for _ in range(49)]
            consumers = await asyncio.gather(*(watch(v, "cam", "video") for v in viewers))
            reading = [asyncio.ensure_future(read(consumer)) for consumer in consumers]
            await asyncio.sleep(0.5)
            sleeper.send_signal(signal.SIGSTOP)
            before = resident(relay.program.pid)
            for _ in range(groups):
                group = track.append_group()
                for number in range(frames):
                    group.write_frame(bytes(size), number * 1000)
                group.finish()
                await asyncio.sleep(0.1)
            track.finish()
            got = await asyncio.wait_for(asyncio.gather(*reading), PATIENCE)
            grown = resident(relay.program.pid) - before
            # the sleeper's backlog, the cache of a few seconds, and QUIC's own windows
            assert grown < 96 * MIB, f"{grown / MIB:.0f} MiB"
            return list(got)

    for got in asyncio.run(main()):
        assert got == dict.fromkeys(range(groups), frames * size)


NO_KEY = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost", "127.0.0.1"]
"""


def test_a_hundred_thousand_short_groups(process: Any) -> None:
    """One connection in, one out; the second half of the groups costs no memory."""
    relay = process('[auth]\npublic = ""\n', NO_KEY)
    port = relay.ready()["quic"][1]
    total, batch = 100_000, 50

    async def main() -> tuple[int, int, int]:
        url = f"moqt://127.0.0.1:{port}/short"
        async with client(url) as publisher, client(url) as viewer:
            broadcast = publisher.create_broadcast("many")
            track = broadcast.publish_track("t", moq.TrackInfo(max_age_us=KEEP))
            broadcast.announce()
            consumer = await watch(viewer, "many", "t")
            seen = 0

            async def count() -> None:
                nonlocal seen
                async for group in consumer.groups_as_arrived():
                    await group.read_frame()
                    seen += 1

            counting = asyncio.ensure_future(count())
            await asyncio.wait_for(track.demand().used(), 10)
            marks = []
            for number in range(total):
                track.write_frame(b"x", number)
                if number % batch == 0:
                    while number - seen > 4 * batch and not counting.done():
                        await asyncio.sleep(0.001)
                if number in (total // 4, total - 1):
                    marks.append(resident(relay.program.pid))
            track.finish()
            await asyncio.wait_for(counting, PATIENCE)
            return seen, marks[0], marks[1]

    seen, early, late = asyncio.run(asyncio.wait_for(main(), 2 * PATIENCE))
    assert seen == total
    assert late - early < 16 * MIB, f"{(late - early) / MIB:.1f} MiB more"


def test_two_thousand_sessions(running: Any) -> None:
    """Opened and closed; the relay remembers none of them."""

    async def main() -> tuple[Callable[[], int], int, int]:
        async with running() as relay:
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"

            async def visit(times: int) -> None:
                for _ in range(times):
                    async with client(url):
                        pass

            marks = []
            for times in (200, 1800):
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(20):
                        tasks.create_task(visit(times // 20))
                deadline = time.monotonic() + 10
                while relay.endpoint.connections and time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
                gc.collect()
                marks.append(len(gc.get_objects()))
            assert relay.door.guests == {}
            assert relay.endpoint.sessions == 0
            assert relay.door.admitted == 2000
            return marks

    early, late = asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert late - early < 2000, f"{late - early} objects more than after the first 200"
