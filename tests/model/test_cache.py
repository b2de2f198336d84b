"""The byte budget: what goes first, what never goes, and what readers are told."""

from __future__ import annotations

from relay.errors import Cancelled
from relay.model.demand import TrackInfo
from relay.model.group import CHUNK_COST, GROUP_COST
from relay.path import Path

KIB = 1024
EACH = GROUP_COST + CHUNK_COST + 10 * KIB
"""What a group of one chunk of 10 KiB is charged."""


def budget(fakes, groups, **settings):
    setting = fakes.Setting(cache_bytes=int(groups * EACH), **settings)
    setting.live(start=0)
    return setting


def fill(setting, *sequences, end=True):
    return [setting.group(sequence, data=b"x" * 10 * KIB, end=end) for sequence in sequences]


def test_every_byte_is_counted_and_given_back(fakes):
    setting = budget(fakes, 10)
    fill(setting, 0, 1)
    assert setting.cache.used == 2 * EACH
    fill(setting, 2, end=False)[0].abort(Cancelled("enough"))
    assert setting.cache.used == 2 * EACH
    setting.track.end(Cancelled("enough"))
    assert (setting.cache.used, len(setting.cache)) == (0, 0)


def test_the_oldest_group_that_is_not_the_latest_goes_first(fakes):
    setting = budget(fakes, 2)
    fill(setting, 0, 1, 2)
    assert list(setting.track.groups) == [1, 2]


def test_over_all_tracks_the_oldest_goes_first_and_latest_groups_stay(fakes):
    setting = budget(fakes, 3)
    other = setting.broadcast.track("other")
    other.watch(fakes.Viewer(), 0.0)
    for sequence in (0, 1):
        group = other.open_group(sequence, "raw", 0.0)
        group.write(b"x" * 10 * KIB, 0.0)
        group.finish(0.0)
    fill(setting, 0, 1)
    assert (list(other.groups), list(setting.track.groups)) == ([1], [0, 1])
    fill(setting, 2, 3)
    assert (list(other.groups), list(setting.track.groups)) == ([1], [2, 3])


def test_then_latest_groups_that_have_ended_go(fakes):
    setting = budget(fakes, 1)
    other = setting.broadcast.track("other")
    other.watch(fakes.Viewer(), 0.0)
    group = other.open_group(0, "raw", 0.0)
    group.write(b"x" * 10 * KIB, 0.0)
    group.finish(0.0)
    fill(setting, 0, end=False)
    assert (list(other.groups), list(setting.track.groups)) == ([], [0])


def test_an_unfinished_latest_group_stays_below_the_higher_mark(fakes):
    setting = budget(fakes, 1, live_bytes=10 * EACH)
    group = fill(setting, 0, end=False)[0]
    for _ in range(5):
        assert group.write(b"x" * 10 * KIB, 0.0)
    assert setting.track.groups == {0: group}


def test_past_the_higher_mark_the_largest_live_group_is_aborted(fakes):
    setting = budget(fakes, 1, live_bytes=4 * EACH)
    other = setting.broadcast.track("other")
    other.watch(fakes.Viewer(), 0.0)
    small = other.open_group(0, "raw", 0.0)
    small.write(b"x" * 10 * KIB, 0.0)
    group = fill(setting, 0, end=False)[0]
    reader = fakes.Reader(group.log("raw", fakes.no_transcode))
    assert [group.write(b"x" * 10 * KIB, 0.0) for _ in range(3)] == [True, True, False]
    assert reader.calls[-1] == "Lagged"
    assert not small.ended
    assert setting.cache.used == small.charge


def test_eviction_aborts_an_unfinished_group_with_lagged(fakes):
    setting = budget(fakes, 1)
    group = fill(setting, 0, end=False)[0]
    reader = fakes.Reader(group.log("raw", fakes.no_transcode))
    fill(setting, 1)
    assert reader.calls == ["Lagged"]


def test_eviction_of_a_complete_group_leaves_its_bytes_to_the_readers(fakes):
    setting = budget(fakes, 1.5)
    group = fill(setting, 0)[0]
    native = fakes.Reader(group.log("raw", fakes.no_transcode))
    derived = fakes.Reader(group.log("copy", lambda have, want, info: lambda chunk, now: b"d"))
    gone = fakes.Reader(group.log("raw", fakes.no_transcode))
    gone.log.detach(gone)
    fill(setting, 1)
    assert (native.calls, derived.calls, gone.calls) == (["evicted"], ["evicted"], [])
    assert len(native.data) == 10 * KIB
    assert native.log.chunks
    assert setting.cache.used == EACH


def test_a_group_that_left_the_cache_is_not_charged_again(fakes):
    setting = budget(fakes, 1)
    group = fill(setting, 0)[0]
    fill(setting, 1)
    used = setting.cache.used
    group.log("copy", lambda have, want, info: lambda chunk, now: chunk)
    assert setting.cache.used == used


def test_a_budget_of_nothing_still_serves_live(fakes):
    setting = fakes.Setting(cache_bytes=0)
    viewer = setting.live()
    for sequence in range(3):
        group = setting.group(sequence, end=False)
        reader = fakes.Reader(group.log("raw", fakes.no_transcode))
        assert group.write(b"more", 0.0)
        group.finish(0.0)
        assert (reader.data, reader.calls[-1]) == (b"xmore", "finished")
    assert viewer.sequences == [0, 1, 2]


def test_a_group_that_was_asked_for_stays_longer_than_what_has_ended(fakes):
    """Otherwise a tenant with room for one group could have none but the latest."""
    setting = budget(fakes, 10)
    setting.cache.limit_of = lambda tenant: int(1.5 * EACH)
    setting.cache.obey()
    fill(setting, 0, 1, 2)
    assert list(setting.track.groups) == [2]
    asked = setting.group(0, data=b"x" * 10 * KIB, end=False)
    assert asked.error is None
    assert list(setting.track.groups) == [0]
    asked.write(b"x" * 10 * KIB, 1.0)
    assert asked.error is not None, "it is more than the tenant may have"
    assert setting.cache.used == 0


def neighbour(fakes, setting):
    """A track of another tenant's, watched from its beginning."""
    assert setting.origin.announce(Path("other/b"), fakes.Source(), (8,), 0.0) is not None
    track = setting.origin.find(Path("other/b")).track("t")
    track.watch(fakes.Viewer(start=0), 0.0)
    track.accept(TrackInfo())
    return track


def whole(track, *sequences):
    for sequence in sequences:
        group = track.open_group(sequence, "raw", 0.0)
        group.write(b"x" * 10 * KIB, 0.0)
        group.finish(0.0)


def test_a_limit_that_changes_is_obeyed_by_its_tenant_alone(fakes):
    setting, limits, told = budget(fakes, 100), {"b": 0, "other": 0}, []
    cache = setting.cache
    cache.limit_of, cache.overflowed = limits.__getitem__, told.append
    other = neighbour(fakes, setting)
    fill(setting, 0, 1, 2, 3)
    whole(other, 0, 1, 2)
    limits["b"] = 2 * EACH
    cache.obey()
    assert (list(setting.track.groups), list(other.groups)) == ([2, 3], [0, 1, 2])
    assert (cache.used_by("b"), cache.used_by("other"), told) == (2 * EACH, 3 * EACH, ["b"])
    fill(setting, 4)
    assert (list(setting.track.groups), told) == ([3, 4], ["b", "b"])
    limits["b"] = 3 * EACH
    cache.obey()
    fill(setting, 5)
    assert (list(setting.track.groups), told) == ([3, 4, 5], ["b", "b"])
    limits["b"] = 0
    cache.obey()
    fill(setting, 6, 7)
    assert list(setting.track.groups) == [3, 4, 5, 6, 7]


def test_of_a_tenants_own_what_is_not_the_latest_of_its_track_goes_first(fakes):
    setting = budget(fakes, 100)
    setting.cache.limit_of = lambda tenant: 3 * EACH
    setting.cache.obey()
    second = setting.broadcast.track("second")
    second.watch(fakes.Viewer(start=0), 0.0)
    whole(second, 0)
    fill(setting, 0, 1, 2)
    assert (list(second.groups), list(setting.track.groups)) == ([0], [1, 2])
    fill(setting, 3, end=False)[0].abort(Cancelled("enough"))  # so 2 is the latest again
    whole(second, 1, 2)
    assert (list(second.groups), list(setting.track.groups)) == ([1, 2], [2])


def test_of_a_tenant_that_has_nothing_cached_nothing_is_kept(fakes):
    setting = budget(fakes, 100)
    other = neighbour(fakes, setting)
    whole(other, 0)
    assert list(setting.cache._shares) == ["other"]
    other.end(Cancelled("enough"))
    assert (setting.cache._shares, setting.cache.used_by("other")) == ({}, 0)


def test_what_fits_exactly_stays(fakes):
    setting = budget(fakes, 3)
    setting.cache.limit_of = lambda tenant: 2 * EACH
    setting.cache.obey()
    told = []
    setting.cache.overflowed = told.append
    fill(setting, 0, 1)
    assert (list(setting.track.groups), told) == ([0, 1], [])
    other = neighbour(fakes, setting)
    whole(other, 0)
    assert (list(setting.track.groups), list(other.groups), told) == ([0, 1], [0], [])
