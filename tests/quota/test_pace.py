"""Rates: never more than they say, and a change counts for old debt too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.quota.pace import Pace, paced


def test_one_second_may_come_at_once_and_then_the_rate() -> None:
    pace = Pace(5)
    assert [pace.take(100.0) for _ in range(5)] == [0.0] * 5
    assert pace.take(100.0) == pytest.approx(0.2)
    assert pace.take(100.2) == 0.0
    assert pace.take(100.2) == pytest.approx(0.2)


@given(
    rate=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
)
def test_no_stretch_of_time_sees_more_than_burst_and_rate(rate: int, gaps: list[float]) -> None:
    pace = Pace(rate)
    now, passed = 10.0, []
    for gap in gaps:
        now += gap
        if pace.take(now) == 0.0:
            passed.append(now)
    assert passed[0] == 10.0 + gaps[0]
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            most = pace.burst + (passed[last] - passed[first]) * rate
            assert last - first + 1 <= most + 1e-6


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(0, 2000))
def test_who_waits_as_told_may_go(rate: int, taken: int, more: int) -> None:
    pace = Pace(rate)
    pace.spend(5.0, taken)
    wait = pace.wait(5.0, more or 1)
    assert pace.take(5.0 + wait + 1e-6, more or 1) == 0.0


def test_a_lower_rate_counts_at_once() -> None:
    pace = Pace(100)
    for _ in range(100):
        assert pace.take(1.0) == 0.0
    pace.change(2, 1.0)
    assert pace.take(1.4) > 0.0
    assert pace.take(1.6) == 0.0
    assert pace.take(1.6) == pytest.approx(0.4)


def test_a_higher_rate_counts_at_once() -> None:
    pace = Pace(1)
    assert pace.take(1.0) == 0.0
    assert pace.take(1.0) > 0.0
    pace.change(1000, 1.0)
    assert pace.take(1.0) == 0.0


def test_a_large_thing_passes_once_and_is_waited_for() -> None:
    pace = Pace(10)
    assert pace.room(0.0) == 10
    pace.spend(0.0, 50)
    assert pace.room(3.9) == 0.0
    assert pace.room(4.5) == pytest.approx(5.0)


def test_no_limit_has_no_pace_and_a_changed_one_keeps_its_debt() -> None:
    assert paced(None, 0, 0.0) is None
    pace = paced(None, 10, 0.0)
    assert pace is not None
    pace.spend(0.0, 10)
    assert paced(pace, 10, 0.0) is pace
    assert paced(pace, 20, 0.0) is pace
    assert pace.debt(0.0) == pytest.approx(10)
    assert paced(pace, 0, 0.0) is None
