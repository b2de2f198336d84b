"""Peers that break the rules, or stretch them: others do not notice, and nothing is kept of it."""

from __future__ import annotations

import pytest

from relay.moqt import requests
from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.messages import (
    Goaway,
    MaxRequest,
    Message,
    Namespace,
    Publish,
    PublishNamespace,
    RequestError,
    RequestOk,
    Subscribe,
    SubscribeNamespace,
)
from relay.moqt.varint import MAX_LEADING
from relay.session import events
from relay.wire import unread
from relay.wire.messages import SubscribeUpdate as Demand

from .conftest import World, token
from .test_interpreter import (
    CAM,
    frames,
    head,
    objects,
    published,
    publishing,
    serving,
    where_requests_have_streams,
)

where_numbers_are_larger = pytest.mark.parametrize(
    "draft", [each for each in DRAFTS if each.number >= 17], ids=lambda draft: str(draft.name)
)

PAYLOADS = [0x2F, 0xAF, 0x6F]
"""First bytes of streams that bring a SETUP, in one way to write integers or the other."""


@pytest.mark.parametrize("byte", PAYLOADS)
def test_a_group_may_go_on_with_any_byte(draft: Draft, byte: int) -> None:
    world = World(1)  # each byte comes alone
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    payload = bytes([byte] * 8)
    peer.bring(head(draft, 7, 0), objects(draft, payload, payload))
    assert frames(viewer) == b"\x08" + payload + b"\x08" + payload
    assert len(viewer.take(events.GroupFinished)) == 1


def test_a_stream_that_is_broken_off_before_anything_came_is_over(
    world: World, draft: Draft
) -> None:
    peer = world.peer(draft, f"/demo?jwt={token()}")
    stream = peer.end.open_bidi()
    peer.end.reset(stream, 0)
    peer.end.reset(peer.end.open_uni(), 0)
    world.run()
    assert list(peer.resets) == [stream]
    assert peer.lost is None


@where_requests_have_streams
def test_too_much_that_is_left_half_said_ends_the_session(
    world: World, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "MAX_UNREAD", 150)
    peer, viewer, _ = publishing(world, draft)
    half = draft.encode(Subscribe(2, CAM, b"x" * 50))[:-1]
    for _ in range(20):
        stream = peer.end.open_bidi()
        peer.end.send(stream, half)
        world.run()
        peer.end.reset(stream, 0)
        world.run()
    for _ in range(2):
        peer.end.send(peer.end.open_bidi(), half)
    world.run()
    assert peer.lost is None
    peer.end.send(peer.end.open_bidi(), half)
    world.run()
    assert peer.lost is not None
    assert viewer.lost is None


@where_numbers_are_larger
def test_numbers_beyond_those_of_moq_lite_cost_viewers_nothing(draft: Draft) -> None:
    """Groups that were held are told in the turn of whoever asks for the track."""
    world = World(0)
    peer, viewer, _ = publishing(world, draft)  # an answer is awaited, so that groups are held
    peer.ask(Publish(2, CAM, b"audio", 7))
    peer.bring(head(draft, 7, MAX_LEADING), objects(draft, b"x"))
    peer.bring(head(draft, 7, 0), objects(draft, b"x" * 9)[:-10], draft.encode_varint(MAX_LEADING))
    peer.bring(head(draft, 7, 1), objects(draft, b"one"))
    viewer.session.subscribe("demo/cam", "audio", Demand(200))
    world.run()
    assert (viewer.lost, peer.lost) == (None, None)
    assert frames(viewer) == b"\x03one"


def test_viewers_who_ask_for_much_do_not_end_their_publishers_session(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MAX_WAITING", 2)
    world = World(0)
    peer = world.peer(draft, **({} if draft.request_streams else {"max_request": 1}))
    peer.visit.wire.server.credit = 0
    peer.ask(PublishNamespace(0, CAM))
    viewer = world.lite()
    for number in range(4):
        viewer.session.subscribe("demo/cam", str(number), Demand(200))
    world.run()
    assert peer.lost is None
    assert [each.id for each in viewer.take(events.SubscribeRefused)] == [2, 3]
    peer.visit.wire.server.credit = 9
    if not draft.request_streams:
        peer.say(MaxRequest(9))
    world.tick(1)
    peer.visit.wire.server.wake()
    world.run()
    assert [each.track for each in peer.take(Subscribe)] == [b"0", b"1"]


def test_a_session_publishes_so_many_tracks_and_no_more(draft: Draft) -> None:
    world = World(0, max_announces=3)
    peer = world.peer(draft)
    for number in range(5):
        peer.ask(Publish(2 * number, CAM, bytes((65 + number,)), number))
    assert peer.lost is None
    assert len(peer.take(RequestOk)) == 3
    assert [each.reason for each in peer.take(RequestError)] == [
        "too many are published by this session already"
    ] * 2


def test_names_too_long_for_a_peer_are_not_said_to_it(draft: Draft) -> None:
    """The draft has it end its session over one."""
    world = World(0)
    peer = world.peer(draft)
    peer.ask(PublishNamespace(0, CAM))
    peer.ask(SubscribeNamespace(2, (b"demo",)), own=draft.namespace_streams)
    peer.heard.clear()
    viewer = world.lite()
    for size in (4_089, 4_090):
        viewer.session.subscribe("demo/cam", "x" * size, Demand(200))
    published(world, "demo/" + "\xe9" * 2_047)
    world.run()
    assert len(peer.only(Subscribe).track) == 4_089
    (refused,) = viewer.take(events.SubscribeRefused)
    assert (refused.id, peer.heard) == (1, [])


@pytest.mark.parametrize("name", [(b"x" * 4_097,), (b"x", b"y" * 4_096)])
def test_names_too_long_for_any_peer_are_refused(draft: Draft, name: Namespace) -> None:
    world = World(0)
    peer = world.peer(draft)
    peer.ask(PublishNamespace(0, name))
    peer.ask(Publish(2, CAM, b"x" * 4_090, 7))
    assert [each.reason for each in peer.take(RequestError)] == [
        "a name of more than 4096 bytes"
    ] * 2


@where_requests_have_streams
@pytest.mark.parametrize("second", [Subscribe(2, CAM, b"audio"), PublishNamespace(2, CAM)])
def test_a_stream_has_one_request(draft: Draft, second: Message) -> None:
    """With the stream only the last would end, and the others never."""
    world = World(0)
    published(world)
    peer = world.peer(draft)
    peer.ask(Subscribe(0, CAM, b"video"))
    peer.say(second, request=0)
    assert peer.lost == (3, "a second request on a stream")


def test_that_a_peer_is_leaving_is_heard_once(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.say(Goaway(""))
    peer.say(Goaway("https://elsewhere.example"))
    assert [event for event, _ in world.said].count("peer is leaving") == 1
    assert peer.lost is None


def test_an_offer_has_a_number_of_its_own(draft: Draft) -> None:
    """Of two with one number the first could not be withdrawn."""
    peer = World(0).peer(draft)
    peer.ask(PublishNamespace(0, CAM))
    peer.ask(Publish(0, CAM, b"video", 7))
    assert peer.lost == (3, "request 0 is in use")


@where_requests_have_streams
@pytest.mark.parametrize("is_pushed", [False, True], ids=["asked", "pushed"])
def test_a_track_whose_request_broke_off_is_not_complete(draft: Draft, is_pushed: bool) -> None:
    world = World(0)
    if is_pushed:
        peer, viewer, line = world.peer(draft), world.lite(), 0
        peer.ask(Publish(line, CAM, b"video", 7))
        viewer.session.subscribe("demo/cam", "video", Demand(200))
        world.run()
    else:
        peer, viewer, asked = publishing(world, draft)
        serving(peer, asked)
        line = asked.request
    viewer.only(events.SubscribeAccepted)
    peer.end.reset(peer.lines[line], 1)
    world.tick(5)
    assert viewer.take(events.SubscribeFinished) == []
    assert len(viewer.take(events.SubscribeRefused)) == 1
