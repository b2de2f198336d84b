"""Pieces before their turn: the library's ranges, counted, and not more than a limit."""

import time

import pytest
from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet import QuicStreamFrame
from aioquic.quic.rangeset import RangeSet
from hypothesis import given
from hypothesis import strategies as st

from relay.net.pieces import MOST, Pieces, Tally
from relay.net.sender import PeerStream

piece = st.tuples(st.integers(0, 60), st.integers(1, 12))


@given(st.lists(st.one_of(piece, st.none()), max_size=40), st.lists(piece, max_size=20))
def test_they_are_the_librarys_and_counted_with_those_of_other_streams(steps, others) -> None:
    tally, theirs, beside = Tally(), RangeSet(), RangeSet()
    ours, other = Pieces(tally), Pieces(tally)
    for start, size in others:
        other.add(start, start + size)
        beside.add(start, start + size)
    for step in steps:
        if step is not None:
            start, size = step
            ours.add(start, start + size)
            theirs.add(start, start + size)
        elif len(theirs):
            assert ours.shift() == theirs.shift()
        assert list(ours) == list(theirs)
        assert tally.count == len(theirs) + len(beside)
    ours.clear()
    assert (len(ours), tally.count) == (0, len(beside))


def test_one_number_is_a_piece_as_well() -> None:
    pieces = Pieces(Tally())
    pieces.add(4)
    pieces.add(5)
    assert list(pieces) == [range(4, 6)]


def test_there_are_so_many_and_no_more_on_all_streams_together() -> None:
    tally = Tally()
    streams = [PeerStream(number, 1 << 20, tally) for number in (2, 6)]
    for at in range(MOST):
        streams[at & 1].receiver.handle_frame(QuicStreamFrame(b"x", False, 2 * at + 1))
    with pytest.raises(QuicConnectionError, match="too many gaps"):
        streams[0].receiver.handle_frame(QuicStreamFrame(b"x", False, 1 << 19))


def test_very_many_take_no_time() -> None:
    tally = Tally()
    receiver = PeerStream(2, 1 << 20, tally).receiver
    begun = time.process_time()
    for at in range(1, 2 * MOST, 2):
        receiver.handle_frame(QuicStreamFrame(b"x", False, at))
    for at in range(0, 2 * MOST, 2):
        receiver.handle_frame(QuicStreamFrame(b"x", False, at))
    assert time.process_time() - begun < 0.4  # the library's own take twice as long
    assert (receiver.starting_offset(), tally.count) == (2 * MOST, 0)
