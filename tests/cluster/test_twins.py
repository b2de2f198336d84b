"""Two relays that go by one number are told of once, and not while one replaces the other."""

from __future__ import annotations

from typing import Any

import pytest

from relay.cluster import link
from relay.cluster.twins import EVERY, PATIENCE, Met, Twins

TWO: list[Met] = [(7, "door", "a"), (7, "door", "b")]


class Watch:
    def __init__(self) -> None:
        self.now = 100.0
        self.said: list[str] = []
        self.looks = 0
        self.twins = Twins(self.log)

    def log(self, event: str, **facts: Any) -> None:
        assert event == "warning"
        self.said.append(facts["detail"])

    def see(self, met: list[Met], seconds: float) -> list[str]:
        """What is said while those are met for so long."""

        def meet() -> list[Met]:
            self.looks += 1
            return met

        end = self.now + seconds
        while self.now < end:
            self.twins.tick(self.now, meet)
            self.now += 0.25
        said, self.said = self.said, []
        return said


def test_two_of_one_number_are_told_of_once() -> None:
    watch = Watch()
    assert watch.see(TWO, PATIENCE - EVERY) == []
    (line,) = watch.see(TWO, 10 * PATIENCE)
    assert line.startswith("a and b have the same number, 7: where cluster.id is given twice")
    assert watch.looks < 11 * PATIENCE / EVERY
    assert watch.see(TWO[:1], EVERY) == []
    assert len(watch.see(TWO, 2 * PATIENCE)) == 1


def test_one_that_is_replaced_now_and_then_is_no_second_one() -> None:
    watch = Watch()
    for _ in range(4):
        assert watch.see(TWO, PATIENCE / 2) == []
        assert watch.see(TWO[1:], EVERY + 1) == []


def test_a_link_that_is_replaced_is_gone_before_it_is_told_of() -> None:
    assert link.OVERLAP + link.RETIRE + link.FINISH + 2 * EVERY < PATIENCE


@pytest.mark.parametrize(
    "met",
    [
        [(7, "door", "a"), (8, "door", "b")],
        [(7, "door", "a"), (7, "link", "b"), (7, "name", "c")],
        [(0, "door", "a"), (0, "door", "b")],
        [(7, "link", "a"), (7, "link", "a")],
    ],
)
def test_one_relay_that_is_met_in_several_ways_is_one(met: list[Met]) -> None:
    assert Watch().see(met, 3 * PATIENCE) == []
