"""Application codes inside HTTP/3's code space."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.net.codes import FIRST, LAST, from_http3, to_http3, unmap

# Pairs a browser and a native client were seen to agree with.
FOREIGN = {
    0: 0x52E4A40FA8DB,
    5: 0x52E4A40FA8E0,
    7: 0x52E4A40FA8E2,
    9: 0x52E4A40FA8E4,
    29: 0x52E4A40FA8F8,
    30: 0x52E4A40FA8FA,
    33: 0x52E4A40FA8FD,
    42: 0x52E4A40FA906,
    255: 0x52E4A40FA9E2,
}


@pytest.mark.parametrize(("code", "mapped"), FOREIGN.items())
def test_foreign_peers_use_the_same_table(code: int, mapped: int) -> None:
    assert to_http3(code) == mapped
    assert from_http3(mapped) == code


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_every_code_returns(code: int) -> None:
    mapped = to_http3(code)
    assert FIRST <= mapped <= LAST
    assert (mapped - 0x21) % 0x1F != 0
    assert unmap(mapped) == code


def test_the_range_ends_where_the_draft_says() -> None:
    assert to_http3(0) == FIRST
    assert to_http3(2**32 - 1) == LAST


@pytest.mark.parametrize("code", [0, 7, 0x100, 0x10C, FIRST - 1, LAST + 1, FIRST + 0x1E])
def test_codes_that_mean_nothing(code: int) -> None:
    assert unmap(code) is None
    assert from_http3(code) == 0


def test_large_codes_lose_their_high_bits_and_nothing_else() -> None:
    assert from_http3(to_http3((1 << 40) + 7)) == 7
