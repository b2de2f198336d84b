"""What one guest asks for or leaves unsaid costs nobody else anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from relay.model.broadcast import MAX_TRACK_NAME
from relay.model.settings import CacheSettings
from relay.model.track import TrackInfo
from relay.path import Path
from relay.peer.settings import PeerSettings
from relay.session import events
from relay.session.settings import LINK_STREAMS, SessionSettings
from relay.wire.frame import Layout, encode_frame
from relay.wire.messages import SubscribeUpdate

WANT = SubscribeUpdate(7, False, 500, None, None)


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_name_too_long_for_a_track_is_refused_before_it_is_asked_on(
    world: Any, letter: str
) -> None:
    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a", t=TrackInfo())
    name = letter * (MAX_TRACK_NAME // len(letter.encode()))
    session = viewer.guest.session
    for size in (0, 1):
        asked = name + letter * size
        session.describe("a", asked)
        session.subscribe("a", asked, WANT)
        session.fetch("a", asked, 3, 0)
        world.run()
        assert not session.closed
        assert not publisher.guest.gone
        known = world.house.origin.find("a").tracks
        assert asked not in known
    refused = [facts["reason"] for event, facts in world.said if event == "subscribe refused"]
    assert refused == [f"a track's name has at most {MAX_TRACK_NAME} bytes"]


def test_another_relay_may_say_more_than_one_guest(make_world: Callable[..., Any]) -> None:
    world = make_world()
    world.sessions = SessionSettings(max_announces=3, max_requests=3)
    relay, guest = world.connect(cluster=True), world.connect()
    assert relay.wire.server.widest == LINK_STREAMS
    assert guest.wire.server.widest == 0
    for client, name in ((relay, "r"), (guest, "g")):
        for number in range(4):
            client.publish(f"{name}/{number}")
    assert not relay.host.gone
    assert guest.host.gone
    on_air = {found.path for found in world.house.origin.on_air()}
    assert {path for path in on_air if path.startswith("r/")} == {f"r/{n}" for n in range(4)}


def test_another_relay_may_be_asked_for_more_than_one_guest(make_world: Callable[..., Any]) -> None:
    world = make_world()
    world.sessions = SessionSettings(max_pending=3)
    relay, guest, viewer = world.connect(cluster=True), world.connect(), world.connect()
    failed = {}
    for client, name in ((relay, "r"), (guest, "g")):
        client.publish(name)
        client.wire.server.credit = 0
        watches = [viewer.watch(name, f"t{number}") for number in range(4)]
        failed[name] = sum(bool(watch.ended) for watch in watches)
    assert failed == {"r": 0, "g": 1}


@pytest.mark.parametrize("limit", ["max_requests", "max_announce_requests"])
def test_that_requests_are_refused_is_said_once(make_world: Callable[..., Any], limit: str) -> None:
    world = make_world()
    world.sessions = SessionSettings(**{limit: 3})
    viewer, other = world.connect(), world.connect()
    for _ in range(9):
        viewer.guest.session.listen(Path("a"))
    other.guest.session.listen(Path("a"))
    world.run()
    assert not viewer.host.gone
    refused = [facts for event, facts in world.said if event == "request refused"]
    assert refused == [{"id": "g0", "reason": f"more than session.{limit} (3) at a time"}]


def test_that_a_publisher_takes_no_more_streams_is_said_once(
    make_world: Callable[..., Any],
) -> None:
    """Chromium takes a hundred, and each track that is watched is one."""
    world = make_world()
    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a", t=TrackInfo())
    publisher.wire.server.credit = 0
    for number in range(3):
        viewer.watch("a", f"t{number}")
    world.wait(4)
    told = [facts for event, facts in world.said if event == "requests wait"]
    assert told == []
    world.wait(20)
    told = [facts for event, facts in world.said if event == "requests wait"]
    why = "the publisher takes no more streams"
    assert told == [{"id": publisher.host.id, "waiting": 3, "reason": why}]


def test_that_streams_were_short_for_a_moment_is_not_said(make_world: Callable[..., Any]) -> None:
    world = make_world()
    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a", t=TrackInfo(), u=TrackInfo())
    for name in "tu":
        publisher.wire.server.credit = 0
        viewer.watch("a", name)
        world.wait(4)
        publisher.wire.server.credit = 9
        publisher.wire.server.wake()
        world.wait(4)
    assert not [event for event, _ in world.said if event == "requests wait"]


def test_groups_arrive_however_much_the_publisher_is_asked(make_world: Callable[..., Any]) -> None:
    """Our own questions are not the peer's streams."""
    world = make_world()
    world.sessions = SessionSettings(max_requests=3)
    publisher = world.connect()
    world.sessions = None
    viewer = world.connect()
    track = publisher.publish("a", t=TrackInfo()).tracks["t"]
    watch = viewer.watch("a", "t")
    publisher.guest._hears[events.TrackRequested] = lambda event: None  # it never answers
    for number in range(8):
        viewer.guest.session.describe("a", f"made up {number}")
    world.run()
    assert len(publisher.host.publishing.questions) > 3
    for number in range(3):
        track.append_group()
        track.write_frame(b"x", number)
        track.finish_group()
        world.run()
    assert watch.complete() == [0, 1, 2]


def test_a_publisher_that_never_says_what_a_track_is_is_given_up(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(PeerSettings(track_timeout=5.0))
    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a", t=TrackInfo())
    publisher.guest._hears[events.TrackRequested] = lambda event: None
    watch = viewer.watch("a", "u")
    world.wait(4)
    assert publisher.host.publishing.questions
    assert not watch.ended
    world.wait(2)
    assert not publisher.host.publishing.questions
    assert [error.code for error in watch.ended] != []
    assert not world.house.origin.find("a").tracks


def test_a_group_that_the_cache_gave_up_is_kept_nowhere(make_world: Callable[..., Any]) -> None:
    world = make_world(cache=CacheSettings(live_bytes=20_000, cache_bytes=10_000))
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=TrackInfo()).tracks["t"]
    viewer.watch("a", "t")
    for number in range(10):  # begun, and never ended
        group = track.track.open_group(number, Layout.TIMED, world.now)
        group.write(encode_frame(Layout.TIMED, bytes(4000), 0, 0), world.now)
        world.run()
    arrivals = publisher.host.publishing.arrivals
    assert any(group.ended for group, _ in arrivals.values())
    world.wait(0.5)
    assert not any(group.ended for group, _ in arrivals.values())
    assert sum(group.size for group, _ in arrivals.values()) <= 20_000
