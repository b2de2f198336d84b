"""Work beside the loop."""

from __future__ import annotations

import asyncio
import queue
import threading

import pytest

from relay.errors import BadRequest, Unavailable
from relay.server.aside import Aside


def test_the_loop_goes_on_meanwhile_and_one_piece_is_done_at_a_time() -> None:
    may_end, begun = threading.Event(), queue.SimpleQueue[str]()

    def work(name: str) -> str:
        begun.put(name)
        assert may_end.wait(5)
        return name

    async def main() -> None:
        aside = Aside()
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            first = tasks.create_task(aside.do(lambda: work("first")))
            second = tasks.create_task(aside.do(lambda: work("second")))
            while begun.empty():
                await asyncio.sleep(0.001)
            assert (begun.get(), begun.qsize()) == ("first", 0)
            may_end.set()
            assert [await first, await second] == ["first", "second"]

    asyncio.run(main())


def test_what_is_raised_comes_out() -> None:
    def work() -> None:
        raise BadRequest("no")

    with pytest.raises(BadRequest, match="no"):
        asyncio.run(Aside().do(work))


def test_what_has_not_begun_at_the_end_does_not() -> None:
    may_end, begun = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert may_end.wait(5)
        return "done"

    async def main() -> None:
        aside = Aside()
        async with asyncio.timeout(5):
            doing = asyncio.gather(aside.do(work), aside.do(work), return_exceptions=True)
            while not begun.is_set():
                await asyncio.sleep(0.001)
            aside.close()
            may_end.set()
            first, second = await doing
            assert first == "done"
            assert isinstance(second, Unavailable)
            with pytest.raises(Unavailable, match="stopping"):
                await aside.do(work)

    asyncio.run(main())
