"""Groups that are added whole: the same as opening, writing and finishing them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import Dropped
from relay.model.demand import TrackInfo

SIZES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3000), st.booleans()), max_size=30)


@pytest.fixture
def setting(fakes: Any) -> Any:
    return fakes.Setting()


def add(setting: Any, sequence: int, data: bytes, now: float = 0.0) -> None:
    setting.track.add_group(sequence, "raw", data, now)


def test_a_whole_group_is_there_complete_when_it_is_offered(setting, fakes):
    viewer = setting.live()
    seen = []
    viewer.on_group = lambda group: seen.append((group.ended, list(group.chunks)))
    add(setting, 3, b"abc")
    assert (seen, setting.track.latest) == ([(True, [b"abc"])], 3)
    late = fakes.Viewer()
    setting.track.watch(late, 1.0)
    assert late.sequences == [3]


def test_nobody_is_fed_after_the_last_viewer_left(setting):
    viewer = setting.live()
    setting.track.unwatch(viewer, 0.0)
    add(setting, 0, b"x")
    assert (viewer.sequences, setting.track.groups, setting.cache.used) == ([], {}, 0)


def test_a_duplicate_is_not_told_and_an_aborted_one_is_replaced(setting):
    viewer = setting.live()
    add(setting, 0, b"first")
    add(setting, 0, b"again")
    setting.group(1, end=False).abort(Dropped("reset"))
    add(setting, 1, b"whole")
    assert viewer.sequences == [0, 1, 1]
    assert [setting.track.groups[number].chunks for number in (0, 1)] == [[b"first"], [b"whole"]]


def test_one_that_is_too_large_breaks_off(fakes):
    setting = fakes.Setting(max_group_bytes=4)
    viewer = setting.live()
    add(setting, 0, b"12345")
    (group,) = viewer.groups
    assert type(group.error).__name__ == "Lagged"
    assert (setting.track.groups, setting.cache.used) == ({}, 0)
    add(setting, 1, b"1234")
    assert viewer.groups[1].error is None


def test_it_is_counted_once(setting):
    setting.live()
    add(setting, 0, b"abcd")
    moved = setting.broadcast.traffic.came.moved
    assert (moved.groups, moved.bytes) == (1, 4)


def test_it_answers_whoever_waits_for_it(fakes):
    setting = fakes.Setting(fakes.FetchSource())
    setting.live()
    fetcher = fakes.Fetcher()
    setting.track.fetch(7, fetcher, 0.0)
    add(setting, 7, b"whole")
    assert [group.chunks for group in fetcher.events] == [[b"whole"]]
    assert setting.source.verbs[-1] == "cancel_fetch"


@pytest.mark.parametrize("budget", ["cache_bytes", "max_groups_per_track"])
def test_the_budgets_hold(fakes, budget):
    setting = fakes.Setting(**{budget: 5 if budget.startswith("max") else 5000})
    viewer = setting.live()
    for sequence in range(50):
        add(setting, sequence, b"x" * 100)
    assert viewer.sequences == list(range(50))
    assert 2 < len(setting.track.groups) <= 5
    assert 49 in setting.track.groups


def test_one_larger_than_the_cache_is_kept_as_the_latest_and_not_told_twice(fakes):
    setting = fakes.Setting(cache_bytes=1500)
    viewer, late = setting.live(), fakes.Viewer()
    for _ in range(2):
        add(setting, 0, b"x" * 1000)
    setting.track.watch(late, 0.0)
    assert (viewer.sequences, late.sequences) == ([0], [0])


@settings(max_examples=80, deadline=None)
@given(SIZES, st.sampled_from([{}, {"cache_bytes": 6000}, {"max_groups_per_track": 2}]))
def test_books_are_as_if_it_had_come_in_pieces(fakes, steps, limits) -> None:
    """``steps`` are groups: number, bytes, and whether time passes before."""
    whole, pieces = fakes.Setting(**limits), fakes.Setting(**limits)
    watched = [setting.live(max_latency=0) for setting in (whole, pieces)]
    now = 0.0
    for sequence, size, waits in steps:
        now += 20.0 * waits
        for setting in (whole, pieces):
            setting.origin.tick(now)
        add(whole, sequence, bytes(size), now)
        group = pieces.track.open_group(sequence, "raw", now)
        if group is not None:
            group.write(bytes(size), now)
            group.finish(now)
        for fact in ("used", "__len__"):
            found = [getattr(setting.cache, fact) for setting in (whole, pieces)]
            assert len({each() if callable(each) else each for each in found}) == 1
        assert list(whole.track.groups) == list(pieces.track.groups)
        assert whole.track.latest == pieces.track.latest
        tallies = [setting.broadcast.traffic.came.moved for setting in (whole, pieces)]
        assert len({(each.groups, each.bytes) for each in tallies}) == 1
        assert watched[0].sequences == watched[1].sequences


def test_the_latest_of_many_tracks_leave_for_the_budget_once_they_are_complete(fakes):
    setting = fakes.Setting(cache_bytes=20_000, live_bytes=1_000_000)
    for number in range(40):
        track = setting.broadcast.track(f"t{number}")
        track.watch(fakes.Viewer(), 0.0)
        track.accept(TrackInfo())
        track.add_group(0, "raw", b"x" * 1000, 0.0)
    assert 10_000 < setting.cache.used <= 20_000
