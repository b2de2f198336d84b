"""Load on a relay, as a process of its own: ``URL FINGERPRINT CASE``, the case as JSON.

Its job is to publish, watch and count with the Rust stack's client; its law is that it says
``begin`` when all is set up and ``end`` with what arrived, so that the other side can look at the
relay's CPU just then. It must not know which relay it dials.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import moq

KEEP_US = 30_000_000
"""Groups may be this late: the library's default skips every late one, and frames would be lost."""

DRAIN = 3.0
"""Seconds after the last frame in which the rest must arrive."""

STAMP = 8
"""Bytes of the sender's clock (monotonic nanoseconds) at the start of a frame."""


def say(word: str, **facts: object) -> None:
    """A line to who started us, who answers with one when it has looked."""
    sys.stdout.write(f"{word} {json.dumps(facts)}\n")
    sys.stdout.flush()
    sys.stdin.readline()


class Load:
    """The sessions of one turn, and what arrived at them."""

    def __init__(self, url: str, pin: str, case: dict[str, Any]) -> None:
        self.url, self.pin, self.case = url, pin, case
        self.delivered = 0
        self.waits: list[float] = []
        self.running = True

    async def dial(self, stack: AsyncExitStack) -> moq.Client:
        """One more session."""
        client = moq.Client(
            self.url,
            tls_fingerprints=[self.pin],
            websocket_enabled=False,
            reconnect=False,
            publish=moq.OriginProducer(),
            subscribe=moq.OriginProducer(),
        )
        async with asyncio.timeout(20):
            await stack.enter_async_context(client)
        return client

    async def arrive(self, expected: int) -> None:
        """Wait until everything is there, at most `DRAIN` seconds."""
        deadline = time.monotonic() + DRAIN
        while self.delivered < expected and time.monotonic() < deadline:  # noqa: ASYNC110 - cheaper
            await asyncio.sleep(0.01)

    def result(self, expected: int) -> dict[str, object]:
        """What is reported of this turn."""
        waits = sorted(self.waits) or [0.0]
        return {
            "expected": expected,
            "delivered": self.delivered,
            "p50": waits[len(waits) // 2],
            "p99": waits[len(waits) * 99 // 100],
        }

    # Media

    async def media(self, stack: AsyncExitStack) -> None:
        """Frames at a rate, to several viewers of every track."""
        case = self.case
        names = [
            (f"bench/{b}", f"t{t}")
            for b in range(case["broadcasts"])
            for t in range(case["tracks"])
        ]
        home = await self.dial(stack)
        broadcasts: dict[str, moq.BroadcastProducer] = {}
        tracks = []
        info = moq.TrackInfo(timescale=1_000_000, max_age_us=KEEP_US)
        for path, name in names:
            if path not in broadcasts:
                broadcasts[path] = home.create_broadcast(path)
            tracks.append(broadcasts[path].publish_track(name, info))
        for broadcast in broadcasts.values():
            broadcast.announce()
        frames = int(case["rate"] * case["seconds"])
        expected = frames * len(tracks) * case["viewers"]
        async with asyncio.TaskGroup() as tasks:
            watching = []
            for _ in range(case["viewers"]):
                viewer = await self.dial(stack)
                for path, name in names:
                    async with asyncio.timeout(20):
                        source = await self.find(viewer, path)
                        wish = moq.Subscription(max_age_us=KEEP_US)
                        consumer = await source.subscribe_track(name, wish)
                    watching.append(tasks.create_task(self.watch(consumer)))
            await asyncio.sleep(0.5)
            say("begin")
            await self.publish(tracks, frames)
            await self.arrive(expected)
            say("end", **self.result(expected))
            for task in watching:
                task.cancel()

    async def find(self, viewer: moq.Client, path: str) -> moq.BroadcastConsumer:
        """The broadcast, once the relay has heard of it."""
        while True:
            try:
                return await viewer.request_broadcast(path)
            except moq.Error:
                await asyncio.sleep(0.05)

    async def publish(self, tracks: list[moq.TrackProducer], frames: int) -> None:
        """Every track's frames, evenly over the turn."""
        groups: list[moq.GroupProducer | None] = [None] * len(tracks)
        filler = bytes(self.case["size"] - STAMP)
        began = time.monotonic()
        for number in range(frames):
            await asyncio.sleep(max(0.0, began + number / self.case["rate"] - time.monotonic()))
            for place, track in enumerate(tracks):
                group = groups[place] or track.append_group()
                stamp = time.monotonic_ns().to_bytes(STAMP, "big")
                group.write_frame(stamp + filler, number * 1000)
                ends = (number + 1) % self.case["group"] == 0 or number + 1 == frames
                if ends:
                    group.finish()
                groups[place] = None if ends else group

    async def watch(self, consumer: moq.TrackConsumer) -> None:
        """Count one track. Groups are read in turn: all of them come in the end."""
        try:
            while (group := await consumer.recv_group()) is not None:
                while (frame := await group.read_frame()) is not None:
                    self.delivered += 1
                    sent = int.from_bytes(frame.payload[:STAMP], "big")
                    self.waits.append((time.monotonic_ns() - sent) / 1e6)
        except moq.Error:
            return  # what is missing shows in the count

    # Sessions

    async def sessions(self, stack: AsyncExitStack) -> None:
        """Many sessions that come at once and then do nothing."""
        wanted = self.case["viewers"]
        gate = asyncio.Semaphore(32)

        async def come() -> None:
            try:
                async with gate:
                    await self.dial(stack)
                self.delivered += 1
            except (moq.Error, TimeoutError):
                return

        say("begin")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(wanted):
                tasks.create_task(come())
        say("end", **self.result(wanted))
        await asyncio.sleep(self.case["seconds"])
        say("idle")

    # Announcements

    async def announcements(self, stack: AsyncExitStack) -> None:
        """Many broadcasts that appear at once before many who listen."""
        case = self.case
        home = await self.dial(stack)
        async with asyncio.TaskGroup() as tasks:
            listening = []
            for _ in range(case["viewers"]):
                viewer = await self.dial(stack)
                listening.append(tasks.create_task(self.hear(viewer.announced(""))))
            await asyncio.sleep(0.5)
            say("begin")
            kept = [home.create_broadcast(f"bench/{each}") for each in range(case["broadcasts"])]
            for broadcast in kept:
                broadcast.announce()
            expected = case["broadcasts"] * case["viewers"]
            await self.arrive(expected)
            say("end", **self.result(expected))
            for task in listening:
                task.cancel()

    async def hear(self, updates: moq.AnnounceConsumer) -> None:
        """Count what is announced."""
        try:
            async for update in updates:
                self.delivered += update.active
        except moq.Error:
            return


async def main() -> None:
    """One turn."""
    url, pin, case = sys.argv[1:]
    load = Load(url, pin, json.loads(case))
    async with AsyncExitStack() as stack:
        await getattr(load, load.case["kind"])(stack)
        say("done")


if __name__ == "__main__":
    asyncio.run(main())
