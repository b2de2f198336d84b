"""What weather does to packets, without packets."""

from __future__ import annotations

import random

import pytest
from netlab.weather import HOLD, MAX_FLYING, Way, Weather


def way(seed: int = 1, **weather: float) -> Way:
    return Way(Weather(**weather), random.Random(seed))


def test_calm_weather_changes_nothing():
    calm = way()
    assert [calm.arrival(100, float(now)) for now in range(5)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert calm.counts().bytes == 500


def test_a_delay_is_the_delay():
    assert way(delay=0.25).arrival(100, 10.0) == 10.25


def test_jitter_keeps_the_order_and_its_bounds():
    shaky = way(delay=0.1, jitter=0.05)
    sent = [number / 50 for number in range(1000)]
    due = [shaky.arrival(100, now) for now in sent]
    assert due == sorted(due)
    late = [there - here for here, there in zip(sent, due, strict=True)]
    assert min(late) + 1e-9 >= 0.05
    assert max(late) <= 0.15 + 1e-9
    assert max(late) - min(late) > 0.09


def test_loss_is_as_asked_and_the_same_for_the_same_seed():
    fates = [[way(seed, loss=0.1).arrival(9, 0.0)] for seed in (1, 1)]
    assert fates[0] == fates[1]
    one, same, other = (way(seed, loss=0.1) for seed in (1, 1, 2))
    lost = [[each.arrival(9, 0.0) is None for _ in range(5000)] for each in (one, same, other)]
    assert lost[0] == lost[1] != lost[2]
    assert 400 < sum(lost[0]) < 600
    assert one.counts().lost == sum(lost[0])


def test_other_weather_meets_other_packets_but_no_other_chance():
    mild, wild = way(loss=0.1), way(loss=0.1, jitter=0.01, reorder=0.5)
    fates = [[each.arrival(9, 0.0) is None for _ in range(500)] for each in (mild, wild)]
    assert fates[0] == fates[1]


def test_a_reordered_packet_is_overtaken():
    swapping = way(delay=0.01, reorder=0.2)
    due = [swapping.arrival(9, number / 1000) for number in range(1000)]
    late = [round(there - number / 1000, 6) for number, there in enumerate(due)]
    assert set(late) == {0.01, 0.01 + HOLD}
    assert 150 < late.count(0.01 + HOLD) < 250


def test_a_rate_spaces_packets_and_its_queue_is_bounded():
    narrow = way(rate=8000, queue=1.0)  # a thousand bytes a second
    due = [narrow.arrival(250, 0.0) for _ in range(8)]
    assert due[:5] == [0.25, 0.5, 0.75, 1.0, 1.25]
    assert due[5:] == [None] * 3
    assert narrow.counts().dropped == 3
    assert narrow.arrival(250, 100.0) == 100.25


def test_a_cut_counts_what_it_takes():
    line = way()
    line.is_cut = True
    assert line.arrival(100, 0.0) is None
    assert (line.counts().bytes, line.counts().cut) == (100, 1)


def test_no_more_fly_than_there_is_room_for():
    full = way(delay=1.0)
    full.flying = MAX_FLYING
    assert full.arrival(9, 0.0) is None
    assert full.counts().dropped == 1


@pytest.mark.parametrize(
    "weather", [{"loss": 1.1}, {"loss": -0.1}, {"reorder": 2}, {"delay": -1}, {"rate": 0}]
)
def test_weather_that_cannot_be(weather):
    with pytest.raises(ValueError, match=r"shares|negative"):
        Weather(**weather)
