"""Integers of leading ones: the examples of the drafts, each length, what is cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import DecodeError
from relay.moqt.varint import MAX_LEADING, encode_leading, scan_leading, scan_leading_17

# draft-17, 1.4.1, without the one whose decimal digits are wrong there.
EXAMPLES = [
    ("25", 37),
    ("bbbd", 15_293),
    ("dd7f3e", 0x1D7F3E),
    ("faa1a0e403d8", 2_893_212_287_960),
    ("fefa318fa8e3ca11", 70_423_237_261_249_041),
    ("ff" * 9, MAX_LEADING),
]
LONGER = [("8025", 37), ("ff0000000000000001", 1)]


@pytest.mark.parametrize(("text", "value"), [*EXAMPLES, *LONGER])
def test_examples_are_read(text, value):
    wire = bytes.fromhex(text)
    for scan in (scan_leading, scan_leading_17):
        assert scan(b"x" + wire + b"y", 1) == (value, len(wire) + 1)
        assert scan(bytearray(wire)) == (value, len(wire))
        for size in range(len(wire)):
            assert scan(wire[:size]) is None


@pytest.mark.parametrize(("text", "value"), EXAMPLES)
def test_examples_are_written(text, value):
    assert encode_leading(value).hex() == text


@given(st.integers(0, MAX_LEADING))
def test_what_is_written_is_read(value):
    wire = encode_leading(value)
    assert scan_leading(wire) == scan_leading_17(wire) == (value, len(wire))


def test_lengths():
    for size in (1, 2, 3, 4, 5, 6, 8):
        assert len(encode_leading((1 << 7 * size) - 1)) == size
        assert len(encode_leading(1 << 7 * size)) == size + (2 if size == 6 else 1)
    assert len(encode_leading((1 << 49) - 1)) == 8


def test_seven_bytes_are_read_from_draft_18_on():
    wire = bytes.fromhex("fd123456789abc")
    assert scan_leading(wire) == (0x1123456789ABC, 7)
    for size in range(1, 8):
        with pytest.raises(DecodeError, match="seven bytes"):
            scan_leading_17(wire[:size])
    assert scan_leading_17(b"") is None


@pytest.mark.parametrize("value", [-1, MAX_LEADING + 1])
def test_what_does_not_fit(value):
    with pytest.raises(ValueError, match="does not fit"):
        encode_leading(value)
