"""Windows of reno and cubic on simulated paths: none is wider than what uses it."""

from __future__ import annotations

import pytest
from aioquic.quic.recovery import QuicPacketRecovery
from tests.net.paths import SIZE, Flow, Path, begun

from relay.net.growth import LATELY, SMALL, Cubic, Reno

EVERY, FRAME = 0.03, 12_000
"""Seconds between two frames, and bytes of each."""

USED = 4 * FRAME
"""More bytes than are ever in flight: in a round trip there is one frame, or two."""

pytestmark = pytest.mark.parametrize("algorithm", ["reno", "cubic"])


def live(algorithm: str) -> tuple[Path, Flow]:
    """A stream that takes a tenth of its path."""
    path = Path(rate=4e6)
    flow = Flow(path, algorithm, frugal=True)
    flow.every(EVERY, FRAME)
    return path, flow


def test_both_kinds_of_recovery_take_them(algorithm) -> None:
    for kind in (Flow(Path(), algorithm).recovery, begun(QuicPacketRecovery, algorithm, SIZE)[0]):
        assert type(kind._cc) is {"reno": Reno, "cubic": Cubic}[algorithm]


def test_a_live_stream_does_not_widen_its_window(algorithm) -> None:
    path, flow = live(algorithm)
    path.run(15.0)
    assert flow.control.congestion_window <= 2 * USED
    assert max(flow.latencies[30:]) < path.rtt


def test_a_small_window_grows_however_little_of_it_is_used(algorithm) -> None:
    path = Path(rate=4e6)
    flow = Flow(path, algorithm, frugal=True)
    flow.every(0.02, 300)
    path.run(10.0)
    assert SMALL < flow.control.congestion_window < SMALL + 1_000
    assert flow.control.is_ample
    path.run(3 * LATELY)
    assert SMALL <= flow.control.congestion_window < SMALL + 1_000


def test_what_a_burst_widened_is_given_back(algorithm) -> None:
    path, flow = live(algorithm)
    flow.write(3_000_000)
    path.run(1.0)
    assert flow.control.congestion_window > 6 * USED
    path.run(7 * LATELY)
    assert flow.control.congestion_window <= 3 * USED


def test_a_path_that_becomes_narrow_gets_no_more_than_was_under_way_before(algorithm) -> None:
    path, _ = live(algorithm)
    path.run(15.0)
    path.rate, path.buffer = 1.25e5, 2.5e5
    path.run(1.5)
    assert not path.dropped
    assert max(path.waits) < 1.5


def test_who_fills_it_is_not_held_back(algorithm) -> None:
    path = Path(rate=5e6)
    flow = Flow(path, algorithm)
    path.run(12 * path.rtt)
    got = flow.got
    path.run(1.0)
    assert flow.got - got > 0.95 * path.rate


def test_after_little_much_is_soon_sent_as_fast_as_the_path_takes_it(algorithm) -> None:
    path, flow = live(algorithm)
    path.run(3 * LATELY)
    got = flow.got
    flow.write(4_000_000)
    path.run(1.0 + 12 * path.rtt)
    assert flow.got - got > 0.95 * path.rate
