"""Numbers of broken streams: nothing is lost on the way, and none is taken for another."""

from __future__ import annotations

import pytest

from relay import errors
from relay.wire.codes import FIRST_FREE, HOUSE, REGISTERED

OURS = {
    each.code
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.RelayError) and hasattr(each, "code")
}


def test_the_house_is_its_own_table() -> None:
    for code in (*OURS, 1, 51, 64, 1 << 40):
        assert HOUSE.say(code) == HOUSE.hear(code) == code


@pytest.mark.parametrize("code", [0, 2, 5, 13, 24, 26, 30, 32, 64, 70_000])
def test_what_both_sides_have_a_number_for_comes_back(code: int) -> None:
    assert REGISTERED.hear(REGISTERED.say(code)) == code


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.Cancelled, 1),
        (errors.Expired, 2),
        (errors.Dropped, 3),
        (errors.Lagged, 5),
        (errors.DecodeError, 0x12),
        (errors.NotFound, 51),
        (errors.Unroutable, 54),
        (errors.LimitExceeded, 0),
        (errors.Forbidden, 0),
        (errors.ProtocolViolation, 0),
    ],
)
def test_what_is_said_for_our_errors(error: type[errors.RelayError], said: int) -> None:
    assert REGISTERED.say(error.code) == said


def test_an_unregistered_number_is_an_unspecified_error() -> None:
    registered = {0, 1, 2, 3, 4, 5, 0x12}
    for code in set(range(FIRST_FREE)) - registered:
        assert REGISTERED.hear(code) == errors.RelayError.code
    known = {0, 2, 5, 10, 13, 24, 26, 30}
    for code in set(range(FIRST_FREE)) - known:
        assert REGISTERED.say(code) == 0
