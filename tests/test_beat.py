"""Looks that are due again and again fall together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest

from relay import beat as module
from relay.beat import beat, rest


class Clock:
    """A loop's clock, and who sleeps by it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
        self.now = 100.0
        monkeypatch.setattr(module.os, "getpid", lambda: pid)
        monkeypatch.setattr(module.asyncio, "get_running_loop", lambda: self)
        monkeypatch.setattr(module.asyncio, "sleep", self.sleep)

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(params=[1, 4711, 4194303])
def clock(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Clock:
    return Clock(monkeypatch, request.param)


def run(look: Coroutine[Any, Any, float]) -> float:
    """One beat, without a loop."""
    try:
        look.send(None)
    except StopIteration as end:
        return float(end.value)
    raise AssertionError("it sleeps elsewhere")


def test_whoever_begins_later_is_woken_with_the_others(clock: Clock) -> None:
    run(beat(0.25))
    first = clock.now
    clock.now += 0.17
    assert run(beat(0.25)) == pytest.approx(0.08)
    assert clock.now == pytest.approx(first + 0.25)
    clock.now += 0.01
    run(beat(1.0))
    assert rest(1.0) == pytest.approx(1.0)
    beats = (clock.now - first) / 0.25
    assert beats == pytest.approx(round(beats))


def test_a_timer_that_is_early_does_not_look_twice(clock: Clock) -> None:
    run(beat(0.25))
    due = clock.now
    clock.now = due - 0.001
    assert run(beat(0.25)) == pytest.approx(0.251)
    clock.now = due + 0.001
    assert run(beat(0.25)) == pytest.approx(0.249)


def test_workers_forked_one_after_the_other_do_not_look_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What they were forked from has loaded this for all of them."""
    dues = []
    for pid in range(4711, 4715):
        clock = Clock(monkeypatch, pid)
        run(beat(0.25))
        dues.append(clock.now % 0.25)
    dues.sort()
    assert all(later - due > 0.01 for due, later in pairwise(dues))


def test_nobody_waits_longer_than_asked_for() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        asleep = await beat(0.05)
        assert loop.time() - begun >= asleep - 0.002
        return asleep

    assert 0.0 < asyncio.run(main()) <= 0.055
