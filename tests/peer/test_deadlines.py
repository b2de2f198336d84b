"""When grants end."""

from __future__ import annotations

import pytest

from relay.peer.deadlines import Deadlines


class Clocks:
    def __init__(self) -> None:
        self.now, self.wall = 100.0, 1_000_000.0

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def deadlines(clocks: Clocks) -> Deadlines:
    return Deadlines(lambda: clocks.now, lambda: clocks.wall)


def test_a_grant_ends_once_and_at_its_time(deadlines: Deadlines, clocks: Clocks) -> None:
    deadlines.note("a", clocks.wall + 10)
    deadlines.note("b", clocks.wall + 20)
    deadlines.note("c", None)
    clocks.pass_by(9.9)
    assert deadlines.take_due(clocks.now) == []
    clocks.pass_by(0.2)
    assert deadlines.take_due(clocks.now) == ["a"]
    assert deadlines.take_due(clocks.now) == []
    clocks.pass_by(1e9)
    assert deadlines.take_due(clocks.now) == ["b"]


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_either_clock_ends_it(deadlines: Deadlines, clocks: Clocks, jump: float) -> None:
    deadlines.note("a", clocks.wall + 10)
    clocks.wall += jump
    assert deadlines.take_due(clocks.now) == (["a"] if jump > 0 else [])
    clocks.pass_by(10)
    assert deadlines.take_due(clocks.now) == ([] if jump > 0 else ["a"])


def test_what_is_noted_last_counts(deadlines: Deadlines, clocks: Clocks) -> None:
    deadlines.note("a", clocks.wall + 10)
    deadlines.note("a", clocks.wall + 30)
    deadlines.note("b", clocks.wall + 10)
    deadlines.note("b", None)
    deadlines.note("c", clocks.wall + 10)
    deadlines.forget("c")
    clocks.pass_by(15)
    assert deadlines.take_due(clocks.now) == []
    clocks.pass_by(15)
    assert deadlines.take_due(clocks.now) == ["a"]
