"""Who serves what nobody has announced: whoever announced the longest prefix of it."""

from __future__ import annotations

import pytest

from relay.errors import LimitExceeded
from relay.model import CacheSettings, Origin
from relay.path import ROOT, Path

MOVIE = Path("vod/movies/7")
US, NEAR, FAR = 1, 5, 6


@pytest.fixture
def origin() -> Origin:
    return Origin(US, CacheSettings(max_tracks_below=2))


def served_by(origin, path, asker=0):
    found = origin.seek(Path(path), asker)
    return found and (found.broadcast.path, found.below)


def test_the_longest_prefix_serves_and_the_path_itself_before_all(origin, fakes):
    def announced(path, hop):
        return origin.announce(Path(path), fakes.WideSource(), (hop,), 0.0)

    assert served_by(origin, MOVIE) is None
    announced("", 7)
    assert served_by(origin, MOVIE) == ("", MOVIE)
    announced("vod", 8)
    assert served_by(origin, MOVIE) == ("vod", "movies/7")
    itself = announced(MOVIE, 9)
    assert served_by(origin, MOVIE) == (MOVIE, ROOT)
    assert served_by(origin, "video") == ("", "video")
    itself.withdraw(0.0)
    assert served_by(origin, MOVIE) == ("vod", "movies/7")
    assert origin.find(MOVIE) is None


def test_who_has_nothing_below_hides_what_is_above(origin, fakes):
    origin.announce(Path("vod"), fakes.WideSource(), (7,), 0.0)
    origin.announce(Path("vod/movies"), fakes.Source(), (8,), 0.0)
    assert served_by(origin, MOVIE) is None
    assert served_by(origin, "vod/movies") == ("vod/movies", ROOT)


def test_what_only_relays_publish_is_nobody_elses(origin, fakes):
    origin.reserved = (Path(".stats"),)
    origin.announce(ROOT, fakes.WideSource(), (7,), 0.0)
    assert served_by(origin, ".internal/origins/x") is None
    assert served_by(origin, ".stats/node") is None
    assert served_by(origin, ".state") == ("", ".state")


def test_nobody_is_led_back_to_himself(origin, fakes):
    origin.announce(Path("vod"), fakes.WideSource(), (7, NEAR), 0.0)
    assert served_by(origin, MOVIE, NEAR) is None
    assert served_by(origin, MOVIE, FAR) == ("vod", "movies/7")
    origin.announce(ROOT, fakes.WideSource(), (8, FAR), 0.0)
    assert served_by(origin, MOVIE, NEAR) == ("", MOVIE)
    origin.announce(Path("vod"), fakes.WideSource(), (7, FAR), 0.0)  # another way to the same
    assert served_by(origin, MOVIE, NEAR) == ("vod", "movies/7")


def test_its_tracks_go_where_those_of_the_announced_go(origin, fakes):
    first, second = fakes.WideSource(), fakes.WideSource()
    route = origin.announce(Path("vod"), first, (7,), 0.0)
    viewer = fakes.Viewer()
    track = origin.seek(MOVIE).track("t")
    track.watch(viewer, 0.0)
    assert (track.path, first.calls) == (MOVIE, [("learn", "t"), ("open", "t", None)][1:])
    origin.announce(Path("vod"), second, (7, NEAR), 0.0)
    route.lose(0.0)
    assert second.verbs == ["open"]
    assert viewer.events == []
    origin.seek(MOVIE).broadcast.routes[0].revoke()
    assert viewer.events == [("ended", "Dropped")]
    assert origin.seek(MOVIE) is None


def test_they_are_told_apart_and_end_together_or_alone(origin, fakes):
    origin.announce(Path("vod"), fakes.WideSource(), (7,), 0.0)
    broadcast = origin.find(Path("vod"))
    own, below = broadcast.track("t"), origin.seek(MOVIE).track("t")
    assert own is not below
    assert below is origin.seek(MOVIE).track("t")
    below.end(LimitExceeded("enough"))
    assert (broadcast.tracks, broadcast.below) == ({"t": own}, {})
    assert below is not origin.seek(MOVIE).track("t")


def test_they_have_a_limit_of_their_own(origin, fakes):
    origin.announce(Path("vod"), fakes.WideSource(), (7,), 0.0)
    idle, *busy = (origin.seek(Path(f"vod/{n}")).track("t") for n in (1, 2))
    busy[0].watch(fakes.Viewer(), 0.0)
    third = origin.seek(Path("vod/3")).track("t")  # the idle one makes room
    third.watch(fakes.Viewer(), 0.0)
    with pytest.raises(LimitExceeded, match="max_tracks_below"):
        origin.seek(Path("vod/4")).track("t")
    assert origin.seek(Path("vod/1/2")) is not None
    assert origin.find(Path("vod")).track("t") is not None
    assert idle not in origin.find(Path("vod")).all_tracks


def test_who_lingers_is_waited_for_below_as_well(origin, fakes):
    viewer = fakes.Viewer()
    origin.announce(Path("vod"), fakes.WideSource(), (7,), 0.0).lose(0.0)
    origin.seek(MOVIE).track("t").watch(viewer, 0.0)
    back = fakes.WideSource()
    origin.announce(Path("vod"), back, (7,), 1.0)
    assert (back.verbs, viewer.events) == (["open"], [])
