"""The one who publishes, as a process of its own: ``URL FINGERPRINT CASE``, the case as JSON.

Its job is frames at a rate, or many broadcasts at once, with the Rust stack's client; it says how
late it was itself. It must not know the viewers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import moq
from link import KEEP_US, STAMP, dial, say

Broadcasts = dict[moq.BroadcastProducer, list[moq.TrackProducer]]
"""Who forgets a broadcast ends it."""


def announce(home: moq.Client, case: dict[str, Any]) -> Broadcasts:
    """Every track of every broadcast."""
    made: Broadcasts = {}
    info = moq.TrackInfo(timescale=1_000_000, max_age_us=KEEP_US)
    for b in range(case["broadcasts"]):
        broadcast = home.create_broadcast(f"bench/{b}")
        made[broadcast] = [broadcast.publish_track(f"t{t}", info) for t in range(case["tracks"])]
        broadcast.announce()
    return made


async def publish(made: Broadcasts, case: dict[str, Any], frames: int) -> float:
    """Every track's frames, evenly over the turn. Answers by how many seconds the last was late."""
    tracks = [track for each in made.values() for track in each]
    groups: list[moq.GroupProducer | None] = [None] * len(tracks)
    filler = bytes(case["size"] - STAMP)
    began = due = time.monotonic()
    for number in range(frames):
        due = began + number / case["rate"]
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        for place, track in enumerate(tracks):
            group = groups[place] or track.append_group()
            stamp = time.monotonic_ns().to_bytes(STAMP, "big")
            group.write_frame(stamp + filler, number * 1000)
            ends = (number + 1) % case["group"] == 0 or number + 1 == frames
            if ends:
                group.finish()
            groups[place] = None if ends else group
    return time.monotonic() - due


async def media(home: moq.Client, case: dict[str, Any]) -> None:
    """Frames at a rate."""
    made = announce(home, case)
    await say("announced")
    await say("begin")
    await say("end", behind=await publish(made, case, int(case["rate"] * case["seconds"])))


async def subscriptions(home: moq.Client, case: dict[str, Any]) -> None:
    """Tracks that are silent, until a single frame on each shows who listens."""
    made = announce(home, case)
    for word in ("announced", "begin", "end", "settled"):
        await say(word)
    await publish(made, case, 1)
    await say("seen")


async def announcements(home: moq.Client, case: dict[str, Any]) -> None:
    """Many broadcasts that appear at once."""
    await say("begin")
    made = announce(home, {**case, "tracks": 0})
    await say("end", count=len(made))


KINDS = {"media": media, "subscriptions": subscriptions, "announcements": announcements}


async def main() -> None:
    """One turn."""
    url, pin, said = sys.argv[1:]
    case = json.loads(said)
    async with AsyncExitStack() as stack:
        await KINDS[case["kind"]](await dial(stack, url, pin), case)


if __name__ == "__main__":
    asyncio.run(main())
