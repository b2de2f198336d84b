"""Viewers who want nothing sent for now, and publishers who send nothing before they are asked to
(FORWARD; draft-19, 10.2.17)."""

from __future__ import annotations

from typing import Any

import pytest

from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.messages import (
    ABSOLUTE_RANGE,
    Location,
    Publish,
    PublishDone,
    RequestError,
    RequestOk,
    Subscribe,
    SubscribeOk,
    SubscribeUpdate,
)
from relay.session import events
from relay.wire.messages import SubscribeUpdate as Demand

from .conftest import Peer, World
from .test_interpreter import CAM, frames, head, objects, published, read, watching

where_an_update_forwards, where_an_update_may_say_less = (
    pytest.mark.parametrize("draft", drafts, ids=lambda draft: str(draft.name))
    for drafts in (
        [each for each in DRAFTS if not each.ok_forwards],
        [each for each in DRAFTS if each.answers_updates],
    )
)


def forward(peer: Peer, is_on: bool, priority: int = 128) -> None:
    """Ask for objects, or for none."""
    update = SubscribeUpdate(100, 0, Location(0, 0), None, priority, is_on)
    peer.say(update, request=0)
    assert len(peer.take(RequestOk)) == peer.draft.answers_updates


def send(source: Any, id: int, group: int, *frames: bytes, fin: bool = True) -> int:
    """Frames of at most 63 bytes in a group."""
    stream: int = source.session.open_group(id, group)
    data = b"".join(bytes((len(frame),)) + frame for frame in frames)
    source.session.write(stream, data, fin)
    source.world.run()
    return stream


def groups(peer: Peer) -> list[tuple[int, list[bytes]]]:
    """What came whole, and is forgotten."""
    came = [read(peer, stream)[1:] for stream in peer.groups if stream in peer.whole]
    peer.groups.clear()
    return came


def paused(world: World, draft: Draft, **more: Any) -> tuple[Any, Peer, int]:
    """A publisher, a viewer of its track who has nothing sent, and the subscription."""
    source, _ = published(world)
    source.world = world
    peer, asked = watching(world, draft, source, forward=False, **more)
    assert peer.only(SubscribeOk)
    return source, peer, asked.id


def test_nothing_is_sent_before_it_is_asked_for(world: World, draft: Draft) -> None:
    source, peer, id = paused(world, draft)
    send(source, id, 0, b"zero")
    send(source, id, 1, b"one")
    assert not peer.groups
    forward(peer, True)
    assert groups(peer) == [(1, [b"one"])]
    forward(peer, False)
    forward(peer, True)
    assert not peer.groups
    send(source, id, 2, b"two")
    assert groups(peer) == [(2, [b"two"])]
    assert peer.lost is None


def test_who_has_it_paused_gets_no_more_and_then_the_group_anew(world: World, draft: Draft) -> None:
    source, peer, id = paused(world, draft)
    forward(peer, True)
    stream = send(source, id, 0, b"a", fin=False)
    (begun,) = peer.groups
    forward(peer, False)
    assert begun in peer.resets
    source.session.write(stream, b"\x01b")
    world.run()
    size = len(peer.groups[begun])
    peer.groups.clear()
    forward(peer, True)
    source.session.write(stream, b"\x01c", True)
    world.run()
    assert size < len(peer.groups[begun + 4])
    assert groups(peer) == [(0, [b"a", b"b", b"c"])]


def test_what_has_been_sent_whole_does_not_come_twice(world: World, draft: Draft) -> None:
    source, peer, id = paused(world, draft)
    forward(peer, True)
    send(source, id, 0, b"zero")
    assert groups(peer) == [(0, [b"zero"])]
    for is_on in (False, False, True, True, False, True):
        forward(peer, is_on)
    assert not peer.groups


@where_an_update_may_say_less
def test_an_update_without_a_word_of_it_leaves_it_as_it_is(world: World, draft: Draft) -> None:
    source, peer, id = paused(world, draft)
    peer.say(SubscribeUpdate(100, 0, None, None, 5, None), request=0)
    assert source.take(events.SubscribeUpdated)[-1].priority == 250
    send(source, id, 0, b"zero")
    assert not peer.groups


def test_a_paused_viewer_hears_of_the_end_of_the_track(world: World, draft: Draft) -> None:
    source, peer, id = paused(world, draft)
    send(source, id, 0, b"zero")
    source.session.complete(id, 1)
    world.run()
    world.tick(5)
    done = peer.only(PublishDone)
    assert (done.code, done.streams) == (2, 0)
    peer.say(SubscribeUpdate(100, 0, Location(0, 0), None, 128, True), request=0)
    assert not peer.groups
    assert peer.lost is None


def test_what_is_not_there_is_refused_to_a_paused_viewer_as_well(draft: Draft) -> None:
    world = World(0)
    peer = world.peer(draft)
    peer.ask(Subscribe(0, CAM, b"video", forward=False))
    assert peer.only(RequestError).code == draft.missing


def test_others_do_not_notice_that_somebody_has_it_paused(draft: Draft) -> None:
    world = World(0)
    source, peer, id = paused(world, draft)
    other = world.peer(draft)
    other.ask(Subscribe(0, CAM, b"video"))
    send(source, id, 0, b"zero")
    assert (groups(peer), groups(other)) == ([], [(0, [b"zero"])])


def test_a_group_beyond_the_last_one_is_not_handed_over_late(draft: Draft) -> None:
    world = World(0)
    source, peer, id = paused(world, draft)
    send(source, id, 4, b"four")
    update = SubscribeUpdate(100, 0, Location(1, 0), 3, 128, True)
    peer.say(update, request=0)
    assert not peer.groups


def test_the_groups_that_were_named_are_kept_to(draft: Draft) -> None:
    world = World(0)
    more = {"filter": ABSOLUTE_RANGE, "start": Location(1, 0), "end": 2}
    source, peer, id = paused(world, draft, **more)
    for number in range(4):
        send(source, id, number, b"x")
    peer.say(SubscribeUpdate(100, 0, Location(1, 0), 2, 128, True), request=0)
    assert groups(peer) == [(2, [b"x"])]


# -- publishers ----------------------------------------------------------------------------------


def test_a_track_that_is_held_back_is_sent_when_somebody_watches(
    world: World, draft: Draft
) -> None:
    peer = world.peer(draft)
    peer.ask(Publish(0, CAM, b"video", 9, forward=False))
    assert peer.only(RequestOk)
    assert not peer.take(SubscribeUpdate)
    viewer = world.lite()
    for number in range(2):
        viewer.session.subscribe("demo/cam", "video", Demand(200))
        world.run()
        viewer.session.unsubscribe(number)
        world.run()
    updates = [] if draft.ok_forwards else [SubscribeUpdate(1, -1, None, None, None, True)]
    assert peer.take(SubscribeUpdate) == updates
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    peer.bring(head(draft, 9, 4), objects(draft, b"one"))
    assert frames(viewer) == b"\x03one"
    assert peer.lost is None


@where_an_update_forwards
def test_a_publisher_may_refuse_to_send_it(draft: Draft) -> None:
    world = World(0)
    peer = world.peer(draft)
    peer.ask(Publish(0, CAM, b"video", 9, forward=False))
    viewer = world.lite()
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    asked = peer.only(SubscribeUpdate)
    assert peer.lines[asked.request] == peer.lines[0]
    peer.say(RequestError(-1, None, 3, "no"), request=0)
    peer.say(PublishDone(-1, 8, 0, "no"), request=0, fin=True)
    world.tick(5)
    assert viewer.only(events.SubscribeRefused).code == 24
    assert peer.lost is None
