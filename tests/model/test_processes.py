"""Publishers at one path that came to several processes of one relay."""

from __future__ import annotations

import pytest

from relay.model.board import Price
from relay.model.origin import Origin
from relay.path import ROOT, Path

B = Path("b")


def told(origin, fakes, identity, since, now):
    """What another process says of a publisher that came to it."""
    return origin.announce(B, fakes.Source(), (identity, 50), now, Price(1, 1, since))


def test_publishers_that_came_to_two_processes_at_once_do_not_displace_each_other(fakes):
    ours, theirs = Origin(1), Origin(2)
    watchers = [fakes.Watcher(), fakes.Watcher()]
    for origin, watcher in zip((ours, theirs), watchers, strict=True):
        origin.watch(ROOT, watcher)
    ours.announce(B, fakes.Source(), (7,), 10.0)
    theirs.announce(B, fakes.Source(), (8,), 10.01)
    # What they say of these crosses on the way.
    told(ours, fakes, 8, 10.01, 10.02)
    told(theirs, fakes, 7, 10.0, 10.02)
    assert watchers[0].events == [("+", "b", (7,)), ("-", "b"), ("+", "b", (8, 50))]
    assert watchers[1].events == [("+", "b", (8,))]


def test_an_older_publisher_waits_behind_and_comes_when_the_newer_leaves(fakes, origin, watcher):
    newest = origin.announce(B, fakes.Source(), (9,), 30.0)
    told(origin, fakes, 8, 20.0, 31.0)
    told(origin, fakes, 7, 10.0, 32.0)
    assert watcher.view == {"b": (9,)}
    newest.withdraw(33.0)
    assert watcher.view == {"b": (8, 50)}


def test_at_the_same_moment_the_hash_decides_alike_in_both_processes(fakes):
    shown = []
    for own, other in ((7, 8), (8, 7)):
        origin = Origin(1)
        origin.announce(B, fakes.Source(), (own,), 10.0)
        told(origin, fakes, other, 10.0, 10.1)
        shown.append(origin.find(B).identity)
    assert shown[0] == shown[1]


def test_a_publisher_is_as_old_as_the_first_process_says(fakes, origin):
    origin.announce(B, fakes.Source(), (7, 3), 20.0)
    told(origin, fakes, 7, 10.0, 21.0)
    assert [way.since for way in origin.find(B).ways] == [10.0, 10.0]
    told(origin, fakes, 8, 15.0, 22.0)
    assert origin.find(B).identity == 8


@pytest.mark.parametrize("newest", range(100, 104))
def test_a_dispute_in_one_process_does_not_divide_them(fakes, newest):
    """As where two publishers at both ends of a link were told apart."""
    ours, theirs = Origin(1), Origin(2)
    ours.announce(B, fakes.Source(), (20,), 10.0)
    for count in range(6):
        ours.announce(B, fakes.Source(), (21, 3), 10.0 + count / 2).withdraw(10.0 + count / 2)
    on_air = ours.find(B)
    told(theirs, fakes, on_air.identity, on_air.since, 13.0)
    theirs.announce(B, fakes.Source(), (newest,), 20.0)
    told(ours, fakes, newest, 20.0, 20.01)
    assert ours.find(B).identity == theirs.find(B).identity == newest
