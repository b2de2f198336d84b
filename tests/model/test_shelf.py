"""Retention: the latest group stays, the others until they are too old or too many."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import Cancelled, Lagged
from relay.model.demand import TrackInfo


@pytest.fixture
def setting(fakes):
    setting = fakes.Setting(max_groups_per_track=4)
    setting.live(start=0)
    return setting


def test_the_latest_group_is_kept_for_ever(setting):
    setting.group(0)
    setting.origin.tick(1e6)
    assert list(setting.track.groups) == [0]


def test_other_groups_leave_when_the_next_one_opens(setting):
    setting.group(0, 0.0)
    setting.group(1, 1.0)
    setting.group(2, 4.9)
    assert list(setting.track.groups) == [0, 1, 2]
    setting.group(3, 5.0)
    assert list(setting.track.groups) == [1, 2, 3]


def test_other_groups_leave_by_tick_when_no_group_opens(setting):
    setting.group(0, 0.0)
    setting.group(1, 1.0)
    setting.origin.tick(4.9)
    assert list(setting.track.groups) == [0, 1]
    setting.origin.tick(5.0)
    assert list(setting.track.groups) == [1]
    setting.origin.tick(100.0)
    assert list(setting.track.groups) == [1]


def test_who_comes_before_the_tick_gets_nothing_twice(fakes):
    class Keeps(fakes.Source):
        """It brings all it has as soon as it is opened."""

        def open(self, track):
            track.accept(TrackInfo())
            for sequence in range(4):
                track.add_group(sequence, fakes.RAW, b"x", 6.0)

    setting = fakes.Setting(fakes.Source())
    first = setting.live(start=0)
    for sequence in range(1, 4):
        setting.group(sequence, float(sequence))
    setting.track.unwatch(first, 3.0)
    setting.source.open = Keeps().open
    viewer = fakes.Viewer(start=0)
    setting.track.watch(viewer, 6.0)  # group 1 is as old as it may be
    assert sorted(viewer.sequences) == [0, 1, 2, 3]


def test_the_age_counts_from_the_last_write(setting):
    slow = setting.group(0, 0.0, end=False)
    setting.group(1, 1.0)
    slow.write(b"more", 4.0)
    setting.origin.tick(5.0)
    assert list(setting.track.groups) == [0, 1]
    setting.origin.tick(9.0)
    assert list(setting.track.groups) == [1]
    assert type(slow.error).__name__ == "Expired"


def test_the_publishers_max_latency_is_the_retention(setting):
    setting.track.accept(TrackInfo(max_latency=1000))
    setting.group(0, 0.0)
    setting.group(1, 0.0)
    setting.origin.tick(1.0)
    assert list(setting.track.groups) == [1]


def test_cache_duration_is_a_ceiling_on_it(fakes):
    setting = fakes.Setting(cache_duration=2.0)
    setting.live(info=TrackInfo(max_latency=60_000))
    setting.group(0, 0.0)
    setting.group(1, 0.0)
    setting.origin.tick(2.0)
    assert list(setting.track.groups) == [1]


def test_a_late_older_group_ages_at_once(setting):
    setting.group(5, 0.0)
    setting.group(3, 0.0)
    setting.origin.tick(5.0)
    assert list(setting.track.groups) == [5]


def test_beyond_the_count_the_first_to_arrive_leaves(setting):
    for sequence in (9, 1, 2, 3, 4):
        setting.group(sequence)
    assert list(setting.track.groups) == [9, 2, 3, 4]


def test_when_the_latest_breaks_off_the_one_before_is_the_latest(setting, fakes):
    setting.group(0, 0.0)
    setting.group(1, 1.0, end=False).abort(Cancelled("reset"))
    setting.origin.tick(100.0)
    setting.track.watch(late := fakes.Viewer(), 100.0)
    assert late.sequences == [0]
    setting.group(2, 100.0)
    assert list(setting.track.groups) == [0, 2]
    setting.origin.tick(101.0)
    assert list(setting.track.groups) == [2]


def test_of_too_many_what_is_complete_leaves_before_what_is_not(setting):
    late = setting.track.open_group(0, "raw", 0.0)
    late.write(b"half of", 0.0)
    for sequence in range(1, 6):
        setting.group(sequence, 0.1)
    assert list(setting.track.groups) == [0, 3, 4, 5]
    late.write(b" it", 0.1)
    late.finish(0.1)
    assert late.error is None


def test_of_too_many_that_are_under_way_the_first_is_given_up(setting):
    opened = [setting.track.open_group(sequence, "raw", 0.0) for sequence in range(6)]
    assert list(setting.track.groups) == [2, 3, 4, 5]
    assert [isinstance(group.error, Lagged) for group in opened] == [True, True] + [False] * 4


@pytest.fixture
def fetching(fakes):
    """A track that is at group 5, of which older ones may be asked for."""
    setting = fakes.Setting(fakes.FetchSource())
    setting.live(start=0)
    setting.group(5, 0.0)
    return setting


def fetched(setting, fakes, sequence, now=0.0):
    setting.track.fetch(sequence, fakes.Fetcher(), now)
    return setting.track.open_fetched(sequence, fakes.RAW, now)


def test_what_a_fetch_brings_ages_once_the_feed_has_it_too(fetching, fakes):
    track, group = fetching.track, fetched(fetching, fakes, 3)
    fetching.origin.tick(100.0)
    assert list(track.groups) == [5, 3], "whoever asked waits for the rest"
    assert track.open_group(3, fakes.RAW, 100.0) is None
    fetching.origin.tick(100.1)
    assert list(track.groups) == [5]
    assert group.ended


def test_a_group_that_broke_off_is_not_a_fetchs_when_the_feed_brings_it(fetching, fakes):
    fetched(fetching, fakes, 3).abort(Cancelled("reset"))
    assert fetching.track.shelf.fetched == set()
    late = fetching.track.open_group(3, fakes.RAW, 1.0)
    fetching.origin.tick(6.0)
    assert list(fetching.track.groups) == [5]
    assert late.ended


def test_what_comes_and_goes_leaves_no_dates_behind(setting):
    for sequence in range(1000):
        setting.group(sequence, sequence / 1e6)
    assert len(setting.track.shelf._ages) <= 2 * 4 + 64 + 1
    setting.origin.tick(4.0)
    assert list(setting.track.groups) == [996, 997, 998, 999]
    setting.origin.tick(5.1)
    assert list(setting.track.groups) == [999]


def test_a_track_that_has_ended_is_not_rung(setting):
    setting.group(0)
    setting.group(1)
    setting.track.end(Cancelled("enough"))
    assert setting.track.shelf._alarm.due is None


STEPS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["open", "finish", "abort", "wait"])),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_the_books_always_balance(fakes, steps):
    setting = fakes.Setting(max_groups_per_track=4, cache_bytes=6000)
    setting.live(start=0)
    shelf, opened, now = setting.track.shelf, {}, 0.0
    for number, verb in steps:
        if verb == "open":
            group = setting.track.open_group(number, "raw", now)
            if group is not None:
                opened[number] = group
                group.write(b"x" * 100 * number, now)
        elif verb == "wait":
            now += number / 2
            setting.origin.tick(now)
        elif number in opened:
            group = opened[number]
            group.finish(now) if verb == "finish" else group.abort(Cancelled("enough"))
        groups = shelf.groups.values()
        assert setting.cache.used == sum(group.charge for group in groups)
        assert len(setting.cache) == len(groups) <= 4
        assert all(group.error is None and group.cache is setting.cache for group in groups)
        assert shelf.newest is (shelf.groups[max(shelf.groups)] if shelf.groups else None)
        if setting.cache.used > 6000:
            assert [group.ended for group in groups] == [False]
