"""What a guest on 06 announces: changes in place, costs, and what it is asked for in return."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.model.board import Price
from relay.model.settings import CacheSettings
from relay.model.track import Demand, TrackInfo
from relay.path import Path
from relay.peer.announcements import MAX_COST, MAX_TAKEN
from relay.peer.settings import NEAR
from relay.session import events
from relay.session.events import Cost
from relay.wire.messages import Subscribe, SubscribeUpdate
from relay.wire.version import LITE_06, LITE_NEAR

MICRO = TrackInfo(timescale=1_000_000)


class Announcing:
    """A guest that announces by hand; everybody else hears of it through the relay."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.client = world.connect("moq-lite-06")
        self.session = self.client.guest.session
        (self.request,) = self.client.guest.hearings.answered

    def announce(self, hops: tuple[int, ...], cost: Cost) -> None:
        self.session.announce(self.request, "a", hops, cost)
        self.world.run()

    @property
    def route(self) -> Any:
        """The relay's idea of it."""
        return self.client.host.announcements.routes[Path("a")]


def test_an_update_changes_chain_and_cost_in_place(world: Any) -> None:
    publisher, viewer = Announcing(world), world.connect()
    publisher.announce((7, 8), Cost(3, 9))
    assert (publisher.route.hops, publisher.route.price) == ((7, 8, 100), Price(4, 10))
    route = publisher.route
    publisher.announce((7, 9), Cost(0, 9))
    assert publisher.route is route
    assert (route.hops, route.price) == ((7, 9, 100), Price(1, 10))
    assert viewer.names.log == ["+a", "+a"]
    assert viewer.names.hops["a"] == (7, 9, 100, 99)


def test_another_price_of_an_unknown_publisher_ends_nothing(world: Any) -> None:
    """Of a relay that speaks moq-lite-03 nobody knows who publishes behind it."""
    publisher, viewer = Announcing(world), world.connect()
    publisher.announce((0, 8), Cost(3, 9))
    route = publisher.route
    publisher.announce((0, 8), Cost(0, 9))
    assert publisher.route is route
    assert (route.price, viewer.names.log) == (Price(1, 10), ["+a"])
    publisher.announce((0, 9), Cost(0, 9))
    assert viewer.names.log == ["+a", "-a", "+a"]


@pytest.mark.parametrize("most", [MAX_COST, MAX_COST - 1])
def test_the_greatest_cost_is_told_on_and_harms_nobody_who_listens(world: Any, most: int) -> None:
    publisher, viewer = Announcing(world), world.connect("moq-lite-06")
    publisher.announce((7,), Cost(most, most))
    assert publisher.route.price == Price(MAX_COST, MAX_COST)
    late = world.connect("moq-lite-06")
    assert viewer.names.log == late.names.log == ["+a"]
    assert {each.wire.client.closed for each in (publisher.client, viewer, late)} == {None}
    publisher.announce((7,), Cost(1, 2))
    assert publisher.route.price == Price(2, 3)


def test_another_publisher_ends_what_was_there(world: Any) -> None:
    publisher, viewer = Announcing(world), world.connect()
    publisher.announce((7,), Cost(0, 0))
    publisher.announce((8,), Cost(0, 0))
    assert viewer.names.log == ["+a", "-a", "+a"]


def test_a_loop_is_taken_off_the_air_and_the_session_lives(world: Any) -> None:
    publisher, viewer = Announcing(world), world.connect()
    publisher.announce((7,), Cost(0, 0))
    publisher.announce((7, 8, 7), Cost(0, 0))
    assert viewer.names.log == ["+a", "-a"]
    publisher.announce((7, 8), Cost(0, 0))
    assert viewer.names.log == ["+a", "-a", "+a"]
    assert publisher.client.wire.client.closed is None


def test_what_is_announced_in_vain_keeps_its_cost(world: Any) -> None:
    client = world.connect("moq-lite-06", publish=(Path("open"),))
    host = client.host
    host.hear([events.Announced("closed/a", (5,), Cost(4, 6))])
    assert host.announcements.routes == {}
    host.regrant(wider(host.grant))
    world.run()
    assert host.announcements.routes[Path("closed/a")].price == Price(5, 7)


def test_what_was_announced_in_vain_does_not_come_back_over_what_was_heard_since(
    make_world: Any,
) -> None:
    world = make_world(cache=CacheSettings(max_broadcasts=1))
    first, client = world.connect("moq-lite-06").host, world.connect("moq-lite-06")
    host = client.host
    first.hear([events.Announced("other", (4,), Cost(0, 0))])
    host.hear([events.Announced("a", (5,), Cost(0, 0))])
    assert host.announcements.routes == {}
    first.hear([events.Unannounced("other")])
    host.hear([events.Announced("a", (5, 6), Cost(4, 6))])
    route = host.announcements.routes[Path("a")]
    host.regrant(wider(host.grant))
    world.run()
    assert (route.hops, route.price) == ((5, 6), Price(5, 7))


def test_what_there_was_no_room_for_is_heard_when_there_is(make_world: Any) -> None:
    world = make_world(cache=CacheSettings(max_broadcasts=2))
    first, host = world.connect("moq-lite-06").host, world.connect("moq-lite-06").host
    first.hear([events.Announced(name, (4,), Cost(0, 0)) for name in ("x", "y")])
    host.hear([events.Announced(name, (5,), Cost(4, 6)) for name in ("a", "b", "c", "d")])
    host.tick(world.now)
    assert host.announcements.routes == {}
    host.hear([events.Announced("a", (5, 6), Cost(0, 0)), events.Unannounced("c")])
    first.hear([events.Unannounced("x")])
    host.tick(world.now)
    assert list(host.announcements.routes) == ["b"]
    assert host.announcements.routes[Path("b")].price == Price(5, 7)
    host.hear([events.Unannounced("b"), events.Unannounced("d")])
    host.tick(world.now)
    assert list(host.announcements.routes) == ["a"]
    assert host.announcements.routes[Path("a")].hops == (5, 6)


def test_what_there_is_room_for_again_is_heard_a_few_a_turn(make_world: Any) -> None:
    most = MAX_TAKEN + 1
    world = make_world(cache=CacheSettings(max_broadcasts=most))
    first, host = world.connect("moq-lite-06").host, world.connect("moq-lite-06").host
    names = [f"{number:02}" for number in range(most)]
    first.hear([events.Announced(f"x/{name}", (4,), Cost(0, 0)) for name in names])
    world.run()
    host.hear([events.Announced(name, (5,), Cost(0, 0)) for name in names])
    world.run()
    first.hear([events.Unannounced(f"x/{name}") for name in names])
    host.tick(world.now)
    assert list(host.announcements.routes) == names[:MAX_TAKEN]
    world.run()
    assert list(host.announcements.routes) == names


def wider(grant: Any) -> Any:
    """The same grant over everything."""
    return replace(grant, publish=(Path(""),))


@pytest.mark.parametrize(
    ("version", "start", "said", "max_age"),
    [
        ("moq-lite-06", None, 0, 0),
        ("moq-lite-06", None, 250, 250),
        ("moq-lite-05", None, 3000, 3000),
        ("moq-lite-05", 1, 250, MICRO.max_latency),
        ("moq-lite-06", 1, 250, MICRO.max_latency),
    ],
)
def test_how_old_groups_may_be_that_the_publisher_is_asked_for(
    world: Any, version: str, start: int | None, said: int, max_age: int
) -> None:
    publisher, viewer = world.connect("moq-lite-06"), world.connect(version)
    publisher.publish("a", t=MICRO)
    viewer.watch("a", "t", Demand(max_latency=said, start=start))
    asked = [
        LITE_06.decode(Subscribe, args[1][2:])
        for what, *args in publisher.wire.server.sent
        if what == "stream_received" and args[1][:1] == b"\x02" and len(args[1]) > 5
    ]
    assert [(each.start, each.max_latency) for each in asked] == [(start, max_age)]


def test_the_sum_of_all_wishes_has_no_frames(world: Any) -> None:
    publisher, viewer = world.connect("moq-lite-06"), world.connect("moq-lite-06")
    publisher.publish("a", t=MICRO)
    wish = SubscribeUpdate(0, False, 250, 3, 4, 5, 6)
    viewer.guest.session.subscribe("a", "t", wish)
    world.run()
    (publication,) = publisher.guest.watching.viewings.values()
    assert (publication.first_frame, publication.last_frame) == (0, None)
    assert publication.demand[3:] == (3, 4)


def storm(world: Any, count: int) -> Any:
    """A guest of the relay whose peer has just announced ``count`` broadcasts at once."""
    client = world.connect("moq-lite-06")
    world.run()
    announcements = client.host.announcements
    for number in range(count):
        announcements.announced(events.Announced(f"n{number}", (7,), Cost(0, 0)))
    return client


def known(world: Any, count: int) -> list[int]:
    return [number for number in range(count) if world.house.origin.find(f"n{number}")]


def test_very_many_announcements_are_taken_in_turn_by_turn_and_in_order(world: Any) -> None:
    client = storm(world, 300)
    assert known(world, 300) == list(range(MAX_TAKEN))
    client.host.flush()
    assert known(world, 300) == list(range(2 * MAX_TAKEN))
    client.host.announcements.unannounced(events.Unannounced("n290"))
    client.host.announcements.unannounced(events.Unannounced("n3"))
    world.run()
    assert known(world, 300) == [n for n in range(300) if n not in (3, 290)]
    assert not client.host.announcements._backlog


def test_who_leaves_in_the_middle_leaves_nothing_behind(world: Any) -> None:
    client = storm(world, 300)
    client.hang_up()
    world.wait(30)
    assert known(world, 300) == []
    assert not client.host.announcements._backlog


def test_what_waits_for_its_turn_is_bounded(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.peer.announcements.MAX_BACKLOG", 100)
    client = storm(world, 300)
    assert len(client.host.announcements._backlog) == 100
    world.run()
    assert known(world, 300) == list(range(300))


def test_processes_of_one_relay_tell_each_other_when_a_publisher_came(world: Any) -> None:
    announcing = Announcing(world)
    announcing.announce((7,), Cost(0, 0, 5_000_000))
    assert announcing.route.price.since == 0  # anybody could say so
    near = world.connect(LITE_NEAR.identifier)
    near.host.via = near.guest.via = NEAR
    publisher, (request,) = near.guest.session, near.guest.hearings.answered
    publisher.announce(request, "b", (7,), Cost(0, 0, 5_000_000))
    world.run()
    assert near.host.announcements.routes[Path("b")].price.since == 5.0


def test_what_came_here_is_told_with_its_time_where_it_means_something(world: Any) -> None:
    near, other = world.connect(LITE_NEAR.identifier), world.connect("moq-lite-06")
    near.host.via = near.guest.via = NEAR
    publisher = world.connect()
    world.now = 1234.5
    publisher.publish("a", t=MICRO)
    heard = [each.guest.announcements.routes[Path("a")].price.since for each in (near, other)]
    assert heard == [1234.5, 0.0]


def test_a_relay_that_leaves_takes_back_from_others_what_leads_on_from_it(world: Any) -> None:
    """What its other processes have from their guests leaves with it, and not before."""
    process, relay, guest = Announcing(world), Announcing(world), world.connect()
    number = process.client.origin.id
    other, viewer = world.connect(cluster=True), world.connect()
    process.announce((7,), Cost(0, 0))
    process.session.announce(process.request, "far", (7, 8), Cost(0, 0))
    relay.session.announce(relay.request, "late", (9,), Cost(0, 0))
    guest.publish("own")
    assert sorted(other.names.log) == ["+a", "+far", "+late", "+own"]
    for each in world.hosts:
        each.withdraw({number})
    process.session.announce(process.request, "further", (7, 8), Cost(0, 0))
    process.session.announce(process.request, "near", (7,), Cost(0, 0))
    world.run()
    assert other.names.log[4:] == ["-far", "-late", "+near"]
    assert viewer.names.log[4:] == ["+further", "+near"]
