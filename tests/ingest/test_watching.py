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
