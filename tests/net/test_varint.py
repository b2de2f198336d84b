"""Variable-length integers, against the examples of RFC 9000, A.1."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.net.varint import decode, encode


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("c2197c5eff14e88c", 151288809941952652),
        ("9d7f3e7d", 494878333),
        ("7bbd", 15293),
        ("25", 37),
        ("4025", 37),
    ],
)
def test_the_examples_of_the_rfc(data: str, value: int) -> None:
    raw = bytes.fromhex(data)
    assert decode(raw, 0) == (value, len(raw))
    assert all(decode(raw[:cut], 0) is None for cut in range(len(raw)))


@given(st.integers(0, 2**62 - 1))
@settings(max_examples=100)
def test_there_and_back(value: int) -> None:
    data = encode(value)
    assert decode(b"x" + data + b"y", 1) == (value, 1 + len(data))


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode(1 << 62)
