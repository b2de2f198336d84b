"""The search for the largest datagram that a path carries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.net.mtu import AGAIN, AGAIN_MOST, GONE, SAFE, STEPS, TRIES, PathMtu


def search(mtu: PathMtu, path: int, now: float = 0.0) -> int:
    """Try sizes on a path that carries ``path`` bytes; answers how many packets that took."""
    sent = 0
    while (size := mtu.wish(now)) is not None:
        mtu.under_way = size
        assert mtu.wish(now) is None
        sent += 1
        if size <= path:
            mtu.try_arrived(size)
        else:
            mtu.try_lost(size)
    return sent


@given(st.integers(SAFE, 2000), st.integers(SAFE, 2000))
def test_the_largest_size_that_the_path_carries_is_found(path, ceiling) -> None:
    mtu = PathMtu(ceiling)
    sent = search(mtu, path)
    fitting = [SAFE, *(size for size in (*STEPS, ceiling) if size <= min(path, ceiling))]
    assert mtu.size == max(fitting)
    assert sent <= TRIES * (len(STEPS) + 1)


def test_a_usual_path_takes_one_packet() -> None:
    mtu = PathMtu(1452)
    assert search(mtu, 1500) == 1
    assert mtu.size == 1452


def test_a_peer_that_takes_no_more_is_believed() -> None:
    mtu = PathMtu(1452)
    mtu.lower_ceiling(1300)
    search(mtu, 1500)
    assert mtu.size == 1300
    mtu = PathMtu(1452)
    mtu.lower_ceiling(1200)
    assert mtu.wish(0.0) is None


def test_a_path_that_shrinks_is_noticed_and_tried_again_later() -> None:
    mtu = PathMtu(1452)
    search(mtu, 1500)
    assert not mtu.lost(GONE - 1, 100.0)
    mtu.gone = 0
    assert not mtu.lost(GONE - 1, 100.0)
    assert mtu.lost(1, 100.0)
    assert mtu.size == SAFE
    assert mtu.wish(100.0 + AGAIN - 0.1) is None
    search(mtu, 1400, 100.0 + AGAIN)
    assert mtu.size == 1392


def test_a_path_that_shrinks_time_and_again_is_tried_ever_more_rarely() -> None:
    mtu = PathMtu(1452)
    now, waits = 0.0, []
    for _ in range(10):
        search(mtu, 1500, now)
        assert mtu.lost(GONE, now)
        begun = now
        while mtu.wish(now) is None:
            now += 1.0
        waits.append(now - begun)
    assert waits[:3] == [AGAIN, 2 * AGAIN, 4 * AGAIN]
    assert waits[-1] == AGAIN_MOST


def test_another_path_is_searched_anew() -> None:
    mtu = PathMtu(1452)
    search(mtu, 1500)
    mtu.under_way = 1452
    mtu.begin()
    mtu.try_arrived(1452)  # over the path that was
    assert mtu.size == SAFE
    search(mtu, 1400)
    assert mtu.size == 1392


def test_losses_of_a_safe_size_say_nothing() -> None:
    mtu = PathMtu(SAFE)
    assert not mtu.lost(100, 0.0)


@pytest.mark.parametrize("ceiling", [1200, 1252, 9000])
def test_no_more_than_the_ceiling_is_tried(ceiling) -> None:
    mtu = PathMtu(ceiling)
    search(mtu, 65_000)
    assert mtu.size == ceiling
