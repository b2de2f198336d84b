"""Our own client dials the Rust stack's server, in its newest version and over both transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from absent import module

moq = module("moq")

from rig.client import Target  # noqa: E402
from rig.frames import DEADLINE, SMALL, Frame  # noqa: E402
from rig.rust import RustClient  # noqa: E402

from relay import client  # noqa: E402
from relay.errors import Gone  # noqa: E402
from relay.model.track import Demand, TrackInfo  # noqa: E402
from relay.net.trust import DialTls  # noqa: E402
from relay.peer.reading import GroupEnd, ReadFrame, collect_group  # noqa: E402

pytestmark = pytest.mark.interop

Run = Callable[[Coroutine[Any, Any, Any]], Any]
INFO = TrackInfo(max_latency=30_000, timescale=1_000_000)
NEWEST = "moq-lite-06"


@asynccontextmanager
async def served() -> AsyncIterator[Target]:
    """A server of the Rust stack with one origin for all."""
    shared = moq.OriginProducer()
    sessions = []  # who lets go of a session ends it

    async def welcome(request: Any) -> None:
        request.set_consume(shared)
        request.set_publish(shared)
        sessions.append(await request.accept())

    async def answer(server: Any) -> None:
        async for request in server:
            await welcome(request)

    async with (
        moq.Server("127.0.0.1:0", tls_generate=["localhost"]) as server,
        asyncio.TaskGroup() as tasks,
    ):
        task = tasks.create_task(answer(server))
        port = server.local_addr.rsplit(":", 1)[1]
        yield Target(f"127.0.0.1:{port}/", server.cert_fingerprints()[0])
        task.cancel()


@asynccontextmanager
async def both(scheme: str) -> AsyncIterator[tuple[client.Client, Any]]:
    """Our client and the Rust stack's at one server of the latter."""
    async with served() as target:
        url = f"{scheme}://{target.url}"
        foreign = RustClient("moq-rs", scheme)
        tls = DialTls(fingerprints=(target.fingerprint,))
        async with (
            client.connect(url, tls=tls) as ours,
            foreign.connect(Target(url, target.fingerprint)) as theirs,
            asyncio.timeout(3 * DEADLINE),
        ):
            yield ours, theirs
            assert ours.guest.session.version == NEWEST
            assert not ours.guest.gone


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_watching_what_it_announces(run: Run, scheme: str) -> None:
    async def scenario() -> tuple[list[Any], list[bool]]:
        heard: list[bool] = []
        async with both(scheme) as (ours, theirs):
            changes = ours.changes()
            publication = await theirs.publish("room/cam", "video")
            await publication.write(SMALL[0])
            found = await ours.find("room/cam")
            collector = ours.frames(found, "video", Demand(max_latency=30_000))
            frames: list[Any] = []
            async for item in collector.frames():
                if isinstance(item, ReadFrame):
                    facts = item.timestamp, item.timescale
                    frames.append(
                        (Frame(item.group, item.number, facts[0], item.payload), facts[1])
                    )
                elif isinstance(item, GroupEnd):
                    assert item.error is None
                    if item.group + 1 == len(SMALL):
                        await publication.finish()
                    else:
                        await publication.write(SMALL[item.group + 1])
            await publication.unpublish()
            for _ in range(2):
                active, path = await changes.queue.get()
                assert path == "room/cam"
                heard.append(active)
        return frames, heard

    frames, heard = run(scenario())
    assert [frame for frame, _ in frames] == [
        Frame(sequence, index, stamp, payload)
        for sequence, group in enumerate(SMALL)
        for index, (stamp, payload) in enumerate(group)
    ]
    assert {scale for _, scale in frames} == {1_000_000}
    assert heard == [True, False]


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_publishing_to_it(run: Run, scheme: str) -> None:
    async def scenario() -> tuple[list[Frame], list[tuple[str, bool]], str]:
        async with both(scheme) as (ours, theirs):
            listening = await theirs.listen()
            track = ours.create_broadcast("room/ours").create_track("video", INFO)
            await listening.until("room/ours")
            watch = await theirs.watch("room/ours", "video")
            for number, group in enumerate(SMALL, start=1):
                track.append_group()
                for stamp, payload in group:
                    track.write_frame(payload, stamp)
                track.finish_group()
                await watch.collect(groups=number)
            track.finish()
            ended = await watch.over()
            ours.withdraw()
            await listening.until("room/ours", active=False)
            frames = await watch.collect(groups=len(SMALL))
            return frames, await listening.heard(), ended

    frames, heard, ended = run(scenario())
    assert frames == [
        Frame(sequence, index, stamp, payload)
        for sequence, group in enumerate(SMALL)
        for index, (stamp, payload) in enumerate(group)
    ]
    assert heard == [("room/ours", True), ("room/ours", False)]
    assert ended == "finished"


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_fetching_what_it_has(run: Run, scheme: str) -> None:
    async def scenario() -> list[tuple[int, list[bytes]]]:
        async with both(scheme) as (ours, theirs):
            publication = await theirs.publish("room/cam", "video")
            for group in SMALL:
                await publication.write(group)
            track = (await ours.find("room/cam")).track("video")
            found = []
            for number in (1, 0):
                found.append(await collect_group(track, number, ours.house.clock))
            with pytest.raises(Gone):
                await collect_group(track, 77, ours.house.clock)
            assert not ours.guest.publishing.fetches
            assert not ours.guest.session.fetches
            await publication.finish()
        return found

    found = run(scenario())
    assert found == [(number, [payload for _, payload in SMALL[number]]) for number in (1, 0)]
