"""A publisher in a cluster that takes its broadcast back and begins another one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mesh import TRUST, Node, until

from relay.client import Client, connect
from relay.errors import RelayError
from relay.model.track import TrackInfo
from relay.peer.reading import ReadFrame

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("shape", ["mesh", "line"])
def test_a_publisher_that_begins_anew_at_once_is_watched_anew(node: Any, shape: str) -> None:
    """Its groups have the numbers of those before, which the relays still have."""

    async def main() -> None:
        async with begun_anew(node, shape) as (publisher, viewer):
            for turn in (b"first", b"second", b"third"):
                track = publisher.create_broadcast("cam").create_track("v", TrackInfo())
                for number in range(3):
                    track.append_group()
                    track.write_frame(turn, number)
                async with asyncio.timeout(5):
                    while await first_frame(viewer) != turn:
                        await asyncio.sleep(0.02)
                track.finish()
                publisher.withdraw()
                await asyncio.sleep(0.05)

    asyncio.run(main())


@pytest.mark.parametrize("shape", ["mesh", "line"])
def test_who_watches_to_the_end_goes_on_with_what_was_begun_meanwhile(
    node: Any, shape: str
) -> None:
    async def main() -> None:
        async with begun_anew(node, shape) as (publisher, viewer):
            seen: set[bytes] = set()

            async def watching() -> None:
                while True:
                    found = await viewer.find("cam")
                    with contextlib.suppress(RelayError):
                        async for item in viewer.frames(found, "v").frames():
                            if isinstance(item, ReadFrame):
                                seen.add(item.payload)
                    await asyncio.sleep(0.05)

            task = asyncio.ensure_future(watching())
            last = None
            for turn in (b"first", b"second", b"third"):
                track = publisher.create_broadcast("cam").create_track("v", TrackInfo())
                track.append_group()
                track.write_frame(turn, 0)
                await asyncio.sleep(0.2)
                if last is not None:
                    last.finish()
                await until(lambda: turn in seen, 5)  # noqa: B023
                publisher.withdraw()
                last = track
            task.cancel()

    asyncio.run(main())


@contextlib.asynccontextmanager
async def begun_anew(node: Any, shape: str) -> AsyncIterator[tuple[Client, Client]]:
    """A publisher and a viewer at the two ends of some relays."""
    async with contextlib.AsyncExitStack() as stack:
        nodes: list[Node] = []
        for _ in range(3 if shape == "mesh" else 4):
            wanted = [each.url() for each in (nodes if shape == "mesh" else nodes[-1:])]
            nodes.append(await stack.enter_async_context(node(connect=wanted)))
            await until(lambda: nodes[-1].up() == len(wanted))  # noqa: B023
        publisher = await stack.enter_async_context(connect(nodes[0].url("/anon"), tls=TRUST))
        yield publisher, await stack.enter_async_context(connect(nodes[-1].url("/anon"), tls=TRUST))


async def first_frame(client: Any) -> bytes:
    """The first frame of ``cam`` for somebody who begins to watch now."""
    found = await client.find("cam")
    with contextlib.suppress(RelayError):
        async for item in client.frames(found, "v").frames():
            if isinstance(item, ReadFrame):
                return item.payload
    return b""
