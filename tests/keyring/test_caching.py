"""How long an answer is believed, whatever its headers say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.keyring.caching import lifetime


@pytest.mark.parametrize(
    ("control", "age", "seconds"),
    [
        ("", "", 300),
        ("public", "", 300),
        ("max-age=60", "", 60),
        ("public, MAX-AGE=60 , must-revalidate", "", 60),
        ('max-age="60"', "", 60),
        ("max-age=600, max-age=60", "", 60),
        ("max-age=60", "20", 40),
        ("max-age=60", "70", 5),
        ("max-age=60", "-9", 60),
        ("max-age=60", "x", 60),
        ("max-age=1", "", 5),
        ("max-age=99999999", "", 3600),
        ("max-age=99999999999999999999", "", 300),
        ("max-age=-1", "", 300),
        ("max-age=1e3", "", 300),
        ("max-age", "", 300),
        ("s-maxage=9", "", 300),
        ("no-cache", "", 60),
        ("no-store, max-age=600", "", 60),
        ("max-age=0, must-revalidate", "", 60),
        ('private="a,max-age=7"', "", 300),
    ],
)
def test_lifetime(control: str, age: str, seconds: float) -> None:
    assert lifetime(control, age, default=300, least=5, most=3600) == seconds


def test_what_is_not_to_be_kept_is_kept_for_the_usual_time_at_most() -> None:
    assert lifetime("no-cache", "", default=20, least=5, most=3600) == 20


@given(st.text(max_size=80), st.text(max_size=8))
def test_any_header_stays_between_the_bounds(control: str, age: str) -> None:
    assert 5 <= lifetime(control, age, default=300, least=5, most=3600) <= 3600
