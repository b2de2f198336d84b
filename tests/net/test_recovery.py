"""Trains in the book of recovery, against the library's own bookkeeping packet by packet."""

from __future__ import annotations

import os
from typing import Any

import pytest
from aioquic import tls
from aioquic.quic.congestion.base import QuicRttMonitor
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketRecovery
from aioquic.quic.stream import QuicStream
from hypothesis import given
from hypothesis import strategies as st
from tests.net.paths import Flow, Path, begun

from relay.net.built import speedups
from relay.net.engine import Engine
from relay.net.pacing import Pacer, RttMonitor
from relay.net.recovery import MOST_WAIT, Recovery, Train
from relay.net.reordering import Reordering
from relay.net.sender import SharedSender
from relay.net.settings import QuicLimits
from relay.net.steps import chosen

STEP, FULL = 1100, 1200
"""Bytes of the stream, and on the wire, of each packet but a train's last."""


class Nobody:
    """An owner that does not listen."""

    def __init__(self) -> None:
        self.stirred: dict[int, QuicStream] = {}

    def sent_whole(self, stream: QuicStream) -> None: ...


class Unteachable(Reordering):
    """Takes every loss for one, as the library does."""

    def arrived(self, first: int, last: int, largest: int, rtt: float, now: float) -> bool:
        return False


class Side:
    """A recovery with its space and the stream whose bytes are sent."""

    def __init__(self, kind: type[QuicPacketRecovery], algorithm: str) -> None:
        self.recovery, self.space = begun(kind, algorithm, FULL)
        self.sender = SharedSender(QuicStream(3), Nobody())

    def send_train(self, number: int, count: int, now: float) -> None:
        start = self.sender._buffer_stop
        self.sender.write(bytes(STEP * count - 9))
        start, data, _ = self.sender.take_new(1 << 40)
        train = Train(number, number + count - 1, FULL * count - 9, now)
        train.sender, train.step, train.full = self.sender, STEP, FULL
        train.start, train.stop = start, start + len(data)
        self.recovery.enter(train, self.space)

    def send_packets(self, number: int, count: int, now: float) -> None:
        self.sender.write(bytes(STEP * count - 9))
        for index in range(count):
            offset, data, fin = self.sender.take(STEP, 1 << 40) or (0, b"", False)
            packet = QuicSentPacket(
                epoch=tls.Epoch.ONE_RTT,
                in_flight=True,
                is_ack_eliciting=True,
                is_crypto_packet=False,
                packet_number=number + index,
                packet_type=QuicPacketType.ONE_RTT,
                sent_time=now,
                sent_bytes=FULL if index + 1 < count else FULL - 9,
            )
            what = (offset, offset + len(data), fin)
            packet.delivery_handlers.append((self.sender.on_data_delivery, what))
            self.recovery.on_packet_sent(packet=packet, space=self.space)

    def under_way(self) -> list[int]:
        if isinstance(self.recovery, Recovery):
            book = self.recovery.book
            return [number for train in book for number in range(train.first, train.last + 1)]
        return list(self.space.sent_packets)

    def timer(self) -> float | None:
        if isinstance(self.recovery, Recovery):
            return self.recovery.due(self.space)
        at = self.recovery.get_loss_detection_time(amplification_limited=False)
        if at is None or self.space.loss_time is not None:
            return at
        sent_time = self.recovery._time_of_last_sent_ack_eliciting_packet
        return min(at, sent_time + max(MOST_WAIT, self.recovery.get_probe_timeout()))

    def state(self) -> dict[str, object]:
        names = ("_rtt_smoothed", "_rtt_min", "_rtt_variance", "_pto_count", "bytes_in_flight")
        sender, lost = self.sender, self.sender._lost
        return {
            "under way": self.under_way(),
            "space": [
                getattr(self.space, name)
                for name in ("ack_eliciting_in_flight", "largest_acked_packet", "loss_time")
            ],
            "recovery": [getattr(self.recovery, name) for name in names],
            "timer": self.timer(),
            "lost": None if lost is None else list(lost),
            "acked": sender._buffer_start,
        }


STEPS = st.lists(
    st.one_of(
        st.integers(1, 9),
        st.just("probe"),
        st.just("timer"),
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=4),
    ),
    max_size=30,
)


def acknowledge_in_c(recovery: Recovery, *what: Any) -> None:
    chosen(Engine, QuicLimits())  # which has C learn the books
    built = speedups()
    assert built is not None
    built.acknowledge(recovery, *what)


IN_C = pytest.param(
    acknowledge_in_c,
    marks=pytest.mark.skipif(speedups() is None and not os.environ.get("CI"), reason="not built"),
    id="c",
)


@pytest.mark.parametrize("acknowledge", [pytest.param(Recovery.acknowledge, id="python"), IN_C])
@pytest.mark.parametrize("is_teachable", [False, True], ids=["as it is", "what is lost stays so"])
@pytest.mark.parametrize("algorithm", ["reno", "cubic"])
@given(steps=STEPS)
def test_the_books_are_the_librarys(algorithm, is_teachable, acknowledge, steps) -> None:
    ours, stock = Side(Recovery, algorithm), Side(QuicPacketRecovery, algorithm)
    if not is_teachable:
        ours.recovery.reordering = Unteachable()
    arrived: set[int] = set()
    number, now = 0, 10.0
    for step in steps:
        now += 0.013
        if isinstance(step, int):
            # What is to be sent again stays put, so that both send the same new bytes.
            for side in (ours, stock):
                side.sender._lost = None
            ours.send_train(number, step, now)
            stock.send_packets(number, step, now)
            number += step
        elif step == "probe":
            for side in (ours, stock):
                side.recovery.reschedule_data(now=now)
        elif step == "timer":
            for side in (ours, stock):
                side.recovery.on_loss_detection_timeout(now=now)
        else:
            ranges = RangeSet()
            for below, size in step:
                last = max(0, number - 1 - below)
                ranges.add(max(0, last - size), last + 1)
            if is_teachable:
                gone = set(range(number)) - arrived - set(ours.under_way())
                for lost in gone:
                    ranges.subtract(lost, lost + 1)
            if not len(ranges):
                continue
            arrived |= {acked for r in ranges for acked in r if acked < number}
            each = [(r.start, r.stop - 1) for r in ranges]
            if len(each) == 1:
                acknowledge(ours.recovery, ours.space, *each[0], 0.002, now)
            else:
                ours.recovery.acknowledge_all(ours.space, each, 0.002, now)
            stock.recovery.on_ack_received(
                ack_rangeset=ranges, ack_delay=0.002, now=now, space=stock.space
            )
        assert ours.state() == stock.state()
        # Of packets counted together the growth may be rounded otherwise, by a packet each.
        difference = ours.recovery.congestion_window - stock.recovery.congestion_window
        assert abs(difference) <= FULL * 10


def kept(thing: Any) -> dict[str, object]:
    """All that lies in the slots of a book."""
    slots = {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())}
    return {name: getattr(thing, name) for name in slots if hasattr(thing, name)}


def books(side: Side) -> list[object]:
    """Every number that is kept of what is sent."""
    recovery: Any = side.recovery
    control, sender = recovery._cc, side.sender
    apart = {
        "_cc",
        "_pacer",
        "mtu",
        "received_packets",
        "reordering",
        "book",
        "_rtt_monitor",
        "sender",
        "stream",
        "_owner",
    }
    things = (recovery, side.space, control, control._rtt_monitor, recovery._pacer, recovery.mtu)
    return [
        [(name, value) for name, value in sorted(kept(each).items()) if name not in apart]
        for each in (*things, recovery.reordering, sender, *recovery.book)
    ]


@pytest.mark.skipif(speedups() is None and not os.environ.get("CI"), reason="not built")
@given(
    steps=st.lists(
        st.one_of(
            st.integers(1, 9),
            st.floats(0.0, 0.2),
            st.sampled_from(["probe", "timer", "end"]),
            st.tuples(st.integers(0, 12), st.integers(0, 9), st.floats(0.0, 0.1)),
        ),
        max_size=60,
    ),
    most=st.sampled_from([0, 1 << 30]),
)
def test_in_c_the_books_are_the_same(steps, most) -> None:
    plain, quick = sides = Side(Recovery, "reno"), Side(Recovery, "reno")
    for side in sides:
        side.recovery._cc._enough = most
    number, now = 0, 10.0
    for step in steps:
        now += 0.003
        if isinstance(step, int):
            for side in sides:
                if side.sender._buffer_fin is None:
                    side.sender._lost = None
                    side.send_train(number, step, now)
            number += step
        elif isinstance(step, float):
            now += step
        elif isinstance(step, str):
            for side in sides:
                if step == "probe":
                    side.recovery.reschedule_data(now=now)
                elif step == "timer":
                    side.recovery.on_loss_detection_timeout(now=now)
                elif side.recovery.book and side.sender._buffer_fin is None:
                    side.sender._buffer_fin = side.sender._buffer_stop
                    side.recovery.book[-1].fin = True
        else:
            below, size, delay = step
            last = max(0, number - 1 - below)
            first = max(0, last - size) if size < 9 else 0
            plain.recovery.acknowledge(plain.space, first, last, delay, now)
            acknowledge_in_c(quick.recovery, quick.space, first, last, delay, now)
        assert books(quick) == books(plain)


@pytest.mark.parametrize("algorithm", ["reno", "cubic"])
def test_a_loss_that_was_none_costs_no_window_and_is_waited_for_next_time(algorithm) -> None:
    side = Side(Recovery, algorithm)
    side.send_train(0, 12, 1.0)
    side.recovery.acknowledge(side.space, 0, 4, 0.0, 1.1)
    window = side.recovery.congestion_window
    side.recovery.acknowledge_all(side.space, [(0, 4), (6, 11)], 0.0, 1.1)
    assert not side.under_way()
    assert side.recovery.congestion_window < window
    side.recovery.acknowledge(side.space, 0, 11, 0.0, 1.1)
    assert side.recovery.congestion_window >= window
    side.send_train(12, 12, 1.2)
    side.recovery.acknowledge_all(side.space, [(0, 14), (16, 21)], 0.0, 1.3)
    assert side.under_way() == [15, 22, 23]


def test_of_a_real_loss_the_window_stays_smaller() -> None:
    side = Side(Recovery, "reno")
    side.send_train(0, 20, 1.0)
    side.recovery.acknowledge_all(side.space, [(1, 4), (6, 11)], 0.0, 1.1)
    window = side.recovery.congestion_window
    side.recovery.acknowledge_all(side.space, [(1, 11)], 0.0, 1.11)
    assert side.recovery.congestion_window < window + FULL * 3


def test_a_line_that_was_cut_for_long_is_used_soon_after_it_is_back() -> None:
    path = Path()
    flow = Flow(path, "reno", frugal=True)
    flow.every(0.03, 5000)
    path.run(2.0)
    path.loss = 1.0
    path.run(14.0)
    got, path.loss = flow.got, 0.0
    path.run(MOST_WAIT + path.rtt)
    assert flow.got > got


def test_a_train_is_cut_where_an_acknowledgement_ends() -> None:
    side = Side(Recovery, "reno")
    side.send_train(5, 4, 1.0)
    side.recovery.acknowledge(side.space, 6, 7, 0.0, 1.01)
    assert side.under_way() == [5, 8]
    assert side.recovery.bytes_in_flight == FULL + FULL - 9
    side.recovery.acknowledge(side.space, 0, 8, 0.0, 1.02)
    assert side.recovery.bytes_in_flight == 0
    assert side.sender._buffer_start == 4 * STEP - 9
    assert not side.sender._chunks


def test_what_the_library_lost_it_has_to_send_again() -> None:
    side = Side(Recovery, "reno")
    side.send_packets(0, 1, 1.0)
    side.send_train(1, 5, 1.1)
    side.recovery.acknowledge(side.space, 5, 5, 0.0, 1.11)
    assert side.recovery.lost_foreign


def paced(window: int, rtt: float) -> tuple[Pacer, QuicPacketPacer]:
    ours, theirs = (kind(max_datagram_size=1452) for kind in (Pacer, QuicPacketPacer))
    for pacer in (ours, theirs):
        pacer.update_rate(window, rtt)
    return ours, theirs


@pytest.mark.parametrize(
    ("window", "rtt"), [(14_520, 0.05), (100_000, 0.02), (1 << 20, 0.1), (4000, 0.3)]
)
def test_below_a_packet_per_microsecond_packets_are_paced_as_by_the_library(window, rtt) -> None:
    ours, theirs = paced(window, rtt)
    assert ours.packet_time == pytest.approx(theirs.packet_time)
    assert ours.bucket_max == pytest.approx(theirs.bucket_max)


@given(st.integers(2904, 1 << 33), st.floats(0, 3, allow_subnormal=False))
def test_any_pace_is_the_library_s_as_far_as_it_goes(window: int, rtt: float) -> None:
    ours, theirs = paced(window, rtt)
    spread = window / max(rtt, 1e-6)
    assert ours.packet_time == min(1452 / spread, 1.0)
    burst = max(16 * 1452, min(spread * 0.001, 44 * 1452))
    assert ours.bucket_max == max(2 * 1452, min(window // 4, burst)) / spread
    assert theirs.packet_time is not None
    assert theirs.packet_time >= ours.packet_time


@given(st.lists(st.tuples(st.sampled_from([0.0004, 0.0011, 0.003]), st.floats(0, 1)), max_size=60))
def test_whether_round_trips_grow_is_what_the_library_says(
    steps: list[tuple[float, float]],
) -> None:
    ours, theirs, now = RttMonitor(), QuicRttMonitor(), 1.0
    for wait, rtt in steps:
        now += wait
        said = ours.is_rtt_increasing(now=now, rtt=rtt)
        assert said is theirs.is_rtt_increasing(now=now, rtt=rtt)


@pytest.mark.parametrize(
    ("window", "rtt", "packets"),
    [
        (6 << 20, 0.001, 44),  # no more than one system call takes
        (1 << 20, 0.03, 24),  # what a millisecond brings
        (40_000, 0.001, 6),  # a quarter of the window
        (3000, 0.0001, 2),
    ],
)
def test_what_a_millisecond_brings_may_leave_at_once(window, rtt, packets) -> None:
    ours, _ = paced(window, rtt)
    assert int(ours.bucket_max / ours.packet_time + 1e-6) == packets
    ours.bucket_time = 1.0
    ours.update_rate(window, rtt)
    assert ours.bucket_time == ours.bucket_max
