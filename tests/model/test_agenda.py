"""Alarms ring once, when they are due, and never when they were cleared."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model.agenda import Agenda, Alarm


def test_an_alarm_rings_once_when_it_is_due():
    agenda, rung = Agenda(), []
    Alarm(agenda, rung.append).set(5.0)
    for now in (4.9, 5.5, 6.0):
        agenda.tick(now)
    assert rung == [5.5]


def test_an_alarm_can_be_moved_and_cleared():
    agenda, rung = Agenda(), []
    alarm = Alarm(agenda, rung.append)
    alarm.set(5.0)
    alarm.set(9.0)
    agenda.tick(6.0)
    assert rung == []
    alarm.set(7.0)
    agenda.tick(7.0)
    assert rung == [7.0]
    alarm.set(8.0)
    alarm.clear()
    agenda.tick(20.0)
    assert rung == [7.0]


def test_one_that_raises_costs_the_others_a_tick_and_no_more():
    agenda, rung = Agenda(), []

    def fail(now: float) -> None:
        raise ValueError("a mistake of ours")

    Alarm(agenda, rung.append).set(1.0)
    Alarm(agenda, fail).set(2.0)
    cleared = Alarm(agenda, rung.append)
    cleared.set(3.0)
    Alarm(agenda, rung.append).set(4.0)
    with pytest.raises(ValueError, match="of ours"):
        agenda.tick(5.0)
    cleared.clear()
    agenda.tick(5.5)
    agenda.tick(6.0)
    assert rung == [5.0, 5.5]


def test_moving_an_alarm_back_and_forth_does_not_fill_the_heap():
    agenda = Agenda()
    alarm = Alarm(agenda, lambda now: None)
    for step in range(1000):
        alarm.set(30.0 + step)
        alarm.clear()
    assert len(agenda._heap) == 1


def test_what_was_cleared_is_not_held_until_its_date():
    """A publisher says how old groups may become: its tracks may be due in a hundred years."""
    agenda, rung = Agenda(), []
    kept = [Alarm(agenda, rung.append) for _ in range(100)]
    for alarm in kept:
        alarm.set(3e9)
    for _ in range(1000):
        gone = Alarm(agenda, rung.append)
        gone.set(3e9)
        gone.clear()
    assert len(agenda._heap) <= 2 * len(kept) + 65
    gone.set(4.0)
    for alarm in kept[:50]:
        alarm.clear()
        alarm.set(5.0)
    agenda.tick(5.0)
    assert rung == [5.0] * 51
    agenda.tick(3e9)
    assert rung == [5.0] * 51 + [3e9] * 50


def test_an_alarm_set_anew_while_ringing_waits_for_the_next_tick():
    agenda, rung = Agenda(), []
    alarm = Alarm(agenda, lambda now: (rung.append(now), alarm.set(now)))
    alarm.set(1.0)
    agenda.tick(1.0)
    assert rung == [1.0]


def test_one_ring_may_clear_another():
    agenda, rung = Agenda(), []
    second = Alarm(agenda, rung.append)
    first = Alarm(agenda, lambda now: second.clear())
    first.set(1.0)
    second.set(1.0)
    agenda.tick(1.0)
    assert rung == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(1, 9))), max_size=40))
def test_alarms_ring_as_a_plain_list_of_dates_would(steps):
    agenda, now = Agenda(), 0.0
    rung: list[tuple[int, float]] = []
    alarms = [Alarm(agenda, lambda at, n=n: rung.append((n, at))) for n in range(3)]
    dates: dict[int, float] = {}
    for which, delay in steps:
        if delay is None:
            alarms[which].clear()
            dates.pop(which, None)
        else:
            alarms[which].set(now + delay)
            dates[which] = now + delay
        now += 1.0
        agenda.tick(now)
        expected = {n for n, due in dates.items() if due <= now}
        assert {n for n, _ in rung} == expected
        assert len(rung) == len(expected)
        rung.clear()
        dates = {n: due for n, due in dates.items() if due > now}
