"""Losses that were none: what is learned from them, and forgotten again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.net.reordering import FORGET, MOST_PACKETS, MOST_TIME, Reordering

RTT = 0.1


def test_who_was_overtaken_by_five_teaches_to_wait_for_six() -> None:
    order = Reordering()
    assert order.lost([(7, 7, 10.0)], RTT, 10.11)
    assert order.arrived(7, 7, 12, RTT, 10.12)
    assert order.packets == 6
    assert order.time == pytest.approx(1.2)


def test_what_is_far_too_late_is_not_waited_for() -> None:
    order = Reordering()
    order.lost([(7, 7, 10.0)], RTT, 10.11)
    order.arrived(7, 7, 100_000, RTT, 99.0)
    assert (order.packets, order.time) == (MOST_PACKETS, MOST_TIME)


def test_all_is_back_when_the_last_one_is() -> None:
    order = Reordering()
    assert order.lost([(3, 9, 10.0)], RTT, 10.11)
    assert not order.lost([(12, 12, 10.01)], RTT, 10.12)
    assert not order.arrived(5, 6, 13, RTT, 10.13)
    assert order.gone == [(3, 4, 10.0), (7, 9, 10.0), (12, 12, 10.01)]
    assert not order.arrived(0, 9, 13, RTT, 10.14)
    assert order.arrived(11, 13, 13, RTT, 10.15)


def test_what_never_came_does_not_stand_in_the_way_for_ever() -> None:
    order = Reordering()
    order.lost([(3, 3, 10.0)], RTT, 10.11)
    assert order.lost([(12, 12, 10.5)], RTT, 10.6)
    assert order.arrived(12, 12, 15, RTT, 10.7)


def test_after_enough_real_losses_it_is_as_ever() -> None:
    order, fresh = Reordering(), Reordering()
    order.lost([(7, 7, 10.0)], RTT, 10.11)
    order.arrived(7, 7, 40, RTT, 10.12)
    for number in range(FORGET):
        assert order.packets > fresh.packets
        order.lost([(100 + number, 100 + number, 11.0)], RTT, 11.1)
    assert (order.packets, order.time) == (fresh.packets, fresh.time)


NUMBERS = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted)


@given(
    st.lists(
        st.tuples(st.booleans(), NUMBERS, st.floats(-5.0, 5.0), st.floats(0.0, 2.0)), max_size=150
    )
)
def test_it_stays_within_its_bounds_whatever_a_peer_says(steps) -> None:
    order, now = Reordering(), 10.0
    for is_loss, (first, last), change, rtt in steps:
        now += change
        if is_loss:
            order.lost([(first, last, now - 1.0)] * 3, rtt, now)
        else:
            order.arrived(first, last, 300, rtt, now)
        assert len(order.gone) <= 64
        assert 3 <= order.packets <= MOST_PACKETS
        assert 1.125 <= order.time <= MOST_TIME
