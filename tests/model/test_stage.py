"""Several sources at one path: standby, the newest publisher, parking, lingering."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.errors import Dropped, RelayError
from relay.model.board import Price
from relay.model.demand import TrackInfo
from relay.model.fingerprint import fingerprint
from relay.model.origin import Origin
from relay.model.settings import CacheSettings
from relay.path import ROOT, Path

B = Path("b")


def viewer_of(origin, fakes):
    viewer = fakes.Viewer()
    track = origin.find(B).track("t")
    track.watch(viewer, 0.0)
    track.accept(TrackInfo())
    return viewer, track


# The same publisher.


def test_the_same_publisher_joins_as_an_invisible_standby(fakes, origin, watcher):
    origin.announce(B, fakes.Source(), (7, 2), 0.0)
    broadcast = origin.find(B)
    origin.announce(B, fakes.Source(), (7, 3, 4), 0.0)
    assert watcher.events == [("+", "b", (7, 2))]
    assert origin.find(B) is broadcast


def test_a_better_way_is_shown_at_once(fakes, origin, watcher):
    origin.announce(B, fakes.Source(), (7, 2), 0.0)
    broadcast = origin.find(B)
    origin.announce(B, fakes.Source(), (7,), 0.0)
    assert watcher.events == [("+", "b", (7, 2)), ("+", "b", (7,))]
    assert origin.find(B) is broadcast


def test_a_standby_takes_over_and_viewers_stay(fakes, origin, watcher):
    first, second = fakes.Source(), fakes.Source()
    route = origin.announce(B, first, (7, 2), 0.0)
    origin.announce(B, second, (7, 3), 0.0)
    viewer, track = viewer_of(origin, fakes)
    track.open_group(4, "raw", 0.0)
    watcher.take()
    route.lose(1.0)
    assert watcher.events == [("+", "b", (7, 3))]
    assert viewer.ends == []
    assert viewer.groups[0].error.code == 24
    assert first.verbs == ["open", "close"]
    assert second.calls == [("open", "t", 4)]


def test_a_clean_goodbye_also_hands_over_to_the_standby(fakes, origin):
    second = fakes.Source()
    route = origin.announce(B, fakes.Source(), (7, 2), 0.0)
    origin.announce(B, second, (7, 3), 0.0)
    viewer, _ = viewer_of(origin, fakes)
    route.withdraw(1.0)
    assert second.verbs == ["open"]
    assert viewer.ends == []


def test_a_standby_that_leaves_is_not_noticed(fakes, origin, watcher):
    origin.announce(B, fakes.Source(), (7, 2), 0.0)
    standby = origin.announce(B, fakes.Source(), (7, 3), 0.0)
    viewer, _ = viewer_of(origin, fakes)
    standby.lose(1.0)
    assert watcher.events == [("+", "b", (7, 2))]
    assert viewer.ends == []


def test_routes_are_ranked_by_cost_length_hash_and_age(fakes, origin):
    routes = [origin.announce(B, fakes.Source(), (7, 2, 2, 2), 0.0, price=Price(9, 9))]
    hashed = sorted([(7, 5), (7, 6), (7, 8)], key=lambda hops: fingerprint(B, hops))
    for hops, cost in [
        ((7, 9, 9), 0),
        ((7,), 1),
        (hashed[2], 0),
        (hashed[0], 0),
        (hashed[1], 0),
        ((7, 3, 3, 3), 0),
        (hashed[0], 0),
    ]:
        routes.append(origin.announce(B, fakes.Source(), hops, 0.0, price=Price(cost, cost)))
    order = []
    while origin.find(B) is not None:
        serving = origin.find(B).routes[0]
        order.append(routes.index(serving))
        serving.withdraw(1.0)
    assert order == [7, 4, 5, 3, 1, 6, 2, 0]


def test_the_hash_is_fnv_1a():
    assert fingerprint(Path(""), ()) == 0xCBF29CE484222325
    assert fingerprint(Path("foobar"), ()) == 0x85944171F73967E8


# Another publisher.


@pytest.mark.parametrize(("old", "new"), [(7, 8), (0, 8), (7, 0), (0, 0)])
def test_the_newest_publisher_wins_immediately(fakes, origin, watcher, old, new):
    origin.announce(B, source := fakes.Source(), (old,), 0.0)
    viewer, _ = viewer_of(origin, fakes)
    loser = origin.find(B)
    watcher.take()
    origin.announce(B, fakes.Source(), (new,), 0.0)
    assert watcher.events == [("-", "b"), ("+", "b", (new,))]
    assert viewer.ends == ["Dropped"]
    assert source.verbs == ["open", "close"]
    assert origin.find(B) is not loser


def test_the_loser_comes_back_when_the_winner_leaves(fakes, origin, watcher):
    origin.announce(B, fakes.Source(), (7,), 0.0)
    loser = origin.find(B)
    winner = origin.announce(B, fakes.Source(), (8,), 0.0)
    watcher.take()
    winner.withdraw(1.0)
    assert watcher.events == [("-", "b"), ("+", "b", (7,))]
    assert origin.find(B) is loser
    viewer, _ = viewer_of(origin, fakes)
    assert viewer.events == [("accepted", TrackInfo())]


def test_the_newest_of_several_losers_comes_back(fakes, origin, watcher):
    for identity in (5, 6, 7):
        origin.announce(B, fakes.Source(), (identity,), 0.0)
    origin.find(B).routes[0].withdraw(0.0)
    assert watcher.view == {"b": (6,)}


def test_a_lost_winner_lingers_before_the_loser_comes_back(fakes, origin, watcher):
    origin.announce(B, fakes.Source(), (7,), 0.0)
    winner = origin.announce(B, fakes.Source(), (8,), 0.0)
    watcher.take()
    winner.lose(1.0)
    assert watcher.events == []
    origin.tick(6.0)
    assert watcher.events == [("-", "b"), ("+", "b", (7,))]


def test_a_parked_publisher_that_leaves_is_forgotten_without_linger(fakes, origin, watcher):
    loser = origin.announce(B, fakes.Source(), (7,), 0.0)
    winner = origin.announce(B, fakes.Source(), (8,), 0.0)
    loser.lose(1.0)
    winner.withdraw(1.0)
    assert watcher.view == {}
    assert origin.find(B) is None
    assert (origin.routes, origin._stages) == (0, {})


def test_a_second_way_to_a_parked_publisher_parks_too(fakes, origin, watcher):
    first = origin.announce(B, fakes.Source(), (7, 2), 0.0)
    winner = origin.announce(B, fakes.Source(), (8,), 0.0)
    origin.announce(B, fakes.Source(), (7, 3), 0.0)
    first.withdraw(0.0)
    winner.withdraw(0.0)
    assert watcher.view == {"b": (7, 3)}


def test_a_stale_broadcast_has_no_tracks(fakes, origin):
    origin.announce(B, source := fakes.Source(), (7,), 0.0)
    loser = origin.find(B)
    origin.announce(B, fakes.Source(), (8,), 0.0)
    viewer = fakes.Viewer()
    loser.track("t").watch(viewer, 0.0)
    assert viewer.ends == ["Unroutable"]
    assert source.calls == []
    assert loser.tracks == {}


# Gone.


def test_a_goodbye_unannounces_immediately(fakes, origin, watcher):
    origin.announce(B, fakes.Source(), (7,), 0.0).withdraw(1.0)
    assert watcher.events == [("+", "b", (7,)), ("-", "b")]
    assert origin.find(B) is None


def test_after_a_goodbye_viewers_are_served_to_the_end(fakes, origin):
    source = fakes.Source()
    route = origin.announce(B, source, (7,), 0.0)
    viewer, track = viewer_of(origin, fakes)
    group = track.open_group(0, "raw", 0.0)
    route.withdraw(1.0)
    assert group.write(b"tail", 1.0)
    group.finish(1.0)
    assert track.open_group(1, "raw", 1.0) is not None
    track.finish(1.0)
    assert (viewer.sequences, viewer.ends) == ([0, 1], [None])
    assert source.verbs == ["open"]


def test_groups_of_a_finished_track_survive_the_goodbye(fakes, origin):
    route = origin.announce(B, fakes.Source(), (7,), 0.0)
    _, track = viewer_of(origin, fakes)
    group = track.open_group(0, "raw", 0.0)
    track.finish(1.0)
    route.withdraw(1.0)
    assert group.write(b"tail", 1.0)
    group.finish(2.0)
    origin.tick(31.0)
    assert (track.groups, origin.stock.cache.used) == ({}, 0)


def test_a_source_that_vanishes_after_its_goodbye_drops_the_viewers(fakes, origin):
    route = origin.announce(B, fakes.Source(), (7,), 0.0)
    viewer, _ = viewer_of(origin, fakes)
    route.withdraw(1.0)
    route.lose(2.0)
    assert viewer.ends == ["Dropped"]


def test_the_last_viewer_after_a_goodbye_leaves_nothing(fakes, origin):
    route = origin.announce(B, source := fakes.Source(), (7,), 0.0)
    viewer, track = viewer_of(origin, fakes)
    track.open_group(0, "raw", 0.0).finish(0.0)
    route.withdraw(1.0)
    track.unwatch(viewer, 1.0)
    assert source.verbs == ["open", "close"]
    assert (track.groups, origin.stock.cache.used) == ({}, 0)


def test_a_goodbye_forgets_tracks_that_nobody_watches(fakes, origin):
    route = origin.announce(B, fakes.Source(), (7,), 0.0)
    viewer, track = viewer_of(origin, fakes)
    track.open_group(0, "raw", 0.0).finish(0.0)
    track.unwatch(viewer, 0.0)
    route.withdraw(1.0)
    assert origin.stock.cache.used == 0


def test_an_abrupt_loss_lingers_and_then_drops_the_viewers(fakes, origin, watcher):
    route = origin.announce(B, fakes.Source(), (7,), 0.0)
    viewer, track = viewer_of(origin, fakes)
    group = track.open_group(0, "raw", 0.0)
    watcher.take()
    route.lose(1.0)
    assert group.error.code == 24
    origin.tick(5.9)
    assert (watcher.events, viewer.ends) == ([], [])
    origin.tick(6.0)
    assert (watcher.events, viewer.ends) == ([("-", "b")], ["Dropped"])
    assert origin.find(B) is None


def test_the_same_publisher_within_the_linger_splices_in_silently(fakes, origin, watcher):
    route = origin.announce(B, fakes.Source(), (7,), 0.0)
    viewer, track = viewer_of(origin, fakes)
    track.open_group(3, "raw", 0.0)
    watcher.take()
    route.lose(1.0)
    origin.announce(B, again := fakes.Source(), (7,), 3.0)
    origin.tick(100.0)
    assert (watcher.events, viewer.ends) == ([], [])
    assert again.calls == [("open", "t", 3)]


def test_a_viewer_who_comes_within_the_linger_waits_for_the_source(fakes, origin):
    origin.announce(B, fakes.Source(), (7,), 0.0).lose(1.0)
    viewer, learner = fakes.Viewer(), fakes.Learner()
    track = origin.find(B).track("t")
    track.watch(viewer, 2.0)
    track.learn(learner, 2.0)
    assert (viewer.events, learner.events) == ([], [])
    origin.announce(B, again := fakes.Source(), (7, 2), 3.0)
    assert again.verbs == ["open"]
    track.accept(TrackInfo())
    assert (viewer.events, learner.events) == ([("accepted", TrackInfo())], [TrackInfo()])


@pytest.mark.parametrize("identity", [8, 0])
def test_another_publisher_within_the_linger_wins(fakes, origin, watcher, identity):
    origin.announce(B, fakes.Source(), (7,), 0.0).lose(1.0)
    watcher.take()
    winner = origin.announce(B, fakes.Source(), (identity,), 2.0)
    assert watcher.take() == [("-", "b"), ("+", "b", (identity,))]
    winner.withdraw(3.0)
    assert watcher.view == {}


def test_without_linger_an_abrupt_loss_is_immediate(fakes):
    origin, watcher = Origin(1, CacheSettings(linger=0.0)), fakes.Watcher()
    origin.watch(ROOT, watcher)
    origin.announce(B, fakes.Source(), (7,), 0.0).lose(1.0)
    assert watcher.view == {}


def test_a_revoked_route_drops_its_viewers_at_once(fakes, origin, watcher):
    route = origin.announce(B, fakes.Source(), (7,), 0.0)
    viewer, _ = viewer_of(origin, fakes)
    route.revoke()
    assert (watcher.view, viewer.ends) == ({}, ["Dropped"])
    assert not route.update((7,), 1.0)


# Restart.


def test_a_restart_of_the_same_publisher_is_metadata_only(fakes, origin, watcher):
    route = origin.announce(B, source := fakes.Source(), (7,), 0.0)
    viewer, _ = viewer_of(origin, fakes)
    watcher.take()
    assert route.update((7, 3), 1.0)
    assert route.update((7, 3), 1.0)
    assert watcher.events == [("+", "b", (7, 3))]
    assert viewer.ends == []
    assert source.verbs == ["open"]


@pytest.mark.parametrize(("old", "new"), [(7, 8), (0, 0)])
def test_a_restart_of_another_publisher_takes_over(fakes, origin, watcher, old, new):
    route = origin.announce(B, fakes.Source(), (old,), 0.0)
    viewer, _ = viewer_of(origin, fakes)
    watcher.take()
    assert route.update((new, 3), 1.0)
    assert watcher.events == [("-", "b"), ("+", "b", (new, 3))]
    assert viewer.ends == ["Dropped"]
    route.withdraw(2.0)
    assert (watcher.view, origin.routes, origin._stages) == ({}, 0, {})


def test_another_price_is_no_other_publisher_although_nobody_knows_who_it_is(
    fakes, origin, watcher
):
    """The first viewer somewhere makes a broadcast cheap there: the others must not notice."""
    route = origin.announce(B, fakes.Source(), (0, 3), 0.0, Price(2, 2))
    viewer, _ = viewer_of(origin, fakes)
    watcher.take()
    assert route.update((0, 3), 1.0, Price(0, 2))
    assert (route.price, watcher.take(), viewer.ends) == (Price(0, 2), [], [])
    assert route.update((0, 3), 2.0, Price(0, 2))
    assert viewer.ends == ["Dropped"]


def test_what_relays_tell_of_nobody_known_takes_no_path(fakes, origin, watcher):
    """It may be what is there already, by way of a relay that speaks moq-lite-03."""
    first = origin.announce(B, fakes.Source(), (7, 2), 0.0)
    viewer, _ = viewer_of(origin, fakes)
    origin.announce(B, fakes.Source(), (0, 3, 4), 1.0)
    assert (watcher.take(), viewer.ends) == ([("+", "b", (7, 2))], [])
    first.withdraw(2.0)
    assert watcher.view == {"b": (0, 3, 4)}
    origin.announce(B, fakes.Source(), (8, 2), 3.0)
    assert watcher.view == {"b": (8, 2)}


def test_a_restart_into_a_parked_publisher_joins_it(fakes, origin, watcher):
    origin.announce(B, fakes.Source(), (7, 2), 0.0)
    route = origin.announce(B, fakes.Source(), (8,), 0.0)
    route.update((7, 3), 1.0)
    assert watcher.view == {"b": (7, 2)}
    assert len(origin.find(B).routes) == 2


def test_a_standby_that_changes_sides_takes_over(fakes, origin, watcher):
    origin.announce(B, fakes.Source(), (7, 2), 0.0)
    standby = origin.announce(B, fakes.Source(), (7, 3), 0.0)
    standby.update((8,), 1.0)
    assert watcher.view == {"b": (8,)}
    standby.withdraw(1.0)
    assert watcher.view == {"b": (7, 2)}


def test_a_serving_route_that_joins_a_parked_one_leaves_its_standby_serving(fakes, origin, watcher):
    origin.announce(B, fakes.Source(), (7,), 0.0)
    serving = origin.announce(B, fakes.Source(), (8, 2), 0.0)
    origin.announce(B, standby := fakes.Source(), (8, 3), 0.0)
    viewer, _ = viewer_of(origin, fakes)
    serving.update((7, 2), 1.0)
    assert watcher.view == {"b": (8, 3)}
    assert standby.verbs == ["open"]
    assert viewer.ends == []


def test_a_restart_into_a_loop_withdraws_until_the_next(fakes, origin, watcher):
    route = origin.announce(B, fakes.Source(), (7,), 0.0)
    assert not route.update((7, 1), 1.0)
    assert (watcher.view, origin.routes) == ({}, 0)
    assert not route.update((7, *range(2, 34)), 1.0)
    assert route.update((7, 5), 2.0)
    assert (watcher.view, origin.routes) == ({"b": (7, 5)}, 1)
    assert origin.find(B).routes == [route]


def test_a_route_that_ended_stays_ended(fakes, origin, watcher):
    route = origin.announce(B, fakes.Source(), (7,), 0.0)
    route.withdraw(1.0)
    route.withdraw(1.0)
    route.lose(1.0)
    assert not route.update((7,), 2.0)
    assert (watcher.view, origin.routes) == ({}, 0)


# Everything at once, against a slow and simple book-keeper.


class Book:
    """The same rules on plain lists: per path a list of publishers, the last one on air."""

    def __init__(self, linger):
        self.linger = linger
        self.paths = {}
        self.shown = {}
        self.came = 0

    def publishers(self, path):
        return self.paths.setdefault(path, [])

    def announce(self, path, key, hops, is_vacant=False):
        """``is_vacant``: its own publisher was on air, and nothing is before it comes."""
        *parked, on_air = self.publishers(path) or [{"id": 0}]
        for publisher in (on_air, *parked):
            is_anew = publisher.get("is_over") and len(hops) < 3
            if hops[0] and publisher["id"] == hops[0] and not is_anew:
                publisher["until"] = None
                publisher["routes"].insert(0, (key, hops))
                self.sort(path, publisher)
                return
        kept = [publisher for publisher in self.publishers(path) if publisher["routes"]]
        fresh = {"id": hops[0], "routes": [(key, hops)], "until": None, "is_over": False}
        waits = on_air.get("routes") and not (is_vacant or hops[0]) and len(hops) > 1
        kept.insert(len(kept) - bool(waits), fresh)
        self.came += 1
        fresh["came"] = self.came
        # Whoever waits does so in the order they came in.
        self.paths[path] = [*sorted(kept[:-1], key=lambda each: each["came"]), kept[-1]]

    def sort(self, path, publisher):
        publisher["routes"].sort(
            key=lambda route: (len(route[1]), fingerprint(Path(path), route[1])),
        )

    def leave(self, path, key, now, abrupt, moves=False):
        """Answers whether that was all of whoever was on air."""
        is_vacant = False
        publishers = self.publishers(path)
        for publisher in tuple(publishers):
            had = len(publisher["routes"])
            gone = [route[1] for route in publisher["routes"] if route[0] == key]
            publisher["routes"] = [route for route in publisher["routes"] if route[0] != key]
            if gone and publisher is publishers[-1]:
                self.shown[path] = gone[0]
            if gone and len(gone[0]) < 3 and not abrupt and not moves:
                # Its own relay says so: what others still lead to is an echo.
                publisher["is_over"] = all(len(hops) > 2 for _, hops in publisher["routes"])
            if had and not publisher["routes"]:
                if abrupt and publisher is publishers[-1] and not publisher["is_over"]:
                    publisher["until"] = now + self.linger
                else:
                    is_vacant = publisher is publishers[-1]
                    publishers.remove(publisher)
        return is_vacant

    def tick(self, now):
        for publishers in self.paths.values():
            until = publishers[-1]["until"] if publishers else None
            if until is not None and until <= now:
                publishers.pop()

    def view(self, exclude, prefix):
        result = {}
        for path, publishers in self.paths.items():
            if publishers and Path(path).is_under(prefix):
                routes = [hops for _, hops in publishers[-1]["routes"]]
                # A lingering broadcast is still shown as it was.
                for hops in routes or [self.shown[path]]:
                    if exclude not in hops:
                        result[path] = hops
                        break
        return result


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["announce", "announce", "withdraw", "lose", "update", "tick"]),
        st.sampled_from(["a", "a/b", "c"]),
        st.integers(0, 3),
        st.lists(st.integers(4, 6), max_size=2),
        st.integers(0, 20),
    ),
    max_size=40,
)


UNKNOWN_LEAVES = [
    ("announce", "a", 0, [], 0),
    ("announce", "a", 0, [4], 0),
    ("announce", "a", 0, [], 0),
    ("withdraw", "c", 0, [], 2),
]
"""The one on air takes it back, and of two that wait the later one was never on air."""

UNKNOWN_MOVES = [*4 * [("announce", "a", 0, [], 0)], ("update", "c", 0, [4], 3)]
"""Whoever is on air among several that nobody knows comes another way."""


@settings(max_examples=80, deadline=None)
@given(STEPS)
@example(UNKNOWN_LEAVES)
@example(UNKNOWN_MOVES)
def test_every_watcher_sees_what_the_rules_say(fakes, steps):
    origin, book, now, routes, serial = Origin(99, CacheSettings(linger=3.0)), Book(3.0), 0.0, {}, 0
    watchers = [(-1, ROOT), (-1, Path("a")), (4, ROOT)]
    watchers = [(fakes.Watcher(), *where) for where in watchers]
    for watcher, exclude, prefix in watchers:
        origin.watch(prefix, watcher, max(exclude, 0))
    for verb, path, identity, tail, pick in steps:
        now += 2.0  # too slow for a dispute
        origin.tick(now)
        book.tick(now)
        hops = (identity, *tail)
        if verb == "announce":
            serial += 1
            routes[serial] = (path, origin.announce(Path(path), fakes.Source(), hops, now))
            book.announce(path, serial, hops)
        elif verb != "tick" and routes:
            key = sorted(routes)[pick % len(routes)]
            path, route = routes[key]
            if verb == "update" and identity and route.identity == identity:
                continue  # a standby that changes in place: see the tests above
            if verb == "update":
                is_vacant = book.leave(path, key, now, abrupt=False, moves=True)
                book.announce(path, key, hops, is_vacant)
                assert route.update(hops, now)
            else:
                del routes[key]
                book.leave(path, key, now, abrupt=verb == "lose")
                getattr(route, verb)(now)
        for watcher, exclude, prefix in watchers:
            assert watcher.view == book.view(exclude, prefix)
        late = fakes.Watcher()
        origin.watch(ROOT, late).cancel()
        assert late.view == watchers[0][0].view
        assert origin.routes == len(routes)
    for _, route in routes.values():
        route.withdraw(now)
    origin.tick(now + 10)
    assert (watchers[0][0].view, origin._stages, origin.routes) == ({}, {}, 0)


# Ways through other relays.


def test_a_lost_link_is_hidden_from_relays_while_viewers_wait(fakes, origin, watcher):
    relay = fakes.Watcher()
    origin.watch(ROOT, relay, is_relay=True)
    origin.announce(B, fakes.Source(), (7, 2), 0.0).lose(1.0)
    assert (watcher.view, relay.view) == ({"b": (7, 2)}, {})
    origin.announce(B, fakes.Source(), (7, 3), 2.0)
    assert watcher.view == relay.view == {"b": (7, 3)}


def test_a_lost_publisher_is_waited_for_by_everybody(fakes, origin):
    relay = fakes.Watcher()
    origin.watch(ROOT, relay, is_relay=True)
    origin.announce(B, fakes.Source(), (7,), 0.0).lose(1.0)
    assert relay.view == {"b": (7,)}


def test_relays_hear_of_a_worse_way_once_there_is_calm(fakes, origin, watcher):
    relay = fakes.Watcher()
    origin.watch(ROOT, relay, is_relay=True)
    direct = origin.announce(B, fakes.Source(), (7, 2), 0.0, price=Price(2, 2))
    around = origin.announce(B, fakes.Source(), (7, 2, 3), 0.0, price=Price(3, 3))
    origin.announce(B, fakes.Source(), (7, 4, 5, 6), 0.0, price=Price(4, 4))
    direct.withdraw(1.0)
    assert (watcher.view, relay.view) == ({"b": (7, 2, 3)}, {})
    around.withdraw(1.1)
    assert (watcher.view, relay.view) == ({"b": (7, 4, 5, 6)}, {})
    origin.tick(1.2)
    assert relay.view == {}
    origin.tick(1.3)
    assert relay.view == {"b": (7, 4, 5, 6)}


def test_relays_hear_of_an_equal_or_better_way_at_once(fakes, origin):
    relay = fakes.Watcher()
    origin.watch(ROOT, relay, is_relay=True)
    one = origin.announce(B, fakes.Source(), (7, 2), 0.0, price=Price(2, 2))
    other = origin.announce(B, fakes.Source(), (7, 3), 0.0, price=Price(2, 2))
    serving = origin.find(B).routes[0]
    serving.withdraw(1.0)
    assert relay.view == {"b": (other if serving is one else one).hops}
    origin.announce(B, fakes.Source(), (7,), 1.0, price=Price(1, 1))
    assert relay.view == {"b": (7,)}
    assert ("-", "b") not in relay.events


def test_viewers_are_held_when_a_relay_withdraws_and_another_may_know_better(
    fakes, origin, watcher
):
    origin.relays = 2
    route = origin.announce(B, source := fakes.Source(), (7, 2, 5), 0.0, price=Price(3, 3))
    viewer, track = viewer_of(origin, fakes)
    route.withdraw(1.0)
    assert track.open_group(0, "raw", 1.0, source) is not None
    origin.announce(B, other := fakes.Source(), (7, 3, 4), 1.2, price=Price(3, 3))
    origin.tick(2.0)
    assert other.calls == [("open", "t", 1)]
    assert (watcher.view, viewer.ends) == ({"b": (7, 3, 4)}, [])
    assert ("-", "b") not in watcher.events


def test_viewers_are_held_at_the_end_of_a_line_whose_only_relay_tells_of_a_worse_way_later(
    fakes, origin, watcher
):
    """It took back what it told, as long as there was no calm."""
    origin.relays = 1
    relay = fakes.Source()
    origin.announce(B, relay, (7, 2, 4), 0.0, price=Price(3, 3)).withdraw(1.0)
    assert watcher.view == {"b": (7, 2, 4)}
    viewer, track = viewer_of(origin, fakes)
    origin.announce(B, relay, (7, 2, 3, 4), 1.4, price=Price(4, 4))
    origin.tick(2.0)
    assert (watcher.view, viewer.ends) == ({"b": (7, 2, 3, 4)}, [])
    assert ("-", "b") not in watcher.events
    assert track.open_group(0, "raw", 2.0, relay) is not None


def test_held_viewers_are_served_to_the_end_when_nobody_knows_another_way(fakes, origin, watcher):
    origin.relays = 2
    route = origin.announce(B, source := fakes.Source(), (7, 2, 5), 0.0, price=Price(3, 3))
    viewer, track = viewer_of(origin, fakes)
    route.withdraw(1.0)
    origin.tick(1.5)
    assert watcher.view == {"b": (7, 2, 5)}
    origin.tick(1.7)
    assert watcher.view == {}
    assert track.open_group(0, "raw", 2.0, source) is not None
    track.finish(2.0, source)
    assert viewer.ends == [None]


def test_publishers_that_keep_displacing_each_other_are_told_apart_by_hash(fakes, origin, watcher):
    lower, higher = sorted((7, 8), key=lambda identity: fingerprint(B, (identity,)))
    origin.announce(B, fakes.Source(), (lower,), 0.0)
    for round in range(4):  # the other side gives way each time, and hears of its own again
        rival = origin.announce(B, fakes.Source(), (higher, 2), round / 10)
        assert watcher.view == {"b": (higher, 2)}
        rival.withdraw(round / 10)
        assert watcher.view == {"b": (lower,)}
    rival = origin.announce(B, fakes.Source(), (higher, 2), 0.5)
    assert watcher.view == {"b": (lower,)}
    rival.withdraw(1.0)
    origin.announce(B, fakes.Source(), (higher, 2), 100.0)
    assert watcher.view == {"b": (higher, 2)}


def test_the_higher_hash_gives_way_for_good_in_a_dispute(fakes, origin, watcher):
    lower, higher = sorted((7, 8), key=lambda identity: fingerprint(B, (identity,)))
    origin.announce(B, fakes.Source(), (higher,), 0.0)
    for round in range(4):
        origin.announce(B, fakes.Source(), (lower, 2), round / 10).withdraw(round / 10)
    origin.announce(B, fakes.Source(), (lower, 2), 0.5)
    assert watcher.view == {"b": (lower, 2)}
    origin.announce(B, fakes.Source(), (higher, 3), 0.6)
    assert watcher.view == {"b": (lower, 2)}


def test_relays_hear_of_who_comes_back_once_no_other_can_follow(fakes, origin, watcher):
    relay = fakes.Watcher()
    origin.watch(ROOT, relay, is_relay=True)
    origin.announce(B, fakes.Source(), (7,), 0.0)
    origin.announce(B, fakes.Source(), (8, 2), 1.0).withdraw(2.0)
    assert (watcher.view, relay.view) == ({"b": (7,)}, {})
    third = origin.announce(B, fakes.Source(), (9, 2), 2.1)
    assert watcher.view == relay.view == {"b": (9, 2)}
    third.withdraw(3.0)
    origin.tick(3.1)
    assert relay.view == {}
    origin.tick(3.2)
    assert relay.view == {"b": (7,)}


@pytest.mark.parametrize("newest", range(100, 104))
def test_publishers_that_come_one_after_the_other_are_in_no_dispute(fakes, origin, newest):
    """As one that is started again and again, and whose dead sessions are not over yet."""
    for count in range(20):
        origin.announce(B, fakes.Source(), (20 + count,), count / 10)
    origin.announce(B, fakes.Source(), (newest,), 2.5)
    assert origin.find(B).identity == newest


def test_a_broadcast_that_is_pulled_here_is_told_to_be_cheap_until_a_while_after(fakes, origin):
    told = []
    watcher = fakes.Watcher()
    watcher.announced = lambda path, way: told.append((way.cost, way.is_warm))
    origin.watch(ROOT, watcher, is_relay=True)
    origin.announce(B, fakes.Source(), (7, 2), 0.0, price=Price(2, 2))
    origin.tick(1.0)
    viewer, track = viewer_of(origin, fakes)
    assert told == [(2, False), (2, True)]
    track.unwatch(viewer, 1.0)
    origin.tick(5.9)
    assert told == [(2, False), (2, True)]
    origin.tick(6.0)
    assert told[2:] == [(2, False)]


def test_a_relay_that_pulls_it_already_is_preferred(fakes, origin):
    origin.announce(B, fakes.Source(), (7, 2), 0.0, price=Price(2, 2))
    origin.announce(B, warm := fakes.Source(), (7, 4, 5, 3), 0.0, price=Price(1, 4))
    viewer_of(origin, fakes)
    assert warm.verbs == ["open"]


def test_of_two_relays_that_pull_it_only_one_moves_to_the_other(fakes):
    moved = []
    for own, other in ((3, 4), (4, 3)):
        origin = Origin(own)
        origin.announce(B, fakes.Source(), (7, 2), 0.0, price=Price(2, 2))
        viewer_of(origin, fakes)
        origin.announce(B, warm := fakes.Source(), (7, 2, other), 0.1, price=Price(1, 3))
        origin.tick(1.0)
        moved.append(warm.verbs)
    assert sorted(moved) == [[], ["open"]]


def test_the_word_of_the_publishers_own_relay_is_final(fakes, origin, watcher):
    origin.relays = 2
    origin.announce(B, fakes.Source(), (7, 2), 0.0, price=Price(2, 2)).withdraw(1.0)
    assert watcher.view == {}


@pytest.mark.parametrize("end", ["withdraw", "lose"])
def test_it_is_final_also_where_others_still_led_to_it(fakes, origin, watcher, end):
    """As two other workers do, each to what the publisher of a third has taken back."""
    origin.relays = 2
    route = origin.announce(B, fakes.Source(), (7, 2), 0.0, price=Price(2, 2))
    echo = origin.announce(B, fakes.Source(), (7, 2, 3), 0.0, price=Price(3, 3))
    route.withdraw(1.0)
    assert watcher.view == {"b": (7, 2, 3)}
    getattr(echo, end)(1.1)
    assert watcher.view == {}


def test_a_client_keeps_its_own_where_others_announce_the_same(fakes):
    origin, watcher = Origin(1, keeps_own=True), fakes.Watcher()
    origin.watch(ROOT, watcher)
    own = origin.announce(B, fakes.Source(), (), 0.0)
    origin.announce(B, fakes.Source(), (7, 2), 1.0)
    assert watcher.view == {"b": ()}
    own.withdraw(2.0)
    assert watcher.view == {"b": (7, 2)}


def test_a_way_that_is_not_used_is_never_told_to_be_cheap(fakes, origin):
    """Two relays could otherwise each take the broadcast from the other."""
    told = []
    watcher = fakes.Watcher()
    watcher.announced = lambda path, way: told.append((way.hops, way.is_warm))
    origin.watch(ROOT, watcher, exclude=3, is_relay=True)
    origin.announce(B, fakes.Source(), (7, 2), 0.0, price=Price(11, 11))
    viewer_of(origin, fakes)
    assert told == [((7, 2), False), ((7, 2), True)]
    origin.announce(B, fakes.Source(), (7, 2, 3), 0.1, price=Price(2, 3))
    assert told[2:] == [((7, 2), False)]


@pytest.mark.parametrize("brings", [None, 4, 5])
def test_a_way_that_said_goodbye_as_well_is_not_waited_for_in_vain(fakes, origin, brings):
    """Two relays that the publisher's own told goodbye would each wait for the other, for ever."""
    origin.relays = 3
    home, other = fakes.Source(), fakes.Source()
    direct = origin.announce(B, home, (7, 2), 0.0)
    around = origin.announce(B, other, (7, 2, 3), 0.0)
    viewer, track = viewer_of(origin, fakes)
    track.open_group(4, "raw", 0.0, home).finish(0.0)
    direct.withdraw(1.0)
    assert other.calls == [("open", "t", 5)]
    track.fail(RelayError("over"), home)
    if brings is not None:
        track.open_group(brings, "raw", 1.0, other)
    around.withdraw(1.1)
    origin.tick(3.0)
    assert viewer.ends == ([] if brings == 5 else ["Unroutable"])
    assert ("close", "t") in other.calls or brings == 5


@pytest.mark.parametrize(("serves", "other"), [(3, 4), (4, 3)])
def test_a_way_is_not_told_to_be_cheap_while_an_equal_one_serves(fakes, origin, serves, other):
    """Between equals nothing moves. The relay that serves us would take it from us, in a circle."""
    told = []
    watcher = fakes.Watcher()
    watcher.announced = lambda path, way: told.append((way.hops, way.is_warm))
    origin.watch(ROOT, watcher, exclude=serves, is_relay=True)
    first = origin.announce(B, fakes.Source(), (7, 2, serves), 0.0, price=Price(3, 3))
    viewer_of(origin, fakes)
    origin.announce(B, fakes.Source(), (7, 2, other), 0.1, price=Price(3, 3))
    origin.tick(5.0)
    assert told == [((7, 2, other), False)]
    first.lose(6.0)
    origin.tick(9.0)
    assert told[-1] == ((7, 2, other), True)


def test_the_relay_where_the_publisher_is_comes_before_one_that_pulls_from_it(fakes):
    low, own, high = sorted((2, 3, 4), key=lambda id: fingerprint(B, (id,)))
    origin = Origin(own)
    near = origin.announce(B, fakes.Source(), (7, high), 0.0, price=Price(1, 2))
    viewer_of(origin, fakes)
    origin.announce(B, fakes.Source(), (7, high, 10, low), 0.0, price=Price(1, 4))
    origin.tick(5.0)
    assert origin.find(B).routes[0] is near


def test_two_that_go_to_each_other_before_the_first_group_do_not_wait_for_ever(fakes, origin):
    origin.relays = 2
    first = origin.announce(B, source := fakes.Source(), (7, 2), 0.0, price=Price(1, 1))
    second = origin.announce(B, other := fakes.Source(), (7, 2, 3), 0.0, price=Price(2, 2))
    viewer, track = viewer_of(origin, fakes)
    first.withdraw(1.0)
    assert other.verbs == ["open"]
    track.fail(Dropped("it has left"), source)
    second.withdraw(1.1)
    for now in (2.0, 3.0, 4.0):
        origin.tick(now)
    assert viewer.ends == ["Unroutable"]
    assert "close" in other.verbs


def test_who_serves_us_hears_that_another_way_is_no_longer_cheap(fakes, origin):
    origin.announce(B, fakes.Source(), (7, 9, 3), 0.0, price=Price(5, 5))
    origin.announce(B, fakes.Source(), (7, 8, 2), 0.0, price=Price(5, 5))
    broadcast = origin.find(B)
    first, other = broadcast.routes
    told = []
    relay = fakes.Watcher()
    relay.announced = lambda path, way: told.append(way.is_warm)
    origin.watch(ROOT, relay, exclude=other.hops[-1], is_relay=True)
    for name in ("x", "t"):
        track = broadcast.track(name)
        track.watch(fakes.Viewer(), 1.0)
    track.fail(RelayError("too many tracks"), first.source)  # served by the other one now
    assert told == [False, True, False]


# The same publisher takes a broadcast back and begins another one.


def test_who_begins_anew_is_not_gone_on_with_although_others_still_lead_to_the_last(
    fakes, origin, watcher
):
    last, next = fakes.Source(), fakes.Source()
    route = origin.announce(B, last, (7, 2), 0.0)
    echo = origin.announce(B, fakes.Source(), (7, 2, 3), 0.0)
    broadcast = origin.find(B)
    viewer, track = viewer_of(origin, fakes)
    track.open_group(59, fakes.RAW, 0.0, last).finish(0.0)
    route.withdraw(1.0)
    origin.announce(B, next, (7, 2), 1.1)
    assert origin.find(B) is not broadcast
    assert watcher.events[-2:] == [("-", "b"), ("+", "b", (7, 2))]
    track.finish(1.2, last)
    assert viewer.ends == [None], "served to the end"
    fresh, _ = viewer_of(origin, fakes)
    assert next.calls == [("open", "t", None)]
    assert fresh.sequences == []
    echo.withdraw(1.3)
    later = origin.announce(B, fakes.Source(), (7, 2, 3), 1.4)
    assert origin.find(B).routes[1] is later
    assert (origin.routes, origin.find(B).is_over) == (2, False)


def test_who_says_anything_anew_leads_to_what_has_begun(fakes, origin, watcher):
    """Its goodbye and the next announcement may have become one."""
    origin.relays = 3
    route = origin.announce(B, fakes.Source(), (7, 2), 0.0)
    echo = origin.announce(B, fakes.Source(), (7, 2, 3), 0.0)
    route.withdraw(1.0)
    route = origin.announce(B, fakes.Source(), (7, 2), 1.1)
    broadcast = origin.find(B)
    assert echo not in broadcast.routes
    echo.update((7, 2, 3), 1.2)
    assert broadcast.routes == [route, echo]
    route.lose(1.3)
    assert origin.find(B) is broadcast
    assert not broadcast.is_lingering
    assert watcher.events[-1] == ("+", "b", (7, 2, 3))
    echo.withdraw(1.4)
    assert origin.routes == 0


def test_a_publisher_at_two_relays_that_leaves_one_of_them_goes_on(fakes, origin, watcher):
    route = origin.announce(B, fakes.Source(), (7, 2), 0.0)
    origin.announce(B, fakes.Source(), (7, 3), 0.0)
    broadcast = origin.find(B)
    route.withdraw(1.0)
    origin.announce(B, fakes.Source(), (7, 2), 1.1)
    assert origin.find(B) is broadcast
    assert ("-", "b") not in watcher.events


def test_what_is_complete_when_the_last_relay_withdraws_is_not_gone_on_with(fakes, origin, watcher):
    origin.relays = 2
    far = fakes.Source()
    route = origin.announce(B, far, (7, 2, 3), 0.0)
    broadcast = origin.find(B)
    viewer, track = viewer_of(origin, fakes)
    track.finish(0.5, far)
    route.withdraw(1.0)
    assert origin.find(B) is broadcast, "another relay may know a way"
    origin.announce(B, fakes.Source(), (7, 2, 3), 1.1)
    assert origin.find(B) is not broadcast
    assert watcher.events[-2:] == [("-", "b"), ("+", "b", (7, 2, 3))]
    assert viewer.ends == [None]


def test_of_what_was_held_only_what_is_watched_goes_on(fakes, origin, watcher):
    origin.relays = 2
    far, next = fakes.Source(), fakes.Source()
    route = origin.announce(B, far, (7, 2, 3), 0.0)
    broadcast = origin.find(B)
    watched, track = viewer_of(origin, fakes)
    left = broadcast.track("left")
    viewer = fakes.Viewer()
    left.watch(viewer, 0.0)
    left.accept(TrackInfo())
    left.open_group(59, fakes.RAW, 0.0, far).finish(0.0)
    left.unwatch(viewer, 0.5)
    route.withdraw(1.0)
    origin.announce(B, next, (7, 2, 3), 1.1)
    assert origin.find(B) is broadcast
    assert ("-", "b") not in watcher.events
    assert broadcast.track("t") is track
    assert not watched.ends
    assert not broadcast.track("left").groups


def test_who_watched_one_that_was_taken_back_to_its_end_hears_of_the_next(fakes, origin, watcher):
    """It has what is complete, and would not ask again."""
    origin.relays = 2
    last, next = fakes.Source(), fakes.Source()
    route = origin.announce(B, last, (7, 2, 3), 0.0)
    _, first = viewer_of(origin, fakes)
    second = origin.find(B).track("other")
    second.watch(fakes.Viewer(), 0.0)
    route.withdraw(1.0)
    origin.announce(B, next, (7, 2, 3), 1.1)
    first.finish(1.2, last)
    assert ("-", "b") not in watcher.events, "the other one is watched still"
    second.finish(1.3, last)
    assert watcher.events == [("+", "b", (7, 2, 3)), ("-", "b"), ("+", "b", (7, 2, 3))]
    viewer, track = viewer_of(origin, fakes)
    track.finish(1.4, next)
    assert viewer.ends == [None]
    assert len(watcher.events) == 3


def test_nobody_hears_of_a_next_one_that_no_relay_has_told_of(fakes, origin, watcher):
    last = fakes.Source()
    route = origin.announce(B, last, (7, 2, 3), 0.0)
    origin.announce(B, fakes.Source(), (7, 2, 4, 5), 0.0)
    _, track = viewer_of(origin, fakes)
    route.withdraw(1.0)
    track.finish(1.1, last)
    assert ("-", "b") not in watcher.events


def test_what_one_that_was_taken_back_completes_is_asked_for_anew(fakes, origin):
    last = fakes.Source()
    route = origin.announce(B, last, (7, 2, 3), 0.0)
    origin.announce(B, fakes.Source(), (7, 2, 4, 5), 0.0)
    viewer, track = viewer_of(origin, fakes)
    route.withdraw(1.0)
    track.finish(1.1, last)
    assert viewer.ends == [None]
    assert origin.find(B).track("t") is not track
