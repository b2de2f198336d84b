"""Upstream once, downstream for all: opening, late joining, leaving, splicing, ending."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import pytest

from relay.errors import Dropped, NotFound, RelayError
from relay.model.demand import TrackInfo
from relay.path import Path


@pytest.fixture
def setting(fakes):
    return fakes.Setting()


def standby(setting, fakes, hop=2, now=0.0):
    """One more route of the same publisher."""
    source = fakes.Source()
    return source, setting.origin.announce(Path("b"), source, (7, hop), now)


# One subscription upstream.


def test_the_first_viewer_opens_the_source_and_others_join(setting, fakes):
    viewers = [fakes.Viewer() for _ in range(3)]
    for viewer in viewers:
        setting.track.watch(viewer, 0.0)
    assert setting.source.calls == [("open", "t", None)]
    info = TrackInfo(5, True, 100, 90)
    setting.track.accept(info)
    group = setting.group(0)
    assert all(viewer.events == [("accepted", info), ("group", 0)] for viewer in viewers)
    assert all(viewer.groups[0] is group for viewer in viewers)


def test_properties_are_told_at_once_when_they_are_known(setting, fakes):
    setting.live()
    late = fakes.Viewer()
    setting.track.watch(late, 1.0)
    assert late.events == [("accepted", TrackInfo())]


def test_the_last_viewer_leaving_closes_the_source_at_once(setting, fakes):
    first, second = setting.live(), fakes.Viewer()
    setting.track.watch(second, 0.0)
    group = setting.group(0, end=False)
    setting.track.unwatch(first, 1.0)
    assert "close" not in setting.source.verbs
    assert not group.ended
    setting.track.unwatch(second, 1.0)
    setting.track.unwatch(second, 1.0)
    assert setting.source.verbs == ["open", "close"]
    assert group.error is not None
    assert group.error.code == 0
    assert setting.track.demand is None


def test_a_returning_viewer_finds_properties_and_groups_and_reopens(setting, fakes):
    setting.track.unwatch(setting.live(), 0.0)
    setting.track.watch(first := fakes.Viewer(), 1.0)
    setting.group(3, 1.0)
    setting.track.unwatch(first, 2.0)
    setting.origin.tick(31.9)
    back = fakes.Viewer(start=0)
    assert setting.broadcast.track("t") is setting.track
    setting.track.watch(back, 31.9)
    assert back.events == [("accepted", TrackInfo()), ("group", 3)]
    assert setting.source.verbs[-1] == "open"


def test_after_the_track_linger_the_track_is_forgotten(setting):
    viewer = setting.live()
    setting.group(0)
    setting.track.unwatch(viewer, 1.0)
    setting.origin.tick(30.9)
    assert setting.broadcast.tracks == {"t": setting.track}
    setting.origin.tick(31.0)
    assert setting.broadcast.tracks == {}
    assert (setting.cache.used, len(setting.cache)) == (0, 0)


def test_a_return_within_the_linger_stops_it(setting, fakes):
    setting.track.unwatch(setting.live(), 0.0)
    setting.track.watch(fakes.Viewer(), 10.0)
    setting.origin.tick(100.0)
    assert "t" in setting.broadcast.tracks


def test_a_track_that_was_never_accepted_is_forgotten_with_its_last_viewer(setting, fakes):
    viewer = fakes.Viewer()
    setting.track.watch(viewer, 0.0)
    setting.track.unwatch(viewer, 0.0)
    assert setting.broadcast.tracks == {}


def test_nobody_is_fed_after_the_last_viewer_left(setting):
    viewer = setting.live()
    setting.track.unwatch(viewer, 0.0)
    assert setting.track.open_group(0, "raw", 0.0) is None
    setting.track.datagram(0, 0, b"x", 0.0)
    assert viewer.events == [("accepted", TrackInfo())]


# Duplicates and datagrams.


@pytest.mark.parametrize("end", [True, False])
def test_a_duplicate_of_a_live_or_complete_group_is_stopped(setting, end):
    viewer = setting.live()
    setting.group(0, end=end)
    assert setting.track.open_group(0, "raw", 1.0) is None
    assert viewer.sequences == [0]


def test_an_aborted_incarnation_is_replaced(setting, fakes):
    viewer = setting.live()
    setting.group(0, end=False).abort(Dropped("reset"))
    late = fakes.Viewer()
    setting.track.watch(late, 0.0)
    assert late.sequences == []
    again = setting.group(0, data=b"whole")
    assert viewer.groups[-1] is again
    assert (viewer.sequences, late.sequences) == ([0, 0], [0])


def test_datagrams_reach_the_viewers_in_range_and_are_not_cached(setting, fakes):
    viewer, limited = setting.live(), fakes.Viewer(start=9)
    setting.track.watch(limited, 0.0)
    setting.track.datagram(8, 123, b"payload", 0.0)
    assert viewer.events[-1] == ("datagram", 8, 123, b"payload")
    assert limited.events == [("accepted", TrackInfo())]
    assert (setting.track.latest, setting.track.groups) == (8, {})


# Aggregated demand.


def test_the_source_hears_of_the_sum_only_when_it_changes(setting, fakes):
    first = setting.live(priority=3)
    same, higher = fakes.Viewer(priority=3), fakes.Viewer(priority=9)
    setting.track.watch(same, 0.0)
    assert setting.source.verbs == ["open"]
    setting.track.watch(higher, 0.0)
    assert setting.source.calls[-1][0] == "update"
    assert setting.source.calls[-1][2].priority == 9
    setting.track.unwatch(higher, 0.0)
    assert setting.source.calls[-1][2].priority == 3
    first.demand = first.demand._replace(priority=5)
    setting.track.rewatch(first)
    assert setting.source.calls[-1][2].priority == 5
    setting.track.rewatch(first)
    assert setting.source.verbs.count("update") == 3


def test_who_asks_for_a_far_off_start_silences_nobody(setting, fakes):
    usual, far = setting.live(), fakes.Viewer(start=1_000_000)
    setting.track.watch(far, 0.0)
    assert setting.track.demand.start is None
    setting.group(0)
    assert setting.track.demand.start is None
    assert ("group", 0) in usual.events
    assert ("group", 0) not in far.events
    setting.track.unwatch(usual, 0.0)
    assert setting.track.demand.start == 1_000_000
    late = fakes.Viewer()
    setting.track.watch(late, 0.0)
    assert setting.track.demand.start is None
    setting.group(1)
    assert ("group", 1) in late.events


def test_a_start_before_the_latest_is_asked_for_once_that_is_known(setting, fakes):
    setting.live()
    setting.track.watch(fakes.Viewer(start=3), 0.0)
    assert setting.track.demand.start is None
    setting.group(7)
    assert setting.source.calls[-1][0] == "update"
    assert setting.source.calls[-1][2].start == 3


def test_a_start_that_is_taken_back_hides_nothing_any_more(setting):
    viewer = setting.live(start=1_000_000)
    setting.group(4)
    assert ("group", 4) not in viewer.events
    viewer.demand = viewer.demand._replace(start=None)
    setting.track.rewatch(viewer)
    setting.group(5)
    assert [event for event in viewer.events if event[0] == "group"] == [("group", 4), ("group", 5)]


def test_the_latency_is_clamped_to_the_publishers_retention_once_known(setting):
    viewer = setting.live(info=TrackInfo(max_latency=1000), max_latency=9000)
    assert setting.source.calls[-1][0] == "update"
    assert setting.track.demand == viewer.demand._replace(max_latency=1000)


# Properties only.


def test_askers_are_answered_from_one_question(setting, fakes):
    learners = [fakes.Learner(), fakes.Learner()]
    for learner in learners:
        setting.track.learn(learner, 0.0)
    assert setting.source.verbs == ["learn"]
    setting.track.accept(TrackInfo(1))
    setting.track.learn(late := fakes.Learner(), 1.0)
    assert [learner.events for learner in (*learners, late)] == [[TrackInfo(1)]] * 3
    assert setting.source.verbs == ["learn"]


def test_learned_properties_serve_a_viewer_who_opens_the_source(setting, fakes):
    setting.track.learn(fakes.Learner(), 0.0)
    setting.track.accept(TrackInfo(1))
    viewer = fakes.Viewer()
    setting.track.watch(viewer, 1.0)
    assert viewer.events == [("accepted", TrackInfo(1))]
    assert setting.source.verbs == ["learn", "open"]


def test_an_answer_serves_the_asker_and_the_viewer_who_came_meanwhile(setting, fakes):
    learner, viewer = fakes.Learner(), fakes.Viewer()
    setting.track.learn(learner, 0.0)
    setting.track.watch(viewer, 0.0)
    setting.track.accept(TrackInfo(1))
    assert setting.source.verbs == ["learn", "open"]
    assert (learner.events, viewer.events) == ([TrackInfo(1)], [("accepted", TrackInfo(1))])
    setting.group(0)
    assert viewer.sequences == [0]


def test_an_asker_that_left_is_not_answered(setting, fakes):
    learner = fakes.Learner()
    setting.track.learn(learner, 0.0)
    setting.track.unlearn(learner)
    setting.track.accept(TrackInfo())
    assert learner.events == []


def test_learned_properties_are_kept_for_the_track_linger(setting, fakes):
    setting.track.learn(fakes.Learner(), 0.0)
    setting.track.accept(TrackInfo())
    setting.origin.tick(29.0)
    assert setting.broadcast.tracks
    setting.origin.tick(30.0)
    assert not setting.broadcast.tracks


def test_an_asker_still_waiting_survives_a_viewer_that_leaves(setting, fakes):
    learner, viewer = fakes.Learner(), fakes.Viewer()
    setting.track.watch(viewer, 0.0)
    setting.track.learn(learner, 0.0)
    setting.track.unwatch(viewer, 0.0)
    assert setting.source.verbs == ["open", "close", "learn"]
    setting.track.accept(TrackInfo())
    assert learner.events == [TrackInfo()]


def test_a_question_moves_on_when_its_route_is_lost(setting, fakes):
    second, _ = standby(setting, fakes)
    setting.track.learn(learner := fakes.Learner(), 0.0)
    setting.route.lose(1.0)
    assert (setting.source.verbs, second.verbs) == (["learn", "close"], ["learn"])
    setting.track.accept(TrackInfo())
    assert learner.events == [TrackInfo()]


# Refusals, losses, the end.


def test_a_refusal_by_every_source_ends_the_viewers_with_that_error(setting, fakes):
    viewer, learner = fakes.Viewer(), fakes.Learner()
    setting.track.watch(viewer, 0.0)
    setting.track.learn(learner, 0.0)
    setting.track.fail(NotFound("no such track"))
    assert viewer.events == [("ended", "NotFound")]
    assert learner.events == ["NotFound"]
    assert setting.broadcast.tracks == {}
    assert "close" not in setting.source.verbs


def test_a_refusal_by_one_source_moves_to_the_next(setting, fakes):
    second, _ = standby(setting, fakes)
    viewer = fakes.Viewer()
    setting.track.watch(viewer, 0.0)
    setting.track.fail(NotFound("no such track"))
    assert second.verbs == ["open"]
    setting.track.accept(TrackInfo())
    setting.group(0)
    assert viewer.events == [("accepted", TrackInfo()), ("group", 0)]


def test_a_source_may_refuse_from_within_open(setting, fakes):
    second, _ = standby(setting, fakes)
    setting.source.rejects = second.rejects = {"t"}
    viewer = fakes.Viewer()
    setting.track.watch(viewer, 0.0)
    assert viewer.events == [("ended", "RelayError")]
    assert (setting.source.verbs, second.verbs) == (["open"], ["open"])


def test_a_refused_question_moves_to_the_next_source(setting, fakes):
    second, _ = standby(setting, fakes)
    setting.track.learn(learner := fakes.Learner(), 0.0)
    setting.track.fail(NotFound("no such track"))
    assert second.verbs == ["learn"]
    setting.track.accept(TrackInfo())
    assert learner.events == [TrackInfo()]


def test_watching_a_track_that_was_refused_asks_again_through_a_new_one(setting, fakes):
    setting.track.watch(fakes.Viewer(), 0.0)
    setting.track.fail(NotFound("no such track"))
    stale = fakes.Viewer()
    setting.track.watch(stale, 0.0)
    assert stale.events == [("ended", "NotFound")]
    setting.broadcast.track("t").watch(fakes.Viewer(), 0.0)
    assert setting.source.verbs == ["open", "open"]


def test_a_lost_track_is_spliced_at_the_first_missing_group(setting, fakes):
    viewer = setting.live()
    second, _ = standby(setting, fakes)
    setting.group(0)
    setting.group(1, end=False)
    setting.group(2, data=b"whole")
    setting.track.fail(Dropped("reset"))
    assert second.calls == [("open", "t", 1)]
    assert [group.error is None for group in viewer.groups] == [True, False, True]
    assert setting.track.open_group(2, "raw", 1.0) is None
    setting.group(1, data=b"again")
    setting.group(3)
    assert viewer.sequences == [0, 1, 2, 1, 3]
    assert viewer.ends == []


def test_a_splice_without_open_groups_starts_after_the_latest(setting, fakes):
    setting.live()
    second, _ = standby(setting, fakes)
    setting.group(4)
    setting.track.fail(Dropped("reset"))
    assert second.calls == [("open", "t", 5)]


def test_a_second_splice_still_asks_for_what_the_first_did_not_bring(setting, fakes):
    setting.live()
    second, _ = standby(setting, fakes)
    third, _ = standby(setting, fakes, hop=3)
    setting.group(4, end=False)
    setting.track.fail(Dropped("reset"))
    setting.track.fail(Dropped("reset"))
    assert sorted([*second.calls, *third.calls]) == [("open", "t", 4)] * 2


def test_a_lost_track_without_another_route_ends(setting):
    viewer = setting.live()
    group = setting.group(0, end=False)
    setting.track.fail(Dropped("reset"))
    assert viewer.ends == ["Dropped"]
    assert group.error is not None
    assert setting.broadcast.tracks == {}


def test_two_routes_that_deliver_nothing_are_each_tried_once(setting, fakes):
    viewer = setting.live()
    second, _ = standby(setting, fakes)
    setting.track.fail(Dropped("reset"))
    setting.track.fail(Dropped("reset"))
    assert (setting.source.verbs, second.verbs) == (["open"], ["open"])
    assert viewer.ends == ["Dropped"]


def test_a_route_that_failed_is_tried_again_after_progress(setting, fakes):
    viewer = setting.live()
    standby(setting, fakes)
    for sequence in range(4):
        setting.group(sequence)
        setting.track.fail(Dropped("reset"))
    assert setting.source.verbs.count("open") == 3
    assert viewer.ends == []


def test_finish_completes_the_track_and_open_groups_go_on(setting, fakes):
    viewer = setting.live()
    group = setting.group(0, end=False)
    reader = fakes.Reader(group.log("raw", fakes.no_transcode))
    setting.track.finish(1.0)
    setting.track.finish(1.0)
    assert viewer.ends == [None]
    assert group.write(b"tail", 2.0)
    group.finish(2.0)
    assert (reader.data, reader.calls[-1]) == (b"xtail", "finished")
    assert setting.source.verbs == ["open"]
    assert setting.track.open_group(1, "raw", 2.0) is None


def test_a_finished_track_is_served_from_the_cache_and_then_forgotten(setting, fakes):
    setting.live()
    setting.group(0)
    setting.track.finish(1.0)
    late = fakes.Viewer()
    setting.track.watch(late, 20.0)
    assert late.events == [("accepted", TrackInfo()), ("group", 0), ("ended", None)]
    assert setting.source.verbs == ["open"]
    setting.origin.tick(60.0)
    assert (setting.broadcast.tracks, setting.cache.used) == ({}, 0)


def test_an_ended_track_ignores_its_source(setting):
    viewer = setting.live()
    setting.track.fail(Dropped("reset"))
    setting.track.accept(TrackInfo(1))
    setting.track.fail(RelayError("late"))
    setting.track.fail(RelayError("late"))
    setting.track.finish(1.0)
    assert setting.track.open_group(0, "raw", 1.0) is None
    assert viewer.ends == ["Dropped"]


# Cost.


def test_a_hundred_thousand_short_groups_leave_memory_and_time_flat(setting):
    viewer = setting.live()
    viewer.group_opened = lambda group: None
    peaks, times = [], []
    for sequence in range(100_000):
        if sequence % 20_000 == 0:
            times.append(time.process_time())
        if sequence == 20_000:
            tracemalloc.start()
        setting.group(sequence, sequence * 0.01)
        if sequence in (30_000, 40_000):
            peaks.append(tracemalloc.get_traced_memory()[0])
            if sequence == 40_000:
                tracemalloc.stop()
    times.append(time.process_time())
    first, *_, last = (later - sooner for sooner, later in itertools.pairwise(times))
    assert peaks[1] < peaks[0] * 1.1 + 50_000
    assert len(setting.track.groups) <= 502
    assert len(setting.track.shelf._ages) <= 2 * 502 + 64
    assert last < 4 * first
