"""Announce requests of a few bytes are answered in turn, however much there is to name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from relay.auth.grant import Grant
from relay.model.track import TrackInfo
from relay.path import ROOT, Path
from relay.peer.listing import (
    AT_ONCE,
    CHANGES_AT_ONCE,
    CHANGES_EACH,
    CHANGES_PER_SECOND,
    PER_SECOND,
    Listings,
)
from relay.peer.local import LocalBroadcast
from relay.session import events


class Asker:
    """Who asks a few times at once."""

    def __init__(
        self, log: list[str], name: str, requests: int, names: int, changes: int = 0
    ) -> None:
        self.log, self.name, self.requests, self.names = log, name, requests, names
        self.changes = changes
        self.untold = 0
        self.is_relay = False

    @property
    def is_asking(self) -> bool:
        return self.requests > 0

    def tell_next(self) -> int:
        self.requests -= 1
        self.log.append(self.name)
        return self.names

    @property
    def is_behind(self) -> bool:
        return self.changes > 0

    def tell_changes(self, limit: int) -> int:
        told = min(limit, self.changes)
        self.changes -= told
        self.log.append(f"{self.name}{told}")
        return told


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
    listings.ask(slow, 100.25)
    assert log == ["b", "a"]


def test_who_has_not_taken_in_the_last_answer_is_not_looked_at_for_others() -> None:
    log: list[str] = []
    looks: list[str] = []

    class Slow(Asker):
        @property
        def is_asking(self) -> bool:
            looks.append(self.name)
            return True

    listings = Listings()
    for name in "xyz":
        slow = Slow(log, name, 1, 5)
        slow.untold = AT_ONCE
        listings.ask(slow, 100.0)
    looks.clear()
    for number in range(5):
        listings.ask(Asker(log, "b", 1, 5), 100.25)
        listings.tick(100.25 + number)
    assert (log, looks) == ([*"bbbbb"], [])


def test_a_relay_is_told_before_all_others_and_at_their_cost() -> None:
    log: list[str] = []
    listings = Listings()
    for name in "abc":
        listings.ask(Asker(log, name, 2, PER_SECOND - 1), 100.0)
    relay = Asker(log, "r", 3, PER_SECOND - 1)
    relay.is_relay = True
    listings.ask(relay, 100.0)
    assert log == [*"arrr"]
    listings.tick(103.5)
    assert log == [*"arrr"]
    listings.tick(104.5)
    assert log == [*"arrra"]
    slow = Asker(log, "s", 1, 5)
    slow.is_relay, slow.untold = True, AT_ONCE
    listings.ask(slow, 104.5)
    assert log == [*"arrra"]


def test_who_asks_no_more_is_told_nothing() -> None:
    log: list[str] = []
    listings = Listings()
    first, second = Asker(log, "a", 1, 2 * PER_SECOND), Asker(log, "b", 1, 5)
    listings.ask(first, 100.0)
    listings.ask(second, 100.0)
    second.requests = 0
    listings.tick(110.0)
    assert log == ["a"]


def test_changes_are_told_in_turn_and_no_more_than_so_many_at_a_time() -> None:
    log: list[str] = []
    listings = Listings()
    greedy, other = Asker(log, "a", 0, 0, 1 << 30), Asker(log, "b", 0, 0, CHANGES_EACH + 5)
    listings.change(greedy)
    listings.change(other)
    assert not log
    listings.tick(100.0)
    assert log[:4] == [f"a{CHANGES_EACH}", f"b{CHANGES_EACH}", f"a{CHANGES_EACH}", "b5"]
    told = (1 << 30) - greedy.changes
    assert told <= CHANGES_AT_ONCE
    listings.tick(100.0)
    assert (1 << 30) - greedy.changes == told
    for tenth in range(1, 11):
        listings.tick(100.0 + tenth / 10)
    assert told < (1 << 30) - greedy.changes <= CHANGES_PER_SECOND + CHANGES_AT_ONCE
    listings.change(other)
    listings.forget(other)
    listings.forget(greedy)
    log.clear()
    listings.tick(200.0)
    assert not log


def test_changes_do_not_wait_for_answers_nor_the_other_way_round() -> None:
    log: list[str] = []
    listings = Listings()
    listings.ask(Asker(log, "a", 9, PER_SECOND), 100.0)
    changed = Asker(log, "b", 0, 0, 1 << 30)
    listings.change(changed)
    listings.tick(100.0)
    assert (log[0], log[1]) == ("a", f"b{CHANGES_EACH}")
    log.clear()
    listings.tick(101.1)
    assert log[-1] == "a"


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
        assert len(asker.host.hearings.requested) == 3
        assert len(other.host.hearings.requested) == 1
        world.wait(1.5)
        assert not other.host.hearings.requested
        assert len(answered) == 2
        world.wait(3.0)
    assert len(answered) == 4


def test_a_request_that_is_taken_back_is_not_answered(make_world: Callable[..., Any]) -> None:
    world, asker, _ = crowd(make_world)
    host = asker.host
    world.house.listings._pace.spend(world.now, 100_000)
    asker.guest.session.listen(ROOT)
    world.run()
    (request,) = host.hearings.requested
    host.hear([events.AnnounceCancelled(request)])
    world.wait(5.0)
    assert (host.hearings.requested, host.hearings.answered.get(request)) == ({}, None)
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


def many_listening(
    make_world: Callable[..., Any], places: list[str], changes: float
) -> tuple[Any, Any, Any, Any]:
    """A world with twenty broadcasts, their publisher, one who listens a hundred times and one who
    does so once; so many ``changes`` are told in a second."""
    world = make_world()
    publisher, greedy, other = world.connect(), world.connect(), world.connect()
    for number in range(20):
        publisher.publish(f"{places[number % len(places)]}/{number}", t=TrackInfo())
    for _ in range(99):
        greedy.guest.session.listen(ROOT)
    world.wait(1.0)
    pace = world.house.listings._change_pace
    pace.change(changes, world.now)
    pace.burst = 300
    return world, publisher, greedy, other


def told(hosts: list[Any]) -> tuple[list[int], Any]:
    """Counts what each host says is gone, as long as the patch holds."""
    counts = [0 for _ in hosts]
    stack = ExitStack()
    for index, host in enumerate(hosts):
        real = host.session.unannounce

        def count(request: int, path: str, index: int = index, real: Any = real) -> None:
            counts[index] += 1
            real(request, path)

        stack.enter_context(patch.object(host.session, "unannounce", count))
    return counts, stack


def test_who_listens_much_is_told_of_a_withdrawal_by_and_by_and_others_at_once(
    make_world: Callable[..., Any],
) -> None:
    world, publisher, greedy, other = many_listening(make_world, ["a"], 1000.0)
    counts, stack = told([greedy.host, other.host])
    with stack:
        publisher.hang_up()
        for route in tuple(publisher.host.announcements.routes.values()):
            route.revoke()
        world.house.origin.tick(world.now + 100)  # what lingered is over
        world.run()
        assert world.house.origin.find(Path("a/0")) is None
        assert counts[1] == 20
        assert 0 < counts[0] <= 300 + CHANGES_EACH
        world.wait(0.5)
        assert counts[0] < 1000
        world.wait(4.0)
        assert counts == [2000, 20]
    assert not greedy.names.log[-1].startswith("+")


def test_whoever_has_a_turn_has_those_told_who_wait(make_world: Callable[..., Any]) -> None:
    world = make_world()
    publisher, viewer, other = (world.connect(subscribe=(Path(p),)) for p in ("x", "a", "y"))
    pace = world.house.listings._change_pace
    pace.spend(world.now, pace.burst + pace.rate / 10)
    publisher.publish("a", t=TrackInfo())
    assert viewer.names.log == []
    world.now += 0.11
    other.host.flush()
    world.run()
    assert viewer.names.log == ["+a"]


def test_what_is_announced_again_meanwhile_is_taken_back_and_told_anew(
    make_world: Callable[..., Any],
) -> None:
    world = make_world()
    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a", t=TrackInfo())
    world.house.listings._change_pace.spend(world.now, 1_000_000)
    (route,) = publisher.host.announcements.routes.values()
    publisher.host.hear([events.Unannounced(Path("a"))])
    publisher.host.hear([events.Announced(Path("a"), route.hops, None)])
    publisher.host.hear([events.Announced(Path("b"), route.hops, None)])
    publisher.host.hear([events.Unannounced(Path("b"))])
    world.run()
    assert viewer.names.log == ["+a"]
    late = world.connect()
    assert late.names.log == ["+a"]
    world.wait(10.0)
    assert viewer.names.log == ["+a", "-a", "+a"]
    assert late.names.log == ["+a"]


def test_rights_that_end_meanwhile_end_what_was_told_and_what_was_not(
    make_world: Callable[..., Any],
) -> None:
    world = make_world()
    publisher, viewer = world.connect(), world.connect()
    for path in ("a/1", "a/2", "b/1"):
        publisher.publish(path, t=TrackInfo())
    world.house.listings._change_pace.spend(world.now, 1_000_000)
    hops = publisher.host.announcements.routes[Path("a/1")].hops
    publisher.host.hear([events.Unannounced(Path("a/1")), events.Unannounced(Path("b/1"))])
    publisher.host.hear([events.Announced(Path("b/2"), hops, None)])
    viewer.host.regrant(Grant(ROOT, (ROOT,), (Path("b"),)))
    world.wait(10.0)
    assert viewer.names.log[:3] == ["+a/1", "+a/2", "+b/1"]
    there = {log[1:] for log in viewer.names.log if viewer.names.log.count(f"-{log[1:]}") == 0}
    assert there == {"b/2"}


def test_who_cannot_be_told_any_more_is_shown_out(make_world: Callable[..., Any]) -> None:
    world = make_world()
    publisher, viewer, other = world.connect(), world.connect(), world.connect()
    publisher.publish("a", t=TrackInfo())
    ((_, watch),) = viewer.host.hearings.answered.values()
    watch._parts[0].is_lost = True
    publisher.publish("b", t=TrackInfo())
    assert (viewer.host.gone, other.host.gone) == (True, False)
    assert other.names.log == ["+a", "+b"]


def test_whose_turn_has_not_come_waits_for_it_when_the_relay_is_about_to_stop(
    make_world: Callable[..., Any],
) -> None:
    world, asker, _ = crowd(make_world)
    relay, other = (world.connect(cluster=True) for _ in range(2))
    far = LocalBroadcast(world.clock)
    other.origin.announce(Path("far"), far, (77,), world.now)
    world.wait(1.0)
    world.house.listings._pace.spend(world.now, 100_000)
    answers: dict[Any, list[list[str]]] = {asker: [], relay: []}
    for each, said in answers.items():
        each.host.session.answer_announce = lambda request, initial, said=said: said.append(
            sorted(path for path, _, _ in initial)
        )
    asker.guest.session.listen(ROOT)
    world.run()
    for each in answers:
        each.host.withdraw(())
    relay.guest.session.listen(ROOT)
    world.run()
    names = [f"a/{number}" for number in range(5)]
    assert answers == {asker: [], relay: [names]}
    world.wait(5.0)
    assert answers == {asker: [names], relay: [names]}


def test_who_is_replaced_before_its_turn_has_come_is_told_of_nothing(
    make_world: Callable[..., Any],
) -> None:
    world, asker, _ = crowd(make_world)
    world.house.listings._pace.spend(world.now, 100_000)
    asker.guest.session.listen(ROOT)
    world.run()
    answered: list[list[Any]] = []
    with patch.object(
        asker.host.session, "answer_announce", lambda r, initial: answered.append([*initial])
    ):
        asker.host.retire()
        world.wait(5.0)
    assert (answered, asker.host.hearings.requested) == ([[]], {})


def test_who_listens_much_is_told_of_other_rights_by_and_by_and_has_them_at_once(
    make_world: Callable[..., Any],
) -> None:
    world, publisher, greedy, other = many_listening(make_world, ["a", "b"], 500.0)
    seen = greedy.watch("a/0", "t")
    world.wait(1.0)
    counts, stack = told([greedy.host, other.host])
    with stack:
        for each in (greedy, other):
            each.host.regrant(Grant(ROOT, (ROOT,), (Path("b"),)))
        assert counts == [0, 0]
        assert seen.ended == []
        world.run()
        assert len(seen.ended) == 1
        assert greedy.host.scope.seek(Path("a/2")) is None
        publisher.publish("a/new", t=TrackInfo())
        publisher.publish("b/new", t=TrackInfo())
        assert counts[1] == 10
        assert 0 < counts[0] <= 300 + CHANGES_EACH
        world.wait(1.0)
        assert counts[0] < 990
        world.wait(9.0)
        assert counts == [990 + 10, 10]
    assert greedy.origin.find(Path("a/2")) is None
    assert greedy.names.log.count("+b/new") == other.names.log.count("+b/new") == 1
    assert "+a/new" not in greedy.names.log + other.names.log
