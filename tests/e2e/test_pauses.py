"""Nobody waits: not while the collector of garbage looks through what never is any, nor for work
that takes long."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

from mesh import BASE, TRUST

import asked
from relay.client import connect
from relay.config import load
from relay.model.track import TrackInfo
from relay.path import Path as Name
from relay.peer.reading import collect_group
from relay.server.relay import Relay
from relay.wire.frame import Counted, Layout, Transcoder

FRAMES = 50_000


def shifted(source: Any, target: Any, info: Any) -> Any:
    """The same layout, frame by frame."""
    return Transcoder(Counted(info.timescale), Layout.TIMED, info.timescale).feed


def test_what_is_there_when_a_relay_is_ready_is_not_looked_through_again(folder: Path) -> None:
    file = folder / "relay.toml"
    file.write_text(BASE)
    seen: list[tuple[int, int]] = []

    def ready(relay: Any) -> None:
        seen.append((gc.get_freeze_count(), len(gc.get_objects())))
        relay.draining.set()

    async def main() -> None:
        await Relay(load(file, environ=asked.settings()).settings).serve(asyncio.Event(), ready)

    try:
        asyncio.run(main())
    finally:
        gc.unfreeze()
    ((kept, looked_at),) = seen
    assert kept > 10_000
    assert looked_at < kept / 10


def test_a_group_of_very_many_frames_is_written_anew_a_little_in_each_turn(running: Any) -> None:
    """For a viewer whose version has no timestamps, say: others have turns meanwhile."""

    async def main() -> None:
        async with running() as relay, asyncio.timeout(20):
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with (
                connect(url, tls=TRUST) as publisher,
                connect(url, tls=TRUST, versions=["moq-lite-03"]) as viewer,
            ):
                track = publisher.create_broadcast("a").create_track("t", TrackInfo())
                track.append_group()
                for _ in range(FRAMES):
                    track.write_frame(b"", 0)
                track.finish_group()
                seen = (await viewer.find("a")).track("t")
                reading = collect_group(seen, None, viewer.house.clock)
                assert (await reading)[1] == [b""] * FRAMES
                (group,) = relay.house.origin.find(Name("anon/a")).track("t").groups.values()
                turns, log = 0, group.log("again", shifted)
                while not log.finished:
                    await asyncio.sleep(0)
                    turns += 1
                assert turns > 5
                assert sum(map(len, log.chunks)) == 2 * FRAMES

    asyncio.run(main())
