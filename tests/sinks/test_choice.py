"""Which tracks are copied."""

from __future__ import annotations

import pytest

from relay.path import Path
from relay.sinks.choice import Choice


@pytest.mark.parametrize(
    ("text", "covered", "not_covered"),
    [
        ("plant/**:t", ["plant", "plant/a", "plant/a/b"], ["plants", "other/plant"]),
        ("plant/*:t", ["plant/a"], ["plant", "plant/a/b"]),
        ("*/cam:a/b:c", ["x/cam"], ["cam", "x/y/cam"]),
        ("**:t", ["a", "a/b"], [".internal/relays/1"]),
    ],
)
def test_what_a_pattern_covers(text, covered, not_covered):
    choice = Choice.parse(text)
    assert [each for each in covered if not choice.covers(Path(each))] == []
    assert [each for each in not_covered if choice.covers(Path(each))] == []


def test_a_track_may_hold_colons_and_slashes():
    assert Choice.parse("x:a/b:c").track == "a/b:c"


@pytest.mark.parametrize("text", ["", "plant", "plant:", ":t", "a/**/b:t"])
def test_what_is_no_choice(text):
    with pytest.raises(ValueError, match="expected"):
        Choice.parse(text)
