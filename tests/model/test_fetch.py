"""Fetching one group: from the cache, or asked once upstream."""

from __future__ import annotations

import pytest

from relay.errors import NotFound
from relay.model import TrackInfo
from relay.model.fetch import MAX_FETCHES


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
