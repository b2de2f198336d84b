"""The time by which things are forgotten, while the clock is set to and fro."""

from __future__ import annotations

from relay.records.settled import GRACE, GRAIN, SettledTime

NOW = 1_700_000_000.0
DAY = 86_400.0


class Clocks:
    """Seconds since the start, and how far the wall was set."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.set = 0.0
        self.time = SettledTime(lambda: NOW + self.passed + self.set, lambda: 5.0 + self.passed)

    def after(self, seconds: float) -> float:
        """The settled time after so long, looked at all the while; what has passed is taken off."""
        end = self.passed + seconds
        while self.passed < end:
            self.passed = min(self.passed + GRAIN / 4, end)
            self.time()
        return self.time() - NOW - self.passed


def test_a_clock_that_is_right_is_believed() -> None:
    clocks = Clocks()
    assert clocks.after(0) == 0
    assert clocks.after(3 * GRACE) == 0


def test_set_forward_counts_when_it_has_stayed_so() -> None:
    clocks = Clocks()
    clocks.set = 365 * DAY
    assert clocks.after(GRACE - GRAIN) == 0
    assert clocks.after(2 * GRAIN) == 365 * DAY


def test_set_forward_and_back_is_not_noticed() -> None:
    clocks = Clocks()
    for _ in range(3):
        clocks.set = 365 * DAY
        assert clocks.after(GRACE / 2) == 0
        clocks.set = 0.0
        assert clocks.after(GRACE / 2) == 0


def test_set_back_counts_at_once() -> None:
    clocks = Clocks()
    clocks.set = -DAY
    assert clocks.after(0) == -DAY
    assert clocks.after(3 * GRACE) == -DAY


def test_a_clock_that_is_a_little_fast_or_slow_fills_nothing() -> None:
    for drift in (1e-4, -1e-4):
        clocks = Clocks()
        for _ in range(3000):
            clocks.set += drift
            assert -0.31 < clocks.after(5) <= 0.31
        assert len(clocks.time._readings) <= GRACE / GRAIN + 2
