"""What `Transport` and `Receiver` promise, asked of everything that carries a conversation.

Several do so in a relay, and the double in `tests/dialogue.py` stands for them wherever a
conversation is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.net.links import FEW, LINKS, REAL, DoubleLink, Heard, Link, QuicLink, WebLink

from relay.net import mux


@pytest.fixture(params=LINKS)
def link(request: pytest.FixtureRequest) -> Iterator[Link]:
    """A session between two transports of a kind."""
    made = LINKS[request.param](False)
    yield made
    assert not made.errors
    made.close()


@pytest.fixture(params=LINKS)
def narrow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    """The same with few streams."""
    monkeypatch.setattr(mux, "MAX_STREAMS", FEW)
    made = LINKS[request.param](True)
    yield made
    assert not made.errors
    made.close()


def begun(link: Link, here: Any, there: Heard, uni: bool = True) -> int:
    """A stream of which the other side has heard."""
    stream = here.open_uni() if uni else here.open_bidi()
    assert stream is not None
    here.send(stream, b"begun ")
    link.settle()
    assert there.data(stream) == b"begun "
    return int(stream)


# Opening


def test_ids_say_who_opened_and_which_way(link) -> None:
    for role, (here, _, _, there) in enumerate(link.ways):
        uni, two_way = here.open_uni(), here.open_bidi()
        assert (uni % 4, two_way % 4) == (2 + role, role)
        assert here.open_uni() == uni + 4
        here.send(uni, b"x")
        here.send(two_way, b"y")
        link.settle()
        assert (there.data(uni), there.data(two_way)) == (b"x", b"y")


def test_a_stream_may_begin_and_end_at_once(link) -> None:
    for here, _, _, there in link.ways:
        streams = here.open_uni(b"all", True), here.open_uni(b"", True), here.open_uni(b"head")
        link.settle()
        assert [there.data(stream) for stream in streams] == [b"all", b"", b"head"]
        assert [there.ends(stream) for stream in streams] == [["fin"], ["fin"], []]


def test_openers_refuse_at_the_limit_and_hurt_nothing(narrow) -> None:
    for here, _, _, there in narrow.ways:
        opened = [here.open_uni(b"x") for _ in range(FEW + 1)]
        assert opened[0] is not None
        assert opened[-1] is None
        assert here.open_uni(b"x", True) is None
        narrow.settle()
        assert not there.lost
        for stream in filter(None, opened):
            assert there.data(stream) == b"x"
            here.send(stream, b"", True)
        narrow.settle()
        if not isinstance(narrow, DoubleLink):  # its credit is what a test says
            assert here.open_uni() is not None, "what is over counts no longer"


# Bytes


def test_bytes_and_fin_in_order_both_ways(link) -> None:
    for here, mine, other, there in link.ways:
        stream = here.open_bidi()
        sent = bytes(range(256)) * 300
        for at in range(0, len(sent), 7000):
            here.send(stream, sent[at : at + 7000])
        here.send(stream, b"", True)
        link.settle()
        assert there.data(stream) == sent
        assert there.ends(stream) == ["fin"]
        other.send(stream, b"answer", True)
        link.settle()
        assert mine.data(stream) == b"answer"
        assert mine.ends(stream) == ["fin"]


def test_after_its_end_a_half_is_deaf_to_us(link) -> None:
    for here, mine, _, there in link.ways:
        stream = here.open_uni(b"all", True)
        here.send(stream, b"more", True)
        assert not here.offer(stream, b"more", 1)
        link.settle()
        here.send(stream, b"more")
        here.reset(stream, 7)
        link.settle()
        assert there.data(stream) == b"all"
        assert there.ends(stream) == ["fin"]
        assert not mine.stops(stream)


def test_streams_that_never_were_or_are_not_ours_to_write(link) -> None:
    for here, mine, other, there in link.ways:
        stream = begun(link, here, there)
        for unknown in (400, 401, 402, 403, stream):
            other.send(unknown, b"x", True)
            other.reset(unknown, 1)
            assert not other.offer(unknown, b"x", 1)
            here.stop(unknown, 1)
        before = list(mine.told), list(there.told)
        link.settle()
        assert (mine.told, there.told) == before
        here.send(stream, b"goes on")
        link.settle()
        assert there.data(stream) == b"begun goes on"


# Breaking off


def test_a_reset_while_bytes_are_pending(link) -> None:
    for here, mine, _, there in link.ways:
        stream = begun(link, here, there)
        here.send(stream, bytes(50_000))
        here.reset(stream, 7)
        here.reset(stream, 8)
        here.send(stream, b"more", True)
        assert not here.offer(stream, b"more", 1)
        link.settle()
        here.reset(stream, 9)
        link.settle()
        assert (b"begun " + bytes(50_000)).startswith(there.data(stream))
        assert there.ends(stream) == [7]
        assert not mine.stops(stream)


def test_a_reset_behind_the_end_leaves_one_of_them(link) -> None:
    for here, _, _, there in link.ways:
        stream = begun(link, here, there)
        here.send(stream, b"end", True)
        here.reset(stream, 7)
        link.settle()
        assert there.ends(stream) in (["fin"], [7])
        assert there.data(stream) == b"begun end" or there.ends(stream) == [7]


@pytest.mark.parametrize("uni", [True, False], ids=["uni", "bidi"])
def test_a_stop_breaks_off_the_other_half_and_both_are_told_once(link, uni) -> None:
    for here, mine, other, there in link.ways:
        stream = begun(link, here, there, uni)
        other.stop(stream, 7)
        other.stop(stream, 8)
        here.send(stream, b"crosses it")
        link.settle()
        assert mine.stops(stream) == [7]
        assert there.ends(stream) == [7], "the code comes back (RFC 9000, 3.5)"
        assert there.data(stream) == b"begun ", "what still came is not told"
        here.send(stream, b"more", True)
        here.reset(stream, 9)
        other.stop(stream, 9)
        assert not here.offer(stream, b"more", 1)
        link.settle()
        assert mine.stops(stream) == [7]
        assert there.ends(stream) == [7]
        if not uni:
            other.send(stream, b"the other half lives", True)
            link.settle()
            assert mine.data(stream) == b"the other half lives"
            assert mine.ends(stream) == ["fin"]


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "fin"])
def test_a_stop_that_crosses_the_end(link, is_reset) -> None:
    for here, mine, other, there in link.ways:
        stream = begun(link, here, there)
        other.stop(stream, 7)
        if is_reset:
            here.reset(stream, 9)
        else:
            here.send(stream, b"end", True)
        link.settle()
        assert there.data(stream) == b"begun "
        # A stop finds a half of which all was sent but not acknowledged (RFC 9000, 3.1).
        assert there.ends(stream) in ([[9]] if is_reset else [["fin"], [7]])
        assert mine.stops(stream) in ([], [7])


def test_a_stop_after_the_end_says_nothing(link) -> None:
    for here, mine, other, there in link.ways:
        finished, broken = begun(link, here, there), begun(link, here, there)
        here.send(finished, b"", True)
        here.reset(broken, 9)
        link.settle()
        for stream in (finished, broken):
            other.stop(stream, 7)
        link.settle()
        assert not mine.told
        assert (there.ends(finished), there.ends(broken)) == (["fin"], [9])
        mine.told.clear()
        there.told.clear()


@pytest.mark.parametrize("code", [0, 1, 29, 30, 31, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 62) - 1])
def test_codes_arrive_as_they_were_said(link, code) -> None:
    # More than 32 bits have no place in WebTransport; elsewhere they may keep them.
    expected = [code], [code & 0xFFFFFFFF]
    for here, mine, other, there in link.ways:
        first, second = begun(link, here, there), begun(link, here, there)
        here.reset(first, code)
        other.stop(second, code)
        link.settle()
        assert there.ends(first) in expected
        assert mine.stops(second) in expected
        assert there.ends(second) == mine.stops(second)


def test_a_stop_in_the_same_breath_as_the_question(link) -> None:
    for here, mine, other, there in link.ways:
        stream = here.open_bidi()
        here.send(stream, b"question", True)
        here.stop(stream, 7)
        link.settle()
        assert there.data(stream) == b"question"
        assert there.ends(stream) == ["fin"]
        assert there.stops(stream) == [7]
        other.send(stream, b"nobody hears", True)
        link.settle()
        assert mine.data(stream) == b""
        assert mine.ends(stream) == [7]
        assert there.told[0][0] == "data", "what is answered is known before nobody listens"
        mine.told.clear()
        there.told.clear()


# Room


def test_room_is_told_and_what_goes_beyond_it_is_not_offered(link) -> None:
    for here, _, _, there in link.ways:
        stream = begun(link, here, there)
        assert here.capacity() > 0
        assert here.capacity(stream) > 0
        assert here.is_ample(1)
        assert not here.is_ample(here.capacity() + 1)
        assert not here.offer(stream, b"no", here.capacity(stream) + 1)
        assert here.offer(stream, b"yes", 3)
        link.settle()
        assert there.data(stream) == b"begun yes"
        assert here.capacity(400) == 0


@pytest.mark.parametrize("link", REAL, indirect=True)  # the double's room is what a test says
def test_whoever_found_no_room_is_woken(link) -> None:
    for here, mine, _, there in link.ways:
        stream = begun(link, here, there)
        waiting = [bytes(10_000)] * 100

        def write(here=here, stream=stream, waiting=waiting) -> None:
            while waiting and here.offer(stream, waiting[-1], len(waiting[-1])):
                waiting.pop()

        write()
        assert 0 < len(waiting) < 100
        mine.on_flush = write
        link.settle()
        assert not waiting
        assert len(there.data(stream)) == len(b"begun ") + 100 * 10_000
        assert here.is_quiet()


def test_what_ended_is_under_way_until_it_has_arrived(link) -> None:
    for here, mine, _, there in link.ways:
        begun(link, here, there)
        assert here.oldest_under_way() is None, "it has not ended"
        broken = here.open_uni(b"x", True)
        here.reset(broken, 1)
        streams = [here.open_uni(bytes(5000), True) for _ in range(2)]
        if isinstance(link, QuicLink | WebLink):
            assert here.oldest_under_way() == streams[0]
        seen: list[int | None] = []
        mine.on_flush = lambda seen=seen, here=here: seen.append(here.oldest_under_way())
        link.settle()
        assert here.oldest_under_way() is None
        assert seen[-1:] in ([None], []), "whoever waits for that is asked again"
        assert [there.ends(stream) for stream in streams] == [["fin"], ["fin"]]
        mine.on_flush = lambda: None


def test_wake_brings_a_flush_and_from_within_one_just_one_more(link) -> None:
    for here, mine, _, _ in link.ways:
        link.settle()
        before = mine.flushes
        link.settle()
        assert mine.flushes == before, "nothing happened"
        asked = [here.wake]
        mine.on_flush = lambda asked=asked: asked.pop()() if asked else None
        here.wake()
        link.settle()
        assert mine.flushes == before + 2


def test_bytes_handed_over_in_a_flush_leave(link) -> None:
    for here, mine, other, there in link.ways:
        stream = begun(link, here, there, uni=False)
        answer = [b"answer"]
        there.on_flush = lambda: other.send(stream, answer.pop()) if answer else None  # noqa: B023
        here.send(stream, b"question")
        link.settle()
        assert mine.data(stream) == b"answer"


# Datagrams


@pytest.mark.parametrize("link", sorted({*LINKS} - {"qmux-00", "legacy"}), indirect=True)
def test_datagrams_up_to_their_limit(link) -> None:
    for here, _, _, there in link.ways:
        begun(link, here, there)
        sizes = range(70_000, 0, -1)
        limit = next(size for size in sizes if here.send_datagram(bytes(size)))
        assert limit >= 1100
        sent = [b"", b"one", bytes(limit)]
        assert [here.send_datagram(data) for data in sent] == [True] * 3
        link.settle()
        assert there.datagrams == [bytes(limit), *sent]


# The end


@pytest.mark.parametrize("code", [0, 3, 0xFFFFFFFF])
@pytest.mark.parametrize("side", [0, 1], ids=["client", "server"])
def test_both_hear_once_why_it_ended(link, side, code) -> None:
    here, mine, other, there = list(link.ways)[side]
    stream = begun(link, here, there, uni=False)
    here.close(code, "enough said")
    here.close(9, "twice")
    assert not mine.lost, "never within the call"
    link.settle()
    assert mine.lost == there.lost == [(code, "enough said")]
    for each in (here, other):
        each.send(stream, b"x", True)
        each.reset(stream, 1)
        each.stop(stream, 1)
        each.widen(100)
        each.ping()
        each.wake()
        each.close(8, "late")
        assert each.open_uni(b"x") is each.open_bidi() is None
        assert (each.capacity(), each.capacity(stream)) == (0, 0)
        assert not each.is_ample(1)
        assert not each.offer(stream, b"x", 1)
        assert not each.send_datagram(b"x")
        assert each.is_quiet()
    told = list(mine.told), list(there.told)
    link.settle()
    assert (mine.told, there.told) == told


def test_both_close_at_once(link) -> None:
    begun(link, link.near, link.server)
    link.near.close(3, "mine")
    link.far.close(4, "yours")
    link.settle()
    assert link.client.lost == [(3, "mine")]
    assert link.server.lost == [(4, "yours")]


def test_after_a_close_nothing_but_the_end_is_told(link) -> None:
    here, mine, other, there = next(link.ways)
    first, second = begun(link, here, there), begun(link, here, there)
    before = len(there.told)
    there.on_data = lambda: other.close(5, "heard enough")
    here.send(first, b"one")
    here.send(second, b"two", True)
    here.send_datagram(b"three")
    link.settle()
    told = [what[0] for what in there.told[before:] if what[0] != "datagram"]  # it may be first
    assert told == ["data", "lost"]
    assert there.told[-1][0] == "lost"
    assert mine.lost == [(5, "heard enough")]


@pytest.mark.parametrize("link", REAL, indirect=True)  # with the double it costs the test
def test_a_receiver_that_raises_costs_its_session_and_is_told_the_end(link) -> None:
    here, mine, _, there = next(link.ways)
    stream = begun(link, here, there)

    def fail() -> None:
        raise RuntimeError("a mistake")

    there.on_data = fail
    here.send(stream, b"x")
    here.send_datagram(b"y")
    link.settle()
    assert [str(error) for error in link.errors] == ["a mistake"]
    link.errors.clear()
    assert len(there.lost) == len(mine.lost) == 1
