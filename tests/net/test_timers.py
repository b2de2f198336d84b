"""One timer for many connections."""

import asyncio
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from relay.net.timers import _COARSE, LONG_ROUND, ROUND, Timers


class FakeLoop:
    """Counts what is asked of the loop."""

    def __init__(self) -> None:
        self.armed: list[float] = []
        self.rounds = self.cancelled = self.dropped = 0

    def cancel(self) -> None:
        self.cancelled += 1

    def call_later(self, seconds: float, call: Any) -> Any:
        self.rounds += 1
        return SimpleNamespace(cancel=self.drop)

    def drop(self) -> None:
        self.dropped += 1

    def call_at(self, when: float, call: Any) -> Any:
        self.armed.append(round(when - _COARSE, 6))
        return SimpleNamespace(cancel=self.cancel)


class Due:
    """A connection that wants to be looked at."""

    def __init__(self, when: float | None) -> None:
        self.armed: float | None = None
        self.due = when

    def timer(self) -> float | None:
        return self.due


def due_at(when: float | None) -> Any:
    return Due(when)


def test_the_loops_timer_moves_forward_only() -> None:
    loop = FakeLoop()
    timers = Timers(loop, lambda: None, lambda: None)
    for when in (5.0, 7.0, 6.0, 3.0, None):
        timers.arm(due_at(when), 5)
    assert loop.armed == [5.0, 3.0]


def test_what_was_set_before_stands_when_the_nearer_has_come() -> None:
    loop = FakeLoop()
    timers = Timers(loop, lambda: None, lambda: None)
    far, near = due_at(30.0), due_at(None)
    timers.arm(far, 2)
    for turn in range(1000):
        near.due = 1.0 + turn * 0.01
        timers.arm(near, 2)
        assert timers.expired(near.due) == [near]
    assert loop.armed.count(30.0) == 1
    assert timers.expired(30.0) == [far]


def test_ever_nearer_times_are_not_all_set() -> None:
    loop = FakeLoop()
    timers = Timers(loop, lambda: None, lambda: None)
    every = [due_at(1000.0 - turn) for turn in range(1000)]
    for each in every:
        timers.arm(each, 1000)
    assert len(loop.armed) - loop.cancelled <= 4
    assert timers.expired(1.0) == [every[-1]]
    assert timers.expired(2.0) == [every[-2]]
    assert timers.expired(1000.0) == every[-3::-1]


def test_a_later_time_costs_nothing_until_the_earlier_comes() -> None:
    loop = FakeLoop()
    timers = Timers(loop, lambda: None, lambda: None)
    one = due_at(5.0)
    timers.arm(one, 1)
    one.due = 50.0
    timers.arm(one, 1)
    assert len(timers) == 1
    assert timers.expired(5.0) == [one]
    timers.arm(one, 1)
    assert timers.expired(49.0) == []
    assert timers.expired(50.0) == [one]


def test_nobody_expires_twice_for_an_outdated_entry() -> None:
    timers = Timers(FakeLoop(), lambda: None, lambda: None)
    one = due_at(5.0)
    timers.arm(one, 1)
    one.due = 2.0
    timers.arm(one, 1)
    assert timers.expired(9.0) == [one]
    assert timers.expired(9.0) == []


def test_outdated_entries_are_swept() -> None:
    timers = Timers(FakeLoop(), lambda: None, lambda: None)
    one = due_at(None)
    for turn in range(10_000):
        one.due = 30.0 + turn
        timers.arm(one, 1)
        one.due = 1.0 + turn * 0.001
        timers.arm(one, 1)
        timers.expired(one.due)
    assert len(timers) <= 4 + 64 + 1


def test_the_last_one_to_go_leaves_nothing() -> None:
    timers = Timers(FakeLoop(), lambda: None, lambda: None)
    one = due_at(5.0)
    timers.arm(one, 1)
    timers.disarm(one, 0)
    assert len(timers) == 0
    assert timers.expired(10.0) == []


@pytest.mark.parametrize("made_by", [None, uvloop.new_event_loop])
@pytest.mark.parametrize("delay", [0.0003, 0.0049, 0.0251])
def test_a_loop_calls_once_for_each_time(made_by: Any, delay: float) -> None:
    calls = found = 0
    one = due_at(None)

    async def main() -> None:
        over = asyncio.Event()

        def arm() -> None:
            one.due = monotonic() + delay
            timers.arm(one, 1)

        def due() -> None:
            nonlocal calls, found
            calls += 1
            for _ in timers.expired(monotonic()):
                found += 1
                if found == 20:
                    over.set()
                else:
                    asyncio.get_running_loop().call_later(0.0013, arm)

        timers = Timers(asyncio.get_running_loop(), due, lambda: None)
        arm()
        async with asyncio.timeout(10):
            await over.wait()

    with asyncio.Runner(loop_factory=made_by) as runner:
        runner.run(main())
    assert calls <= 2 * found


async def test_in_a_real_loop() -> None:
    rang = asyncio.Event()
    loop = asyncio.get_running_loop()
    timers = Timers(loop, rang.set, rang.set)
    timers.arm(due_at(loop.time() + 0.01), 1)
    async with asyncio.timeout(1):
        await rang.wait()
    timers.close()


def test_rounds_go_on_while_somebody_has_traffic() -> None:
    loop = FakeLoop()
    timers = Timers(loop, lambda: None, lambda: None)
    one, other = due_at(5.0), due_at(6.0)
    timers.look_at(one, 0.0)
    timers.look_at(other, 0.0)
    assert loop.rounds == 1
    timers.next_round(0.1)
    assert loop.rounds == 2
    timers.disarm(one, 1)
    del timers.busy[other]
    timers.next_round(0.2)
    assert loop.rounds == 2
    timers.look_at(one, 0.3)
    assert loop.rounds == 3
    timers.close()
    assert not timers.busy


def test_a_round_is_due_before_the_loop_has_to_wake_anybody_for_it() -> None:
    loop = FakeLoop()
    timers = Timers(loop, lambda: None, lambda: None)
    assert timers.round_at == float("inf")
    timers.look_at(due_at(5.0), 1.0)
    assert timers.round_at == 1.0 + ROUND
    timers.next_round(2.0)
    assert timers.round_at == 2.0 + ROUND
    assert loop.dropped == 1  # the loop's timer for it moves on as well
    timers.busy.clear()
    timers.next_round(3.0)
    assert timers.round_at == float("inf")
    assert loop.dropped == 2
    timers.look_at(due_at(5.0), 4.0)
    timers.close()
    assert timers.round_at == float("inf")
    assert LONG_ROUND - ROUND > 1 / 30
