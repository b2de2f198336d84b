"""Peers that name no protocol: what they speak shows in their first words."""

from __future__ import annotations

from typing import Any

import pytest

from relay.moqt.drafts import DRAFT_14
from relay.moqt.inband import MAX_CAME
from relay.moqt.messages import (
    PublishNamespace,
    RequestOk,
    ServerSetup,
    Subscribe,
    SubscribeNamespace,
    SubscribeOk,
)
from relay.path import Path
from relay.session import events
from relay.wire.messages import SubscribeUpdate as Demand

from .conftest import Peer, World, token
from .test_interpreter import CAM, frames, head, objects, published, read

TARGET = "/"


def unnamed(world: World, target: str = TARGET, **more: Any) -> Peer:
    """One that speaks draft 14 and has said so with its first words only."""
    peer = Peer(world, DRAFT_14, world.knock("", target))
    if not peer.visit.refused:
        peer.greet(**more)
    return peer


def test_draft_14_is_told_by_its_first_words(world: World) -> None:
    peer = unnamed(world)
    assert peer.only(ServerSetup).version == DRAFT_14.version
    (welcome,) = [facts for event, facts in world.said if event == "welcome"]
    assert welcome["version"] == "moq-transport-14"


def test_who_speaks_it_publishes_and_watches(world: World) -> None:
    peer = unnamed(world)
    peer.ask(PublishNamespace(0, CAM))
    assert peer.only(RequestOk)
    viewer = world.lite()
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    peer.say(SubscribeOk(peer.only(Subscribe).request, 7))
    peer.bring(head(DRAFT_14, 7, 0), objects(DRAFT_14, b"one"))
    assert frames(viewer) == b"\x03one"

    source, _ = published(world, "demo/mic")
    peer.ask(SubscribeNamespace(2, ()))
    peer.ask(Subscribe(4, (b"demo", b"mic"), b"audio"))
    asked = source.only(events.Subscribed)
    source.session.accept(asked.id, asked.priority)
    stream = source.session.open_group(asked.id, 3)
    source.session.write(stream, b"\x03two", True)
    world.run()
    (stream,) = peer.groups
    assert read(peer, stream) == (4, 3, [b"two"])


def test_its_rights_are_those_of_its_token() -> None:
    world = World(0, public="anon")
    assert unnamed(world, "/demo").visit.refused == [401]
    allowed = unnamed(world, f"/demo?jwt={token()}")
    assert allowed.only(ServerSetup)


def test_the_oldest_moq_lite_is_what_it_was(world: World) -> None:
    source = world.lite(version="")
    (asked,) = source.take(events.AnnounceRequested)
    source.session.answer_announce(asked.request, [("demo/cam", (), events.FREE)])
    world.run()
    viewer = world.lite(version="")
    viewer.session.listen(Path(""))
    world.run()
    assert viewer.only(events.Announced).path == "demo/cam"
    versions = [facts["version"] for event, facts in world.said if event == "welcome"]
    assert versions == ["moq-lite-02"] * 2


@pytest.mark.parametrize(
    "said",
    [
        b"\x07\x00\x01\x00",
        b"\x20\x00\x02\xff\xff",
        b"\x20\x00\x06\x01\xc0\x00\x00\x00\xff",
        b"\x20\xff\xff" + bytes(70_000),
    ],
    ids=["another message", "cut off", "no version", "too long"],
)
def test_other_first_words_are_the_sessions_to_refuse(world: World, said: bytes) -> None:
    visit = world.knock("", TARGET)
    peer = Peer(world, DRAFT_14, visit)
    stream = peer.end.open_bidi()
    peer.end.send(stream, said, True)
    world.run()
    world.tick(60)
    assert peer.lost is not None


def test_what_comes_before_is_kept_in_order(world: World) -> None:
    peer = Peer(world, DRAFT_14, world.knock("", TARGET))
    early = peer.end.open_uni()
    peer.end.send(early, head(DRAFT_14, 7, 0))
    world.run()
    peer.greet()
    assert peer.only(ServerSetup)
    assert early in peer.stops


@pytest.mark.parametrize("breaks_off", [False, True])
def test_so_many_streams_may_come_before(world: World, breaks_off: bool) -> None:
    """However little they bring."""
    for streams, told in (MAX_CAME // 2, 1), (MAX_CAME + 1, 0):
        peer = Peer(world, DRAFT_14, world.knock("", TARGET))
        for _ in range(streams):
            stream = peer.end.open_uni()
            if breaks_off:
                peer.end.reset(stream, 0)
            else:
                peer.end.send(stream, b"", True)
        peer.greet()
        assert len(peer.take(ServerSetup)) == told


def test_a_peer_that_leaves_first_is_forgotten(world: World) -> None:
    peer = Peer(world, DRAFT_14, world.knock("", TARGET))
    peer.end.send(peer.end.open_bidi(), b"\x20")
    world.run()
    peer.end.close(0, "")
    world.run()
    assert not world.door.guests
