"""Fetching one group: from the cache, or asked once upstream."""

from __future__ import annotations

import pytest

from relay.errors import NotFound
from relay.model.demand import TrackInfo
from relay.model.fetch import MAX_FETCHES
from relay.path import Path


@pytest.fixture
def setting(fakes):
    return fakes.Setting(fakes.FetchSource())


def test_a_cached_group_is_handed_over_at_once(setting, fakes):
    setting.live()
    group = setting.group(3, end=False)
    setting.track.fetch(3, fetcher := fakes.Fetcher(), 0.0)
    assert fetcher.events == [group]
    assert "fetch" not in setting.source.verbs


def test_one_question_upstream_serves_all_who_wait(setting, fakes):
    fetchers = [fakes.Fetcher() for _ in range(3)]
    for fetcher in fetchers:
        setting.track.fetch(3, fetcher, 0.0)
    setting.track.unfetch(3, fetchers.pop())
    assert setting.source.calls == [("fetch", "t", 3)]
    group = setting.track.open_fetched(3, "raw", 1.0)
    group.write(b"old", 1.0)
    group.finish(1.0)
    assert [fetcher.events for fetcher in fetchers] == [[group]] * 2
    assert setting.track.open_fetched(3, "raw", 1.0) is None


def test_a_fetched_group_is_cached_and_not_pushed_to_viewers(setting, fakes):
    viewer = setting.live(start=0)
    setting.group(5)
    setting.track.fetch(3, fakes.Fetcher(), 0.0)
    setting.track.open_fetched(3, "raw", 1.0).finish(1.0)
    assert viewer.sequences == [5]
    setting.track.fetch(3, again := fakes.Fetcher(), 2.0)
    assert again.events[0].sequence == 3
    assert setting.track.open_group(3, "raw", 2.0) is None
    assert viewer.sequences == [5, 3]


def test_a_fetched_copy_that_left_makes_nobody_get_a_group_twice(setting, fakes):
    viewer = setting.live()
    latest = setting.group(5)
    setting.track.fetch(3, fakes.Fetcher(), 0.0)
    copy = setting.track.open_fetched(3, "raw", 1.0)
    copy.finish(1.0)
    copy.evict()
    group = setting.group(3, 1.0)
    viewer.demand = viewer.demand._replace(start=0)
    setting.track.rewatch(viewer)
    assert viewer.groups == [latest, group]


def test_a_failure_reaches_all_who_wait(setting, fakes):
    setting.track.fetch(3, fetcher := fakes.Fetcher(), 0.0)
    setting.track.fetch_failed(3, NotFound("too old"))
    setting.track.fetch_failed(3, NotFound("too old"))
    assert fetcher.events == ["NotFound"]
    assert setting.track.open_fetched(3, "raw", 1.0) is None


def test_a_group_that_arrives_otherwise_meanwhile_answers_too(setting, fakes):
    setting.live()
    setting.track.fetch(3, fetcher := fakes.Fetcher(), 0.0)
    group = setting.group(3)
    assert setting.track.open_fetched(3, "raw", 1.0) is None
    assert fetcher.events == [group]


def test_a_source_that_cannot_fetch_means_not_found(fakes):
    setting = fakes.Setting()
    setting.track.fetch(3, fetcher := fakes.Fetcher(), 0.0)
    assert fetcher.events == ["NotFound"]


def test_the_source_that_leaves_fails_its_fetches(setting, fakes):
    setting.track.fetch(3, fetcher := fakes.Fetcher(), 0.0)
    setting.route.lose(1.0)
    assert fetcher.events == ["Dropped"]


def test_a_withdrawn_source_fails_the_fetches_of_a_track_nobody_watches(setting, fakes):
    setting.track.fetch(3, fetcher := fakes.Fetcher(), 0.0)
    setting.route.withdraw(1.0)
    assert fetcher.events == ["Unroutable"]


def test_too_many_fetches_of_one_track_are_refused(setting, fakes):
    for sequence in range(MAX_FETCHES):
        setting.track.fetch(sequence, fakes.Fetcher(), 0.0)
    setting.track.fetch(MAX_FETCHES, fetcher := fakes.Fetcher(), 0.0)
    assert fetcher.events == ["LimitExceeded"]


def test_a_track_only_fetched_from_is_forgotten_after_the_track_linger(setting, fakes):
    setting.track.accept(TrackInfo())
    setting.track.fetch(3, fakes.Fetcher(), 0.0)
    setting.track.open_fetched(3, "raw", 1.0).finish(1.0)
    setting.origin.tick(30.0)
    assert (setting.broadcast.tracks, setting.cache.used) == ({}, 0)


def fetched(setting, fakes, sequence=3, now=0.0, info=None):
    """A fetcher and the group that begins to arrive for it."""
    if info is not None:
        setting.track.accept(info)
    setting.track.fetch(sequence, fetcher := fakes.Fetcher(), now)
    group = setting.track.open_fetched(sequence, "raw", now)
    group.write(b"old", now)
    return fetcher, group


def test_a_fetched_group_is_not_the_latest(setting, fakes):
    _, group = fetched(setting, fakes)
    early = setting.live()
    group.finish(0.0)
    late = setting.live()
    assert setting.track.latest is None
    setting.group(9)
    assert (early.sequences, late.sequences) == ([9], [9])
    assert setting.track.latest == 9
    fetched(setting, fakes, 12)
    assert setting.track.latest == 9
    late.demand = late.demand._replace(priority=9)
    setting.track.rewatch(late)
    assert (late.sequences, setting.live().sequences) == ([9], [9])
    assert setting.live(start=9).sequences == [9, 12]


def test_the_latest_stays_the_latest_when_a_higher_one_is_fetched(setting, fakes):
    setting.live(info=TrackInfo(max_latency=1000))
    latest = setting.group(5)
    fetched(setting, fakes, 7)[1].finish(0.0)
    setting.origin.tick(1.5)
    assert list(setting.track.groups.values()) == [latest]


def test_a_fetched_group_that_the_feed_has_as_well_is_like_any_other(setting, fakes):
    _, group = fetched(setting, fakes)
    group.finish(0.0)
    viewer = setting.live(info=TrackInfo(max_latency=1000))
    assert setting.track.open_group(3, "raw", 0.0) is None
    assert (viewer.groups, setting.track.latest) == ([group], 3)
    setting.origin.tick(5.0)
    assert setting.track.groups == {3: group}
    setting.group(4, now=6.0)
    setting.origin.tick(8.0)
    assert list(setting.track.groups) == [4]


def test_a_fetched_group_ages_once_it_is_complete(setting, fakes):
    _, group = fetched(setting, fakes, info=TrackInfo(max_latency=1000))
    setting.origin.tick(20.0)
    assert group.write(b"slow", 20.0)
    group.finish(20.0)
    setting.origin.tick(20.9)
    assert list(setting.track.groups) == [3]
    setting.origin.tick(21.1)
    assert (setting.track.groups, setting.cache.used) == ({}, 0)


def test_the_last_who_waits_takes_the_question_back(setting, fakes):
    fetchers = [fakes.Fetcher(), fakes.Fetcher()]
    for fetcher in fetchers:
        setting.track.fetch(3, fetcher, 0.0)
    setting.track.unfetch(3, fetchers[0])
    assert setting.source.verbs == ["fetch"]
    setting.track.unfetch(3, fetchers[1])
    assert setting.source.calls[1:] == [("cancel_fetch", "t", 3)]
    assert setting.track.is_idle
    assert setting.track.open_fetched(3, "raw", 1.0) is None
    assert [fetcher.events for fetcher in fetchers] == [[], []]


def test_the_last_who_reads_ends_what_arrives(setting, fakes):
    fetcher, group = fetched(setting, fakes)
    late = fakes.Reader(group.native)
    setting.track.unfetch(3, fetcher)
    assert setting.source.verbs == ["fetch"]
    group.native.detach(late)
    setting.track.unfetch(3, fakes.Fetcher())
    assert setting.source.verbs == ["fetch", "cancel_fetch"]
    assert type(group.error).__name__ == "Cancelled"
    assert (setting.track.is_idle, setting.cache.used) == (True, 0)


def test_what_viewers_count_on_goes_on_without_whoever_fetched_it(setting, fakes):
    fetcher, group = fetched(setting, fakes)
    setting.live()
    setting.track.open_group(3, "raw", 0.0)
    setting.track.unfetch(3, fetcher)
    assert group.write(b"more", 1.0)
    assert "cancel_fetch" not in setting.source.verbs


def test_a_complete_group_leaves_no_question(setting, fakes):
    fetcher, group = fetched(setting, fakes)
    group.finish(1.0)
    setting.track.unfetch(3, fetcher)
    assert (setting.track.is_idle, group.error) == (True, None)
    assert setting.source.verbs == ["fetch"]


def test_the_feed_answers_at_once(setting, fakes):
    setting.live()
    setting.track.fetch(3, fetcher := fakes.Fetcher(), 0.0)
    group = setting.group(3)
    assert fetcher.events == [group]
    assert setting.source.calls[-1] == ("cancel_fetch", "t", 3)


def test_what_a_lost_source_was_delivering_breaks_off(setting, fakes):
    other = fakes.FetchSource()
    setting.origin.announce(Path("b"), other, (7, 8), 0.0)
    _, group = fetched(setting, fakes)
    setting.track.fetch(4, waiting := fakes.Fetcher(), 0.0)
    setting.route.revoke()
    assert type(group.error).__name__ == "Dropped"
    assert waiting.events == ["Dropped"]
    assert setting.source.verbs[-2:] == ["cancel_fetch", "cancel_fetch"]
    setting.track.fetch(4, fakes.Fetcher(), 0.0)
    assert other.calls == [("fetch", "t", 4)]


def test_a_lost_standby_costs_no_fetch(setting, fakes):
    standby = setting.origin.announce(Path("b"), fakes.FetchSource(), (7, 8), 0.0)
    _, group = fetched(setting, fakes)
    standby.revoke()
    assert group.write(b"more", 1.0)


def test_a_track_that_ends_takes_its_questions_back(setting, fakes):
    _, group = fetched(setting, fakes)
    setting.track.fetch(4, waiting := fakes.Fetcher(), 0.0)
    setting.route.withdraw(1.0)
    assert type(group.error).__name__ == "Unroutable"
    assert waiting.events == ["Unroutable"]
    assert setting.source.verbs == ["fetch", "fetch", "cancel_fetch", "cancel_fetch"]


def test_a_fetched_group_without_room_is_stopped(fakes):
    setting = fakes.Setting(fakes.FetchSource(), max_group_bytes=4)
    _, group = fetched(setting, fakes)
    assert not group.write(b"more", 1.0)
    assert setting.source.verbs == ["fetch", "cancel_fetch"]
    assert setting.track.is_idle


def test_there_may_be_no_room_to_begin_with(fakes):
    setting = fakes.Setting(fakes.FetchSource(), cache_bytes=1)
    setting.track.fetch(3, fetcher := fakes.Fetcher(), 0.0)
    assert setting.track.open_fetched(3, "raw", 0.0) is None
    assert fetcher.events == ["Lagged"]
    assert setting.track.is_idle


def test_only_a_source_that_can_is_asked(setting, fakes):
    setting.source.can_fetch = False
    other = fakes.FetchSource()
    setting.origin.announce(Path("b"), other, (7, 8), 0.0)
    setting.track.fetch(3, fetcher := fakes.Fetcher(), 0.0)
    assert fetcher.events == ["NotFound"]
    assert (setting.source.verbs, other.verbs) == ([], [])


def test_a_track_that_was_asked_in_vain_is_forgotten(fakes):
    setting = fakes.Setting()
    setting.track.fetch(3, fakes.Fetcher(), 0.0)
    setting.origin.tick(30.0)
    assert setting.broadcast.tracks == {}


def test_what_arrives_does_not_age_with_an_earlier_incarnation(fakes):
    setting = fakes.Setting(fakes.FetchSource(), max_groups_per_track=2)
    setting.live(info=TrackInfo(max_latency=1000))
    for sequence in (3, 4, 5):
        setting.group(sequence)
    _, group = fetched(setting, fakes, now=0.9)
    for now in (1.1, 2.0, 9.0):
        setting.origin.tick(now)
    assert group.write(b"slow", 9.0)
