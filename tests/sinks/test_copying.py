"""Tracks read as they come and handed out."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from pace import rest, until, within
from relay.errors import Dropped
from relay.model.origin import Origin
from relay.model.settings import CacheSettings
from relay.model.track import TrackInfo
from relay.path import Path
from relay.peer.local import LocalBroadcast
from relay.peer.reading import ReadFrame
from relay.sinks import copying
from relay.sinks.choice import Choice
from relay.sinks.copying import Copying


class Kept:
    """An outlet that keeps everything."""

    def __init__(self):
        self.records = []
        self.ended = False

    def put(self, record):
        self.records.append((str(record.broadcast), record.track, *record.frame[:2]))

    async def run(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


@asynccontextmanager
async def copied(*choices, max_tracks=10, cache=None):
    origin, outlet, said = Origin(1, cache), Kept(), []
    sink = Copying(
        [Choice.parse(each) for each in choices],
        outlet,
        origin,
        time.monotonic,
        lambda event, **facts: said.append(facts.get("detail") or facts["error"]),
        max_tracks,
    )
    sink.said = said
    task = asyncio.ensure_future(sink.run())
    await asyncio.sleep(0)
    yield origin, sink
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert outlet.ended


def announce(origin, path, *tracks):
    local = LocalBroadcast(time.monotonic)
    made = [local.create_track(name, TrackInfo()) for name in tracks]
    return origin.announce(Path(path), local, (), time.monotonic()), *made


def write(track, *payloads):
    number = track.append_group()
    for each in payloads:
        track.write_frame(each, 1)
    track.finish_group()
    return number


async def leaves(origin, name):
    """Somebody writes a group and leaves without an end; the track it had."""
    route, track = announce(origin, name, "t")
    write(track, b"1")
    await settled()
    route.withdraw(time.monotonic())
    return track


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


def test_only_chosen_tracks_are_copied_from_their_first_group_on():
    async def main():
        async with copied("plant/**:t", "plant/*:t", "plant/a:u") as (origin, sink):
            _, t, u, v = announce(origin, "plant/a", "t", "u", "v")
            _, other = announce(origin, "other", "t")
            _, own = announce(origin, ".internal/plant", "t")
            for each in (t, t, u, v, other, own):
                write(each, b"1", b"2")
            await settled()
            assert sorted(sink.outlet.records) == [
                *(("plant/a", "t", group, frame) for group in (0, 1) for frame in (0, 1)),
                *(("plant/a", "u", 0, frame) for frame in (0, 1)),
            ]
            assert sink.tracks == 2

    asyncio.run(main())


def test_a_broadcast_that_ends_is_left_and_its_next_one_is_read_from_its_beginning():
    async def main():
        async with copied("a:t") as (origin, sink):
            await leaves(origin, "a")
            origin.tick(time.monotonic() + 60)
            await settled()
            assert sink.tracks == 0
            _, second = announce(origin, "a", "t")
            write(second, b"1")
            await settled()
            assert sink.outlet.records == [("a", "t", 0, 0)] * 2

    asyncio.run(main())


def test_what_a_publisher_left_behind_is_read_to_its_end():
    async def main():
        async with copied("a:t") as (origin, sink):
            route, track = announce(origin, "a", "t")
            await settled()
            write(track, b"1")
            route.withdraw(time.monotonic())
            write(track, b"2")
            await settled()
            write(track, b"3")
            track.finish()
            await settled()
            assert sink.outlet.records == [("a", "t", group, 0) for group in range(3)]
            assert (sink.tracks, sink._leaving) == (0, {})

    asyncio.run(main())


def test_what_came_before_another_took_the_path_is_copied():
    async def main():
        async with copied("a:t") as (origin, sink):
            _, first = announce(origin, "a", "t")
            await settled()
            write(first, b"1")
            _, second = announce(origin, "a", "t")
            write(second, b"2")
            await settled()
            assert sink.outlet.records == [("a", "t", 0, 0)] * 2
            assert sink.tracks == 1

    asyncio.run(main())


@pytest.mark.parametrize("frames", [[b"2" * 5_000_000], [b"2" * 500_000] * 10])
def test_a_large_group_is_copied_once_and_what_comes_behind_it_too(monkeypatch, frames):
    monkeypatch.setattr(copying, "RETRY", 0.01)

    async def main():
        async with copied("a:t") as (origin, sink):
            _, track = announce(origin, "a", "t")
            for payloads in (frames, [b"3"]):
                write(track, *payloads)
            expected = [("a", "t", 0, at) for at in range(len(frames))]
            await within(20, lambda: len(sink.outlet.records) > len(frames))
            await rest(0.1)  # and nothing comes twice
            assert sink.outlet.records == [*expected, ("a", "t", 1, 0)]

    asyncio.run(main())


def test_only_so_many_who_leave_without_an_end_are_waited_for():
    async def main():
        async with copied("**:t", max_tracks=2) as (origin, sink):
            for name in "abc":
                await leaves(origin, name)
            assert len(sink._leaving) == 2
            assert [each[0] for each in sink.outlet.records] == ["a", "b", "c"]

    asyncio.run(main())


def test_who_leaves_without_an_end_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(copying, "PATIENCE", 0.05)

    async def main():
        async with copied("a:t") as (origin, sink):
            track = await leaves(origin, "a")
            assert sink._leaving
            await within(20, lambda: not sink._leaving)
            write(track, b"2")
            await settled()
            assert [each[0] for each in sink.outlet.records] == ["a"]

    asyncio.run(main())


def test_what_broke_off_is_asked_for_again_behind_what_was_seen(monkeypatch):
    monkeypatch.setattr(copying, "RETRY", 0.01)

    async def main():
        async with copied("a:t") as (origin, sink):
            _, track = announce(origin, "a", "t")
            write(track, b"1")
            write(track, b"2")
            await settled()
            track.track.fail(Dropped("gone"))
            write(track, b"3")
            await until(lambda: len(sink.outlet.records) >= 3)
            assert sink.outlet.records == [("a", "t", group, 0) for group in (0, 1, 2)]

    asyncio.run(main())


@pytest.mark.parametrize("goes", [True, False])
def test_what_there_was_no_room_for_is_copied_when_there_is(goes):
    async def main():
        async with copied("**:t", max_tracks=1) as (origin, sink):
            (first, track), (second, _), (_, third) = (announce(origin, n, "t") for n in "abc")
            write(track, b"1")
            write(third, b"1")
            await settled()
            second.withdraw(time.monotonic())  # before its turn
            if goes:
                first.withdraw(time.monotonic())
            else:
                track.finish()
            await settled()
            assert [each[0] for each in sink.outlet.records] == ["a", "c"]
            assert sink.tracks == 1

    asyncio.run(main())


def test_what_has_ended_is_not_read_again_when_it_comes_another_way():
    async def main():
        async with copied("a:t") as (origin, sink):
            _, track = announce(origin, "a", "t")
            write(track, b"1")
            track.finish()
            await settled()
            sink.announced(Path("a"), None)
            await settled()
            assert sink.outlet.records == [("a", "t", 0, 0)]
            assert sink.tracks == 0

    asyncio.run(main())


def test_more_tracks_than_the_limit_are_not_copied_and_told_once():
    async def main():
        async with copied("**:t", max_tracks=1) as (origin, sink):
            for name in "abc":
                write(announce(origin, name, "t")[1], b"1")
            await settled()
            assert [each[0] for each in sink.outlet.records] == ["a"]
            assert sink.refused == 2
            assert len(sink.said) == 1

    asyncio.run(main())


def test_a_track_that_a_broadcast_has_no_room_for_costs_the_others_nothing():
    async def main():
        cache = CacheSettings(max_tracks_per_broadcast=1)
        async with copied("a:t", "a:u", "b:t", cache=cache) as (origin, sink):
            _, t, _ = announce(origin, "a", "t", "u")
            for track in (t, announce(origin, "b", "t")[1]):
                await settled()
                write(track, b"1")
            await settled()
            assert sink.outlet.records == [("a", "t", 0, 0), ("b", "t", 0, 0)]
            assert sink.said == []

    asyncio.run(main())


def test_what_is_handed_over_is_not_read_as_well():
    async def main():
        async with copied("plant/**:t", max_tracks=1) as (origin, sink):
            sink._is_handed = lambda broadcast: broadcast.path != "plant/b"
            for name in ("plant/a", "plant/b", "plant/c"):
                write(announce(origin, name, "t")[1], b"1")
            frames = [ReadFrame(0, number, 1, 1000, b"1") for number in (0, 1)]
            for place in (("plant/a", "t"), ("plant/a", "u"), ("other", "t")):
                sink.take(Path(place[0]), place[1], frames)
            await settled()
            assert sorted(sink.outlet.records) == [
                ("plant/a", "t", 0, 0),
                ("plant/a", "t", 0, 1),
                ("plant/b", "t", 0, 0),
            ]
            assert sink.tracks == 1
            assert sink.refused == 0

    asyncio.run(main())


def test_a_mistake_is_none_of_whoever_publishes():
    async def main():
        async with copied("a:t") as (_, sink):
            sink.outlet.put = lambda record: [][0]
            sink.take(Path("a"), "t", [ReadFrame(0, 0, 1, 1000, b"1")])
            assert ["IndexError" in each for each in sink.said] == [True]

    asyncio.run(main())


def test_a_mistake_ends_neither_the_relay_nor_the_sink(monkeypatch):
    monkeypatch.setattr(copying, "RESTART", 0.01)

    async def main():
        async with copied("a:t") as (origin, sink):
            put, mistakes = sink.outlet.put, [ValueError("a mistake")]

            def fails_once(record):
                if mistakes:
                    raise mistakes.pop()
                put(record)

            sink.outlet.put = fails_once
            write(announce(origin, "a", "t")[1], b"1")
            await until(lambda: sink.outlet.records)
            assert ["a mistake" in each for each in sink.said] == [True]

    asyncio.run(main())
