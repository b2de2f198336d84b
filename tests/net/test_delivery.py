"""Samples of the delivery rate, packet by packet."""

from __future__ import annotations

from typing import Any

import pytest

from relay.net.delivery import Aggregation, Delivery
from relay.net.recovery import Train

SIZE = 1000


class Watched(Delivery):
    """Notes what it is told, and never changes its window."""

    def __init__(self) -> None:
        super().__init__(max_datagram_size=SIZE)
        self.told: list[Any] = []

    def restarted(self, now: float) -> None:
        self.told.append(("restarted", now))

    def lose(self, packet: Any, now: float) -> None:
        self.told.append(("lost", packet.first))

    def update(self, now: float) -> None:
        self.told.append(round(self.sample.rate))

    def on_persistent_congestion(self) -> None: ...

    def send(self, first: int, count: int, now: float) -> Train:
        train = Train(first, first + count - 1, SIZE * count, now, SIZE)
        self.on_packet_sent(packet=train)
        return train

    def hear(self, now: float, *trains: Train) -> None:
        for train in trains:
            self.on_packet_acked(now=now, packet=train)
        self.on_rtt_measurement(now=now, rtt=now - trains[-1].sent_time)
        self.acknowledged(now)


def test_a_train_is_one_sample() -> None:
    control = Watched()
    control.hear(1.1, control.send(0, 4, 1.0))
    assert control.told == [40_000]
    assert (control.sample.rtt, control.delivered) == (pytest.approx(0.1), 4 * SIZE)


def test_the_longer_of_sending_and_hearing_counts() -> None:
    control = Watched()
    first, second = control.send(0, 1, 1.0), control.send(1, 1, 1.2)
    control.hear(1.3, first)
    control.hear(1.31, second)  # two in 0.31 s as heard; in 0.2 s as sent
    assert control.told == [3333, 6452]


def test_a_cut_train_keeps_its_ticket() -> None:
    control = Watched()
    train = control.send(0, 4, 1.0)
    control.hear(1.1, train.cut(0, 1))
    control.hear(1.2, train.cut(2, 3))
    assert control.told == [20_000, 20_000]
    assert control.bytes_in_flight == 0


def test_less_than_a_round_trip_is_no_sample_and_nor_is_no_time() -> None:
    control = Watched()
    control.hear(1.1, control.send(0, 1, 1.0))
    late = control.send(1, 1, 1.2)
    control.least_rtt = 0.5
    control.on_packet_acked(now=1.3, packet=late)
    control.acknowledged(1.3)
    control.least_rtt = 0.0
    control.hear(1.4, control.send(2, 1, 1.4))
    control.hear(1.3, control.send(3, 1, 1.4))  # the clock was set back
    assert control.told == [10_000, 0, 0, 0]


def test_who_has_nothing_more_to_send_marks_the_round_trip() -> None:
    control = Watched()
    first = control.send(0, 1, 1.0)
    control.starved()
    second = control.send(1, 1, 1.05)
    control.hear(1.1, first)
    assert not control.sample.is_app_limited
    third = control.send(2, 1, 1.1)
    control.hear(1.15, second)
    assert control.sample.is_app_limited
    fourth = control.send(3, 1, 1.16)
    control.hear(1.2, third)
    assert control.sample.is_app_limited
    control.hear(1.26, fourth)
    assert not control.sample.is_app_limited


def test_with_a_full_window_nobody_is_starved() -> None:
    control = Watched()
    control.send(0, 10, 1.0)
    assert control.is_window_limited
    control.starved()
    assert not control.app_limited


def test_after_a_rest_it_is_told() -> None:
    control = Watched()
    control.hear(1.1, control.send(0, 1, 1.0))
    control.starved()
    control.send(1, 1, 9.0)
    assert control.told == [10_000, ("restarted", 9.0)]
    assert control.first_send_time == control.delivered_time == 9.0


def test_what_is_lost_is_counted_with_its_gaps() -> None:
    control = Watched()
    trains = [control.send(number, 1, 1.0) for number in range(5)]
    control.on_packets_lost(now=1.2, packets=trains[:2])
    control.on_packets_lost(now=1.2, packets=[trains[2], trains[4]])
    control.on_packets_expired(packets=[trains[3]])
    assert (control.gaps, control.lost, control.bytes_in_flight) == (2, 4 * SIZE, 0)


def test_what_comes_at_once_is_more_than_the_rate_explains() -> None:
    kept = Aggregation()
    kept.begin(1.0)
    kept.add(3000, 1.05, 20_000.0, 10_000, 1, 10)
    assert kept.extra == 2000  # no more than comes in a moment
    kept.add(500, 1.06, 20_000.0, 10_000, 2, 10)
    assert kept.extra == 2000
    kept.add(500, 9.0, 20_000.0, 10_000, 12, 10)
    assert kept.extra == 2000  # for ten round trips, and the one it is from
    kept.add(500, 9.1, 20_000.0, 400, 13, 10)
    assert kept.extra == 500
