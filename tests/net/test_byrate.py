"""Connections paced by delivery rate: the short way, and the library's own."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from tests.net.test_short_way import Net

from relay.net.bbr import Bbr, Phase
from relay.net.byrate import ByRate, RatePacer, TrainsByRate, kind_of
from relay.net.recovery import Recovery
from relay.net.settings import QuicLimits

LIMITS = QuicLimits(congestion_control="bbr")


def pacer(rate: float, window: int) -> RatePacer:
    made = RatePacer(max_datagram_size=1200)
    made.pace(rate, window)
    made.update_bucket(100.0)
    return made


@pytest.mark.parametrize(
    ("rate", "window", "packets"),
    [(1e6, 100_000, 10), (30e6, 1 << 20, 25), (1e9, 1 << 24, 44), (1e6, 4800, 4)],
)
def test_after_a_rest_no_more_leaves_at_once_than_a_connection_begins_with(
    rate, window, packets
) -> None:
    made = pacer(rate, window)
    assert made.bucket_time / made.packet_time == pytest.approx(packets)


def test_what_leaves_too_early_is_made_good_for() -> None:
    made, now, sent = pacer(1.2e6, 100_000), 100.0, 0
    while now < 101.0:
        now += 0.0007  # as acknowledgements wake it
        while made.next_send_time(now) is None:
            made.update_after_send(now)
            sent += 1
    assert sent == pytest.approx(1010, abs=3)


def test_bytes_are_paced_and_not_packets() -> None:
    made = pacer(1.2e6, 100_000)
    made.update_after_send(100.0)
    made.sized(120)
    assert made.bucket_time == pytest.approx(0.0099)


def test_whose_it_is_where_the_rate_does_not_matter() -> None:
    assert kind_of("bbr", True) is TrainsByRate
    assert kind_of("bbr", False) is ByRate
    assert kind_of("cubic", True) is Recovery
    for short in (True, False):
        net = Net(limits=replace(LIMITS, congestion_control="reno"), is_short=short)
        assert net.server._rated is None


@pytest.mark.parametrize("is_short", [True, False])
@pytest.mark.parametrize(("loss", "jitter"), [(0.0, 0.0), (0.05, 0.005)])
def test_every_byte_arrives_and_the_rate_is_known(is_short, loss, jitter) -> None:
    net = Net(limits=LIMITS, is_short=is_short, loss=loss, jitter=jitter)
    control: Any = net.server._loss._cc
    assert isinstance(control, Bbr)
    assert isinstance(net.server._loss._pacer, RatePacer)
    data = random.Random(3).randbytes(400_000)
    stream = net.server.open_stream(True)
    net.server.send(stream, data, True)
    net.run(60.0, until=lambda: stream in net.finished)
    assert net.got[stream] == data
    net.run(5.0)
    assert net.server._loss.bytes_in_flight == 0
    assert control.app_limited
    assert control.min_rtt >= 2 * net.delay - 1e-9
    assert net.server.bandwidth() == int(control.bw * 8) > 1e6
    assert (net.short > 0) is is_short


@pytest.mark.parametrize("is_short", [True, False])
def test_a_rest_and_frames_in_between_keep_the_rate(is_short) -> None:
    net = Net(limits=LIMITS, is_short=is_short)
    control: Any = net.server._loss._cc
    stream = net.server.open_stream(True)
    net.server.send(stream, bytes(300_000), False)
    net.run(3.0)
    known = control.max_bw
    for _ in range(100):
        net.server.send(stream, bytes(2000), False)
        net.run(0.033)
    net.run(8.0)
    net.server.send(stream, bytes(20_000), True)
    net.run(1.0)
    assert stream in net.finished
    assert control.max_bw >= known
    assert control.phase is not Phase.PROBE_RTT


def test_nobody_is_kept_alive_by_it() -> None:
    net = Net(limits=LIMITS)
    net.server.send(net.server.open_stream(True), bytes(50_000), True)
    net.run(5.0)
    assert len(net.server._loss.book) < 3
