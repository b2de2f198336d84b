"""From one route to the next: without a gap where there is time, else from what is missing."""

from __future__ import annotations

import pytest

from relay.errors import Dropped, Lagged, RemoteError
from relay.model.board import Price
from relay.model.demand import TrackInfo
from relay.model.handover import GRACE, PATIENCE, STALL
from relay.model.origin import Origin
from relay.model.settings import CacheSettings
from relay.model.supply import SPLICE_WINDOW
from relay.path import Path

B = Path("b")


class Moving:
    """A track fed by a long route, and a better one that has just come."""

    def __init__(self, fakes):
        self.origin = Origin(1)
        self.old, self.new = fakes.Source(), fakes.Source()
        self.route = self.origin.announce(B, self.old, (7, 2, 3), 0.0, price=Price(3, 3))
        self.viewer = fakes.Viewer()
        self.track = self.origin.find(B).track("t")
        self.track.watch(self.viewer, 0.0)
        self.track.accept(TrackInfo())
        self.open(0, self.old).finish(0.0)

    def better(self):
        self.shorter = self.origin.announce(B, self.new, (7, 2), 1.0, price=Price(2, 2))

    def move(self):
        self.better()
        self.origin.tick(1.6)

    def open(self, sequence, source, now=2.0):
        return self.track.open_group(sequence, "raw", now, source)


@pytest.fixture
def moving(fakes):
    return Moving(fakes)


def test_viewers_move_to_a_better_route_once_it_has_settled(moving):
    moving.better()
    moving.origin.tick(1.4)
    assert moving.new.verbs == []
    moving.origin.tick(1.6)
    assert moving.new.calls == [("open", "t", 1)]
    assert moving.old.verbs == ["open"]


def test_the_old_route_serves_until_the_new_one_delivers(moving):
    moving.move()
    moving.open(1, moving.old).finish(2.0)
    assert moving.open(1, moving.new) is None
    assert moving.old.verbs == ["open", "close"]
    assert moving.open(2, moving.old) is None
    moving.open(2, moving.new).finish(2.0)
    assert moving.viewer.sequences == [0, 1, 2]
    assert moving.viewer.ends == []


def test_the_old_route_ends_what_it_began_and_begins_nothing_more(moving):
    moving.move()
    group = moving.open(1, moving.old)
    moving.open(2, moving.new)
    assert moving.old.verbs == ["open"]
    assert moving.open(3, moving.old) is None
    assert group.write(b"the rest", 2.0)
    group.finish(2.0)
    assert moving.old.verbs == ["open", "close"]
    assert moving.viewer.sequences == [0, 1, 2]
    assert all(each.error is None for each in moving.viewer.groups)


@pytest.mark.parametrize(("says_more", "after"), [(False, STALL), (True, GRACE)])
def test_an_old_route_that_does_not_end_is_cut_off_and_made_up_for(moving, says_more, after):
    moving.move()
    group = moving.open(1, moving.old)
    moving.open(2, moving.new).finish(2.0)
    if says_more:
        assert group.write(b"more", 1.9 + after)
    moving.open(3, moving.new, 1.9 + after).finish(1.9 + after)
    assert group.error is None
    moving.open(4, moving.new, 2.1 + after).finish(2.1 + after)
    assert group.error is not None
    assert moving.old.verbs == ["open", "close"]
    assert (moving.new.verbs, moving.track.start_at) == (["open", "update"], 1)
    moving.open(1, moving.new, 2.2 + after).finish(2.2 + after)
    assert moving.viewer.sequences == [0, 1, 2, 3, 4, 1]


def test_a_long_group_of_the_old_route_has_time(moving):
    moving.move()
    group = moving.open(1, moving.old)
    assert moving.open(1, moving.new) is None
    assert group.write(b"more", 19.9)
    moving.open(2, moving.new, 20.0)
    group.finish(20.0)
    assert moving.viewer.sequences == [0, 1, 2]
    assert [each.error for each in moving.viewer.groups] == [None] * 3


def test_what_an_old_route_does_not_end_is_asked_for_anew_where_both_brought_it(moving):
    moving.move()
    moving.open(1, moving.old)
    assert moving.open(1, moving.new) is None
    moving.open(2, moving.new).finish(2.0)
    assert moving.open(3, moving.new, 2.1 + STALL) is None, "it comes after the first"
    assert moving.new.calls == [("open", "t", 1), ("close", "t"), ("open", "t", 1)]


def test_a_new_route_that_fails_leaves_the_old_one_serving(moving):
    moving.move()
    group = moving.open(1, moving.old)
    moving.shorter.lose(2.0)
    assert moving.new.verbs == ["open", "close"]
    assert group.write(b"on and on", 2.0)
    group.finish(2.0)
    moving.open(2, moving.old).finish(2.0)
    assert moving.viewer.sequences == [0, 1, 2]
    assert moving.old.verbs == ["open"]


def test_a_new_route_that_refuses_is_not_asked_again_at_once(moving):
    moving.new.rejects.add("t")
    moving.move()
    assert moving.new.verbs == ["open"]
    assert moving.old.verbs == ["open"]
    assert moving.open(1, moving.old) is not None


def test_an_old_route_lost_too_early_is_made_up_for(moving):
    moving.move()
    moving.open(1, moving.old)
    moving.route.lose(2.0)
    assert moving.new.calls[-1][:2] == ("update", "t")
    assert moving.track.start_at == 1
    moving.open(1, moving.new).finish(2.0)
    assert moving.viewer.sequences == [0, 1, 1]
    assert moving.viewer.groups[1].error is not None


@pytest.mark.parametrize("breaks_off", [False, True])
def test_what_the_old_route_had_under_way_is_asked_for_anew_where_both_brought_it(
    moving, breaks_off
):
    moving.move()
    group = moving.open(1, moving.old)
    assert moving.open(1, moving.new) is None
    moving.open(2, moving.new)
    if breaks_off:
        group.abort(RemoteError(30))
    else:
        moving.route.lose(2.0)
    assert moving.old.verbs == ["open", "close"]
    assert moving.new.calls[-2:] == [("close", "t"), ("open", "t", 1)]
    for sequence in (1, 2):
        moving.open(sequence, moving.new).finish(2.0)
    assert moving.viewer.sequences == [0, 1, 2, 1, 2]
    assert [each.error is None for each in moving.viewer.groups] == [True, False, False, True, True]


def test_what_breaks_off_once_the_new_route_delivers_is_asked_of_that(moving):
    group = moving.open(1, moving.old)
    moving.move()
    assert moving.new.calls == [("open", "t", 2)]
    moving.open(2, moving.new).finish(2.0)
    group.abort(RemoteError(30))
    assert moving.old.verbs == ["open", "close"]
    assert (moving.new.verbs, moving.track.start_at) == (["open", "update"], 1)


def test_an_old_route_that_is_lost_group_by_group_ends_nothing_else(moving):
    """As a session does that vanishes: its groups break off, then it has the track no longer."""
    moving.move()
    group = moving.open(1, moving.old)
    assert moving.open(1, moving.new) is None
    group.abort(Dropped("gone"))
    moving.track.fail(Dropped("gone"), moving.old)
    moving.track.finish(2.0, moving.old)
    moving.open(1, moving.new).finish(2.0)
    assert (moving.viewer.sequences, moving.viewer.ends) == ([0, 1, 1], [])


def test_whoever_leaves_as_groups_break_off_leaves_nothing_open(moving):
    moving.move()
    moving.open(1, moving.old)
    moving.open(1, moving.new)
    group = moving.open(2, moving.new)

    class Leaving:
        def ended(self):
            moving.track.unwatch(moving.viewer, 2.0)

    group.native.attach(Leaving())
    moving.route.lose(2.0)
    assert moving.new.verbs == ["open", "close"]


def test_a_route_that_says_goodbye_serves_until_the_next_delivers(fakes, moving):
    standby = fakes.Source()
    moving.origin.announce(B, standby, (7, 2, 9, 9), 1.0, price=Price(4, 4))
    moving.route.withdraw(2.0)
    assert standby.calls == [("open", "t", 1)]
    moving.open(1, moving.old).finish(2.0)
    moving.open(2, standby).finish(2.0)
    assert moving.old.verbs == ["open", "close"]
    assert moving.viewer.sequences == [0, 1, 2]
    assert all(each.error is None for each in moving.viewer.groups)


def test_the_end_of_the_track_is_heard_from_whoever_has_all_of_it(moving):
    moving.move()
    moving.open(1, moving.old).finish(2.0)
    moving.track.finish(2.0, moving.old)
    assert moving.viewer.ends == [None]
    assert moving.new.verbs == ["open", "close"]


def test_the_new_route_has_the_last_word_once_it_delivers(moving):
    moving.move()
    group = moving.open(1, moving.old)
    moving.open(2, moving.new).finish(2.0)
    moving.track.finish(2.0, moving.old)
    assert moving.viewer.ends == []
    group.finish(2.0)
    moving.track.finish(2.0, moving.new)
    assert moving.viewer.ends == [None]


def test_a_track_that_is_complete_waits_for_the_old_routes_groups(moving):
    moving.move()
    group = moving.open(1, moving.old)
    moving.track.finish(2.0, moving.new)
    assert moving.viewer.ends == []
    group.finish(3.0)
    assert moving.viewer.ends == [None]
    assert moving.old.verbs == ["open", "close"]


def test_the_last_viewer_closes_both(moving):
    moving.move()
    moving.open(1, moving.old)
    moving.track.unwatch(moving.viewer, 2.0)
    assert moving.old.verbs == ["open", "close"]
    assert moving.new.verbs == ["open", "close"]


def test_an_even_better_route_may_come_meanwhile(fakes, moving):
    moving.move()
    best = fakes.Source()
    moving.origin.announce(B, best, (7,), 2.0, price=Price(1, 1))
    moving.origin.tick(3.0)
    assert moving.old.verbs == ["open", "close"]
    assert moving.new.verbs == ["open"]
    assert best.calls == [("open", "t", 1)]
    moving.open(1, moving.new).finish(3.0)
    moving.open(2, best).finish(3.0)
    assert moving.new.verbs == ["open", "close"]
    assert moving.viewer.sequences == [0, 1, 2]


def test_datagrams_come_from_one_route_at_a_time(moving):
    moving.move()
    moving.track.datagram(1, 5, b"old", 2.0, moving.old)
    moving.track.datagram(1, 5, b"new", 2.0, moving.new)
    moving.track.datagram(2, 6, b"old", 2.0, moving.old)
    payloads = [event[3] for event in moving.viewer.events if event[0] == "datagram"]
    assert payloads == [b"old", b"new"]


@pytest.mark.parametrize("came_twice", [False, True])
def test_the_old_route_serves_on_when_its_successor_is_replaced_before_it_delivers(
    fakes, moving, came_twice
):
    if not came_twice:
        group = moving.open(1, moving.old)
    moving.better()
    moving.route.withdraw(2.0)
    if came_twice:
        group = moving.open(1, moving.old)
        assert moving.open(1, moving.new) is None
    third = fakes.Source()
    moving.origin.announce(B, third, (7, 2), 2.0, price=Price(2, 2))
    moving.shorter.withdraw(2.1)
    assert moving.new.verbs == ["open", "close"]
    assert (moving.old.verbs, third.calls) == (["open"], [("open", "t", 2)])
    moving.open(2, third).finish(2.0)
    group.finish(2.0)
    assert moving.viewer.sequences == [0, 1, 2]
    assert all(each.error is None for each in moving.viewer.groups)


def test_a_successor_that_says_goodbye_before_it_delivers_leaves_the_old_one_serving(moving):
    group = moving.open(1, moving.old)
    moving.move()
    moving.shorter.withdraw(2.0)
    assert (moving.old.verbs, moving.new.verbs) == (["open"], ["open", "close"])
    assert group.write(b"on and on", 2.0)


def test_nothing_moves_between_equals(fakes, moving):
    same = fakes.Source()
    moving.origin.announce(B, same, (7, 2, 3), 1.0, price=Price(3, 3))
    other = fakes.Source()
    moving.origin.announce(B, other, (7, 9, 9), 1.0, price=Price(3, 3))
    moving.origin.tick(5.0)
    assert (same.verbs, other.verbs) == ([], [])


def test_a_publisher_that_comes_a_second_time_is_moved_to(fakes):
    origin, dead, back = Origin(1), fakes.Source(), fakes.Source()
    origin.announce(B, dead, (7,), 0.0)
    track = origin.find(B).track("t")
    track.watch(fakes.Viewer(), 0.0)
    origin.announce(B, back, (7,), 1.0)
    origin.tick(2.0)
    assert back.verbs == ["open"]


def test_a_route_that_does_not_deliver_is_given_up_again(moving):
    group = moving.open(1, moving.old)  # one that may go on for ever
    moving.move()
    moving.origin.tick(1.7 + PATIENCE)
    assert moving.new.verbs == ["open", "close"]
    assert moving.old.verbs == ["open"]
    assert group.write(b"on and on", 9.0)
    moving.open(2, moving.old).finish(9.0)
    assert moving.viewer.sequences == [0, 1, 2]


def test_a_route_that_said_goodbye_is_not_gone_back_to(moving):
    moving.open(1, moving.old)
    moving.move()
    moving.route.withdraw(2.0)
    moving.origin.tick(9.0)
    assert moving.new.verbs == ["open"]


@pytest.mark.parametrize("hops", [(7,), (7, 2)])
def test_who_lost_its_route_once_is_served_to_the_end_by_the_publishers_own(fakes, hops):
    origin = Origin(1)
    first = origin.announce(B, fakes.Source(), hops, 0.0)
    viewer = fakes.Viewer()
    track = origin.find(B).track("t")
    track.watch(viewer, 0.0)
    track.accept(TrackInfo())
    track.open_group(0, "raw", 0.0).finish(0.0)
    first.lose(1.0)
    again = origin.announce(B, source := fakes.Source(), hops, 1.5)
    half = track.open_group(0, "raw", 1.6, source)  # which is there already
    again.withdraw(2.0)
    assert (half, viewer.ends) == (None, [])
    track.open_group(1, "raw", 2.5, source).finish(2.5)
    track.finish(2.6, source)
    assert (viewer.sequences, viewer.ends) == ([0, 1], [None])


@pytest.mark.parametrize("brought", ["group", "datagram"])
def test_a_far_route_that_has_brought_something_new_serves_to_the_end(fakes, brought):
    origin = Origin(1)
    origin.announce(B, near := fakes.Source(), (7, 2, 3), 0.0)
    viewer = fakes.Viewer()
    track = origin.find(B).track("t")
    track.watch(viewer, 0.0)
    track.accept(TrackInfo())
    track.open_group(0, "raw", 0.0, near).finish(0.0)
    other = origin.announce(B, source := fakes.Source(), (7, 2, 4, 5), 0.5)
    first = next(route for route in origin.find(B).routes if route is not other)
    first.lose(1.0)
    if brought == "group":
        track.open_group(1, "raw", 1.5, source).finish(1.5)
    else:
        track.datagram(1, 0, b"x", 1.5, source)
    other.withdraw(2.0)
    origin.tick(9.0)
    assert viewer.ends == []
    track.finish(9.0, source)
    assert viewer.ends == [None]


def test_a_group_that_never_began_is_asked_of_the_next_route(moving):
    moving.open(1, moving.old).finish(2.0)
    moving.open(3, moving.old).finish(2.0)  # what was sent of 2 was lost on the way
    moving.better()
    moving.route.lose(2.0)
    assert moving.new.calls == [("open", "t", 2)]
    moving.open(2, moving.new).finish(2.0)
    assert moving.open(3, moving.new) is None
    assert moving.viewer.sequences == [0, 1, 3, 2]


@pytest.mark.parametrize("error", [Dropped("reset"), RemoteError(30)])
def test_a_group_that_broke_off_before_its_route_was_lost_is_asked_for(moving, error):
    moving.better()
    group = moving.open(1, moving.old)
    moving.route.withdraw(2.0)
    assert moving.new.calls == [("open", "t", 2)]
    group.abort(error)
    moving.track.fail(Dropped("its relay has stopped"), moving.old)
    assert moving.new.verbs == ["open", "update"]
    assert moving.track.start_at == 1


def test_nothing_that_has_been_here_is_asked_for_again(fakes):
    origin = Origin(1, CacheSettings(max_groups_per_track=2))
    old, new = fakes.Source(), fakes.Source()
    route = origin.announce(B, old, (7, 2), 0.0)
    track = origin.find(B).track("t")
    track.watch(fakes.Viewer(), 0.0)
    track.accept(TrackInfo())
    for sequence in (0, 2, 3, 4, 5):  # of which two are kept
        track.open_group(sequence, "raw", 0.0, old).finish(0.0)
    track.open_group(7, "raw", 0.0, old).finish(0.0)
    origin.announce(B, new, (7, 3), 1.0)
    route.lose(2.0)
    assert new.calls == [("open", "t", 6)]


def test_what_broke_off_at_our_own_limits_is_not_asked_for_again(moving):
    moving.open(1, moving.old).abort(Lagged("over its quota"))
    moving.open(2, moving.old).finish(2.0)
    moving.better()
    moving.route.lose(2.0)
    assert moving.new.calls == [("open", "t", 3)]


def test_of_a_track_of_many_groups_a_second_all_that_is_still_kept_is_asked_for(moving):
    """The newest go first where there is little room, and the way is lost before the others."""
    for sequence in range(1, 250):
        if sequence != 10:
            moving.open(sequence, moving.old, 2.0 + sequence / 50).finish(2.0 + sequence / 50)
    moving.better()
    moving.route.lose(7.0)
    assert moving.new.calls == [("open", "t", 10)]


def test_a_gap_far_behind_is_not_asked_for_and_nothing_is_remembered_of_it(moving):
    for sequence in range(2, 4 * SPLICE_WINDOW):
        moving.open(sequence, moving.old).finish(2.0)
    moving.better()
    moving.route.lose(2.0)
    assert moving.new.calls == [("open", "t", 4 * SPLICE_WINDOW)]


def test_a_datagram_is_no_gap(moving):
    moving.open(2, moving.old).finish(2.0)
    moving.track.datagram(1, 5, b"here and gone", 2.0, moving.old)
    moving.better()
    moving.route.lose(2.0)
    assert moving.new.calls == [("open", "t", 3)]
