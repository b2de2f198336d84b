"""Times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.cli.moment import read_time, show_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1735689600", 1735689600),
        ("+1h", 1000 + 3600),
        ("30m", 1000 + 1800),
        ("7d", 1000 + 7 * 86400),
        ("+90s", 1090),
        ("2w", 1000 + 14 * 86400),
        ("now", 1000),
        ("now-10m", 400),
        ("now+1h", 1000 + 3600),
        ("now-1d", 0),
        ("2025-01-01", 1735689600),
        ("2025-01-01T01:00:00+01:00", 1735689600),
        ("2025-01-01T00:00Z", 1735689600),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert read_time(text, 1000.9) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "-1", "1.5", "1 h", "h", "+", "1y", "1e9", "1960-01-01", "٣"),
        *("now-", "-1h", "now 1h", "now-1", "NOW"),
    ],
)
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time|before 1970"):
        read_time(text, 1000)


def test_show_time() -> None:
    assert show_time(1735689600) == "2025-01-01T00:00:00Z"
    assert show_time(10**15) == str(10**15)


@given(st.text("0123456789+-:TZsmhdw. W", max_size=25) | st.text(max_size=10))
@settings(max_examples=100)
def test_any_text(text: str) -> None:
    try:
        seconds = read_time(text, 1000)
    except ValueError:
        return
    assert seconds >= 0
    assert show_time(seconds)
