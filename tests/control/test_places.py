"""Shares of what there is: nobody has all of it from one address."""

from __future__ import annotations

import pytest

from relay.control.places import PIECE, Crowded, Hold, Places
from relay.errors import TooLarge


def crowd(limit: int, each: int | None = None) -> tuple[Places, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    return Places(limit, each, "seats", "max_seats", lambda *who: told.append(who)), told


def fill(places: Places, remote: str) -> int:
    """Take all that are to be had from there; how many."""
    for count in range(1000):
        try:
            places.take(remote)
        except Crowded:
            return count
    raise AssertionError("no end")


@pytest.mark.parametrize(("limit", "each", "share"), [(64, None, 16), (3, None, 1), (8, 5, 5)])
def test_one_address_has_a_share_and_leaves_the_rest(
    limit: int, each: int | None, share: int
) -> None:
    places, told = crowd(limit, each)
    assert fill(places, "192.0.2.1") == share
    why = f"more than {share} seats at a time from one address (max_seats_per_address)"
    assert told == [(why, "192.0.2.1")]
    assert fill(places, "192.0.2.2") == min(share, limit - share)


def test_all_of_one_network_are_one_address() -> None:
    places, _ = crowd(64)
    assert fill(places, "2001:db8::1") == 16
    assert fill(places, "2001:db8::2") == 0
    assert fill(places, "2001:db8:0:1::1") == 16


def test_what_is_given_back_is_there_for_whoever_asks_next() -> None:
    places, told = crowd(2, 2)
    assert fill(places, "192.0.2.1") == 2
    assert fill(places, "192.0.2.2") == 0
    assert told[-1] == ("more than 2 seats at a time (max_seats)", "192.0.2.2")
    for _ in range(2):
        places.give("192.0.2.1")
    assert fill(places, "192.0.2.2") == 2


def test_what_has_more_by_itself_than_there_may_be_is_too_large_and_not_crowded() -> None:
    places, told = crowd(4 * PIECE, 2 * PIECE)
    first, second, third = (Hold(places, "192.0.2.1") for _ in range(3))
    first.take(PIECE)
    with pytest.raises(Crowded):
        second.take(2 * PIECE)
    first.give()
    third.take(2 * PIECE)
    told.clear()
    with pytest.raises(TooLarge):
        third.take(PIECE)
    assert told == []
    third.give()
    places.take("192.0.2.1", 2 * PIECE)
