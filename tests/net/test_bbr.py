"""BBR on simulated paths: how much gets through, how long it waits, and that nobody breaks it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.net.paths import SIZE, Flow, Path

from relay.net.bbr import GAINS, MIN_PIPE, PROBE_RTT_INTERVAL, Bbr, Phase

BDP = 40_000
"""Bytes that the path holds unless said otherwise."""


@pytest.fixture(autouse=True)
def even(monkeypatch) -> None:
    """No chance: it waits as long as ever between two probes."""
    monkeypatch.setattr(Bbr.__init__, "__kwdefaults__", {"dice": lambda: 0.5})


def share(path: Path, flow: Flow, seconds: float) -> float:
    """Of the path's rate, what a flow gets in this time."""
    before = flow.got
    path.run(seconds)
    return (flow.got - before) / seconds / path.rate


def until(path: Path, is_so, seconds: float = 20.0) -> None:
    end = path.now + seconds
    while not is_so():
        assert path.now < end
        path.run(0.005)


def test_it_fills_a_path_within_some_round_trips() -> None:
    path = Path(rate=5e6)
    flow = Flow(path)
    path.run(12 * path.rtt)
    assert share(path, flow, 0.5) > 0.95
    assert flow.control.bw == pytest.approx(path.rate, rel=0.1)
    assert flow.control.min_rtt == pytest.approx(path.rtt, rel=0.01)


def test_behind_a_deep_buffer_no_more_waits_than_the_path_holds() -> None:
    path = Path()
    flow = Flow(path)
    path.run(2.0)
    path.waits.clear()
    assert share(path, flow, 8.0) > 0.95
    assert max(path.waits) * path.rate < 2 * BDP
    assert not path.dropped


def test_a_shallow_buffer_loses_little() -> None:
    path = Path(buffer=BDP / 2)
    flow = Flow(path)
    path.run(2.0)
    dropped = path.dropped
    assert share(path, flow, 8.0) > 0.9
    assert (path.dropped - dropped) * SIZE < 0.02 * 8.0 * path.rate


def test_losses_by_chance_cost_little() -> None:
    shares = {}
    for algorithm in ("bbr", "reno"):
        path = Path(rate=3e6, loss=0.01)
        flow = Flow(path, algorithm)
        path.run(1.0)
        shares[algorithm] = share(path, flow, 5.0)
    assert shares["bbr"] > 0.85
    assert shares["reno"] < 0.5


@pytest.mark.parametrize("algorithm", ["bbr", "reno"])
def test_another_order_costs_nearly_nothing(algorithm) -> None:
    path = Path(rate=3e6, late=0.1)
    flow = Flow(path, algorithm)
    path.run(1.0)
    assert share(path, flow, 4.0) > 0.9


def test_two_share_a_path() -> None:
    path = Path(rate=2e6, buffer=4 * BDP)
    first = Flow(path)
    path.run(2.0)
    second = Flow(path)
    path.run(15.0)
    before = first.got, second.got
    path.run(10.0)
    got = first.got - before[0], second.got - before[1]
    assert min(got) > 0.35 * sum(got)
    assert sum(got) > 0.9 * 10.0 * path.rate


def test_it_finds_a_rate_that_grew_and_one_that_fell() -> None:
    path = Path()
    flow = Flow(path)
    path.run(3.0)
    path.rate = 4e6
    path.run(12.0)
    assert share(path, flow, 1.0) > 0.85
    path.rate = 1e6
    path.run(8.0)
    assert flow.control.bw < 1.3e6


@pytest.mark.parametrize("rate", [90_000, 100_000, 125_000, 170_000])
def test_after_a_narrow_shallow_path_a_wide_one_is_found_again(rate) -> None:
    path = Path(rate=5e6, rtt=0.05)
    flow = Flow(path, frugal=True)
    flow.every(1 / 30, 8_000)
    path.run(4.0)
    path.rate, path.buffer = rate, 8_000
    path.run(8.0)
    path.rate, path.buffer = 5e6, 1e6
    path.run(5.0)
    assert not flow.waiting
    flow.latencies.clear()
    path.run(2.0)
    assert max(flow.latencies) < 0.1


@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_who_has_less_to_send_keeps_what_is_known_of_the_path(loss) -> None:
    path = Path(rate=5e6, loss=loss)
    flow = Flow(path, frugal=True)
    flow.waiting = 2000
    path.run(1.5)
    known = flow.control.max_bw
    flow.every(1 / 30, 8000)
    path.run(20.0)
    assert flow.control.max_bw >= 0.9 * known
    assert sorted(flow.latencies)[len(flow.latencies) // 2] < path.rtt


def test_a_few_small_packets_are_sent_at_once_ever_after() -> None:
    path = Path(rate=5e6, loss=0.05)
    flow = Flow(path, frugal=True)
    flow.every(0.02, 160)
    path.run(30.0)
    assert sorted(flow.latencies)[len(flow.latencies) // 2] < 0.55 * path.rtt


def test_every_few_seconds_queues_are_drained_for_a_look_at_the_round_trip() -> None:
    path = Path()
    flow = Flow(path)
    path.run(2.0)
    until(path, lambda: flow.control.phase is Phase.PROBE_RTT, PROBE_RTT_INTERVAL + 1.0)
    path.run(3 * path.rtt)
    assert flow.control.bytes_in_flight <= 0.6 * BDP
    until(path, lambda: flow.control.phase is not Phase.PROBE_RTT, 0.5)
    assert share(path, flow, 1.0) > 0.9
    assert flow.control.min_rtt < 1.05 * path.rtt


def test_a_longer_way_is_noticed() -> None:
    path = Path()
    flow = Flow(path)
    path.run(3.0)
    path.rtt = 0.1
    path.run(16.0)
    assert flow.control.min_rtt > 0.09
    assert share(path, flow, 2.0) > 0.85


def test_after_a_rest_it_goes_on_at_the_path_s_rate() -> None:
    path = Path()
    flow = Flow(path, frugal=True)
    flow.waiting = 4000
    path.run(5.0)
    assert not flow.waiting
    path.run(8.0)
    control = flow.control
    known, path.waits = control.bw, []
    flow.write(50_000)
    path.run(0.02)
    assert control.phase is not Phase.PROBE_RTT  # a rest drains queues as well
    assert control.pacing_rate == pytest.approx(known, rel=0.02)
    path.run(0.2)
    assert flow.got == flow._number * SIZE
    assert max(path.waits) < 0.02


def test_all_phases_come_in_turn(monkeypatch) -> None:
    path = Path()
    flow = Flow(path)
    seen = []
    update = flow.control.update

    def noted(now: float) -> None:
        update(now)
        if not seen or seen[-1] is not flow.control.phase:
            seen.append(flow.control.phase)

    monkeypatch.setattr(flow.control, "update", noted)
    path.run(12.0)
    assert seen[:2] == [Phase.STARTUP, Phase.DRAIN]
    assert set(seen) == set(GAINS)
    for before, after in pairwise(seen):
        assert (before is Phase.REFILL) == (after is Phase.UP)
        assert before is not Phase.UP or after is Phase.DOWN


def test_startup_ends_when_much_is_lost() -> None:
    path = Path(loss=0.2)
    flow = Flow(path, frugal=True)
    flow.every(0.01, 8000)  # so that no sample says how fast the path is
    until(path, lambda: flow.control.phase is not Phase.STARTUP, 10.0)
    assert flow.control.inflight_longterm < float("inf")


def test_what_was_no_loss_ends_nothing() -> None:
    path = Path()
    flow = Flow(path)
    path.run(0.1)
    control = flow.control
    assert control.phase is Phase.STARTUP
    window = control.congestion_window
    control._save()
    control._undo_phase, control.phase, control.is_full = Phase.STARTUP, Phase.DRAIN, True
    control.congestion_window = 5 * SIZE
    flow.recovery.regained()
    assert (control.phase, control.is_full) == (Phase.STARTUP, False)
    assert control.congestion_window == window
    control._save()
    control._undo_phase, control.phase = Phase.UP, Phase.DOWN
    flow.recovery.regained()
    assert control.phase is Phase.REFILL


def test_nobody_answering_leaves_four_packets() -> None:
    path = Path()
    flow = Flow(path)
    path.run(2.0)
    flow.control.on_persistent_congestion()
    assert flow.control.congestion_window == MIN_PIPE * SIZE
    assert share(path, flow, 3.0) > 0.8


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 60)),
        st.tuples(st.just("wait"), st.sampled_from([-3.0, 0.0, 1e-9, 0.001, 0.03, 7.0, 1e4])),
        st.tuples(st.just("ack"), st.lists(st.tuples(st.integers(-9, 80), st.integers(0, 40)))),
        st.tuples(st.just("all"), st.none()),
        st.tuples(st.just("timer"), st.none()),
        st.tuples(st.just("starve"), st.none()),
        st.tuples(st.just("shrink"), st.none()),
    ),
    max_size=80,
)


class Nowhere(Path):
    """Nothing arrives by itself."""

    def carry(self, flow: Flow, number: int) -> None: ...


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_a_peer_acknowledges_and_the_clock_does_it_stays_within_bounds(steps) -> None:
    path = Nowhere()
    flow = Flow(path, frugal=True)
    control: Any = flow.control
    for what, how in steps:
        if what == "send":
            before = control.bytes_in_flight
            flow.waiting += how
            flow.pump()
            assert control.bytes_in_flight <= max(control.congestion_window, before)
        elif what == "wait":
            path.now = max(path.now + how, 1.0)
        elif what == "starve":
            control.starved()
        elif what == "shrink":
            control.on_persistent_congestion()
        elif what == "timer":
            flow.recovery.on_loss_detection_timeout(now=path.now)
        else:
            ranges = [(0, flow._number + 5)] if what == "all" else []
            for below, size in sorted(how or [], reverse=True):
                last = flow._number - below
                if last - size > (ranges[-1][1] if ranges else -1):
                    ranges.append((last - size, last))
            if ranges:
                flow.acknowledge(ranges)
        held = sum(each.sent_bytes for each in flow.recovery.book)
        assert control.bytes_in_flight == held
        assert control.congestion_window >= MIN_PIPE * SIZE
        assert isinstance(control.congestion_window, int)
        # What the path holds and what comes in a moment, each as fast as anything was delivered;
        # or what was delivered so far.
        held = 2.25 * control.max_bw * min(control.min_rtt, 1e9) + 0.1 * control.max_bw
        most = max(held + (64 << 10) + 10 * SIZE, 10 * SIZE + control.delivered)
        assert control.congestion_window <= most
        assert control.pacing_rate >= 0.0
        assert control.pacing_rate < float("inf")
        assert len(control._aggregation._kept) <= 12


def test_on_the_way_to_oneself_no_time_passes() -> None:
    path = Path(rate=1e9, rtt=0.0)
    flow = Flow(path)
    path.run(0.01)
    assert flow.got > 1_000_000
    control = Bbr(max_datagram_size=SIZE)
    train = flow.recovery.book[-1].cut(*(flow.recovery.book[-1].last,) * 2)
    control.on_packet_sent(packet=train)
    control.on_packet_acked(now=train.sent_time, packet=train)
    control.on_rtt_measurement(now=train.sent_time, rtt=0.0)
    control.acknowledged(train.sent_time)
    assert control.bw == 0.0
    assert control.congestion_window >= 10 * SIZE
