"""Pieces before their turn: handed up as by the library, for no more than came, and not endless."""

import time
import tracemalloc

import pytest
from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet import QuicStreamFrame
from aioquic.quic.stream import FinalSizeError, QuicStreamReceiver
from hypothesis import given
from hypothesis import strategies as st

from relay.net import pieces as room
from relay.net.pieces import MOST, Pieces, Tally
from relay.net.receiver import Receiver
from relay.net.sender import PeerStream

CONTENT = bytes(range(100))
span = st.tuples(st.integers(0, 60), st.integers(0, 12))


@given(st.lists(st.one_of(span, st.none()), max_size=40), st.integers(1, 20))
def test_what_is_kept_is_taken_once_it_has_no_gap(steps, longest) -> None:
    tally, beside = Tally(), Pieces(Tally())
    kept, due = {}, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "PIECE", longest)
        pieces = Pieces(tally)
        for step in steps:
            if step is None:
                expected = b""
                while due + len(expected) in kept:
                    expected += kept.pop(due + len(expected))
                assert pieces.take(due) == expected
                due += len(expected)
            else:
                start, size = max(step[0], due), step[1]
                pieces.add(start, CONTENT[start : start + size])
                kept |= {at: CONTENT[at : at + 1] for at in range(start, start + size)}
            assert tally.count == len(pieces) <= len(kept)
            assert bool(pieces) == bool(kept)
    pieces.clear()
    assert (len(pieces), tally.count, len(beside)) == (0, 0, 0)


@given(st.lists(st.tuples(span, st.booleans()), max_size=30), st.booleans())
def test_what_is_handed_up_is_what_the_library_hands_up(frames, breaks_off) -> None:
    tally = Tally()
    ours, theirs = Receiver(2, tally), QuicStreamReceiver(2, True)
    for (start, size), fin in frames:
        told = []
        for receiver in (ours, theirs):
            frame = QuicStreamFrame(CONTENT[start : start + size], fin, start)
            try:
                told.append(receiver.handle_frame(frame))
            except FinalSizeError as error:
                told.append(str(error))
        assert told[0] == told[1]
        for name in ("highest_offset", "is_finished", "_final_size", "_buffer_start"):
            assert getattr(ours, name) == getattr(theirs, name), name
    if breaks_off:
        ours.let_go()
        assert tally.count == 0
        assert ours.starting_offset() == ours.highest_offset
    elif ours.is_finished:
        assert tally.count == 0


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


def test_a_byte_far_ahead_costs_no_more_than_a_byte() -> None:
    receiver = PeerStream(2, 1 << 24, Tally()).receiver
    tracemalloc.start()
    try:
        receiver.handle_frame(QuicStreamFrame(b"x", False, (1 << 24) - 1))
        assert tracemalloc.get_traced_memory()[1] < 4096
    finally:
        tracemalloc.stop()


def test_packets_that_come_after_a_lost_one_are_few_pieces() -> None:
    tally = Tally()
    receiver = PeerStream(2, 1 << 24, tally).receiver
    for at in range(1, 8001):
        receiver.handle_frame(QuicStreamFrame(bytes(1200), False, at * 1200))
    assert tally.count < 200
    event = receiver.handle_frame(QuicStreamFrame(bytes(1200), False, 0))
    assert event is not None
    assert (len(event.data), tally.count) == (8001 * 1200, 0)
