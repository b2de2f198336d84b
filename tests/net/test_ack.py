"""Reading ACK frames, against the library's own reading."""

from __future__ import annotations

from aioquic._buffer import Buffer
from aioquic.quic.packet import pull_ack_frame
from aioquic.quic.rangeset import RangeSet
from hypothesis import given
from hypothesis import strategies as st

from relay.net.ack import read_ack


@given(st.binary(max_size=60), st.integers(0, 3))
def test_an_ack_is_read_as_the_library_reads_it(tail, before) -> None:
    frame = read_ack(bytes(before) + b"\x02" + tail, before)
    buf = Buffer(data=tail)
    try:
        ranges, delay = pull_ack_frame(buf)
    except ValueError:
        assert frame is None
        return
    if frame is not None:
        mine = RangeSet()
        for first, last in frame[0]:
            mine.add(first, last + 1)
        assert (list(mine), frame[1], frame[2]) == (list(ranges), delay, before + buf.tell() + 1)


def test_a_usual_ack_is_read() -> None:
    plain = bytes.fromhex("02 4064 05 01 03 01 02 00")
    assert read_ack(plain, 0) == ([(97, 100), (92, 94)], 5, 8)


def test_an_ack_of_very_many_ranges_is_left_to_the_library() -> None:
    assert read_ack(b"\x02\x7f\xff\x00\x40\x41" + bytes(200), 0) is None
