"""Acknowledgements in bulk against the library's own reading and bookkeeping."""

from __future__ import annotations

import pytest
from aioquic._buffer import Buffer
from aioquic.quic.packet import pull_ack_frame
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace
from hypothesis import given
from hypothesis import strategies as st

from relay.net.acked import Sent, acknowledge, enter, read_ack


@given(st.binary(max_size=60))
def test_an_ack_is_read_as_the_library_reads_it(tail) -> None:
    frame = read_ack(b"\x02" + tail)
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
        assert (list(mine), frame[1], frame[2]) == (list(ranges), delay, buf.tell() + 1)


def test_a_usual_ack_is_read() -> None:
    assert read_ack(bytes.fromhex("02 4064 05 01 03 01 02 00")) == ([(92, 94), (97, 100)], 5, 8)


def books(algorithm: str) -> tuple[QuicPacketRecovery, QuicPacketSpace]:
    recovery = QuicPacketRecovery(
        congestion_control_algorithm=algorithm,
        initial_rtt=0.1,
        max_datagram_size=1200,
        peer_completed_address_validation=True,
        send_probe=lambda: None,
    )
    space = QuicPacketSpace(is_application_data=True)
    recovery.spaces = [space]
    return recovery, space


STEPS = st.lists(
    st.one_of(
        st.integers(1, 9),
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=4),
    ),
    max_size=30,
)


@pytest.mark.parametrize("algorithm", ["reno", "cubic"])
@given(steps=STEPS)
def test_the_books_are_the_librarys(algorithm, steps) -> None:
    pair = mine, stock = books(algorithm), books(algorithm)
    number, now = 0, 10.0
    for step in steps:
        now += 0.013
        if isinstance(step, int):
            trains: list[list[Sent]] = []
            for _ in pair:
                train = [Sent(number + i, 1200, now, [], []) for i in range(step)]
                for packet in train:
                    packet.is_ack_eliciting = packet.in_flight = True
                trains.append(train)
            enter(*mine, trains[0], now)
            for packet in trains[1]:
                stock[0].on_packet_sent(packet=packet, space=stock[1])
            number += step
            continue
        ranges = RangeSet()
        for below, size in step:
            last = max(0, number - 1 - below)
            ranges.add(max(0, last - size), last + 1)
        acknowledge(*mine, [(r.start, r.stop - 1) for r in ranges], 0.002, now)
        stock[0].on_ack_received(ack_rangeset=ranges, ack_delay=0.002, now=now, space=stock[1])
        assert list(mine[1].sent_packets) == list(stock[1].sent_packets)
        for name in ("ack_eliciting_in_flight", "largest_acked_packet", "loss_time"):
            assert getattr(mine[1], name) == getattr(stock[1], name)
        for name in ("_rtt_smoothed", "_rtt_min", "_rtt_variance", "_pto_count"):
            assert getattr(mine[0], name) == getattr(stock[0], name)
        assert mine[0].bytes_in_flight == stock[0].bytes_in_flight
        # Of packets counted together the growth may be rounded otherwise, by a packet each.
        assert abs(mine[0].congestion_window - stock[0].congestion_window) <= 1200 * 10
