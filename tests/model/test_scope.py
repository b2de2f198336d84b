"""Isolation: nothing outside the root and the windows goes in or comes out."""

from __future__ import annotations

import gc
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import BadRequest, Forbidden
from relay.model.board import Watch
from relay.model.origin import Origin
from relay.path import ROOT, Path

ALL = (ROOT,)


def paths(*texts):
    return tuple(Path(text) for text in texts)


@pytest.fixture
def origin(fakes):
    origin = Origin(1)
    for path in ("t/a", "t/a/x", "t/b", "t", "tt/a", "other"):
        origin.announce(Path(path), fakes.Source(), (7,), 0.0)
    return origin


def test_paths_come_out_relative_to_the_root(fakes, origin):
    scope, watcher = origin.scope(Path("t"), ALL, ALL), fakes.Watcher()
    scope.watch(ROOT, watcher)
    assert set(watcher.view) == {"", "a", "a/x", "b"} == set(scope.names())


def test_paths_go_in_relative_to_the_root(fakes, origin):
    scope = origin.scope(Path("t"), ALL, ALL)
    scope.announce(Path("new"), fakes.Source(), (8,), 0.0)
    assert origin.find(Path("t/new")) is scope.seek(Path("new")).broadcast is not None
    assert scope.seek(Path("other")) is None
    assert scope.seek(Path("t/a")) is None


def test_publishing_outside_the_window_is_forbidden(fakes, origin):
    scope = origin.scope(Path("t"), paths("mine"), ALL)
    for path in ("", "a", "minefield"):
        with pytest.raises(Forbidden):
            scope.announce(Path(path), fakes.Source(), (8,), 0.0)
    assert scope.announce(Path("mine/x"), fakes.Source(), (8,), 0.0) is not None
    assert scope.allows_publish(Path("mine"))
    assert not scope.allows_publish(Path("other"))


def test_a_loop_is_dropped_as_by_the_origin(fakes, origin):
    assert origin.scope(ROOT, ALL, ALL).announce(Path("n"), fakes.Source(), (8, 1), 0.0) is None


def test_only_the_subscribe_windows_are_seen(fakes, origin):
    scope, watcher = origin.scope(Path("t"), (), paths("a")), fakes.Watcher()
    scope.watch(ROOT, watcher)
    assert set(watcher.view) == {"a", "a/x"} == set(scope.names())
    assert scope.seek(Path("a")) is not None
    assert scope.seek(Path("b")) is None
    assert not scope.allows_subscribe(Path("b"))


def test_a_prefix_below_a_window_narrows_it(fakes, origin):
    scope, watcher = origin.scope(Path("t"), (), paths("a")), fakes.Watcher()
    scope.watch(Path("a/x"), watcher)
    assert set(watcher.view) == {"a/x"}


def test_a_prefix_outside_the_windows_shows_nothing(fakes, origin):
    scope, watcher = origin.scope(Path("t"), (), paths("a")), fakes.Watcher()
    scope.watch(Path("b"), watcher)
    origin.announce(Path("t/b/new"), fakes.Source(), (7,), 0.0)
    assert watcher.events == []


def test_overlapping_windows_announce_once(fakes, origin):
    scope, watcher = origin.scope(Path("t"), (), paths("a", "a/x", "", "a")), fakes.Watcher()
    scope.watch(ROOT, watcher)
    assert len(watcher.events) == 4 == len(list(scope.names()))
    origin.announce(Path("t/a/x/new"), fakes.Source(), (7,), 0.0)
    assert len(watcher.events) == 5


def test_without_windows_nothing_is_possible(fakes, origin):
    scope, watcher = origin.scope(Path("t"), (), ()), fakes.Watcher()
    scope.watch(ROOT, watcher)
    assert watcher.events == []
    assert scope.seek(Path("a")) is None
    with pytest.raises(Forbidden):
        scope.announce(Path("a"), fakes.Source(), (7,), 0.0)


def test_the_excluded_id_is_hidden(fakes, origin):
    scope, watcher = origin.scope(Path("t"), ALL, ALL), fakes.Watcher()
    scope.watch(ROOT, watcher, exclude=7)
    assert watcher.events == []


def test_a_path_too_long_below_the_root_is_nowhere(fakes, origin):
    scope, watcher = origin.scope(Path("/".join("r" * 30)), ALL, ALL), fakes.Watcher()
    deep = Path("a/b/c")
    watch = scope.watch(deep, watcher)
    scope.narrow(ALL, ALL)
    watch.cancel()
    assert watcher.events == []
    assert scope.seek(deep) is None
    assert not scope.allows_publish(deep)
    with pytest.raises(BadRequest):
        scope.announce(deep, fakes.Source(), (7,), 0.0)


def test_a_cancelled_watch_hears_nothing_more(fakes, origin):
    scope, watcher = origin.scope(Path("t"), ALL, ALL), fakes.Watcher()
    watch = scope.watch(ROOT, watcher)
    watcher.take()
    watch.cancel()
    origin.announce(Path("t/new"), fakes.Source(), (7,), 0.0)
    scope.narrow((), ())
    assert watcher.events == []


def test_narrowing_within_the_initial_set_leaves_nothing_open(fakes, origin):
    scope, watcher = origin.scope(ROOT, (), paths("t", "other")), fakes.Watcher()
    told = watcher.announced

    def hasty(path, hops):
        told(path, hops)
        scope.narrow((), ())

    watcher.announced = hasty
    scope.watch(ROOT, watcher)
    assert watcher.view == {}
    watcher.take()
    origin.announce(Path("t/new"), fakes.Source(), (7,), 0.0)
    origin.announce(Path("other/new"), fakes.Source(), (7,), 0.0)
    assert watcher.events == []


# Narrowing.


def test_narrowing_tells_the_difference_only(fakes, origin):
    scope, watcher = origin.scope(Path("t"), ALL, paths("a", "b")), fakes.Watcher()
    scope.watch(ROOT, watcher)
    watcher.take()
    scope.narrow(ALL, paths("a/x", ""))
    assert watcher.take() == [("+", "", (7,))]
    scope.narrow(ALL, paths("a/x"))
    assert sorted(watcher.take()) == [("-", ""), ("-", "a"), ("-", "b")]
    origin.announce(Path("t/a/x/y"), fakes.Source(), (7,), 0.0)
    origin.announce(Path("t/b/y"), fakes.Source(), (7,), 0.0)
    assert watcher.take() == [("+", "a/x/y", (7,))]
    assert scope.seek(Path("a")) is None
    assert not scope.allows_subscribe(Path("a"))


def test_narrowing_respects_the_excluded_id(fakes, origin):
    scope, watcher = origin.scope(Path("t"), ALL, ALL), fakes.Watcher()
    scope.watch(ROOT, watcher, exclude=7)
    scope.narrow(ALL, paths("a"))
    assert watcher.events == []


def test_narrowing_revokes_routes_outside_and_keeps_those_inside(fakes, origin):
    scope, watcher = origin.scope(Path("u"), ALL, ALL), fakes.Watcher()
    origin.watch(Path("u"), watcher)
    kept = scope.announce(Path("a"), fakes.Source(), (7,), 0.0)
    lost = scope.announce(Path("b"), source := fakes.Source(), (7,), 0.0)
    track = scope.seek(Path("b")).track("t")
    track.watch(viewer := fakes.Viewer(), 0.0)
    scope.narrow(paths("a"), ALL)
    assert watcher.view == {"u/a": (7,)}
    assert viewer.ends == ["Dropped"]
    assert source.verbs == ["open", "close"]
    assert kept.update((7, 2), 1.0)
    assert not lost.update((7, 2), 1.0)
    lost.withdraw(1.0)


def test_narrowing_from_within_a_call_loses_no_change(fakes, origin):
    scope = origin.scope(Path("t"), ALL, ALL)
    first, second = fakes.Watcher(), fakes.Watcher()
    scope.watch(ROOT, first)
    scope.watch(ROOT, second)
    wide = first.announced

    def narrowing(path, hops):
        wide(path, hops)
        scope.narrow(ALL, paths("new", "gone"))

    first.announced = narrowing
    origin.announce(Path("t/new"), fakes.Source(), (7,), 0.0)
    assert first.view == second.view == {"new": (7,)}


def test_narrowing_from_within_a_call_of_narrowing_comes_after_it_for_everybody(fakes, origin):
    scope = origin.scope(Path("t"), ALL, ALL)
    first, second = fakes.Watcher(), fakes.Watcher()
    scope.watch(ROOT, first)
    scope.watch(ROOT, second)
    gone = first.unannounced

    def narrowing(path):
        first.unannounced = gone
        gone(path)
        scope.narrow(ALL, ())

    first.unannounced = narrowing
    scope.narrow(ALL, paths("b"))
    origin.announce(Path("t/b/new"), fakes.Source(), (7,), 0.0)
    assert first.view == second.view == {}


def test_a_scope_does_not_keep_routes_that_are_gone(fakes, origin):
    scope = origin.scope(Path("u"), ALL, ALL)
    for number in range(10):
        scope.announce(Path(f"p{number}"), fakes.Source(), (7,), 0.0).withdraw(0.0)
    gc.collect()
    assert len(scope._routes) == 0
    assert origin.routes == 6


SEGMENTS = st.sampled_from(["a", "b", "aa"])
PATHS = st.lists(SEGMENTS, max_size=3).map(lambda segments: Path("/".join(segments)))
WINDOWS = st.lists(PATHS, max_size=3).map(tuple)


@settings(max_examples=80, deadline=None)
@given(
    PATHS,
    st.lists(st.tuples(WINDOWS, WINDOWS), min_size=1, max_size=3),
    st.lists(PATHS, min_size=1, max_size=3),
    st.lists(PATHS, max_size=12),
)
def test_scopes_never_leak(fakes, root, grants, prefixes, announced):
    """Whatever the windows and however they move: what is seen is what root, windows and prefix
    share, and what is published lies inside."""
    origin = Origin(1)
    for path in announced[::2]:
        origin.announce(path, fakes.Source(), (7,), 0.0)
    scope = origin.scope(root, *grants[0])
    watchers = [(fakes.Watcher(), prefix) for prefix in prefixes]
    for watcher, prefix in watchers:
        scope.watch(prefix, watcher)
    mine = []
    for step, (publish, subscribe) in enumerate(grants):
        if step:
            scope.narrow(publish, subscribe)
        for path in announced[1::2]:
            allowed = any(path.is_under(window) for window in publish)
            try:
                mine.append(scope.announce(path, fakes.Source(), (8 + step,), 0.0))
                assert allowed
            except Forbidden:
                assert not allowed
        for route in mine:
            inside = any(route.path.is_under(root.join(window)) for window in publish)
            assert route.has_ended != inside
        mine = [route for route in mine if not route.has_ended]
        there = {path for path in origin._stages if origin.find(path) is not None}
        visible = {
            path.relative_to(root)
            for path in there
            if any(path.is_under(root.join(window)) for window in subscribe)
        }
        for watcher, prefix in watchers:
            assert set(watcher.view) == {path for path in visible if path.is_under(prefix)}
        for path in {*announced, *visible}:
            assert (scope.seek(path) is not None) == (path in visible)


def test_told_in_turn_no_window_waits_for_another(fakes, origin):
    scope, watcher = origin.scope(ROOT, (ROOT,), (Path("a"), Path("b"))), fakes.Watcher()
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    source = fakes.Source()
    for number in range(4):
        origin.announce(Path(f"a/{number}"), source, (7,), 0.0)
        origin.announce(Path(f"b/{number}"), source, (7,), 0.0)
    assert watcher.events == []
    assert watch.catch_up(2) == (2, True)
    assert watch.catch_up(2) == (2, True)
    assert sorted(watcher.view) == ["a/0", "a/1", "b/0", "b/1"]
    while watch.catch_up(2)[1]:
        pass
    assert len(watcher.view) == 8


def test_told_in_turn_a_relay_is_told_at_once(fakes, origin):
    scope, watcher = origin.scope(ROOT, (ROOT,), (ROOT,), is_relay=True), fakes.Watcher()
    scope.watch(ROOT, watcher, wake=lambda: None)
    watcher.take()
    origin.announce(Path("new"), fakes.Source(), (7,), 0.0)
    assert watcher.events == [("+", "new", (7,))]


def test_told_in_turn_and_narrowed_meanwhile(fakes, origin):
    scope, watcher = origin.scope(ROOT, (ROOT,), (ROOT,)), fakes.Watcher()
    source = fakes.Source()
    gone = origin.announce(Path("a/gone"), source, (7,), 0.0)
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    gone.withdraw(0.0)
    for path in ("a/new", "b/new"):
        origin.announce(Path(path), source, (7,), 0.0)
    scope.narrow((ROOT,), (Path("b"),))
    while watch.catch_up(2)[1]:
        pass
    assert watcher.view == {"b/new": (7,)}
    assert ("+", "a/new", (7,)) not in watcher.events
    assert watch.catch_up(9) == (0, False)
    origin.announce(Path("b/late"), source, (7,), 0.0)
    origin.announce(Path("a/late"), source, (7,), 0.0)
    watch.catch_up(9)
    assert sorted(watcher.view) == ["b/late", "b/new"]


def test_told_in_turn_and_narrowed_from_within_a_call_loses_no_change(fakes, origin):
    scope, watcher = origin.scope(ROOT, (ROOT,), (ROOT,)), fakes.Watcher()
    first = origin.announce(Path("a/x"), fakes.Source(), (7,), 0.0)
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    first.withdraw(0.0)
    origin.announce(Path("a/x"), fakes.Source(), (8,), 0.0)
    real = watcher.unannounced

    def narrowing(path):
        watcher.unannounced = real
        real(path)
        scope.narrow((ROOT,), (Path("a"),))

    watcher.unannounced = narrowing
    watch.catch_up(9)
    assert watcher.view == {"a/x": (8,)}


def test_told_in_turn_and_narrowed_from_within_a_call_tells_nothing_else_of_what_was_there(
    fakes, origin
):
    scope, watcher = origin.scope(ROOT, (ROOT,), (ROOT,)), fakes.Watcher()
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    watcher.take()
    for path in ("a/x", "b/x", "b/y"):
        origin.announce(Path(path), fakes.Source(), (7,), 0.0)
    real = watcher.announced

    def narrowing(path, way):
        real(path, way)
        scope.narrow((ROOT,), (Path("a"),))

    watcher.announced = narrowing
    watch.catch_up(9)
    assert [event for event in watcher.events if event[0] == "+"] == [("+", "a/x", (7,))]


def test_told_in_turn_a_window_where_nothing_changed_costs_nothing(fakes, origin):
    scope = origin.scope(ROOT, (ROOT,), tuple(Path(f"w{number}") for number in range(99)))
    watcher = fakes.Watcher()
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    origin.announce(Path("w7/x"), fakes.Source(), (7,), 0.0)
    asked = []
    real = Watch.catch_up
    with patch.object(Watch, "catch_up", lambda part, limit: asked.append(1) or real(part, limit)):
        assert watch.catch_up(9) == (1, False)
    assert len(asked) == 1
    assert watcher.view == {"w7/x": (7,)}


def test_told_in_turn_other_windows_are_told_so_much_at_a_time(fakes, origin):
    scope, watcher, woken = origin.scope(ROOT, (ROOT,), (Path("a"),)), fakes.Watcher(), []
    source = fakes.Source()
    for number in range(20):
        for window in "abc":
            origin.announce(Path(f"{window}/{number}"), source, (7,), 0.0)
    watch = scope.watch(ROOT, watcher, wake=lambda: woken.append(1))
    watcher.take()
    scope.narrow((ROOT,), (Path("b"), Path("c")))
    assert (watcher.take(), woken) == ([], [1])
    assert watch.catch_up(5)[1]
    assert {event[0] for event in watcher.take()} == {"-"}
    while watch.catch_up(5)[1]:
        assert len(watcher.take()) <= 5
    assert sorted(watcher.view) == sorted(f"{w}/{n}" for w in "bc" for n in range(20))
    watcher.take()
    scope.narrow((ROOT,), (Path("b"), Path("c")))
    assert (watch.catch_up(5), watcher.events) == ((0, False), [])


def test_told_in_turn_what_stays_in_the_windows_is_not_told_again(fakes, origin):
    scope, watcher = origin.scope(ROOT, (ROOT,), (Path("t/a"),)), fakes.Watcher()
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    watcher.take()
    first = origin.announce(Path("t/a/y"), fakes.Source(), (7,), 0.0)
    scope.narrow((ROOT,), (ROOT,))
    scope.narrow((ROOT,), (Path("t"),))
    first.withdraw(0.0)
    origin.announce(Path("t/a/y"), fakes.Source(), (8,), 0.0)
    while watch.catch_up(1)[1]:
        pass
    told = watcher.take()
    assert sorted(told) == [("+", "t", (7,)), ("+", "t/a/y", (8,)), ("+", "t/b", (7,))]


FEW = st.sampled_from(["a", "a/a", "a/b", "b", "b/a", ""]).map(Path)
FEW_WINDOWS = st.lists(FEW, max_size=2).map(tuple)


@settings(max_examples=200, deadline=None)
@given(
    root=st.sampled_from([ROOT, Path("a")]),
    prefixes=st.lists(FEW, min_size=1, max_size=2),
    first=FEW_WINDOWS,
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("rights"), FEW_WINDOWS),
            st.tuples(st.just("rights within the next call"), FEW_WINDOWS),
            st.tuples(st.just("there"), FEW),
            st.tuples(st.just("gone"), FEW),
            st.tuples(st.just("told"), st.integers(1, 4)),
        ),
        max_size=60,
    ),
)
def test_told_in_turn_everybody_comes_to_see_what_is_there(fakes, root, prefixes, first, steps):
    """Publishers displace each other, rights change before they are told: nothing outside them is
    announced, nobody is taken for another, and in the end what is there has been told."""
    origin = Origin(1)
    scope = origin.scope(root, (), first)
    listeners = []
    routes, publishers, next_rights = {}, iter(range(100, 200)), []

    class Hearer(fakes.Watcher):
        def announced(self, path, way):
            assert scope.allows_subscribe(path)
            assert self.view.get(str(path), way.hops) == way.hops, "another publisher"
            self.view[str(path)] = way.hops
            if next_rights:
                scope.narrow((), next_rights.pop())

        def unannounced(self, path):
            self.view.pop(str(path), None)

    for prefix in prefixes:
        listener = Hearer()
        listeners.append((prefix, listener, scope.watch(prefix, listener, wake=lambda: None)))
    for what, which in steps:
        if what == "rights":
            scope.narrow((), which)
        elif what == "rights within the next call":
            next_rights[:] = [which]
        elif what == "told":
            for _, _, watch in listeners:
                assert watch.catch_up(which)[0] <= which
        elif what == "gone":
            if (route := routes.pop(which, None)) is not None:
                route.withdraw(0.0)
        else:
            routes[which] = origin.announce(which, fakes.Source(), (next(publishers),), 0.0)
    for prefix, listener, watch in listeners:
        while watch.catch_up(3)[1]:
            pass
        seen = [path for path in map(Path, scope.names()) if path.is_under(prefix)]
        shown = {path: origin.find(root.join(path)).routes[0].hops for path in seen}
        assert listener.view == shown


def test_told_in_turn_what_has_not_been_told_yet_is_not_taken_for_known(fakes, origin):
    scope, watcher = origin.scope(ROOT, (ROOT,), (Path("other"),)), fakes.Watcher()
    watch = scope.watch(ROOT, watcher, wake=lambda: None)
    scope.narrow((ROOT,), (ROOT,))
    assert watch.catch_up(2)[1]
    scope.narrow((ROOT,), (Path("t"),))
    while watch.catch_up(9)[1]:
        pass
    assert sorted(watcher.view) == ["t", "t/a", "t/a/x", "t/b"]


@pytest.mark.parametrize("becomes", ["another", "hidden"])
def test_told_in_turn_what_is_there_comes_after_a_change_of_it_was_told(fakes, origin, becomes):
    class Hearer(fakes.Watcher):
        def unannounced(self, path):
            if path in self.view:
                super().unannounced(path)

    scope, watcher = origin.scope(ROOT, (), (Path("nothing"),)), Hearer()
    for path in ("a", "a/first"):
        origin.announce(Path(path), fakes.Source(), (7,), 0.0)
    watch = scope.watch(ROOT, watcher, exclude=9, wake=lambda: None)
    scope.narrow((), (Path("a"),))
    watch.catch_up(1)
    origin.announce(Path("a/b"), fakes.Source(), (7,), 0.0)
    route = origin.announce(Path("a/first"), fakes.Source(), (8,), 0.0)
    while "a/first" not in watcher.view:
        assert watch.catch_up(2) == (2, True)
    assert watcher.take()[-1] == ("+", "a/first", (8,))
    if becomes == "another":
        origin.announce(Path("a/first"), fakes.Source(), (5,), 0.0)
    else:
        route.update((8, 9), 0.0)
    while watch.catch_up(2)[1]:
        pass
    told = [event for event in watcher.take() if event[1] == "a/first"]
    assert told == [("-", "a/first"), ("+", "a/first", (5,))][: 1 + (becomes == "another")]
