"""Members of foreign JSON: the types nobody should mistake for one another."""

from __future__ import annotations

import pytest

from relay.sidecar import members as read


def test_true_is_no_number_and_one_is_not_true():
    with pytest.raises(ValueError, match="whole number"):
        read.whole({"n": True}, "n")
    with pytest.raises(ValueError, match="true or false"):
        read.flag({"f": 1}, "f")
    with pytest.raises(ValueError, match="not a number"):
        read.seconds({"s": False}, "s")


def test_absent_and_null():
    assert read.maybe_text({"t": None}, "t") is None
    assert read.maybe_whole({}, "n") is None
    assert read.maybe_object({}, "o") is None
    assert read.flag({}, "f") is False
    assert read.texts({}, "l") == ()
    for reader in (read.text, read.whole):
        with pytest.raises(ValueError, match="is missing"):
            reader({}, "x")


def test_ceilings():
    with pytest.raises(ValueError, match="too large"):
        read.whole({"n": 2**63}, "n")
    with pytest.raises(ValueError, match="longer"):
        read.text({"t": "x" * 513}, "t")
    with pytest.raises(ValueError, match="more than 256"):
        read.texts({"l": ["x"] * 257}, "l")
    with pytest.raises(ValueError, match="no span"):
        read.seconds({"s": 1e30}, "s")
