"""Publishers that keep displacing each other at one path, and who else comes meanwhile."""

from __future__ import annotations

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
