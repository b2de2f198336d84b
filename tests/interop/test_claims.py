"""moq-rs announces a prefix and makes what is asked for below it on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from absent import module

moq = module("moq")

from rig.crew import crew  # noqa: E402
from rig.frames import DEADLINE  # noqa: E402
from rig.house import PUBLIC, Relay  # noqa: E402

pytestmark = pytest.mark.interop

Run = Callable[[Coroutine[Any, Any, Any]], Any]
NOT_HERE = 77
"""How the service refuses what it does not have."""


async def serve(claim: Any, asked: list[str]) -> None:
    """One group of one frame that names the path, for each path but those that end in ``no``."""
    kept: list[Any] = []
    with contextlib.suppress(moq.Error):  # the claim is over
        async for request in claim:
            path = request.path
            asked.append(path)
            if path.endswith("no"):
                request.reject(NOT_HERE)
                continue
            broadcast = moq.BroadcastProducer()
            track = broadcast.publish_track("t")
            group = track.append_group()
            group.write_frame(path.encode(), 0)
            group.finish()
            kept.append((broadcast, track))
            request.accept(broadcast)


async def seen(client: Any, path: str) -> bytes:
    """The first frame there."""
    broadcast = await client.request_broadcast(path)
    track = await broadcast.subscribe_track("t")
    frame = await (await track.recv_group()).read_frame()
    return bytes(frame.payload)


@asynccontextmanager
async def met(
    relay: Relay, paths: Sequence[str]
) -> AsyncIterator[tuple[Any, list[Any], list[str]]]:
    """Who claims ``vod``, viewers at some paths that have heard of it, and what was asked for."""
    origin, asked = moq.OriginProducer(), list[str]()
    own = {"tls_fingerprints": [relay.fingerprint], "websocket_enabled": False}
    async with AsyncExitStack() as stack, asyncio.timeout(3 * DEADLINE):
        at = f"{relay.url}/{PUBLIC}"
        nobody = moq.OriginProducer
        await stack.enter_async_context(moq.Client(at, publish=origin, subscribe=nobody(), **own))
        claim = origin.dynamic("vod")
        members = await stack.enter_async_context(crew())
        members.start(serve(claim, asked))
        viewers = []
        for path in paths:
            client = moq.Client(f"{at}/{path}", publish=nobody(), subscribe=nobody(), **own)
            viewers.append(await stack.enter_async_context(client))
            await anext(client.announced())
        yield claim, viewers, asked


def test_viewers_get_what_is_made_for_them(run: Run, relay: Relay) -> None:
    async def scenario() -> None:
        async with met(relay, ["", "", "vod/deep"]) as (_, [one, other, deep], asked):
            assert await seen(one, "vod/a/b") == b"vod/a/b"
            assert await seen(other, "vod/a/b") == b"vod/a/b"
            assert await seen(deep, "c") == b"vod/deep/c"
            with pytest.raises(moq.Error) as refused:
                await seen(one, "vod/no")
            assert str(NOT_HERE) in str(moq.protocol_error(refused.value))
            assert asked == ["vod/a/b", "vod/deep/c", "vod/no"]

    run(scenario())


def test_nothing_is_there_once_it_is_withdrawn(run: Run, relay: Relay) -> None:
    async def scenario() -> None:
        async with met(relay, ["vod/deep"]) as (claim, [deep], asked):
            changes = deep.announced()
            assert (await anext(changes)).active
            claim.cancel()
            assert not (await anext(changes)).active
            with pytest.raises(moq.Error):
                await seen(deep, "c")
            assert asked == []

    run(scenario())
