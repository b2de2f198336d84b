"""Turns: one at a time of those who use much, and nobody waits who does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from relay.net.turns import SHARE, TURN, Turns, Use


def test_one_in_line_goes_on_with_each_turn_of_the_loop() -> None:
    async def main() -> None:
        turns, went = Turns(), list[int]()
        for number in range(3):
            turns.after(partial(went.append, number))
        for most in range(4):
            assert len(went) == most
            await asyncio.sleep(0)
            turns.after(lambda: None)
        assert went == [0, 1, 2]

    asyncio.run(main())


def test_long_work_is_done_in_turns_and_short_work_at_once() -> None:
    async def main() -> None:
        now = [0.0]
        turns, use, went = Turns(), Use(lambda: now[0]), list[str]()

        def work(name: str, seconds: float) -> Iterator[None]:
            for _ in range(4):
                now[0] += seconds
                went.append(name)
                yield

        turns.take(work("a", TURN / 100), use)
        assert went == list("aaaa")
        turns.take(work("b", TURN * 0.6), use)
        assert went == list("aaaabb")
        turns.take(work("c", TURN / 100), use)
        assert went == list("aaaabb")
        while len(went) < 12:
            await asyncio.sleep(0)
        assert went == list("aaaabbbbcccc")

    asyncio.run(main())


def test_who_lines_up_again_goes_behind_the_others() -> None:
    async def main() -> None:
        turns, went = Turns(), list[str]()

        async def worker(name: str) -> None:
            for _ in range(3):
                await turns.wait()
                went.append(name)

        async with asyncio.TaskGroup() as tasks:
            for name in "ab":
                tasks.create_task(worker(name))
        assert went == list("ababab")

    asyncio.run(main())


def test_who_left_the_line_stops_nobody() -> None:
    async def main() -> None:
        turns = Turns()
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(turns.wait())
            second = tasks.create_task(turns.wait())
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait_for(asyncio.shield(second), 5)
        assert first.cancelled()

    asyncio.run(main())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("part", "ends"), [(SHARE * 0.8, False), (0.9, True)])
def test_a_small_part_of_the_time_is_never_too_much(part: float, ends: bool) -> None:
    clock = Clock()
    use = Use(clock)
    over = []
    for _ in range(1000):
        clock.now += 0.001 * (1 - part)
        use.begin()
        clock.now += 0.001 * part
        over.append(use.is_over())
    assert any(over) is ends


def test_after_its_turn_another_begins() -> None:
    clock = Clock()
    use = Use(clock)
    use.begin()
    clock.now += TURN / 2
    assert not use.is_over()
    clock.now += TURN
    assert use.is_over()
    clock.now += TURN / 2
    assert not use.is_over()


def test_who_fails_stops_nobody() -> None:
    async def main() -> None:
        loop, failures, went = asyncio.get_running_loop(), list[object](), list[str]()
        loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))

        def fails() -> None:
            raise RuntimeError("a mistake")

        turns = Turns()
        for each in (fails, partial(went.append, "next"), fails, partial(went.append, "last")):
            turns.after(each)
        while went != ["next", "last"] and len(failures) < 5:
            await asyncio.sleep(0)
        assert [str(error) for error in failures] == ["a mistake"] * 2

    async def bounded() -> None:
        async with asyncio.timeout(5):
            await main()

    asyncio.run(bounded())
