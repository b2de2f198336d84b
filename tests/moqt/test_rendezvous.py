"""Viewers who come before their publisher, and say how long they wait (draft-19, 10.2.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.messages import (
    Fetch,
    FetchOk,
    Publish,
    PublishDone,
    PublishNamespace,
    RequestError,
    Subscribe,
    SubscribeOk,
    SubscribeUpdate,
)
from relay.moqt.varint import MAX_LEADING
from relay.path import Path
from relay.peer import awaiting, watching
from relay.session import events

from .conftest import Peer, World, token
from .test_fetching import refusing
from .test_interpreter import CAM, head, objects, published, read, serving

WAITING = [draft for draft in DRAFTS if draft.number >= 17]
HOUSE_LIMIT = 30.0

where_it_can_be_said, where_it_cannot = (
    pytest.mark.parametrize("draft", drafts, ids=lambda draft: str(draft.name))
    for drafts in (WAITING, [draft for draft in DRAFTS if draft not in WAITING])
)
where_a_fetch_may_join = pytest.mark.parametrize(
    "draft", [each for each in WAITING if each.number < 20], ids=lambda draft: str(draft.name)
)
newest = pytest.mark.parametrize("draft", WAITING[:1], ids=lambda draft: str(draft.name))


def waiting(world: World, draft: Draft, target: str = "/", **more: Any) -> Peer:
    """A viewer that has come too early."""
    peer = world.peer(draft, target)
    peer.heard.clear()
    peer.ask(Subscribe(0, CAM, b"video", **{"patience": 5_000, **more}))
    world.tick(0.2)
    return peer


def seats(world: World) -> int:
    """How many in the whole house wait, or are ready to wait on."""
    return sum(len(guest.watching.awaiting) for guest in world.door.guests.values())


def leave(peer: Peer, request: int) -> None:
    line = peer.lines[request]
    if peer.draft.half_closes:
        peer.end.reset(line, 0)
    else:
        peer.end.send(line, b"", True)
    peer.world.run()


@where_it_can_be_said
def test_who_waits_is_served_when_the_publisher_comes(world: World, draft: Draft) -> None:
    viewer = waiting(world, draft)
    assert not viewer.heard
    source = world.peer(draft)
    source.ask(PublishNamespace(0, CAM))
    world.tick(0.2)
    serving(source, source.only(Subscribe))
    source.bring(head(draft, 7, 0), objects(draft, b"one"))
    alias = viewer.only(SubscribeOk).alias
    (stream,) = viewer.groups
    assert read(viewer, stream) == (alias, 0, [b"one"])
    assert seats(world) == 0


@where_a_fetch_may_join
def test_a_fetch_waits_with_the_subscription_that_it_joins(world: World, draft: Draft) -> None:
    viewer = waiting(world, draft)
    viewer.ask(Fetch(2, joining=0, relative=1))
    world.tick(0.2)
    assert not viewer.heard
    source = world.peer(draft)
    source.ask(PublishNamespace(0, CAM))
    world.tick(0.2)
    serving(source, source.only(Subscribe))
    assert viewer.only(SubscribeOk)
    source.bring(head(draft, 7, 3), objects(draft, b"one"))
    refusing(source)
    assert viewer.only(FetchOk).end == (2, 0)
    assert seats(world) == 0


@where_a_fetch_may_join
def test_a_fetch_waits_in_vain_with_the_subscription(world: World, draft: Draft) -> None:
    viewer = waiting(world, draft)
    viewer.ask(Fetch(2, joining=0, relative=1))
    world.tick(5.2)
    assert [error.code for error in viewer.take(RequestError)] == [2, 2]
    assert seats(world) == 0


@where_it_can_be_said
def test_a_track_that_is_pushed_is_waited_for_as_well(world: World, draft: Draft) -> None:
    viewer = waiting(world, draft)
    source = world.peer(draft)
    source.ask(Publish(0, CAM, b"video", 9))
    world.tick(0.2)
    source.bring(head(draft, 9, 0), objects(draft, b"one"))
    assert viewer.only(SubscribeOk)
    assert len(viewer.groups) == 1


@newest
def test_what_is_published_above_is_the_publishers_to_answer_for(draft: Draft) -> None:
    world = World(0)
    viewer = waiting(world, draft)
    source, _ = published(world, "demo")
    world.tick(0.2)
    asked = source.only(events.Subscribed)
    assert asked.broadcast == "demo/cam"
    source.session.refuse(asked.id, 13)
    world.run()
    assert viewer.only(RequestError).code == draft.missing


@where_it_can_be_said
def test_who_waited_in_vain_is_told_that_it_took_too_long(world: World, draft: Draft) -> None:
    viewer = waiting(world, draft)
    published(world, "demo/other")
    world.tick(4.7)
    assert not viewer.heard
    world.tick(0.2)
    error = viewer.only(RequestError)
    assert (error.code, error.reason) == (2, "it was not there in time")
    assert seats(world) == 0
    assert viewer.lost is None


@where_it_can_be_said
@pytest.mark.parametrize("patience", [31_000, MAX_LEADING])
def test_nobody_waits_longer_than_the_house_lets_him(draft: Draft, patience: int) -> None:
    world = World(0)
    viewer = waiting(world, draft, patience=patience)
    world.tick(HOUSE_LIMIT - 0.3)
    assert not viewer.heard
    world.tick(0.2)
    assert viewer.only(RequestError).code == 2


@where_it_can_be_said
def test_who_does_not_say_that_he_waits_does_not(draft: Draft) -> None:
    viewer = waiting(World(0), draft, patience=0)
    assert viewer.only(RequestError).code == draft.missing


@where_it_cannot
def test_where_it_cannot_be_said_nobody_waits(draft: Draft) -> None:
    viewer = waiting(World(0), draft)
    assert viewer.only(RequestError).code == draft.missing


@where_it_can_be_said
@pytest.mark.parametrize("is_there", [False, True])
def test_what_may_not_be_watched_is_refused_at_once(draft: Draft, is_there: bool) -> None:
    world = World(0, public="anon")
    if is_there:
        source = world.peer(draft, f"/demo?jwt={token()}")
        source.ask(PublishNamespace(0, (b"cam",)))
    viewer = world.peer(draft, f"/demo?jwt={token(subscribe='mine')}")
    viewer.ask(Subscribe(0, (b"cam",), b"video", patience=5_000))
    error = viewer.only(RequestError)
    assert (error.code, error.reason) == (draft.missing, "no such broadcast")


@newest
def test_who_loses_the_right_meanwhile_waits_no_longer(draft: Draft) -> None:
    world = World(0)
    viewer = waiting(world, draft)
    (guest,) = world.door.guests.values()
    assert guest.grant is not None
    guest.regrant(replace(guest.grant, subscribe=(Path("demo"),)))
    assert seats(world) == 1
    guest.regrant(replace(guest.grant, subscribe=(Path("mine"),)))
    world.run()
    assert viewer.only(RequestError).code == draft.missing
    assert seats(world) == 0


@newest
def test_a_publisher_that_has_vanished_is_waited_for(draft: Draft) -> None:
    world = World(0)
    source, _ = published(world)
    source.session.close(0)
    world.run()
    viewer = waiting(world, draft, patience=20_000)
    world.tick(8)
    assert not viewer.heard
    source, _ = published(world)
    world.tick(0.2)
    asked = source.only(events.Subscribed)
    source.session.accept(asked.id, asked.priority)
    world.run()
    assert viewer.only(SubscribeOk)


def pushing(world: World, draft: Draft) -> Peer:
    """A publisher that sends audio without being asked, and is asked for video."""
    source = world.peer(draft)
    source.ask(Publish(0, CAM, b"audio", 8))
    world.tick(0.2)
    return source


def turn_down(source: Peer) -> None:
    request = source.only(Subscribe).request
    error = RequestError(request, Subscribe, source.draft.missing, "no")
    source.say(error, request=request, fin=True)


@where_it_can_be_said
def test_a_publisher_that_sends_another_track_is_not_the_one(world: World, draft: Draft) -> None:
    viewer = waiting(world, draft)
    viewer.ask(Subscribe(2, CAM, b"audio", patience=5_000))
    source = pushing(world, draft)
    assert viewer.only(SubscribeOk)
    viewer.say(SubscribeUpdate(4, 0, None, None, 5, None), request=0)
    turn_down(source)
    world.tick(0.8)
    assert not source.take(Subscribe)
    world.tick(0.4)
    turn_down(source)
    assert not viewer.take(RequestError)
    source.ask(Publish(2, CAM, b"video", 9))
    world.tick(1.9)
    assert not viewer.take(SubscribeOk)
    world.tick(0.2)
    source.bring(head(draft, 9, 0), objects(draft, b"one"))
    assert viewer.only(SubscribeOk)
    assert len(viewer.groups) == 1
    (guest, *_) = world.door.guests.values()
    assert guest.watching.viewings[0].demand.priority == 250


@newest
def test_it_is_not_waited_for_any_longer_than_others(draft: Draft) -> None:
    world = World(0)
    viewer = waiting(world, draft, patience=1_500)
    source = pushing(world, draft)
    turn_down(source)
    world.tick(1.1)
    turn_down(source)
    world.tick(0.3)
    assert viewer.only(RequestError).code == 2
    assert seats(world) == 0


@newest
def test_who_does_not_wait_is_refused_what_is_not_sent(draft: Draft) -> None:
    world = World(0)
    source = world.peer(draft)
    source.ask(Publish(0, CAM, b"audio", 8))
    viewer = waiting(world, draft, patience=0)
    turn_down(source)
    assert viewer.only(RequestError).code == draft.missing


@newest
def test_whose_publisher_has_answered_waits_for_no_other(draft: Draft) -> None:
    world = World(0)
    viewer = waiting(world, draft, patience=20_000)
    source, _ = published(world)
    world.tick(0.2)
    assert seats(world) == 1
    asked = source.only(events.Subscribed)
    source.session.accept(asked.id, asked.priority)
    world.run()
    assert seats(world) == 0
    source.session.close(0)
    world.run()
    world.tick(8)
    assert viewer.only(PublishDone).reason == "the publisher is gone"


@newest
def test_who_may_not_be_served_does_not_wait(draft: Draft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_SEATS", 0)
    world = World(0)
    viewer = waiting(world, draft)
    published(world)
    world.tick(0.2)
    assert viewer.only(RequestError).code == 0
    assert seats(world) == 0


@newest
def test_a_publisher_that_goes_before_it_has_answered_was_none(draft: Draft) -> None:
    world = World(0)
    viewer = waiting(world, draft, patience=20_000)
    source, _ = published(world)
    world.tick(0.2)
    assert source.only(events.Subscribed)
    source.session.close(0)
    world.run()
    world.tick(8)
    assert not viewer.heard
    assert seats(world) == 1


@newest
def test_what_came_to_nothing_is_not_waited_for_without_the_right(draft: Draft) -> None:
    world = World(0)
    viewer = waiting(world, draft)
    source, _ = published(world)
    world.tick(0.2)
    guest = next(iter(world.door.guests.values()))
    assert guest.grant is not None
    guest.regrant(replace(guest.grant, subscribe=(Path("mine"),)))
    world.run()
    assert viewer.only(RequestError).code == draft.missing
    assert seats(world) == 0
    assert source.only(events.Subscribed)


@newest
def test_a_track_that_the_publisher_does_not_have_is_refused_when_it_comes(draft: Draft) -> None:
    world = World(0)
    viewer = waiting(world, draft)
    source, _ = published(world)
    world.tick(0.2)
    source.session.refuse(source.only(events.Subscribed).id, 13)
    world.run()
    assert viewer.only(RequestError).code == draft.missing
    assert seats(world) == 0


@newest
@pytest.mark.parametrize("namespace", [CAM, CAM[:1]])
def test_who_answers_for_all_tracks_is_taken_at_its_word(draft: Draft, namespace: Any) -> None:
    world = World(0)
    viewer = waiting(world, draft)
    source = world.peer(draft)
    source.ask(PublishNamespace(0, namespace))
    world.tick(0.2)
    turn_down(source)
    assert viewer.only(RequestError).code == draft.missing


@newest
def test_the_seat_of_who_leaves_or_ends_his_session_is_free(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaiting, "MAX_AWAITED", 2)
    world = World(0)
    viewer = waiting(world, draft)
    viewer.ask(Subscribe(2, CAM, b"audio", patience=5_000))
    viewer.ask(Subscribe(4, CAM, b"data", patience=5_000))
    assert viewer.only(RequestError).code == 0
    leave(viewer, 0)
    assert viewer.only(RequestError).reason == "cancelled"
    viewer.ask(Subscribe(6, CAM, b"data", patience=5_000))
    assert not viewer.heard
    assert seats(world) == 2
    (guest,) = world.door.guests.values()
    viewer.end.close(0, "")
    world.run()
    assert len(guest.watching.awaiting) == 0
    source, _ = published(world)
    world.tick(6)
    assert not source.take(events.Subscribed)


@newest
def test_all_who_wait_for_the_same_are_served_from_one(draft: Draft) -> None:
    world = World(0)
    viewers = [waiting(world, draft) for _ in range(3)]
    viewers[0].ask(Subscribe(2, CAM, b"video", patience=5_000))
    leave(viewers[1], 0)
    source, _ = published(world)
    world.tick(0.2)
    asked = source.only(events.Subscribed)
    source.session.accept(asked.id, asked.priority)
    world.run()
    assert [len(viewer.take(SubscribeOk)) for viewer in viewers] == [2, 0, 1]


@newest
def test_with_news_all_the_time_everybody_has_his_turn(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaiting, "MAX_LOOKED", 1)
    world = World(0)
    viewer = waiting(world, draft, patience=30_000)
    for number in (1, 2):
        viewer.ask(Subscribe(2 * number, (b"demo", b"%d" % number), b"video", patience=30_000))
    source, announces = published(world, "demo/2")
    for number in range(3, 6):
        world.tick(0.2)
        source.session.announce(announces, f"demo/{number}", ())
        world.run()
    assert source.only(events.Subscribed).broadcast == "demo/2"
    assert seats(world) == 3


@newest
def test_what_a_viewer_wants_may_change_while_it_waits(draft: Draft) -> None:
    world = World(0)
    viewer = waiting(world, draft)
    viewer.say(SubscribeUpdate(2, 0, None, None, 5, None), request=0)
    source, _ = published(world)
    world.tick(0.2)
    assert source.only(events.Subscribed).priority == 250


@newest
def test_who_waits_is_served_by_a_relay_that_is_about_to_leave(draft: Draft) -> None:
    world = World(0)
    source = world.lite()
    viewer = waiting(world, draft)
    world.door.close("")
    world.run()
    (asked,) = source.take(events.AnnounceRequested)
    source.session.answer_announce(asked.request, [("demo/cam", (), events.FREE)])
    world.run()
    world.tick(0.2)
    asked = source.only(events.Subscribed)
    source.session.accept(asked.id, asked.priority)
    world.run()
    assert viewer.only(SubscribeOk)
