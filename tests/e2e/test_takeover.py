"""A publisher that may watch as well takes over a path that is announced to it already."""

from __future__ import annotations

import asyncio

from relay.client import Client, connect
from relay.errors import RelayError
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.peer.reading import ReadFrame

ANYBODY = DialTls(disable_verify=True)


async def read_one(viewer: Client) -> bytes:
    """The first frame of ``x/t``, from whoever publishes it by then."""
    while True:
        found = await viewer.find("x")
        try:
            async for item in viewer.frames(found, "t").frames():
                if isinstance(item, ReadFrame):
                    return item.payload
        except RelayError:
            await asyncio.sleep(0.05)  # it has just been replaced


def test_the_newest_publisher_wins_although_it_watches(running) -> None:
    async def scene() -> bytes:
        async with running() as relay:
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with connect(url, tls=ANYBODY) as first, connect(url, tls=ANYBODY) as viewer:
                first.create_broadcast("x").create_track("t", TrackInfo())
                await viewer.find("x")
                async with connect(url, tls=ANYBODY) as second:
                    await second.find("x")
                    track = second.create_broadcast("x").create_track("t", TrackInfo())
                    track.append_group()
                    track.write_frame(b"second", 1)
                    return await read_one(viewer)

    assert asyncio.run(asyncio.wait_for(scene(), 20)) == b"second"
