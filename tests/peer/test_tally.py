"""Groups that come again are counted once, as far back as they can be told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.peer.tally import LATELY, Tally


@given(st.lists(st.integers(0, LATELY - 1)))
def test_each_group_counts_once_in_whatever_order_they_come(numbers: list[int]) -> None:
    tally = Tally()
    for number in numbers:
        tally.add(number)
    assert tally.count == len(set(numbers))


def test_how_far_back_a_group_is_known_again() -> None:
    tally = Tally()
    for number in (0, LATELY - 1, 0):
        tally.add(number)
    assert tally.count == 2
    for number in (LATELY, 0):
        tally.add(number)
    assert tally.count == 4
