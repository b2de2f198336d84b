"""Publishing and reading from within: frames in, the same frames out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay.errors import DecodeError, Lagged, LimitExceeded, NotFound, TooLarge
from relay.model.origin import Origin
from relay.model.track import Demand, TrackInfo
from relay.path import Path
from relay.peer import local, reading
from relay.peer.local import LocalBroadcast
from relay.peer.reading import AT_ONCE, OVERHEAD, Collector, GroupEnd, ReadFrame, collect_group

INFO = TrackInfo(timescale=1000)


def clock() -> float:
    return 5.0


def published() -> tuple[Any, Any]:
    """A broadcast in an origin, and its one local track."""
    origin = Origin(7)
    broadcast = LocalBroadcast(clock)
    track = broadcast.create_track("t", INFO, keep=3)
    origin.announce(Path("a"), broadcast, (), clock())
    found = origin.find(Path("a"))
    assert found is not None
    return found, track


def read(track: Any, demand: Demand | None = None, limit: int = 1 << 20) -> list[Any]:
    async def main() -> list[Any]:
        collector = Collector(track, demand or Demand(), clock, limit)
        return [item async for item in collector.frames()]

    return asyncio.run(main())


def test_a_late_reader_gets_the_latest_group_from_its_first_frame() -> None:
    broadcast, track = published()
    for number in range(3):
        track.append_group()
        track.write_frame(b"%d-a" % number, 10)
        track.write_frame(b"%d-b" % number, 20)
    track.finish()
    assert read(broadcast.track("t")) == [
        ReadFrame(2, 0, 10, 1000, b"2-a"),
        ReadFrame(2, 1, 20, 1000, b"2-b"),
        GroupEnd(2, 2, None),
    ]


def test_an_explicit_start_gets_what_is_kept() -> None:
    broadcast, track = published()
    for number in range(5):
        track.append_group()
        track.write_frame(b"%d" % number, 0)
    track.finish()
    items = read(broadcast.track("t"), Demand(start=0))
    assert [item.group for item in items if isinstance(item, GroupEnd)] == [2, 3, 4]


@pytest.mark.parametrize(("start", "groups"), [(None, [2, 3]), (1, [1, 2, 3]), (4, [])])
def test_who_waits_for_what_is_to_come_keeps_nobody_waiting(
    start: int | None, groups: list[int]
) -> None:
    broadcast, track = published()
    for number in range(3):
        track.append_group()
        track.write_frame(b"%d" % number, 0)
    track.finish_group()
    model = broadcast.track("t")

    async def ends(start: int | None) -> list[int]:
        collector = Collector(model, Demand(start=start), clock)
        return [item.group async for item in collector.frames() if isinstance(item, GroupEnd)]

    async def main() -> tuple[list[int], list[int]]:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(ends(50))
            await asyncio.sleep(0)
            reading = tasks.create_task(ends(start))
            await asyncio.sleep(0)
            assert sorted(model.groups) == groups[:-1]
            track.append_group()
            track.finish()
        return waiting.result(), reading.result()

    assert asyncio.run(main()) == ([], groups)


def test_an_unknown_track_raises_for_the_reader() -> None:
    broadcast, _ = published()
    with pytest.raises(NotFound):
        read(broadcast.track("nothing"))


def test_a_reader_that_is_too_slow_is_told_so() -> None:
    broadcast, track = published()
    track.append_group()
    for number in range(20):
        track.write_frame(bytes(100), number)
    with pytest.raises(Lagged):
        read(broadcast.track("t"), limit=1000)


def test_who_gives_up_does_not_go_on_watching() -> None:
    broadcast, track = published()
    track.append_group()
    for number in range(20):
        track.write_frame(bytes(100), number)
    with pytest.raises(Lagged):
        read(broadcast.track("t"), limit=500)
    assert track.track is None  # the source was told that nobody watches any more


def test_a_reader_that_is_too_slow_gets_nothing_after_the_gap() -> None:
    broadcast, track = published()
    track.append_group()

    seen: list[int] = []

    async def main() -> None:
        collector = Collector(broadcast.track("t"), Demand(), clock, 1000)
        async for item in collector.frames():
            assert isinstance(item, ReadFrame)
            seen.append(item.number)
            if item.number == 0:  # the last of these is too much
                for number in range(1, 5):
                    track.write_frame(bytes(300), number)
            elif item.number == 2:  # and by now there would be room again
                track.write_frame(bytes(300), 5)

    track.write_frame(bytes(300), 0)
    with pytest.raises(Lagged):
        asyncio.run(main())
    assert seen == [0, 1, 2, 3]


def test_what_is_lost_at_the_end_of_a_track_is_told() -> None:
    broadcast, track = published()
    track.append_group()

    async def main() -> None:
        collector = Collector(broadcast.track("t"), Demand(), clock, 1000)
        async for item in collector.frames():
            assert isinstance(item, ReadFrame)
            if item.number == 0:  # no group follows, and this one goes on
                track.track.finish(clock())
                for number in range(1, 5):
                    track.write_frame(bytes(300), number)

    track.write_frame(bytes(300), 0)
    with pytest.raises(Lagged):
        asyncio.run(main())


def test_frames_that_cannot_be_read_end_the_reading_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FRAME", 50)
    broadcast, track = published()
    track.append_group()
    track.write_frame(bytes(100), 0)
    with pytest.raises(DecodeError):
        read(broadcast.track("t"))
    assert track.track is None
    track.write_frame(bytes(100), 1)  # and whoever writes does not notice


def test_the_first_sequence_may_be_given() -> None:
    track = LocalBroadcast(clock).create_track("t", TrackInfo(), first=500)
    assert [track.append_group(), track.append_group()] == [500, 501]


def test_one_whole_group_by_number_or_the_latest() -> None:
    broadcast, track = published()
    for number in range(3):
        track.append_group()
        track.write_frame(b"%d" % number, 0)
    track.finish_group()

    async def main() -> None:
        model = broadcast.track("t")
        assert await collect_group(model, None, clock) == (2, [b"2"])
        with pytest.raises(NotFound):
            await collect_group(model, 77, clock)

    asyncio.run(main())


def test_a_group_above_the_limit_ends_no_other() -> None:
    broadcast, track = published()
    model = broadcast.track("t")

    async def main() -> None:
        for payload in (bytes(100), b"small", bytes(8)):
            number = track.append_group()
            track.write_frame(payload[:8], 0)
            track.write_frame(payload[8:], 1)
            if len(payload) > 10:
                track.finish_group()
                for asked in (None, number):
                    with pytest.raises(TooLarge, match="10 bytes"):
                        await collect_group(model, asked, clock, 10)
                continue
            track.finish_group()
            whole = (number, [payload, b""])
            assert await collect_group(model, None, clock, 10) == whole
            assert await collect_group(model, number, clock, 10) == whole
        with pytest.raises(TooLarge):
            await collect_group(model, 0, clock, 10)

    asyncio.run(main())


def test_whoever_collects_a_group_may_be_told_that_there_is_no_room() -> None:
    broadcast, track = published()
    held: list[int] = []

    def hold(size: int) -> None:
        held.append(size)
        if len(held) > 1:
            raise LimitExceeded("full")

    async def main() -> None:
        track.append_group()
        for payload in (b"12345", b"", b"123"):
            track.write_frame(payload, 0)
        track.finish_group()
        for asked in (None, 0):
            held.clear()
            with pytest.raises(LimitExceeded, match="full"):
                await collect_group(broadcast.track("t"), asked, clock, 10, hold)
            assert held == [5 + OVERHEAD, OVERHEAD]

    asyncio.run(main())


def test_a_group_of_too_many_frames_is_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FRAMES", 3)
    broadcast, track = published()
    model = broadcast.track("t")

    async def main() -> None:
        for frames in (4, 3):
            number = track.append_group()
            for _ in range(frames):
                track.write_frame(b"", 0)
            track.finish_group()
            for asked in (None, number):
                if frames > 3:
                    with pytest.raises(TooLarge, match="3 frames"):
                        await collect_group(model, asked, clock)
                else:
                    assert await collect_group(model, asked, clock) == (number, [b""] * 3)

    asyncio.run(main())


@pytest.mark.parametrize("ends", [False, True])
def test_very_many_frames_are_read_in_turns(ends: bool) -> None:
    broadcast, track = published()
    count = 5 * AT_ONCE + 1
    for _ in range(2):
        track.append_group()
        for _ in range(count):
            track.write_frame(b"", 0)
    if ends:
        track.finish()

    async def main() -> None:
        collector = Collector(broadcast.track("t"), Demand(start=0), clock)
        items, seen = collector.frames(), []
        began = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        assert len(collector._waiting) <= AT_ONCE  # and others have a turn
        seen.append(await began)
        if not ends:
            track.append_group()
            track.write_frame(b"next", 0)
            track.finish()
        seen += [item async for item in items]
        found = [item.group for item in seen if isinstance(item, ReadFrame)]
        assert found == [0] * count + [1] * count + [2] * (not ends)
        ended = [item[:2] for item in seen if isinstance(item, GroupEnd)]
        assert ended == [(0, count), (1, count), (2, 1)][: 2 + (not ends)]

    asyncio.run(main())


def test_as_many_as_may_read_at_a_time_leave_others_a_turn() -> None:
    broadcast, track = published()
    track.append_group()
    for _ in range(4096):
        track.write_frame(b"", 0)

    async def main() -> None:
        readers = [Collector(broadcast.track("t"), Demand(), clock) for _ in range(64)]
        for each in readers:
            each.enter()
        for turn in (1, 2, 3):
            assert sum(len(each._waiting) for each in readers) <= turn << 14  # 0.1 s each
            await asyncio.sleep(0)
        for each in readers:
            each.close()

    asyncio.run(main())


def test_who_leaves_reads_no_further() -> None:
    broadcast, track = published()
    track.append_group()
    for _ in range(5 * AT_ONCE):
        track.write_frame(b"", 0)

    async def main() -> None:
        collector = Collector(broadcast.track("t"), Demand(), clock)
        collector.enter()
        assert collector.due
        collector.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(collector._waiting) <= AT_ONCE
        assert not collector.due
        assert not collector.readings

    asyncio.run(main())


def test_a_group_that_is_kept_is_fetched_without_watching() -> None:
    broadcast, track = published()
    for number in range(5):
        track.append_group()
        track.write_frame(b"%d" % number, 0)
    model = broadcast.track("t")

    async def main() -> None:
        assert await collect_group(model, 2, clock) == (2, [b"2"])
        with pytest.raises(NotFound):
            await collect_group(model, 1, clock)
        with pytest.raises(NotFound):
            await collect_group(broadcast.track("nothing"), 1, clock)

    asyncio.run(main())
    assert (track.track, model.latest, model.is_idle, track._fetched) == (None, None, True, {})


def test_a_group_is_fetched_while_it_is_written() -> None:
    broadcast, track = published()
    track.append_group()
    track.write_frame(b"first", 0)
    model = broadcast.track("t")

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            fetching = tasks.create_task(collect_group(model, 0, clock))
            left = tasks.create_task(collect_group(model, 0, clock))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.sleep(0)
            track.write_frame(b"last", 1)
            track.append_group()
        assert fetching.result() == (0, [b"first", b"last"])

    asyncio.run(main())
    assert not track._fetched


def test_a_group_that_nobody_fetches_any_more_is_let_go() -> None:
    broadcast, track = published()
    track.append_group()
    track.write_frame(b"first", 0)
    model = broadcast.track("t")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await collect_group(model, 0, clock)

    asyncio.run(main())
    assert (model.groups, model.is_idle, track._fetched) == ({}, True, {})
    track.write_frame(b"last", 1)
    track.finish()
    assert read(model)[-1] == GroupEnd(0, 2, None)


def test_who_watches_gets_what_was_being_fetched_as_well() -> None:
    broadcast, track = published()
    track.append_group()
    track.write_frame(b"first", 0)
    model = broadcast.track("t")

    async def main() -> list[Any]:
        async with asyncio.TaskGroup() as tasks:
            fetching = tasks.create_task(collect_group(model, 0, clock))
            await asyncio.sleep(0)
            items = Collector(model, Demand(), clock).frames()
            seen = [await anext(items)]
            fetching.cancel()
        track.write_frame(b"last", 1)
        track.finish()
        return [*seen, *[item async for item in items]]

    found = asyncio.run(main())
    assert [item.payload for item in found[:-1]] == [b"first", b"last"]
    assert found[-1] == GroupEnd(0, 2, None)


def test_a_group_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_GROUP", 1000)
    _, track = published()
    track.append_group()
    track.write_frame(bytes(900), 0)
    with pytest.raises(LimitExceeded):
        track.write_frame(bytes(200), 1)
    track.write_frame(bytes(50), 1)  # what was refused takes no room
