"""Who gets which group: late joiners, ranges, parking, and leaving from within a call."""

from __future__ import annotations

import pytest

from relay.model.demand import TrackInfo


@pytest.fixture
def setting(fakes):
    return fakes.Setting()


def test_a_late_viewer_gets_the_latest_group_from_its_first_frame(setting, fakes):
    setting.live()
    setting.group(0)
    group = setting.group(1, data=b"first", end=False)
    late = fakes.Viewer()
    setting.track.watch(late, 1.0)
    assert late.sequences == [1]
    reader = fakes.Reader(late.groups[0].log("raw", fakes.no_transcode))
    group.write(b"second", 2.0)
    assert reader.data == b"firstsecond"


def test_while_the_feed_runs_the_latest_group_is_handed_over_however_old(setting, fakes):
    setting.live()
    setting.group(0)
    late = fakes.Viewer()
    setting.track.watch(late, 3600.0)
    assert late.sequences == [0]


@pytest.mark.parametrize(("age", "sequences"), [(5.0, [0]), (5.1, [])])
def test_after_a_pause_only_a_young_latest_group_does_for_a_silent_source(
    setting, fakes, age, sequences
):
    viewer = setting.live()
    setting.group(0)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(back := fakes.Viewer(), age)
    setting.origin.tick(age + 0.9)
    setting.track.watch(other := fakes.Viewer(), age + 0.9)
    assert (back.sequences, other.sequences) == ([], [])
    setting.origin.tick(age + 1.0)
    assert (back.sequences, other.sequences) == (sequences, sequences)
    setting.track.watch(late := fakes.Viewer(), age + 1.0)
    assert late.sequences == sequences
    setting.group(1, age + 2.0)
    assert back.sequences == other.sequences == late.sequences == [*sequences, 1]


def test_after_a_pause_a_newer_group_comes_alone(setting, fakes):
    viewer = setting.live()
    setting.group(3)
    for age in (1.0, 2.0, 3.0):
        setting.track.unwatch(viewer, age)
        setting.track.watch(viewer := fakes.Viewer(), age)
        setting.group(round(3 + age), age)
        setting.origin.tick(age + 5.0)
        assert viewer.sequences == [3 + age]
    setting.track.watch(late := fakes.Viewer(), 3.0)
    assert late.sequences == [6]


@pytest.mark.parametrize(
    ("latest", "age", "reach"), [(5, 1.0, [4, 5]), (6, 1.0, [4, 5, 6]), (6, 3.0, [6, 4])]
)
def test_after_a_pause_who_reaches_back_gets_what_is_cached_as_well(
    setting, fakes, latest, age, reach
):
    viewer = setting.live()
    for sequence in (2, 3, 4, 5):
        setting.group(sequence)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(back := fakes.Viewer(max_latency=2000), age, since=4)
    setting.track.watch(usual := fakes.Viewer(), age)
    if latest == 5:
        assert setting.track.open_group(5, "raw", age) is None
    else:
        setting.group(6, age)
    assert back.sequences == (reach if age == 1.0 else [6])
    assert setting.track.open_group(4, "raw", age) is None  # the source reaches back, too
    assert (back.sequences, usual.sequences) == (reach, [latest])


def test_after_a_pause_history_that_the_source_has_is_not_the_latest_yet(setting, fakes):
    viewer = setting.live()
    for sequence in (2, 3):
        setting.group(sequence)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(back := fakes.Viewer(), 1.0)
    assert setting.track.open_group(2, "raw", 1.0) is None
    assert setting.track.current is None
    setting.track.watch(late := fakes.Viewer(), 1.0)
    assert setting.track.open_group(3, "raw", 1.0) is None
    assert (back.sequences, late.sequences, setting.track.current) == ([3], [3], 3)


@pytest.mark.parametrize("latest", [3, 4])
def test_after_a_pause_what_somebody_else_asks_for_is_not_for_who_wants_the_latest(
    setting, fakes, latest
):
    viewer = setting.live()
    for sequence in (2, 3):
        setting.group(sequence)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(back := fakes.Viewer(), 1.0)
    setting.track.open_group(latest, "raw", 1.0)
    setting.track.watch(fakes.Viewer(start=1), 1.0)
    assert setting.track.open_group(2, "raw", 1.0) is None
    assert back.sequences == [latest]
    back.demand = back.demand._replace(start=2)
    setting.track.rewatch(back)
    assert back.sequences == [latest, 2, 3][: latest - 1]


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (2, 4, 1)])
def test_after_a_pause_new_history_that_somebody_else_asks_for_is_not_the_latest(
    setting, fakes, order
):
    viewer = setting.live()
    setting.group(3)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(fakes.Viewer(start=1), 1.0)
    setting.track.watch(back := fakes.Viewer(), 1.0)
    for sequence in order:
        if sequence == 3:
            assert setting.track.open_group(3, "raw", 1.0) is None
        else:
            setting.group(sequence, 1.0)
    # Who heard of 3 as the latest goes on with 4, and in whatever order they came.
    assert sorted(back.sequences) == ([3, 4] if order[0] == 1 else [4])


def test_a_group_that_left_the_cache_in_doubt_comes_once(setting, fakes):
    viewer = setting.live()
    group = setting.group(3)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(back := fakes.Viewer(), 1.0)
    group.evict()
    again = setting.group(3, 1.0)
    assert back.groups == [again]


def test_a_track_that_finishes_in_doubt_has_its_latest_group(setting, fakes):
    viewer = setting.live()
    setting.group(3)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(back := fakes.Viewer(), 9.0)
    setting.track.finish(9.5)
    assert (back.sequences, back.ends) == ([3], [None])


def test_who_waits_for_what_is_to_come_makes_nothing_old_the_latest(setting, fakes):
    viewer = setting.live()
    setting.group(3)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(far := fakes.Viewer(start=50), 1.0)
    setting.origin.tick(2.0)
    assert setting.track.current is None
    far.demand = far.demand._replace(start=None)
    setting.track.rewatch(far)
    setting.track.watch(late := fakes.Viewer(), 2.0)
    assert (far.sequences, late.sequences) == ([], [])
    setting.group(4, 2.5)
    assert (far.sequences, late.sequences) == ([4], [4])


def test_a_source_may_count_from_the_beginning_after_a_pause(setting, fakes):
    viewer = setting.live()
    setting.group(7)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(back := fakes.Viewer(), 1.0)
    setting.group(2, 1.0)
    setting.track.watch(late := fakes.Viewer(), 1.0)
    setting.origin.tick(3.0)
    setting.group(3, 3.0)
    assert (back.sequences, late.sequences) == ([2, 3], [3])


@pytest.mark.parametrize("cached", [(0,), (0, 1, 2), (7,)])
def test_what_a_source_counts_anew_after_a_pause_is_not_taken_for_what_had_its_number(
    fakes, cached
):
    setting = fakes.Setting(fakes.ExactSource())
    viewer = setting.live()
    for sequence in cached:
        setting.group(sequence, data=b"old")
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(back := fakes.Viewer(), 1.0)
    for sequence in (0, 1):
        group = setting.track.open_group(sequence, "raw", 1.0, setting.source)
        assert group is not None
        group.write(b"new", 1.0)
        group.finish(1.0)
    setting.track.watch(late := fakes.Viewer(), 2.0)
    setting.origin.tick(3.0)
    assert (back.sequences, late.sequences) == ([0, 1], [1])
    assert [b"".join(each.native.chunks) for each in back.groups] == [b"new", b"new"]
    assert (setting.track.latest, setting.track.current) == (1, 1)


def test_after_a_pause_the_same_group_does_not_come_again_to_who_was_given_it(fakes):
    setting = fakes.Setting(fakes.ExactSource())
    viewer = setting.live()
    setting.group(3)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(back := fakes.Viewer(), 1.0)
    setting.origin.tick(2.0)
    assert setting.track.open_group(3, "raw", 2.5, setting.source) is None
    assert back.sequences == [3]


@pytest.mark.parametrize("demand", [{"max_latency": 1000}, {"start": 2}])
def test_what_is_older_where_that_was_asked_for_begins_nothing_anew(fakes, demand):
    setting = fakes.Setting(fakes.ExactSource())
    viewer = setting.live()
    for sequence in (2, 3):
        setting.group(sequence)
    setting.track.unwatch(viewer, 0.0)
    setting.track.watch(fakes.Viewer(**demand), 1.0)
    assert setting.track.open_group(2, "raw", 1.0, setting.source) is None
    assert list(setting.track.groups) == [2, 3]


@pytest.mark.parametrize(("age", "sequences"), [(5.0, [0]), (5.1, [])])
def test_while_there_is_nobody_to_ask_a_young_group_does_at_once(fakes, age, sequences):
    setting = fakes.Setting(linger=30.0)
    viewer = setting.live()
    setting.group(0)
    setting.track.unwatch(viewer, 0.0)
    setting.route.lose(0.0)
    setting.track.watch(back := fakes.Viewer(), age)
    assert (back.sequences, back.ends) == (sequences, [])


def test_an_old_latest_group_is_handed_over_once_the_source_confirms_it(setting, fakes):
    viewer = setting.live()
    setting.group(0)
    setting.track.unwatch(viewer, 0.0)
    back = fakes.Viewer()
    setting.track.watch(back, 20.0)
    setting.track.watch(other := fakes.Viewer(), 20.0)
    assert setting.track.open_group(0, "raw", 20.0) is None
    assert setting.track.open_group(0, "raw", 20.0) is None
    assert (back.sequences, other.sequences) == ([0], [0])


def test_an_explicit_start_gets_every_cached_group_in_range_in_order(setting, fakes):
    setting.live(start=0)
    for sequence in (2, 0, 4, 3, 1):
        setting.group(sequence)
    late = fakes.Viewer(start=1, end=3)
    setting.track.watch(late, 0.0)
    assert late.sequences == [1, 2, 3]


def test_groups_outside_the_range_are_never_handed_over(setting):
    viewer = setting.live(start=2, end=3)
    for sequence in range(6):
        setting.group(sequence)
    assert viewer.sequences == [2, 3]


def test_a_late_older_group_is_handed_over_once_unless_below_the_floor(setting, fakes):
    first, second = setting.live(), fakes.Viewer()
    setting.group(5)
    setting.track.watch(second, 0.0)
    for sequence in (7, 6, 4):
        setting.group(sequence)
    assert first.sequences == [5, 7, 6, 4]
    assert second.sequences == [5, 7, 6]


def test_the_first_viewer_takes_what_a_source_sends_newest_first(setting):
    viewer = setting.live()
    for sequence in (2, 1, 0):
        setting.group(sequence)
    assert viewer.sequences == [2, 1, 0]


@pytest.mark.parametrize(("latency", "sequences"), [(0, [5, 6]), (2000, [5, 4, 6])])
def test_who_reaches_back_loses_nothing_when_others_name_a_start(
    setting, fakes, latency, sequences
):
    setting.track.watch(back := fakes.Viewer(max_latency=latency), 0.0)
    setting.track.watch(fakes.Viewer(start=6), 0.0)  # as whoever goes on where it was
    setting.track.accept(TrackInfo())
    for sequence in (5, 4, 6):  # the newest first
        setting.group(sequence)
    assert back.sequences == sequences


@pytest.mark.parametrize("is_there", [True, False])
def test_what_somebody_else_reaches_back_for_is_not_for_who_wanted_the_latest(
    setting, fakes, is_there
):
    first = setting.live()
    setting.group(5)
    other = fakes.Viewer(start=2 if is_there else None)
    setting.track.watch(other, 0.0)
    if not is_there:
        other.demand = other.demand._replace(start=2)
        setting.track.rewatch(other)
    for sequence in (2, 6):
        setting.group(sequence)
    assert first.sequences == [5, 6]
    assert sorted(other.sequences) == [2, 5, 6]


def test_parked_groups_are_offered_when_the_demand_widens(setting):
    viewer = setting.live(start=0, end=1)
    for sequence in range(5):
        setting.group(sequence)
    viewer.demand = viewer.demand._replace(end=3)
    setting.track.rewatch(viewer)
    setting.track.rewatch(viewer)
    assert viewer.sequences == [0, 1, 2, 3]
    viewer.demand = viewer.demand._replace(end=None)
    setting.track.rewatch(viewer)
    setting.group(5)
    assert viewer.sequences == [0, 1, 2, 3, 4, 5]


def test_widening_without_a_start_never_goes_below_the_first_group(setting, fakes):
    setting.live()
    for sequence in (9, 10):
        setting.group(sequence)
    viewer = fakes.Viewer(end=9)
    setting.track.watch(viewer, 0.0)
    for sequence in (11, 8):
        setting.group(sequence)
    assert viewer.sequences == []
    viewer.demand = viewer.demand._replace(end=None)
    setting.track.rewatch(viewer)
    assert viewer.sequences == [10, 11]


def test_widening_after_a_pause_does_not_bring_what_may_be_stale(setting, fakes):
    viewer = setting.live()
    setting.group(0)
    setting.track.unwatch(viewer, 0.0)
    back = fakes.Viewer(end=0)
    setting.track.watch(back, 20.0)
    setting.group(1, 20.0)
    back.demand = back.demand._replace(end=5)
    setting.track.rewatch(back)
    assert back.sequences == [1]
    back.demand = back.demand._replace(start=0)
    setting.track.rewatch(back)
    assert back.sequences == [1, 0]


def test_a_lower_start_brings_what_is_cached(setting):
    viewer = setting.live(start=3)
    for sequence in range(5):
        setting.group(sequence)
    viewer.demand = viewer.demand._replace(start=1)
    setting.track.rewatch(viewer)
    assert viewer.sequences == [3, 4, 1, 2]


def test_parked_numbers_do_not_grow_with_the_track(setting):
    viewer = setting.live(start=0, end=0)
    for sequence in range(3000):
        setting.group(sequence, float(sequence))
    assert len(setting.track._audience._seats[viewer].parked) < 200


def test_a_viewer_may_leave_within_any_call(setting, fakes):
    setting.live(start=0)
    for sequence in range(3):
        setting.group(sequence)
    late = fakes.Viewer(start=0)
    late.on_group = lambda group: setting.track.unwatch(late, 0.0)
    setting.track.watch(late, 0.0)
    assert late.sequences == [0]
    setting.group(3)
    assert late.sequences == [0]


def test_the_last_viewer_may_leave_while_a_group_is_offered(setting):
    viewer = setting.live()
    viewer.on_group = lambda group: setting.track.unwatch(viewer, 0.0)
    group = setting.track.open_group(0, "raw", 0.0)
    assert group is not None
    assert not group.write(b"x", 0.0)
    assert setting.source.verbs == ["open", "close"]
