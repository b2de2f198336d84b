"""Publishers that keep displacing each other at one path, and who else comes meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from relay.model.dispute import TRUCE, Dispute
from relay.path import Path


@pytest.fixture
def dispute() -> Dispute:
    """One of 7, who was there first, and 8, who came and went."""
    made = Dispute(Path("b"))
    for round in range(4):
        assert not made.prefers(7, 8, round / 10)
        made.note(8, 7, round / 10)
    return made


def test_of_two_the_same_one_has_the_path_on_either_side(dispute: Dispute) -> None:
    assert dispute.prefers(7, 8, 1.0) != dispute.prefers(8, 7, 1.0)
    assert not dispute.prefers(7, 8, 3 * TRUCE)
    assert not dispute.prefers(8, 7, 3 * TRUCE)


@pytest.mark.parametrize("third", range(100, 104))
def test_nobody_else_is_kept_out(dispute: Dispute, third: int) -> None:
    assert not dispute.prefers(7, third, 1.0)
    assert not dispute.prefers(8, third, 1.0)


def test_who_joins_in_is_told_apart_from_the_others_as_well(dispute: Dispute) -> None:
    dispute.note(9, 8, 1.0)
    dispute.note(8, 9, 1.1)
    assert dispute.prefers(8, 9, 1.2) != dispute.prefers(9, 8, 1.2)


def test_it_goes_on_for_as_long_as_anybody_is_kept_out_and_then_is_forgotten(
    dispute: Dispute,
) -> None:
    stays, gone = (7, 8) if dispute.prefers(7, 8, 1.0) else (8, 7)
    assert dispute.prefers(stays, gone, TRUCE)
    assert dispute.prefers(stays, gone, 1.9 * TRUCE), "it was prevented meanwhile"
    assert not dispute.prefers(gone, stays, 2.8 * TRUCE), "who has it by right prevents nothing"
    assert not dispute.prefers(stays, gone, 3 * TRUCE)
    assert not dispute.prefers(stays, gone, 3 * TRUCE + 1.0)


def test_those_that_came_now_and_then_are_none() -> None:
    calm = Dispute(Path("b"))
    for round in range(40):
        calm.note(8, 7, round * 2.0)
        assert not calm.prefers(7, 8, round * 2.0)
        assert not calm.prefers(8, 7, round * 2.0)
    assert len(calm._takeovers) <= 3


def test_who_comes_next_is_the_newest_and_in_a_dispute_who_would_have_it(
    dispute: Dispute,
) -> None:
    parties = [SimpleNamespace(identity=each) for each in (7, 8)]
    stays, gone = parties if dispute.prefers(7, 8, 1.0) else reversed(parties)
    for waiting in ([stays, gone], [gone, stays]):
        assert dispute.next_of(waiting, 1.0) is stays
        assert dispute.next_of(waiting, None) is waiting[-1]
        assert dispute.next_of(waiting, 3 * TRUCE) is waiting[-1]
        assert Dispute(Path("b")).next_of(waiting, 1.0) is waiting[-1]
    assert dispute.ranks_before(stays, gone)
    assert not dispute.ranks_before(gone, stays)
    assert not dispute.ranks_before(stays, stays)
