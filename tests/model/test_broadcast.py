"""Tracks by name, and how many there may be."""

from __future__ import annotations

import pytest

from relay.errors import LimitExceeded
from relay.model.board import Price, Way
from relay.path import Path


def test_a_track_is_the_same_for_everybody(fakes):
    setting = fakes.Setting()
    assert setting.broadcast.track("t") is setting.track
    assert setting.broadcast.track("u") is not setting.track


def test_beyond_the_limit_idle_tracks_make_room_and_watched_ones_do_not(fakes):
    setting = fakes.Setting(max_tracks_per_broadcast=2)
    setting.live()
    for number in range(10):
        setting.broadcast.track(f"idle{number}")
    assert set(setting.broadcast.tracks) == {"t", "idle9"}
    setting.broadcast.track("idle9").watch(fakes.Viewer(), 0.0)
    with pytest.raises(LimitExceeded, match="max_tracks_per_broadcast"):
        setting.broadcast.track("one more")
    assert set(setting.broadcast.tracks) == {"t", "idle9"}


def test_it_is_shown_with_its_routes_best_first(fakes):
    setting = fakes.Setting()
    setting.origin.announce(Path("b"), fakes.Source(), (7, 2), 0.0, price=Price(2, 2))
    assert setting.broadcast.ways == (Way((7,)), Way((7, 2), 2))
    assert not setting.broadcast.is_lingering
