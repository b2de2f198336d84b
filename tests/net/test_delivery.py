"""The way to a receiver: replay in order, ceilings, one end."""

import pytest

from relay.net.delivery import Delivery
from relay.net.settings import QuicLimits


@pytest.fixture
def failures() -> list[Exception]:
    return []


@pytest.fixture
def delivery(failures) -> Delivery:
    return Delivery(QuicLimits(max_early_data=10, max_early_events=4), failures.append)


async def test_what_came_early_is_replayed_by_the_flush_in_order(delivery, recorder) -> None:
    heard = recorder()
    delivery.stream_received(0, b"a", False)
    delivery.stream_reset(4, 7)
    delivery.start(heard)
    delivery.stream_received(0, b"b", True)
    assert not heard.streams
    delivery.flush()
    assert heard.streams == {0: b"ab"}
    assert heard.chunks == {0: 2}
    assert heard.resets == {4: 7}
    delivery.stream_received(8, b"now", False)
    assert heard.streams[8] == b"now"


@pytest.mark.parametrize(("count", "size"), [(1, 11), (5, 0), (2, 6)])
def test_the_ceilings_before_there_is_a_receiver(delivery, failures, count, size) -> None:
    for index in range(count):
        assert not failures
        delivery.stream_received(index, bytes(size), False)
    assert len(failures) == 1
    assert not delivery._early


async def test_the_end_comes_last_and_once(delivery, recorder) -> None:
    heard = recorder()
    delivery.stream_received(0, b"a", True)
    delivery.lost(3, "first")
    delivery.lost(4, "second")
    delivery.stream_received(0, b"after", False)
    delivery.start(heard)
    delivery.flush()
    delivery.flush()
    assert heard.streams == {0: b"a"}
    assert heard.lost == [(3, "first")]
    assert heard.flushes == 0


@pytest.mark.parametrize("name", ["stream_received", "stream_stopped", "flush"])
async def test_after_raising_a_receiver_hears_its_end_only(
    delivery, failures, recorder, name
) -> None:
    heard = recorder()
    heard.raise_on = name
    delivery.start(heard)
    delivery.stream_received(0, b"a", False)
    delivery.stream_stopped(0, 1)
    delivery.flush()
    delivery.stream_received(4, b"more", False)
    delivery.lost(4, "internal error")
    delivery.flush()
    assert [str(error) for error in failures] == [f"a mistake in {name}"]
    assert 4 not in heard.streams
    assert heard.lost == [(4, "internal error")]


async def test_only_the_first_receiver_counts(delivery, recorder) -> None:
    first, second = recorder(), recorder()
    delivery.start(first)
    delivery.start(second)
    delivery.datagram_received(b"x")
    assert (first.datagrams, second.datagrams) == ([b"x"], [])
