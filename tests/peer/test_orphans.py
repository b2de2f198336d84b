"""What was announced by who is gone is lost by and by, what is watched at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from relay.auth.grant import Grant
from relay.errors import Unauthorized
from relay.model.settings import CacheSettings
from relay.model.track import TrackInfo
from relay.path import ROOT, Path
from relay.peer.orphans import AT_ONCE, PER_SECOND, Orphans

INFO = TrackInfo(max_latency=60_000)


class Route:
    """An announcement that notes when it was lost."""

    def __init__(self, lost: list[float]) -> None:
        self.lost = lost
        self.has_ended = False

    def lose(self, now: float) -> None:
        self.has_ended = True
        self.lost.append(now)


def test_so_many_are_lost_at_a_time_and_in_a_second() -> None:
    orphans, lost = Orphans(), list[float]()
    routes = [Route(lost) for _ in range(2 * PER_SECOND)]
    orphans.add(routes, 100.0)  # type: ignore[arg-type]
    assert len(lost) == AT_ONCE
    routes[-1].has_ended = True
    orphans.tick(100.0)
    assert len(lost) == AT_ONCE
    for tenth in range(1, 11):
        orphans.tick(100.0 + tenth / 10)
    assert len(lost) <= PER_SECOND + AT_ONCE
    assert orphans.routes
    for tenth in range(11, 40):
        orphans.tick(100.0 + tenth / 10)
    assert not orphans.routes
    assert len(lost) == len(routes) - 1


def crowd(make_world: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """A publisher of 300 broadcasts, and somebody who watches the last."""
    with patch("relay.peer.orphans.AT_ONCE", 1):
        world = make_world(cache=CacheSettings(linger=2.0))
    publisher, viewer = world.connect(subscribe=()), world.connect()
    for number in range(300):
        publisher.publish(f"a/{number}", t=INFO)
    world.house.orphans._pace.change(200.0, world.now)
    world.house.orphans._pace.burst = 1
    return world, publisher, viewer


def lost(world: Any) -> int:
    return sum(broadcast.is_lingering for broadcast in world.house.origin.on_air())


def test_what_is_watched_is_lost_at_once_and_the_rest_in_turn(
    make_world: Callable[..., Any],
) -> None:
    world, publisher, viewer = crowd(make_world)
    watch = viewer.watch("a/299", "t")
    publisher.hang_up()
    assert world.house.origin.find(Path("a/299")).is_lingering
    assert 1 < lost(world) < 100
    world.now += 1.0
    viewer.host.flush()  # whoever has a turn
    assert 100 < lost(world) < 300
    world.wait(8.0)
    assert (world.house.origin.routes, list(world.house.origin.on_air())) == (0, [])
    assert len(watch.ended) == 1
    assert viewer.origin.find(Path("a/0")) is viewer.origin.find(Path("a/298")) is None


def test_who_comes_to_one_meanwhile_is_served_by_whoever_else_has_it(
    make_world: Callable[..., Any],
) -> None:
    world, publisher, viewer = crowd(make_world)
    track = publisher.publish("a/298", t=INFO).tracks["t"]
    track.append_group()
    track.finish()
    newer = world.connect(number=publisher.origin.id)
    for number in range(300):
        newer.publish(f"a/{number}", t=INFO)
    newer.hang_up()
    routes = world.house.origin.find(Path("a/298")).routes
    assert len(routes) == 2
    assert viewer.watch("a/298", "t").complete() == [0]
    assert len(routes) == 1


@pytest.mark.parametrize("comes_back", [True, False])
def test_who_comes_to_one_meanwhile_waits_as_for_one_that_is_lost(
    make_world: Callable[..., Any], comes_back: bool
) -> None:
    world, publisher, viewer = crowd(make_world)
    publisher.hang_up()
    assert not world.house.origin.find(Path("a/298")).is_lingering
    assert not next(iter(world.house.origin.find(Path("a/298")).routes)).source.can_fetch
    watch = viewer.watch("a/298", "t")
    if comes_back:
        other = world.connect()
        track = other.publish("a/298", t=INFO).tracks["t"]
        world.wait(4.0)
        if watch.ended:  # told that another has taken over
            watch = viewer.watch("a/298", "t")
        track.append_group()
        track.write_frame(b"x", 1)
        track.finish_group()
        world.run()
        assert watch.complete() == [0]
    else:
        world.wait(6.0)
        assert len(watch.ended) == 1
        assert world.house.origin.routes == 0


@pytest.mark.parametrize("comes_first", [True, False])
def test_who_is_gone_does_not_come_back_when_whoever_took_the_path_leaves(
    make_world: Callable[..., Any], comes_first: bool
) -> None:
    world, publisher, viewer = crowd(make_world)
    other = world.connect()
    if comes_first:
        other.publish("a/298")
    publisher.hang_up()
    if not comes_first:
        other.publish("a/298")
    assert world.house.orphans.routes
    for route in tuple(other.origin.find(Path("a/298")).routes):
        route.withdraw(world.now)
    world.run()
    assert world.house.origin.find(Path("a/298")) is None
    assert viewer.names.log[-1] == "-a/298"


@pytest.mark.parametrize("is_ended", [False, True])
def test_what_may_not_be_published_any_more_is_revoked_in_turn_and_serves_nobody_meanwhile(
    make_world: Callable[..., Any], is_ended: bool
) -> None:
    world, publisher, viewer = crowd(make_world)
    for number in range(299):
        track = publisher.origin.find(Path(f"a/{number}")).routes[0].source.tracks["t"]
        track.append_group()
        track.finish()
    watch = viewer.watch("a/299", "t")
    cached = viewer.watch("a/297", "t")
    assert cached.complete() == [0]
    if is_ended:
        publisher.host.close(Unauthorized("revoked"))
    else:
        publisher.host.regrant(Grant(ROOT, (Path("b"),), ()))
    world.run()
    assert len(watch.ended) == 1
    assert [world.house.origin.find(Path(f"a/{number}")) for number in (297, 299)] == [None] * 2
    assert 200 < world.house.origin.routes < 299
    assert not publisher.host.announcements.routes
    waits = next(viewer.origin.on_air()).path
    came = viewer.watch(waits, "t")
    assert (len(came.ended), came.complete()) == (1, [])
    assert world.house.origin.find(waits) is None
    world.wait(2.0)
    assert (world.house.origin.routes, list(world.house.origin.on_air())) == (0, [])


def test_who_may_publish_again_meanwhile_is_heard_again(make_world: Callable[..., Any]) -> None:
    world, publisher, viewer = crowd(make_world)
    track = publisher.origin.find(Path("a/298")).routes[0].source.tracks["t"]
    track.append_group()
    track.finish()
    publisher.host.regrant(Grant(ROOT, (Path("b"),), ()))
    assert 1 < world.house.origin.routes < 300
    publisher.host.regrant(Grant(ROOT, (ROOT,), ()))
    world.wait(3.0)
    assert world.house.origin.routes == len(publisher.host.announcements.routes) == 300
    assert viewer.watch("a/298", "t").complete() == [0]


def test_whose_place_another_has_taken_takes_back_so_many_a_turn(
    make_world: Callable[..., Any],
) -> None:
    world = make_world()
    publisher, _ = world.connect(), world.connect()
    for number in range(20):
        publisher.publish(f"a/{number}", t=INFO)
    with patch("relay.peer.announcements.MAX_WITHDRAWN", 3):
        publisher.host.retire()
        assert world.house.origin.routes == 17
        publisher.host.flush()
        assert world.house.origin.routes == 14
        world.run()
        assert world.house.origin.routes == 0
