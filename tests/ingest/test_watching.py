"""A reader that falls behind."""

from __future__ import annotations

import asyncio
import time

import pytest

from relay.ingest.watching import AT_ONCE, MAX_AHEAD, PATIENCE, Follower, Missed
from relay.model.origin import Origin
from relay.model.track import Demand, TrackInfo
from relay.path import Path
from relay.peer.local import LocalBroadcast
from relay.peer.reading import GroupEnd, ReadFrame


class Silent:
    """A track that hands out nothing itself."""

    info = None

    def begins_at_for(self, viewer):
        return 0

    def watch(self, viewer, now):
        pass

    unwatch = watch


def frame(group, number, size):
    return ReadFrame(group, number, 0, 1000, b"x" * size)


def test_a_slow_reader_loses_whole_groups_and_is_told():
    async def main():
        follower = Follower(Silent(), Demand(), lambda: 0.0, 1000)
        follower.open()
        follower.put(frame(0, 0, 300), 300)
        items = follower.items(0.01)
        assert (await anext(items)).group == 0
        for number in (1, 2):
            follower.put(frame(0, number, 300), 300)
        follower.put(frame(1, 0, 300), 300)
        follower.put(frame(0, 3, 1), 1)  # late, of the group that was lost
        follower.put(GroupEnd(0, 4, None), 0)
        follower.put(GroupEnd(1, 1, None), 0)
        assert await anext(items) == Missed(0)
        assert (await anext(items)).group == 1
        assert await anext(items) is None
        assert follower._bytes == 0
        await items.aclose()

    asyncio.run(main())


def test_a_group_that_was_read_whole_is_not_told_as_lost():
    async def main():
        follower = Follower(Silent(), Demand(), lambda: 0.0, 1000)
        follower.open()
        follower.put(frame(0, 0, 600), 600)
        items = follower.items(0.01)
        assert (await anext(items)).group == 0
        follower.put(GroupEnd(0, 1, None), 0)
        follower.put(frame(1, 0, 800), 800)
        assert (await anext(items)).group == 1
        assert await anext(items) is None
        assert follower._bytes == 0
        await items.aclose()

    asyncio.run(main())


def test_what_is_there_at_the_start_is_read_from_the_oldest_on_and_lost_from_it():
    class Kept(Silent):
        """A track that has groups at once, the newest first."""

        def watch(self, viewer, now):
            for group in (3, 1, 2):
                viewer.put(frame(group, 0, 200), 200)
                viewer.put(frame(group, 1, 100), 100)
                viewer.put(GroupEnd(group, 2, None), 0)

    async def main(limit):
        follower = Follower(Kept(), Demand(start=0), lambda: 0.0, limit)
        follower.open()
        found = [item async for item in first(follower.items(0.01))]
        return [item if isinstance(item, Missed) else (item.group, item.number) for item in found]

    async def first(items):
        async for item in items:
            if item is None:
                return
            yield item

    three = [(group, number) for group in (1, 2, 3) for number in (0, 1)]
    assert asyncio.run(main(10_000)) == three
    assert asyncio.run(main(1500)) == [Missed(1), *three[2:]]


@pytest.mark.parametrize("at_once", [False, True])
def test_what_a_slow_reader_loses_costs_no_more_the_more_it_has_waiting(at_once):
    count, limit = 20_000, 1 << 22
    whole = [(frame(group, 0, 0), GroupEnd(group, 1, None)) for group in range(count)]

    class Kept(Silent):
        def watch(self, viewer, now):
            for item in (each for pair in whole[::-1] for each in pair) if at_once else ():
                viewer.put(item, 0)

    async def main():
        follower = Follower(Kept(), Demand(), lambda: 0.0, limit)
        began = time.process_time()
        follower.open()
        for item in (each for pair in whole for each in pair) if not at_once else ():
            follower.put(item, 0)
        assert time.process_time() - began < 2
        assert follower._bytes <= limit
        items, groups = follower.items(0.01), []
        while (item := await anext(items)) is not None:
            groups += [item.group] if isinstance(item, ReadFrame) else []
        assert groups == list(range(count - limit // 256, count))
        assert follower._bytes == follower._dead == len(follower._queue) == 0
        await items.aclose()

    asyncio.run(main())


def test_a_group_that_stands_between_others_is_lost_as_a_whole():
    async def main():
        follower = Follower(Silent(), Demand(), lambda: 0.0, 2000)
        follower.open()
        for number in range(3):
            for group in (1, 2):
                follower.put(frame(group, number, 200), 200)
        follower.put(GroupEnd(1, 3, None), 0)  # beyond the limit
        follower.put(frame(1, 0, 5), 5)  # it came again
        assert len(follower._queue) < 8
        items = follower.items(0.01)
        assert await anext(items) == Missed(1)
        found = [await anext(items) for _ in range(4)]
        assert [(item.group, item.number) for item in found] == [(2, 0), (2, 1), (2, 2), (1, 0)]
        assert await anext(items) is None
        assert follower._bytes == follower._dead == 0
        await items.aclose()

    asyncio.run(main())


def test_of_a_group_that_is_lost_no_more_is_read():
    origin, limit = Origin(7), 1 << 11
    broadcast = LocalBroadcast(lambda: 0.0)
    published = broadcast.create_track("t", TrackInfo())
    origin.announce(Path("a"), broadcast, (), 0.0)
    track = origin.find(Path("a")).track("t")
    published.append_group()
    for _ in range(100_000):
        published.write_frame(b"", 0)

    async def main():
        follower = Follower(track, Demand(), lambda: 0.0, limit)
        follower.open()
        assert not follower.readings
        assert not follower.due
        assert not follower._lost
        items = follower.items(0.01)
        assert await anext(items) == Missed(0)
        published.append_group()
        published.write_frame(b"next", 0)
        assert (await anext(items)).payload == b"next"
        await items.aclose()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("start", "come", "resumes"),
    [
        (None, [(5, 0), (6, 0)], [0, 0]),  # the source may have earlier ones: it was not said
        (None, [(5, 0), (6, PATIENCE)], [0, 7]),
        (1, [(1, 0), (2, 0), (3, 0)], [2, 3, 4]),
        (1, [(3, 0), (1, 0), (2, 0), (4, 0)], [1, 2, 4, 5]),
        (1, [(3, 0), (2, 0), (1, 0)], [1, 1, 4]),
        (1, [(4, 0), (2, 0.8 * PATIENCE), (5, PATIENCE), (1, 0)], [1, 1, 1, 3]),  # more is coming
        (1, [(4, 0), (6, PATIENCE), (7, 0), (3, 0)], [1, 5, 5, 5]),
        (1, [(1, 0), (2, 0), (9, 0), (3, 0), (10, PATIENCE), (11, 0)], [2, 3, 3, 4, 11, 12]),
        (2, [(1, 0), (2, 0)], [2, 3]),  # the end of a group that began before
        (0, [(2 * number, 0) for number in range(1, MAX_AHEAD + 3)], [*[0] * MAX_AHEAD, 3, 5]),
    ],
)
def test_whoever_breaks_off_goes_on_before_what_may_still_come(start, come, resumes):
    """``come`` are groups and the seconds since the first one."""

    async def main():
        now = [100.0]
        follower = Follower(Silent(), Demand(start=start), lambda: now[0], 1 << 20)
        follower.open()
        items, found = follower.items(0.01), []
        for group, after in come:
            now[0] = max(now[0], 100.0 + after)
            follower.put(frame(group, 0, 1), 1)
            follower.put(frame(group, 1, 1), 1)
            for _ in range(2):
                assert (await anext(items)).group == group
            found.append(follower.resume)
        await items.aclose()
        return found

    assert asyncio.run(main()) == resumes


def test_what_is_there_at_once_is_all_there_is_of_earlier_groups():
    class Kept(Silent):
        def watch(self, viewer, now):
            viewer.put(frame(7, 0, 1), 1)

    async def main():
        follower = Follower(Kept(), Demand(), lambda: 0.0, 1000)
        follower.open()
        items = follower.items(0.01)
        assert (await anext(items)).group == 7
        assert follower.resume == 8
        await items.aclose()

    asyncio.run(main())


def test_readers_take_turns_however_much_there_is():
    origin, count = Origin(7), 20 * AT_ONCE
    broadcast = LocalBroadcast(lambda: 0.0)
    published = broadcast.create_track("t", TrackInfo())
    origin.announce(Path("a"), broadcast, (), 0.0)
    track = origin.find(Path("a")).track("t")
    published.append_group()
    for _ in range(count):
        published.write_frame(b"", 0)

    async def read(name, order):
        follower = Follower(track, Demand(), lambda: 0.0, 1 << 22)
        follower.open()
        assert len(follower._queue) <= AT_ONCE
        seen = 0
        async for item in follower.items(9.0):
            order.append(name)
            seen += isinstance(item, ReadFrame)
            if seen == count:
                break
        await asyncio.sleep(0)

    async def main():
        order: list[str] = []
        async with asyncio.TaskGroup() as tasks:
            for name in "ab":
                tasks.create_task(read(name, order))
        return "".join(order)

    order = asyncio.run(main())
    assert len(order) == 2 * count
    longest = max(len(run) for run in order.replace("ab", "a b").replace("ba", "b a").split())
    assert longest <= 2 * AT_ONCE


def test_a_reader_that_has_much_waiting_leaves_others_their_turn():
    async def main():
        follower = Follower(Silent(), Demand(), lambda: 0.0, 1 << 22)
        follower.open()
        for number in range(10 * AT_ONCE):
            follower.put(frame(0, number, 1), 1)
        turns, seen = 0, 0

        def turn():
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(turn)

        turn()
        async for _ in follower.items(9.0):
            seen += 1
            assert seen <= AT_ONCE * turns
            if seen == 10 * AT_ONCE:
                break

    asyncio.run(main())
