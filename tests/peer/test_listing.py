"""Announce requests of a few bytes are answered in turn, however much there is to name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from relay.model.track import TrackInfo
from relay.path import ROOT, Path
from relay.peer.listing import AT_ONCE, PER_SECOND, Listings
from relay.session import events


class Asker:
    """Who asks a few times at once."""

    def __init__(self, log: list[str], name: str, requests: int, names: int) -> None:
        self.log, self.name, self.requests, self.names = log, name, requests, names
        self.untold = 0

    @property
    def is_asking(self) -> bool:
        return self.requests > 0

    def tell_next(self) -> int:
        self.requests -= 1
        self.log.append(self.name)
        return self.names


def test_little_is_told_at_once() -> None:
    log: list[str] = []
    listings = Listings()
    for name in "abc":
        listings.ask(Asker(log, name, 3, 5), 100.0)
    assert log == [*"aaabbbccc"]


def test_all_together_are_told_so_much_in_a_second_and_in_turn() -> None:
    log: list[str] = []
    listings = Listings()
    for name in "ab":
        listings.ask(Asker(log, name, 5, PER_SECOND - 1), 100.0)
    listings.ask(Asker(log, "c", 1, 5), 100.0)
    assert log == ["a"]
    listings.tick(100.9 - AT_ONCE / PER_SECOND)
    assert log == ["a"]
    for second in range(1, 6):
        listings.tick(100.1 + second)
    assert log == [*"aabcaba"]


def test_who_has_not_taken_in_the_last_answer_waits_and_nobody_else() -> None:
    log: list[str] = []
    listings = Listings()
    slow = Asker(log, "a", 1, 5)
    slow.untold = AT_ONCE
    listings.ask(slow, 100.0)
    listings.ask(Asker(log, "b", 1, 5), 100.0)
    assert log == ["b"]
    slow.untold -= 1
    listings.tick(100.25)
    assert log == ["b", "a"]


def test_who_asks_no_more_is_told_nothing() -> None:
    log: list[str] = []
    listings = Listings()
    first, second = Asker(log, "a", 1, 2 * PER_SECOND), Asker(log, "b", 1, 5)
    listings.ask(first, 100.0)
    listings.ask(second, 100.0)
    second.requests = 0
    listings.tick(110.0)
    assert log == ["a"]


def crowd(make_world: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """A world with five broadcasts, and two who have not asked for anything but that."""
    with patch("relay.peer.listing.AT_ONCE", 1):
        world = make_world()
    publisher = world.connect()
    for number in range(5):
        publisher.publish(f"a/{number}", t=TrackInfo())
    askers = world.connect(subscribe=(Path("a"),)), world.connect(subscribe=(Path("a"),))
    world.wait(1.0)
    return world, *askers


def test_a_packet_of_requests_is_answered_by_and_by(make_world: Callable[..., Any]) -> None:
    world, asker, other = crowd(make_world)
    world.house.listings._pace.change(10.0, world.now)
    world.house.listings._pace.burst = 1
    answered: list[int] = []
    with patch.object(asker.host.session, "answer_announce", lambda r, initial: answered.append(r)):
        for _ in range(4):
            asker.guest.session.listen(ROOT)
        other.guest.session.listen(ROOT)
        world.run()
        assert len(asker.host.watching.requested) == 3
        assert len(other.host.watching.requested) == 1
        world.wait(1.5)
        assert not other.host.watching.requested
        assert len(answered) == 2
        world.wait(3.0)
    assert len(answered) == 4


def test_a_request_that_is_taken_back_is_not_answered(make_world: Callable[..., Any]) -> None:
    world, asker, _ = crowd(make_world)
    host = asker.host
    world.house.listings._pace.spend(world.now, 100_000)
    asker.guest.session.listen(ROOT)
    world.run()
    (request,) = host.watching.requested
    host.hear([events.AnnounceCancelled(request)])
    world.wait(5.0)
    assert (host.watching.requested, host.watching.hearings.get(request)) == ({}, None)
    assert not host.gone


def test_what_goes_wrong_is_the_trouble_of_who_asked(make_world: Callable[..., Any]) -> None:
    world, asker, other = crowd(make_world)
    world.house.listings._pace.spend(world.now, 100_000)
    asker.guest.session.listen(ROOT)
    world.run()
    with patch.object(asker.host.scope, "watch", side_effect=RuntimeError("a mistake")):
        world.wait(5.0)
    assert (asker.host.gone, other.host.gone) == (True, False)
    assert world.said[-1][0] == "internal error"
