"""The way to a receiver: replay in order, ceilings, one end."""

import pytest

from relay.errors import RelayError
from relay.net.inbox import Inbox
from relay.net.settings import QuicLimits


@pytest.fixture
def failures() -> list[Exception]:
    return []


@pytest.fixture
def inbox(failures) -> Inbox:
    limits = QuicLimits(max_early_data=10, max_early_events=4)
    return Inbox(limits, failures.append, lambda code, reason: failures.append(RelayError(reason)))


async def test_what_came_early_is_replayed_by_the_flush_in_order(inbox, recorder) -> None:
    heard = recorder()
    inbox.stream_received(0, b"a", False)
    inbox.stream_reset(4, 7)
    inbox.start(heard)
    inbox.stream_received(0, b"b", True)
    assert not heard.streams
    inbox.flush()
    assert heard.streams == {0: b"ab"}
    assert heard.chunks == {0: 2}
    assert heard.resets == {4: 7}
    inbox.stream_received(8, b"now", False)
    assert heard.streams[8] == b"now"


@pytest.mark.parametrize(("count", "size"), [(1, 11), (5, 0), (2, 6)])
def test_the_ceilings_before_there_is_a_receiver(inbox, failures, count, size) -> None:
    for index in range(count):
        assert not failures
        inbox.stream_received(index, bytes(size), False)
    assert len(failures) == 1
    assert not inbox._early


async def test_the_end_comes_last_and_once(inbox, recorder) -> None:
    heard = recorder()
    inbox.stream_received(0, b"a", True)
    inbox.lost(3, "first")
    inbox.lost(4, "second")
    inbox.stream_received(0, b"after", False)
    inbox.start(heard)
    inbox.flush()
    inbox.flush()
    assert heard.streams == {0: b"a"}
    assert heard.lost == [(3, "first")]
    assert heard.flushes == 0


@pytest.mark.parametrize("name", ["stream_received", "stream_stopped", "flush"])
async def test_after_raising_a_receiver_hears_its_end_only(inbox, failures, recorder, name) -> None:
    heard = recorder()
    heard.raise_on = name
    inbox.start(heard)
    inbox.stream_received(0, b"a", False)
    inbox.stream_stopped(0, 1)
    inbox.flush()
    inbox.stream_received(4, b"more", False)
    inbox.lost(4, "internal error")
    inbox.flush()
    assert [str(error) for error in failures] == [f"a mistake in {name}"]
    assert 4 not in heard.streams
    assert heard.lost == [(4, "internal error")]


async def test_only_the_first_receiver_counts(inbox, recorder) -> None:
    first, second = recorder(), recorder()
    inbox.start(first)
    inbox.start(second)
    inbox.datagram_received(b"x")
    assert (first.datagrams, second.datagrams) == ([b"x"], [])
