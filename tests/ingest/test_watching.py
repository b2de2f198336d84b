"""A reader that falls behind."""

from __future__ import annotations

import asyncio

from relay.ingest.watching import Follower, Missed
from relay.model.track import Demand
from relay.peer.local import GroupEnd, ReadFrame


class Silent:
    """A track that hands out nothing itself."""

    info = None

    def watch(self, viewer, now):
        pass

    unwatch = watch


def frame(group, number, size):
    return ReadFrame(group, number, 0, 1000, b"x" * size)


def test_a_slow_reader_loses_whole_groups_and_is_told():
    async def main():
        follower = Follower(Silent(), Demand(), None, lambda: 0.0, 1000)
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
        follower = Follower(Silent(), Demand(), None, lambda: 0.0, 1000)
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
        follower = Follower(Kept(), Demand(start=0), None, lambda: 0.0, limit)
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
