"""Who serves what nobody has announced: whoever announced the longest prefix of it."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import LimitExceeded
from relay.model.origin import Origin
from relay.model.settings import CacheSettings
from relay.model.track import Track
from relay.path import ROOT, Path
from relay.reserve import Reserve

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
    origin.reserve = Reserve((Path(".stats"),))
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


def test_one_more_costs_the_same_however_many_there_are_and_ways(fakes):
    origin, looked = Origin(US), []
    refusing = fakes.WideSource()
    refusing.rejects.add("no")
    for source, hops in ((refusing, (7,)), (fakes.WideSource(), (7, NEAR))):
        origin.announce(Path("vod"), source, hops, 0.0)
    real = Track.is_fed_besides
    with patch.object(Track, "is_fed_besides", lambda *args: looked.append(1) or real(*args)):
        for name in ("t", "no"):
            for count in range(40):
                origin.seek(Path(f"vod/{count}")).track(name).watch(fakes.Viewer(), 0.0)
    assert len(origin.find(Path("vod")).below) == 80
    assert len(looked) < 40 * 5


def test_it_is_cheap_here_unless_some_of_it_comes_another_way(origin, fakes):
    told, relay, refusing = [], fakes.Watcher(), fakes.WideSource()
    relay.announced = lambda path, way: told.append(way.is_warm)
    origin.watch(ROOT, relay, is_relay=True)
    refusing.rejects.add("no")
    for source, hops in ((refusing, (7,)), (fakes.WideSource(), (7, NEAR))):
        origin.announce(Path("vod"), source, hops, 0.0)
    first, other, viewer = (fakes.Viewer() for _ in range(3))
    origin.seek(MOVIE).track("t").watch(first, 0.0)
    assert told == [False, True]
    origin.seek(MOVIE).track("no").watch(other, 0.0)
    assert told == [False, True, False]
    origin.seek(MOVIE).track("no").unwatch(other, 0.0)
    origin.tick(1.0)
    origin.seek(Path("vod/1")).track("t").watch(viewer, 1.0)
    origin.tick(2.0)
    assert told == [False, True, False, True]


def test_who_lingers_is_waited_for_below_as_well(origin, fakes):
    viewer = fakes.Viewer()
    origin.announce(Path("vod"), fakes.WideSource(), (7,), 0.0).lose(0.0)
    origin.seek(MOVIE).track("t").watch(viewer, 0.0)
    back = fakes.WideSource()
    origin.announce(Path("vod"), back, (7,), 1.0)
    assert (back.verbs, viewer.events) == (["open"], [])


def test_who_watches_below_hears_of_the_nearest_announcement_above(origin, fakes):
    deep, relay, watcher = Path("vod/movies"), fakes.Watcher(), fakes.Watcher()
    scope = origin.scope(deep, (), (ROOT,))
    origin.scope(deep, (), (ROOT,), is_relay=True).watch(ROOT, relay)
    watch = scope.watch(ROOT, watcher, NEAR)

    def announced(path, hop, source=fakes.WideSource):
        return origin.announce(Path(path), source(), (hop,), 0.0)

    top = announced("", 7)
    assert watcher.take() == [("+", "", (7,))]
    above = announced("vod", 8)
    assert watcher.take() == [("-", ""), ("+", "", (8,))]
    announced("vod", NEAR).withdraw(0.0)  # its own is nothing to it
    assert watcher.take() == [("-", ""), ("+", "", (7,)), ("-", ""), ("+", "", (8,))]
    itself = announced(deep, 9)
    announced("vod/movies/7", 10)
    assert watcher.take() == [("-", ""), ("+", "", (9,)), ("+", "7", (10,))]
    top.withdraw(0.0)
    itself.withdraw(0.0)
    assert watcher.take() == [("-", ""), ("+", "", (8,))]
    above.update((8, FAR), 0.0)
    assert watcher.take() == [("+", "", (8, FAR))]
    above.withdraw(0.0)
    announced("vod", 11, fakes.Source)  # who has nothing below
    assert watcher.take() == [("-", "")]
    watch.cancel()
    announced("", 12)
    assert watcher.take() == []
    assert {event[1] for event in relay.take()} == {"", "7"}  # what is there, and nothing else


def test_told_in_turn_it_is_woken_once_however_often_that_changes(origin, fakes):
    watcher, woken = fakes.Watcher(), []
    scope = origin.scope(Path("vod/movies"), (), (ROOT,))
    watch = scope.watch(ROOT, watcher, wake=lambda: woken.append(1))
    for hop in range(7, 17):
        origin.announce(Path("vod"), fakes.WideSource(), (hop,), 0.0)
    assert (woken, watcher.events) == ([1], [])
    assert watch.catch_up(9) == (1, False)
    assert watcher.take() == [("+", "", (16,))]
    origin.announce(ROOT, fakes.WideSource(), (7,), 0.0)
    assert (watch.catch_up(9), watcher.take(), woken) == ((1, False), [], [1, 1])


def test_told_in_turn_it_is_there_when_the_right_to_it_was_gone_for_a_moment(origin, fakes):
    watcher, prefix = fakes.Watcher(), Path("vod/movies")
    scope = origin.scope(ROOT, (), (prefix,))
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    origin.announce(Path("vod"), fakes.WideSource(), (7,), 0.0)
    watch.catch_up(9)
    scope.narrow((), ())
    scope.narrow((), (prefix,))
    watcher.unannounced = lambda path: watcher.view.pop(path, None)
    while watch.catch_up(9)[1]:
        pass
    assert watcher.view == {prefix: (7,)}


def test_told_in_turn_nothing_is_told_once_the_right_is_gone_from_within_a_call(origin, fakes):
    watcher, prefix = fakes.Watcher(), Path("vod/movies")
    scope = origin.scope(ROOT, (), (prefix,))
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    origin.announce(Path("vod"), fakes.WideSource(), (7,), 0.0)
    watch.catch_up(9)
    origin.announce(Path("vod"), fakes.WideSource(), (8,), 0.0)
    watcher.unannounced = lambda path: scope.narrow((), ())
    while watch.catch_up(9)[1]:
        pass
    assert watcher.events == [("+", prefix, (7,))]


def test_who_leaves_when_told_in_turn_that_something_is_gone_leaves_nothing(origin, fakes):
    watcher = fakes.Watcher()
    scope = origin.scope(ROOT, (), (Path("vod/a"), Path("vod/b")))
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    announced = origin.announce(Path("vod"), fakes.WideSource(), (7,), 0.0)
    watch.catch_up(9)
    watcher.unannounced = lambda path: watch.cancel()
    scope.narrow((), (Path("vod/c"),))
    assert watch.catch_up(9)[1] is False
    announced.withdraw(0.0)
    assert origin.board._root.children == {}


def test_nothing_is_above_what_only_relays_publish(origin, fakes):
    origin.reserve = Reserve((Path(".stats"),))
    watcher = fakes.Watcher()
    for root in (".stats/node", ".internal/origins"):
        origin.scope(Path(root), (), (ROOT,)).watch(ROOT, watcher)
    origin.announce(ROOT, fakes.WideSource(), (7,), 0.0)
    assert watcher.take() == []


def test_who_is_gone_leaves_nothing_on_the_board(origin, fakes):
    scope = origin.scope(Path("a/b/c"), (), (ROOT,))
    watches = [scope.watch(ROOT, fakes.Watcher(), wake=wake) for wake in (None, lambda: None)]
    scope.narrow((), (Path("d"), Path("e/f")))
    for watch in watches:
        while watch.catch_up(9)[1]:
            pass
        watch.cancel()
    root = origin.board._root
    assert (root.children, root.roofs) == ({}, None)


FEW = st.sampled_from(["", "a", "a/a", "a/b", "a/b/a", "b", "b/a"]).map(Path)
WINDOWS = st.lists(FEW, max_size=2).map(tuple)


@settings(max_examples=200, deadline=None)
@given(
    root=st.sampled_from(["", "a", "a/b"]).map(Path),
    prefix=FEW,
    first=WINDOWS,
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("rights"), WINDOWS),
            st.tuples(st.sampled_from(["wide", "there", "gone"]), FEW),
            st.tuples(st.just("told"), st.integers(1, 4)),
        ),
        max_size=60,
    ),
)
def test_everybody_comes_to_see_what_is_there_and_above(fakes, root, prefix, first, steps):
    """At once or in turn: nobody is taken for another, and in the end all has been told."""
    origin = Origin(US)
    scope = origin.scope(root, (), first)
    routes, publishers = {}, iter(range(100, 200))

    class Listener(fakes.Watcher):
        def announced(self, path, way):
            assert scope.allows_subscribe(path)
            assert self.view.get(str(path), way.hops) == way.hops, "another publisher"
            self.view[str(path)] = way.hops

        def unannounced(self, path):
            self.view.pop(str(path), None)

    at_once, in_turn = Listener(), Listener()
    scope.watch(prefix, at_once)
    watch = scope.watch(prefix, in_turn, wake=lambda: None)
    for what, which in steps:
        if what == "rights":
            scope.narrow((), which)
        elif what == "told":
            assert watch.catch_up(which)[0] <= which
        elif what == "gone":
            if (route := routes.pop(which, None)) is not None:
                route.withdraw(0.0)
        else:
            source = fakes.WideSource if what == "wide" else fakes.Source
            routes[which] = origin.announce(which, source(), (next(publishers),), 0.0)
    while watch.catch_up(3)[1]:
        pass
    whole = root.join(prefix)
    inside = any(whole.is_under(window) for window in scope.windows)
    parts = [whole] if inside else [each for each in scope.windows if each.is_under(whole)]
    seen = {root.join(path) for path in scope.names() if Path(path).is_under(prefix)}
    shown = {each.relative_to(root): origin.seek(each) for each in (*seen, *parts)}
    expected = {path: seat.broadcast.routes[0].hops for path, seat in shown.items() if seat}
    assert at_once.view == in_turn.view == expected
