"""Those who watch, as a process of its own: ``URL FINGERPRINT CASE``, the case as JSON.

Its job is to dial, listen and count with the Rust stack's client, or as a browser; its share of the
case's viewers is written in the case that it is given. It must not know the publisher.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import moq
from browser import browser
from link import DIAL, KEEP_US, STAMP, dial, say

DRAIN = 3.0
"""Seconds without anything new after which the rest counts as lost."""

SETTLE = 2.0
"""Seconds after which what was set up is at rest, and memory is looked at."""

REST = 5.0
"""Seconds of idling, at least: signs of life come every few."""

AT_ONCE = 32
"""Sessions of one process that dial at the same time."""


class Viewers:
    """The viewers of this process, and what arrived at them."""

    def __init__(self, url: str, pin: str, case: dict[str, Any], stack: AsyncExitStack) -> None:
        self.url, self.pin, self.case, self.stack = url, pin, case, stack
        self.delivered = 0
        self.waits: Counter[int] = Counter()
        """Frames by how long they were under way, in tenths of a millisecond."""
        self.tasks: asyncio.TaskGroup = asyncio.TaskGroup()
        self.watching: list[asyncio.Task[None]] = []

    @property
    def names(self) -> list[tuple[str, str]]:
        """Every track: the broadcast's path and its own name."""
        case = self.case
        return [
            (f"bench/{b}", f"t{t}")
            for b in range(case["broadcasts"])
            for t in range(case["tracks"])
        ]

    def took(self, frame: bytes) -> None:
        """A frame arrived."""
        self.delivered += 1
        sent = int.from_bytes(frame[:STAMP], "big")
        self.waits[(time.monotonic_ns() - sent) // 100_000] += 1

    async def arrive(self, expected: int) -> None:
        """Wait until everything is there, or for `DRAIN` seconds nothing came."""
        seen, since = self.delivered, time.monotonic()
        while self.delivered < expected and time.monotonic() - since < DRAIN:
            await asyncio.sleep(0.01)
            if self.delivered != seen:
                seen, since = self.delivered, time.monotonic()

    def counted(self, expected: int) -> dict[str, object]:
        """What is reported."""
        return {"expected": expected, "delivered": self.delivered, "waits": dict(self.waits)}

    async def subscribe(self, viewer: moq.Client, path: str, name: str) -> None:
        """One track more, once the relay knows it."""
        async with asyncio.timeout(DIAL):
            source = await find(viewer, path)
            wish = moq.Subscription(max_age_us=KEEP_US)
            consumer = await source.subscribe_track(name, wish)
        self.watching.append(self.tasks.create_task(self.watch(consumer)))

    async def watch(self, consumer: moq.TrackConsumer) -> None:
        """Count one track. Groups are read in turn: all of them come in the end."""
        try:
            while (group := await consumer.recv_group()) is not None:
                while (frame := await group.read_frame()) is not None:
                    self.took(frame.payload)
        except moq.Error:
            return  # what is missing shows in the count

    async def media(self) -> None:
        """Watch every track with every viewer."""
        case = self.case
        await say("announced")
        for number in range(case["viewers"]):
            if number < case["browsers"]:
                url = self.url.replace("moqt://", "https://", 1)
                async with asyncio.timeout(DIAL):
                    page = await self.stack.enter_async_context(browser(url, self.took))
                    for path, name in self.names:
                        await page.watch(path, name)
            else:
                viewer = await dial(self.stack, self.url, self.pin)
                for path, name in self.names:
                    await self.subscribe(viewer, path, name)
        await asyncio.sleep(0.5)
        await say("begin")
        expected = int(case["rate"] * case["seconds"]) * len(self.names) * case["viewers"]
        await self.arrive(expected)
        await say("end", **self.counted(expected))

    async def sessions(self) -> None:
        """Sessions that come at once, and then do nothing."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def come() -> None:
            try:
                async with gate:
                    await dial(self.stack, self.url, self.pin)
                self.delivered += 1
            except (moq.Error, TimeoutError):
                return

        await dial(self.stack, self.url, self.pin)  # the first one makes the relay load its code
        await say("begin")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.case["viewers"]):
                tasks.create_task(come())
        await say("end", **self.counted(self.case["viewers"]))
        if self.case["rest"]:
            await asyncio.sleep(SETTLE)
            await say("settled")
            await asyncio.sleep(max(REST, self.case["seconds"]))
            await say("idle")

    async def subscriptions(self) -> None:
        """Sessions that subscribe to many silent tracks; what each costs in memory."""
        await say("announced")
        viewers = [await dial(self.stack, self.url, self.pin) for _ in range(self.case["viewers"])]
        await asyncio.sleep(SETTLE)
        await say("begin")
        for viewer in viewers:
            for path, name in self.names:
                await self.subscribe(viewer, path, name)
        await say("end")
        await asyncio.sleep(SETTLE)
        await say("settled")
        expected = len(viewers) * len(self.names)
        await self.arrive(expected)
        await say("seen", **self.counted(expected))

    async def announcements(self) -> None:
        """Listen to everything that appears."""
        for _ in range(self.case["viewers"]):
            viewer = await dial(self.stack, self.url, self.pin)
            self.watching.append(self.tasks.create_task(self.hear(viewer.announced(""))))
        await asyncio.sleep(0.5)
        await say("begin")
        expected = self.case["broadcasts"] * self.case["viewers"]
        await self.arrive(expected)
        await say("end", **self.counted(expected))

    async def hear(self, updates: moq.AnnounceConsumer) -> None:
        """Count what is announced."""
        try:
            async for update in updates:
                self.delivered += update.active
        except moq.Error:
            return


async def find(viewer: moq.Client, path: str) -> moq.BroadcastConsumer:
    """The broadcast, once the relay has heard of it."""
    while True:
        try:
            return await viewer.request_broadcast(path)
        except moq.Error:
            await asyncio.sleep(0.05)


async def main() -> None:
    """One turn."""
    url, pin, said = sys.argv[1:]
    case = json.loads(said)
    async with AsyncExitStack() as stack:
        viewers = Viewers(url, pin, case, stack)
        async with viewers.tasks:
            await getattr(viewers, case["kind"])()
            for task in viewers.watching:
                task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
