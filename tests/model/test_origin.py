"""The entrance: loops, ceilings, lookups, and the clock that is told."""

from __future__ import annotations

import gc
import weakref

import pytest

from relay.errors import LimitExceeded
from relay.model.origin import MAX_HOPS, Origin
from relay.model.settings import CacheSettings
from relay.path import ROOT, Path

B = Path("b")


@pytest.mark.parametrize(
    ("hops", "stands"),
    [
        ((), True),
        ((0,), True),
        ((7, 2), True),
        ((1,), False),
        ((7, 1, 3), False),
        (tuple(range(2, 2 + MAX_HOPS)), True),
        (tuple(range(2, 3 + MAX_HOPS)), False),
    ],
)
def test_chains_with_our_own_id_or_too_many_hops_are_dropped(fakes, hops, stands):
    origin = Origin(1)
    route = origin.announce(B, fakes.Source(), hops, 0.0)
    assert (route is not None, origin.find(B) is not None) == (stands, stands)
    assert origin.routes == stands


def test_every_route_counts_against_max_broadcasts(fakes):
    origin = Origin(1, CacheSettings(max_broadcasts=3))
    first = origin.announce(B, fakes.Source(), (7,), 0.0)
    origin.announce(B, fakes.Source(), (7, 2), 0.0)
    origin.announce(B, fakes.Source(), (8,), 0.0)
    with pytest.raises(LimitExceeded, match="max_broadcasts"):
        origin.announce(Path("c"), fakes.Source(), (7,), 0.0)
    assert origin.find(Path("c")) is None
    first.withdraw(0.0)
    assert origin.announce(Path("c"), fakes.Source(), (7,), 0.0) is not None


def test_relays_tell_each_other_of_themselves_where_there_is_no_room_and_take_none(fakes):
    origin = Origin(1, CacheSettings(max_broadcasts=1))
    news = Path(".internal/relays/7")
    told = [origin.announce(news, fakes.Source(), (7,), 0.0) for _ in range(2)]
    assert (None in told, origin.routes, origin.room) == (False, 2, 1)
    assert origin.announce(B, fakes.Source(), (7,), 0.0) is not None
    with pytest.raises(LimitExceeded, match="max_broadcasts"):
        origin.announce(Path("c"), fakes.Source(), (7,), 0.0)
    for route in (*told, origin.announce(news, fakes.Source(), (7,), 0.0)):
        route.withdraw(0.0)
    assert (origin.routes, origin.room) == (1, 0)


def test_find_answers_for_the_exact_path_only(fakes):
    origin = Origin(1)
    origin.announce(Path("a/b"), fakes.Source(), (7,), 0.0)
    assert [origin.find(Path(path)) is not None for path in ("a", "a/b", "a/b/c")] == [
        False,
        True,
        False,
    ]


def test_what_is_lost_lingers_each_for_its_time(fakes):
    origin = Origin(1)
    for path, when in (("a", 1.0), ("b", 2.0)):
        origin.announce(Path(path), fakes.Source(), (7,), when).lose(when)
    there = {}
    for now in (3.0, 6.0, 7.0):
        origin.tick(now)
        there[now] = [path for path in ("a", "b") if origin.find(Path(path)) is not None]
    assert there == {3.0: ["a", "b"], 6.0: ["b"], 7.0: []}


def test_a_watcher_may_subscribe_from_within_an_announcement(fakes):
    origin, viewer = Origin(1), fakes.Viewer()
    watcher = fakes.Watcher()
    watcher.announced = lambda path, hops: origin.find(path).track("t").watch(viewer, 0.0)
    origin.watch(ROOT, watcher)
    origin.announce(B, source := fakes.Source(), (7,), 0.0)
    assert source.verbs == ["open"]


def test_announcing_and_leaving_leaves_nothing(fakes):
    origin = Origin(1)
    for number in range(1000):
        origin.announce(Path(f"p/{number}"), fakes.Source(), (7,), 0.0).withdraw(0.0)
    assert (origin.routes, origin._stages, origin.board._root.children) == (0, {}, {})


@pytest.mark.parametrize("how", ["withdraw", "lose", "take over"])
def test_what_is_gone_leaves_nothing_to_the_garbage_collector(fakes, how):
    origin = Origin(1)
    origin.watch(ROOT, fakes.Watcher())
    gc.disable()
    try:
        route = origin.announce(B, fakes.Source(), (7,), 1.0)
        broadcast, stage = (weakref.ref(each) for each in (route.broadcast, route.stage))
        if how == "lose":
            route.lose(1.0)
        else:
            if how == "take over":
                origin.announce(B, fakes.Source(), (8,), 1.5).withdraw(2.0)
            route.withdraw(2.0)
        del route
        origin.tick(10.0)
        assert origin.find(B) is None
        assert (broadcast(), stage()) == (None, None)
    finally:
        gc.enable()
