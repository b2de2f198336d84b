"""Work beside the loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from functools import partial

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
            first = tasks.create_task(aside.do(lambda: work("first"), "a"))
            second = tasks.create_task(aside.do(lambda: work("second"), "a"))
            while begun.empty():
                await asyncio.sleep(0.001)
            assert (begun.get(), begun.qsize()) == ("first", 0)
            may_end.set()
            assert [await first, await second] == ["first", "second"]

    asyncio.run(main())


def test_everybody_has_a_turn_and_whoever_leaves_has_none() -> None:
    may_end, begun = threading.Event(), list[str]()

    def work(name: str) -> None:
        begun.append(name)
        assert may_end.wait(5)

    async def main() -> None:
        aside = Aside()
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            doing = [
                tasks.create_task(aside.do(partial(work, name), name[0]))
                for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")
            ]
            while not begun:
                await asyncio.sleep(0.001)
            doing[1].cancel()
            doing[-1].cancel()
            await asyncio.sleep(0)
            may_end.set()
        assert begun == ["a1", "b1", "a3", "b2", "a4"]

    asyncio.run(main())


@pytest.mark.parametrize("is_running", [True, False])
def test_whoever_leaves_at_its_turn_passes_it_on(is_running: bool) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(5)

    async def main() -> None:
        aside = Aside()
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            first = tasks.create_task(aside.do(work, "a"))
            second = tasks.create_task(aside.do(lambda: "done", "a"))
            while is_running and not begun.is_set():
                await asyncio.sleep(0.001)
            if not is_running:
                await asyncio.sleep(0)
            first.cancel()
            may_end.set()
            assert await second == "done"

    asyncio.run(main())


def test_what_is_raised_comes_out() -> None:
    def work() -> None:
        raise BadRequest("no")

    with pytest.raises(BadRequest, match="no"):
        asyncio.run(Aside().do(work, "a"))


def test_what_has_not_begun_at_the_end_does_not() -> None:
    may_end, begun = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert may_end.wait(5)
        return "done"

    async def main() -> None:
        aside = Aside()
        async with asyncio.timeout(5):
            doing = asyncio.gather(aside.do(work, "a"), aside.do(work, "b"), return_exceptions=True)
            while not begun.is_set():
                await asyncio.sleep(0.001)
            aside.close()
            may_end.set()
            first, second = await doing
            assert first == "done"
            assert isinstance(second, Unavailable)
            with pytest.raises(Unavailable, match="stopping"):
                await aside.do(work, "c")

    asyncio.run(main())


def test_whose_turn_it_is_at_the_end_is_told_so_as_well() -> None:
    async def main() -> None:
        aside = Aside()

        async def last() -> None:
            await aside.do(lambda: None, "a")
            aside.close()  # the next one has its turn, and has not gone on yet

        async with asyncio.timeout(5):
            _, second = await asyncio.gather(
                last(), aside.do(lambda: None, "b"), return_exceptions=True
            )
        assert isinstance(second, Unavailable)

    asyncio.run(main())
