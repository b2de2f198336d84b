"""Announcements: everybody sees one history, in order, of what is visible to it."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model.board import Board, Watch, Way
from relay.path import ROOT, Path

ONE, TWO = object(), object()


def ways(*hops):
    """One way, with that chain."""
    return (Way(hops),)


def test_a_watcher_hears_the_current_set_before_watch_returns(fakes):
    board, watcher = Board(), fakes.Watcher()
    for path in ("x", "x/a", "x/a/b", "xy", "y"):
        board.post(Path(path), ways(7), ONE)
    board.watch(Path("x"), watcher)
    assert watcher.view == {"x": (7,), "x/a": (7,), "x/a/b": (7,)}


def test_changes_reach_the_watchers_of_every_prefix_above(fakes):
    board = Board()
    watchers = {prefix: fakes.Watcher() for prefix in ("", "a", "a/b", "a/b/c", "a/x", "aa")}
    for prefix, watcher in watchers.items():
        board.watch(Path(prefix), watcher)
    board.post(Path("a/b"), ways(7), ONE)
    heard = {prefix for prefix, watcher in watchers.items() if watcher.events}
    assert heard == {"", "a", "a/b"}


def test_a_new_chain_is_announced_again_and_a_new_publisher_replaces(fakes):
    board, watcher = Board(), fakes.Watcher()
    board.watch(ROOT, watcher)
    board.post(Path("a"), ways(7), ONE)
    board.post(Path("a"), ways(7), ONE)
    board.post(Path("a"), ways(7, 2), ONE)
    board.post(Path("a"), ways(7, 2), TWO)
    board.post(Path("a"), (), None)
    board.post(Path("a"), (), None)
    assert watcher.events == [
        ("+", "a", (7,)),
        ("+", "a", (7, 2)),
        ("-", "a"),
        ("+", "a", (7, 2)),
        ("-", "a"),
    ]


def test_a_long_path_of_many_segments_takes_no_room_for_each_of_its_beginnings():
    board = Board()
    paths = [Path("/".join([f"{at:0126}"] + ["x" * 126] * 31)) for at in range(50)]
    tracemalloc.start()
    try:
        for path in paths:
            board.post(path, ways(7), ONE)
        taken = tracemalloc.get_traced_memory()[0] / len(paths)
    finally:
        tracemalloc.stop()
    assert taken < 6 * len(paths[0])
    assert {path for path, _ in board.shown(ROOT)} == set(paths)


def test_chains_with_the_excluded_id_are_hidden(fakes):
    board, watcher = Board(), fakes.Watcher()
    board.post(Path("a"), ways(7, 5), ONE)
    board.watch(ROOT, watcher, exclude=5)
    board.post(Path("b"), ways(5), ONE)
    assert watcher.events == []
    board.post(Path("a"), ways(7, 2), ONE)
    assert watcher.take() == [("+", "a", (7, 2))]
    board.post(Path("a"), ways(7, 5), ONE)
    assert watcher.take() == [("-", "a")]
    board.post(Path("a"), ways(8, 5), TWO)
    board.post(Path("a"), (), None)
    assert watcher.events == []


def test_zero_excludes_nothing(fakes):
    board, watcher = Board(), fakes.Watcher()
    board.watch(ROOT, watcher, exclude=0)
    board.post(Path("a"), ways(0, 0), ONE)
    assert watcher.view == {"a": (0, 0)}


def test_a_cancelled_watch_hears_nothing_more(fakes):
    board, watcher = Board(), fakes.Watcher()
    watch = board.watch(ROOT, watcher)
    watch.cancel()
    watch.cancel()
    board.post(Path("a"), ways(7), ONE)
    assert watcher.events == []


def test_cancelling_from_within_a_call_also_stops_the_rest_of_it(fakes):
    board, first, second = Board(), fakes.Watcher(), fakes.Watcher()
    watches = [board.watch(ROOT, first), board.watch(ROOT, second)]
    first.announced = lambda path, way: [watch.cancel() for watch in watches]
    board.post(Path("a"), ways(7), ONE)
    assert second.events == []


def test_a_change_from_within_a_call_is_heard_by_all_in_order(fakes):
    board, first, second = Board(), fakes.Watcher(), fakes.Watcher()
    board.watch(ROOT, first)
    board.watch(ROOT, second)
    first.announced = lambda path, way: board.post(path, (), None)
    first.unannounced = lambda path: None
    board.post(Path("a"), ways(7), ONE)
    assert second.events == [("+", "a", (7,)), ("-", "a")]


def test_a_change_from_within_the_initial_set_comes_after_it(fakes):
    board, watcher = Board(), fakes.Watcher()
    for path in ("a", "b"):
        board.post(Path(path), ways(7), ONE)

    class Impatient(fakes.Watcher):
        def announced(self, path, way):
            super().announced(path, way)
            for other in ("a", "b"):
                board.post(Path(other), (), None)

    watcher = Impatient()
    board.watch(ROOT, watcher)
    assert [event[0] for event in watcher.events] == ["+", "+", "-", "-"]


def test_a_watch_from_within_a_call_hears_each_change_once(fakes):
    board, first, late = Board(), fakes.Watcher(), fakes.Watcher()
    board.watch(ROOT, first)
    first.announced = lambda path, way: board.watch(ROOT, late)
    board.post(Path("a"), ways(7), ONE)
    assert late.events == [("+", "a", (7,))]


def test_a_watcher_that_raises_does_not_stop_the_board(fakes):
    board, watcher = Board(), fakes.Watcher()

    def broken(path, way):
        raise ZeroDivisionError

    watch = board.watch(ROOT, fakes.Watcher())
    watch._watcher.announced = broken
    try:
        board.post(Path("a"), ways(7), ONE)
    except ZeroDivisionError:
        watch.cancel()
    board.watch(ROOT, watcher)
    board.post(Path("b"), ways(7), ONE)
    assert set(watcher.view) == {"a", "b"}


def test_nothing_is_left_of_what_is_gone(fakes):
    board = Board()
    watch = board.watch(Path("a/b/c/d"), fakes.Watcher())
    board.post(Path("a/b/x/y"), ways(7), ONE)
    board.post(Path("a/b/x/y"), (), None)
    board.post(Path("never/there"), (), None)
    watch.cancel()
    assert board._root.children == {}
    assert list(board.shown(Path("a/b"))) == []


def test_a_change_costs_its_own_watchers_only(fakes, monkeypatch):
    board = Board()
    for number in range(100):
        board.watch(Path(f"tenant{number}"), fakes.Watcher())
    board.watch(Path("elsewhere"), fakes.Watcher())
    asked = []
    monkeypatch.setattr(Watch, "tell", lambda self, *change: asked.append(self))
    board.post(Path("elsewhere/a"), ways(7), ONE)
    assert len(asked) == 1


PATHS = st.sampled_from(["", "a", "a/b", "a/b/c", "ab", "b"])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("post"), PATHS, st.none() | st.tuples(st.integers(2, 4))),
            st.tuples(st.just("watch"), PATHS, st.integers(0, 4)),
        ),
        max_size=30,
    )
)
def test_every_view_is_the_filtered_board(fakes, steps):
    board, shown, watchers = Board(), {}, []
    for verb, path, what in steps:
        if verb == "post":
            board.post(Path(path), ways(*what) if what else (), ONE if what else None)
            shown[path] = what
        else:
            watcher = fakes.Watcher()
            board.watch(Path(path), watcher, what)
            watchers.append((watcher, Path(path), what))
        for watcher, prefix, exclude in watchers:
            assert watcher.view == {
                path: hops
                for path, hops in shown.items()
                if hops and not (exclude and exclude in hops) and Path(path).is_under(prefix)
            }


def test_a_watcher_sees_the_best_way_that_does_not_lead_through_itself(fakes):
    board = Board()
    watchers = {exclude: fakes.Watcher() for exclude in (0, 2, 3)}
    for exclude, watcher in watchers.items():
        board.watch(ROOT, watcher, exclude)
    board.post(Path("a"), (Way((7, 2), 2), Way((7, 3, 4), 3), Way((7, 5, 3, 2), 4)), ONE)
    assert watchers[0].view == {"a": (7, 2)}
    assert watchers[2].view == {"a": (7, 3, 4)}
    assert watchers[3].view == {"a": (7, 2)}
    board.post(Path("a"), (Way((7, 2), 2), Way((7, 5, 3, 2), 4)), ONE)
    assert watchers[2].take()[1:] == [("-", "a")]
    assert len(watchers[0].take()) == len(watchers[3].take()) == 1


def test_a_way_in_doubt_is_shown_to_viewers_and_not_to_relays(fakes):
    board, viewer, relay = Board(), fakes.Watcher(), fakes.Watcher()
    board.watch(ROOT, viewer)
    board.watch(ROOT, relay, is_relay=True)
    board.post(Path("a"), (Way((7, 2)),), ONE)
    board.post(Path("a"), (Way((7, 2), is_sure=False),), ONE)
    assert viewer.events == [("+", "a", (7, 2))]
    assert relay.events == [("+", "a", (7, 2)), ("-", "a")]
    board.post(Path("a"), (Way((7, 2)),), ONE)
    assert len(viewer.events) == 1
    assert relay.view == {"a": (7, 2)}


def test_a_new_price_is_told_to_relays(fakes):
    board, watcher, viewer = Board(), fakes.Watcher(), fakes.Watcher()
    board.watch(ROOT, watcher, is_relay=True)
    board.watch(ROOT, viewer)
    board.post(Path("a"), (Way((7, 2), 2),), ONE)
    board.post(Path("a"), (Way((7, 2), 9),), ONE)
    assert watcher.events == [("+", "a", (7, 2))] * 2
    assert viewer.events == [("+", "a", (7, 2))]
