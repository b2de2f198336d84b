"""Peers of moq-transport among those of moq-lite: what each hears of the other, and who is refused.

Every draft, in whole pieces and byte by byte.
"""

from __future__ import annotations

from typing import Any

import pytest

from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.messages import (
    ABSOLUTE_RANGE,
    ABSOLUTE_START,
    UNFILTERED,
    Fetch,
    Goaway,
    Location,
    MaxRequest,
    NamespaceFound,
    NamespaceGone,
    Publish,
    PublishDone,
    PublishNamespace,
    PublishNamespaceDone,
    RequestError,
    RequestOk,
    ServerSetup,
    Subscribe,
    SubscribeNamespace,
    SubscribeOk,
    SubscribeUpdate,
    Token,
    TrackStatus,
    Unsubscribe,
    UnsubscribeNamespace,
)
from relay.moqt.properties import written
from relay.path import Path
from relay.peer import transcode
from relay.session import events
from relay.wire.frame import FrameParser, Layout, encode_frame
from relay.wire.messages import MAX_SEQUENCE, TrackInfo
from relay.wire.messages import SubscribeUpdate as Demand

from .conftest import Peer, World, token

CAM = (b"demo", b"cam")

where_who_asks_may_be_silent = pytest.mark.parametrize(
    "draft", [each for each in DRAFTS if each.half_closes], ids=lambda draft: str(draft.name)
)
where_the_first_object_is_marked = pytest.mark.parametrize(
    "draft", [each for each in DRAFTS if each.heads.marks_start], ids=lambda draft: str(draft.name)
)
where_they_end = pytest.mark.parametrize(
    "draft", [each for each in DRAFTS if each.ends_with_last], ids=lambda draft: str(draft.name)
)
where_requests_have_streams, where_they_share_one = (
    pytest.mark.parametrize(
        "draft",
        [each for each in DRAFTS if each.request_streams is have],
        ids=lambda draft: str(draft.name),
    )
    for have in (True, False)
)


def leave(peer: Peer, line: int) -> None:
    """End both halves of a request's stream; where the end of one is enough, only that."""
    peer.end.send(line, b"", True)
    if peer.draft.half_closes:
        peer.end.stop(line, 1)
    peer.world.run()


def head(draft: Draft, alias: int, group: int) -> bytes:
    return draft.subgroup_head(alias, group, 128, draft.timestamps)


def later(draft: Draft, alias: int, group: int) -> bytes:
    """The same of one that does not say that it has the first object."""
    begun = head(draft, alias, group)
    return bytes((begun[0] & ~0x40,)) + begun[1:]


def objects(draft: Draft, *payloads: bytes, first: int = 0, stamp: int = 0) -> bytes:
    """Objects that follow each other, a unit of time apart."""
    number = draft.encode_varint(first)
    pieces = []
    for index, payload in enumerate(payloads):
        extensions = written(draft, b"", stamp + index) if draft.timestamps else b""
        size = draft.encode_varint(len(payload))
        pieces += [number, extensions, size, payload or draft.encode_varint(0)]
        number = draft.encode_varint(0)
    return b"".join(pieces)


def read(peer: Peer, stream: int) -> tuple[int, int, list[bytes]]:
    """Alias, group and payloads of a stream of ours."""
    draft, data = peer.draft, peer.groups[stream]
    found = draft.scan_subgroup_head(data)
    assert found is not None
    parsed, at = found
    assert (parsed.subgroup, parsed.ends_group) == (0, True)
    payloads = []
    while at < len(data):
        assert data[at] == 0
        at += 1
        if parsed.has_properties:
            size, at = draft.scan_varint(data, at) or (0, 0)
            at += size
        size, at = draft.scan_varint(data, at) or (0, 0)
        payloads.append(data[at : at + size])
        at += size or 1
    return parsed.alias, parsed.group, payloads


def status(draft: Draft, code: int) -> bytes:
    extensions = (0,) if draft.timestamps else ()
    return b"".join(map(draft.encode_varint, (0, *extensions, 0, code)))


def frames(side: Any) -> bytes:
    """What a lite viewer got of groups, in one piece."""
    whole = b"".join(event.data for event in side.take(events.GroupArrived))
    return whole + b"".join(event.data for event in side.take(events.GroupReceived))


def publishing(world: World, draft: Draft) -> tuple[Peer, Any, Subscribe]:
    """A publisher that is watched by somebody who speaks lite, and what it is asked."""
    peer = world.peer(draft)
    peer.ask(PublishNamespace(0, CAM))
    peer.only(RequestOk)
    viewer = world.lite()
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    return peer, viewer, peer.only(Subscribe)


def serving(peer: Peer, asked: Subscribe, alias: int = 7, **more: Any) -> None:
    peer.say(SubscribeOk(asked.request, alias, **more), request=asked.request)


def published(world: World, name: str = "demo/cam") -> tuple[Any, int]:
    """A lite publisher, and the stream on which it announces."""
    side = world.lite()
    (asked,) = side.take(events.AnnounceRequested)
    side.session.answer_announce(asked.request, [(name, (), events.FREE)])
    world.run()
    return side, asked.request


def watching(
    world: World, draft: Draft, source: Any, request: int = 0, **more: Any
) -> tuple[Peer, Any]:
    """A viewer of a lite publisher's track, and what that is asked."""
    peer = world.peer(draft)
    peer.ask(Subscribe(request, CAM, b"video", **more))
    asked = source.only(events.Subscribed)
    source.session.accept(asked.id, asked.priority)
    world.run()
    return peer, asked


# -- coming in ---------------------------------------------------------------------------------


def test_who_speaks_moq_transport_is_let_in_as_anybody(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    (welcome,) = [facts for event, facts in world.said if event == "welcome"]
    assert welcome["version"] == draft.name
    assert draft.request_streams or peer.only(ServerSetup).version in (0, draft.version)
    assert peer.lost is None


def test_on_raw_quic_the_path_and_its_token_come_with_setup(draft: Draft) -> None:
    world = World(0, public="anon")
    allowed = world.peer(draft, None, path=f"/demo?jwt={token()}")
    assert allowed.lost is None
    bare = world.peer(draft, None, path="/demo")
    assert bare.lost is not None
    assert bare.lost[0] == 2


def test_a_token_in_setup_is_a_jwt_of_the_path(draft: Draft) -> None:
    world = World(0, public="anon")
    value = token().encode()
    peer = world.peer(draft, None, path="/demo", tokens=(Token(3, 0, 0, value),))
    assert peer.lost is None
    wrong = world.peer(draft, None, path="/demo?jwt=x", tokens=(Token(3, 0, 0, value),))
    assert wrong.lost is not None


def test_who_may_do_nothing_is_turned_away_at_the_door(draft: Draft) -> None:
    world = World(0, public="anon")
    assert world.peer(draft, "/demo").visit.refused == [401]


def test_a_second_setup_ends_the_session(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.greet()
    assert peer.lost is not None
    assert peer.lost[0] == 3


def test_what_is_no_message_ends_the_session_and_no_other(world: World, draft: Draft) -> None:
    other = world.peer(draft)
    peer = world.peer(draft)
    kind = draft.encode_varint(3)
    peer.end.send(peer.end.open_bidi(), kind + b"\x00\x02\xff\xff")
    world.run()
    assert peer.lost is not None
    assert peer.lost[0] == 3
    assert other.lost is None


# -- publishing --------------------------------------------------------------------------------


def test_a_publisher_is_heard_by_viewers_of_moq_lite(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    assert (asked.namespace, asked.track, asked.priority) == (CAM, b"video", 55)
    assert (asked.filter, asked.start) in ((UNFILTERED, None), (ABSOLUTE_START, Location(0, 0)))
    serving(peer, asked)
    peer.bring(head(draft, 7, 4), objects(draft, b"one", b"", b"three"))
    assert frames(viewer) == b"\x03one\x00\x05three"
    peer.say(PublishDone(asked.request, 2, 1, ""), request=asked.request)
    world.tick(5)
    assert viewer.only(events.SubscribeFinished)


@pytest.mark.parametrize("byte", [0xAF, 0x20, 0x05])
def test_a_piece_of_a_group_may_begin_with_anything(world: World, draft: Draft, byte: int) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    payload = bytes((byte,)) * 9
    whole = objects(draft, payload)
    peer.bring(head(draft, 7, 4), whole[:-8], whole[-8:])
    assert frames(viewer) == b"\x09" + payload


def test_what_it_may_not_publish_is_refused(world: World, draft: Draft) -> None:
    peer = world.peer(draft, f"/demo?jwt={token(publish='mine')}")
    peer.ask(PublishNamespace(0, (b"mine", b"a")))
    assert peer.only(RequestOk).request in (0, -1)
    peer.ask(PublishNamespace(2, (b"mine/a",)))
    error = peer.only(RequestError)
    assert (error.code, error.reason) == (1, "beyond what this session may publish")
    assert peer.lost is None
    denied = [facts for event, facts in world.said if event == "publish denied"]
    assert denied == [{"path": "mine%2Fa", "reason": error.reason}]


def test_what_it_says_before_it_is_decided_on_waits(world: World, draft: Draft) -> None:
    visit_world = World(world.cut, public="anon")
    peer = visit_world.peer(draft, None, path=f"/demo?jwt={token(publish='mine')}")
    peer.ask(PublishNamespace(0, (b"mine",)))
    peer.ask(PublishNamespace(2, (b"theirs",)))
    assert len(peer.take(RequestOk)) == 1
    assert peer.only(RequestError).code == 1


@pytest.mark.parametrize("name", [(), (b"a", b""), (b"\xff",)])
def test_names_that_are_no_paths_are_refused(
    world: World, draft: Draft, name: tuple[bytes, ...]
) -> None:
    peer = world.peer(draft)
    peer.ask(PublishNamespace(0, name))
    assert peer.only(RequestError).code == 3
    assert peer.lost is None


def test_a_slash_within_a_part_of_a_name_is_one_to_everybody(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.ask(PublishNamespace(0, (b"live/cam",)))
    assert peer.only(RequestOk).request in (0, -1)
    viewer = world.peer(draft)
    viewer.ask(Subscribe(0, (b"live/cam",), b"video"))
    assert peer.only(Subscribe).namespace == (b"live/cam",)
    viewer.ask(Subscribe(2, (b"live", b"cam"), b"video"))
    assert viewer.only(RequestError).code == draft.missing


def test_a_name_is_published_once_by_a_session(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.ask(PublishNamespace(0, CAM))
    peer.ask(PublishNamespace(2, CAM))
    assert len(peer.take(RequestOk)) == 1
    assert peer.only(RequestError)


def test_what_is_withdrawn_is_gone(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.ask(PublishNamespace(0, CAM))
    viewer = world.peer(draft)
    viewer.ask(SubscribeNamespace(0, ()), own=draft.namespace_streams)
    if draft.request_streams:
        peer.end.send(peer.lines[0], b"", True)
        world.run()
    else:
        peer.say(PublishNamespaceDone(0, CAM))
    world.tick(30)
    gone = NamespaceGone if draft.namespace_streams else PublishNamespaceDone
    assert viewer.only(gone)


def test_groups_may_come_before_it_is_known_whose_they_are(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    stream = peer.bring(head(draft, 7, 0), objects(draft, b"early"))
    assert not peer.stops
    serving(peer, asked)
    assert frames(viewer) == b"\x05early"
    assert stream not in peer.stops


def test_groups_that_nobody_asked_for_are_stopped(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    stream = peer.bring(head(draft, 9, 0), objects(draft, b"stray"), fin=False)
    assert stream in peer.stops
    assert frames(viewer) == b""


def test_what_is_kept_of_unknown_groups_is_bounded(draft: Draft) -> None:
    world = World(0)
    peer, _, asked = publishing(world, draft)
    large = objects(draft, bytes(200_000))
    first = peer.bring(head(draft, 7, 0), large, fin=False)
    second = peer.bring(head(draft, 7, 1), large, fin=False)
    assert (first in peer.stops, second in peer.stops) == (False, True)
    serving(peer, asked)
    assert first not in peer.stops


def test_groups_that_begin_in_the_middle_are_none(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    stream = peer.bring(later(draft, 7, 3), objects(draft, b"late", first=2), fin=False)
    assert stream in peer.stops
    peer.bring(head(draft, 7, 4), objects(draft, b"next"))
    assert frames(viewer) == b"\x04next"


@where_the_first_object_is_marked
def test_a_group_may_begin_with_any_number(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    reader = world.peer(draft)
    reader.ask(Subscribe(0, CAM, b"video"))
    peer.bring(head(draft, 7, 3), objects(draft, b"one", b"two", first=2))
    assert frames(viewer) == b"\x03one\x03two"
    (stream,) = reader.groups
    assert read(reader, stream)[1:] == (3, [b"one", b"two"])  # numbered from 0
    assert stream in reader.whole


def test_streams_that_only_say_what_is_not_there_are_no_groups(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    peer.bring(head(draft, 7, 3))
    peer.bring(head(draft, 7, 4), status(draft, 3))
    peer.bring(head(draft, 7, 5), status(draft, 4))
    assert frames(viewer) == b""
    assert not viewer.take(events.GroupOpened)


def test_a_group_that_is_cut_off_breaks_off(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    peer.bring(head(draft, 7, 3), objects(draft, b"whole", b"half")[:-1])
    assert viewer.only(events.GroupAborted)
    assert not viewer.take(events.GroupFinished)


def test_a_group_that_the_publisher_breaks_off_breaks_off(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    stream = peer.bring(head(draft, 7, 3), objects(draft, b"whole"), fin=False)
    peer.end.reset(stream, 1)
    world.run()
    assert viewer.only(events.GroupAborted)


def test_two_tracks_with_one_alias_end_the_session(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    viewer.session.subscribe("demo/cam", "audio", Demand(200))
    world.run()
    serving(peer, peer.only(Subscribe))
    assert peer.lost is not None
    assert peer.lost[0] == 3


def test_a_track_that_is_refused_is_refused_to_viewers(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    error = RequestError(asked.request, Subscribe, draft.missing, "no such track")
    peer.say(error, request=asked.request)
    assert viewer.only(events.SubscribeRefused).code == 13


def test_nobody_watches_any_more(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    viewer.session.unsubscribe(0)
    world.run()
    world.tick(30)
    if draft.request_streams:
        assert peer.lines[asked.request] in peer.stops
    else:
        assert peer.only(Unsubscribe).request == asked.request


@where_they_share_one
def test_requests_wait_until_the_peer_grants_them(world: World, draft: Draft) -> None:
    peer = world.peer(draft, max_request=0)
    peer.ask(PublishNamespace(0, CAM))
    viewer = world.lite()
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    assert not peer.take(Subscribe)
    peer.say(MaxRequest(2))
    assert peer.only(Subscribe).request == 1


where_objects_have_timestamps = pytest.mark.parametrize(
    "draft", [each for each in DRAFTS if each.timestamps], ids=lambda draft: str(draft.name)
)


def timed(world: World) -> Any:
    """One that speaks moq-lite with timestamps."""
    return world.lite(version="moq-lite-05")


@where_objects_have_timestamps
@pytest.mark.parametrize(
    ("timescale", "came", "told"),
    [(1_000_000, 7, 7), (90_000, 180_000, 2_000_000), (1_000, 3, 3_000), (0, 7, 7)],
)
def test_timestamps_come_through(
    world: World, draft: Draft, timescale: int, came: int, told: int
) -> None:
    peer = world.peer(draft)
    peer.ask(PublishNamespace(0, CAM))
    viewer = timed(world)
    viewer.session.describe("demo/cam", "video")
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    serving(peer, peer.only(Subscribe), timescale=timescale)
    assert viewer.only(events.TrackDescribed).timescale == 1_000_000
    peer.bring(head(draft, 7, 0), objects(draft, b"a", b"b", stamp=came))
    parsed = FrameParser(Layout.TIMED, 1000).feed(frames(viewer))
    step = 1_000_000 // (timescale or 1_000_000)
    assert [(each.timestamp, each.payload) for each in parsed] == [
        (told, b"a"),
        (told + step, b"b"),
    ]


@where_objects_have_timestamps
def test_a_viewer_is_told_what_timestamps_count(world: World, draft: Draft) -> None:
    source = timed(world)
    (asked,) = source.take(events.AnnounceRequested)
    source.session.answer_announce(asked.request, [("demo/cam", (), events.FREE)])
    world.run()
    peer = world.peer(draft)
    peer.ask(Subscribe(0, CAM, b"video"))
    source.session.answer_track(
        source.only(events.TrackRequested).request, TrackInfo(1, timescale=48_000)
    )
    world.run()
    id = source.only(events.Subscribed).id
    stream = source.session.open_group(id, 0)
    source.session.write(stream, encode_frame(Layout.TIMED, b"x", 96_000), True)
    world.run()
    assert peer.only(SubscribeOk).timescale == 48_000
    (stream,) = peer.groups
    assert written(draft, b"", 96_000) in peer.groups[stream]


@where_objects_have_timestamps
def test_extensions_that_make_no_sense_are_none(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked, timescale=1_000)
    size = draft.encode_varint
    for number, extensions in enumerate((b"\x10", b"\x10\xff", b"\x01\x7f", bytes(5_000))):
        data = size(0) + size(len(extensions)) + extensions + size(1) + b"x"
        peer.bring(head(draft, 7, number), data)
    assert frames(viewer) == b"\x01x" * 4


# -- tracks that are pushed ----------------------------------------------------------------------


def test_a_track_that_is_pushed_is_watched_without_being_asked_for(
    world: World, draft: Draft
) -> None:
    peer = world.peer(draft)
    peer.ask(Publish(0, CAM, b"video", 9))
    assert peer.only(RequestOk)
    viewer = world.lite()
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    assert not peer.take(Subscribe)
    peer.bring(head(draft, 9, 4), objects(draft, b"one"))
    assert frames(viewer) == b"\x03one"
    viewer.session.unsubscribe(0)
    world.run()
    world.tick(30)
    assert peer.bring(head(draft, 9, 5), objects(draft, b"two"), fin=False) in peer.stops
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    peer.bring(head(draft, 9, 6), objects(draft, b"three"))
    assert frames(viewer) == b"\x05three"


def test_the_end_of_a_push_is_the_end_of_the_track(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.ask(Publish(0, CAM, b"video", 9))
    viewer = world.lite()
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    peer.bring(head(draft, 9, 0), objects(draft, b"one"))
    peer.say(PublishDone(0, 2, 1, ""), request=0)
    world.tick(5)
    assert viewer.only(events.SubscribeFinished)
    world.tick(30)
    viewer.session.listen(Path(""))
    world.run()
    assert not viewer.take(events.Announced)


def test_a_broadcast_is_there_as_long_as_any_of_its_tracks(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.ask(Publish(0, CAM, b"video", 9))
    peer.ask(Publish(2, CAM, b"audio", 10))
    peer.ask(Publish(4, CAM, b"audio", 11))
    assert len(peer.take(RequestOk)) == 2
    assert peer.only(RequestError)
    peer.say(PublishDone(0, 2, 0, ""), request=0)
    world.tick(30)
    viewer = world.lite()
    viewer.session.listen(Path(""))
    world.run()
    assert viewer.only(events.Announced).path == "demo/cam"


def test_a_push_of_what_may_not_be_published_is_refused(world: World, draft: Draft) -> None:
    peer = world.peer(draft, f"/demo?jwt={token(publish='mine')}")
    peer.ask(Publish(0, (b"theirs",), b"video", 9))
    assert peer.only(RequestError).code == 1


# -- watching ----------------------------------------------------------------------------------


def test_a_viewer_gets_groups_of_moq_lite(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, asked = watching(world, draft, source, priority=55)
    ok = peer.only(SubscribeOk)
    assert (ok.largest, asked.priority) == (None, 200)
    stream = source.session.open_group(asked.id, 3)
    source.session.write(stream, b"\x03one\x00\x05three", True)
    world.run()
    (found,) = peer.groups
    assert found in peer.whole
    assert read(peer, found) == (ok.alias, 3, [b"one", b"", b"three"])


def test_the_end_of_a_track_is_told(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, asked = watching(world, draft, source)
    stream = source.session.open_group(asked.id, 0)
    source.session.write(stream, b"\x03one", True)
    source.session.complete(asked.id, 1)
    world.run()
    world.tick(5)
    done = peer.only(PublishDone)
    assert (done.code, done.streams) == (2, 1)


def test_streams_that_were_not_granted_are_not_counted(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, asked = watching(world, draft, source)
    below = peer.visit.wire.server
    for number, credit in ((0, 1), (1, 0)):
        below.credit = credit
        stream = source.session.open_group(asked.id, number)
        source.session.write(stream, b"\x03one", True)
        world.run()
    for _ in range(3):
        below.wake()
        world.run()
    below.credit = 9
    below.wake()
    source.session.complete(asked.id, 2)
    world.run()
    world.tick(5)
    assert peer.only(PublishDone).streams == 2


def test_a_publisher_that_vanishes_is_told(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, _ = watching(world, draft, source)
    source.session.close(0)
    world.run()
    world.tick(30)
    done = peer.only(PublishDone)
    assert (done.code, done.reason) == (0, "the publisher is gone")


def test_what_is_not_there_is_refused(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.ask(Subscribe(0, (b"nobody",), b"video"))
    world.tick(30)
    error = peer.only(RequestError)
    assert error.code == draft.missing


def test_what_it_may_not_see_is_not_there(world: World, draft: Draft) -> None:
    published(world, "demo/theirs/cam")
    peer = world.peer(draft, f"/demo?jwt={token(subscribe='mine')}")
    peer.ask(SubscribeNamespace(0, ()), own=draft.namespace_streams)
    peer.ask(Subscribe(2, (b"theirs", b"cam"), b"video"))
    world.tick(30)
    assert peer.only(RequestError).code in (1, draft.missing)
    assert not peer.take(NamespaceFound)
    assert not peer.take(PublishNamespace)


def test_a_viewer_that_leaves_a_track_gets_no_more(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, _ = watching(world, draft, source)
    if draft.request_streams:
        leave(peer, peer.lines[0])
    else:
        peer.say(Unsubscribe(0))
    world.tick(30)
    assert source.take(events.Unsubscribed)
    assert peer.lost is None


@where_who_asks_may_be_silent
def test_who_has_said_all_still_gets_what_it_asked_for(world: World, draft: Draft) -> None:
    source, announces = published(world)
    peer, asked = watching(world, draft, source)
    peer.ask(SubscribeNamespace(2, ()))
    for line in peer.lines.values():
        peer.end.send(line, b"", True)
    world.tick(30)
    assert not source.take(events.Unsubscribed)
    peer.heard.clear()
    source.session.announce(announces, "demo/mic", ())
    stream = source.session.open_group(asked.id, 0)
    source.session.write(stream, b"\x03one", True)
    source.session.complete(asked.id, 1)
    world.run()
    world.tick(5)
    assert peer.only(NamespaceFound).suffix == (b"demo", b"mic")
    assert [read(peer, found)[2] for found in peer.groups] == [[b"one"]]
    assert peer.only(PublishDone).code == 2
    assert peer.lines[0] in peer.ended
    peer.ask(Subscribe(0, CAM, b"audio"))  # nothing is left of the one before
    assert source.only(events.Subscribed).track == "audio"


@where_who_asks_may_be_silent
def test_who_has_said_all_may_still_leave(world: World, draft: Draft) -> None:
    source, announces = published(world)
    peer, _ = watching(world, draft, source)
    peer.ask(SubscribeNamespace(2, ()))
    for line in peer.lines.values():
        peer.end.send(line, b"", True)
        world.run()
        peer.end.stop(line, 1)
    world.tick(30)
    assert source.take(events.Unsubscribed)
    peer.heard.clear()
    source.session.announce(announces, "demo/mic", ())
    world.run()
    assert not peer.heard
    assert peer.lost is None


def test_a_viewer_may_begin_with_a_certain_group_and_change_its_mind(
    world: World, draft: Draft
) -> None:
    source, _ = published(world)
    peer, asked = watching(world, draft, source, filter=ABSOLUTE_START, start=Location(4, 0))
    assert asked.start == 4
    update = SubscribeUpdate(2, 0, Location(4, 0), None, 5, True)
    peer.say(update, request=0)
    changed = source.take(events.SubscribeUpdated)[-1]
    assert (changed.priority, changed.start) == (250, 4)
    assert len(peer.take(RequestOk)) == draft.answers_updates


def test_a_subscription_is_over_with_its_last_group(world: World, draft: Draft) -> None:
    source, _ = published(world)
    span = {"filter": ABSOLUTE_RANGE, "start": Location(4, 0), "end": 6}
    peer, asked = watching(world, draft, source, **span)
    late = source.session.open_group(asked.id, 4)
    source.session.write(late, b"\x04four", False)
    for number in (6, 5):
        source.session.open_group(asked.id, number, whole=b"\x01x")
        world.run()
    assert not peer.take(PublishDone)
    source.session.write(late, b"", True)
    world.run()
    assert sorted(read(peer, stream)[1:] for stream in peer.whole) == [
        (4, [b"four"]),
        (5, [b"x"]),
        (6, [b"x"]),
    ]
    world.tick(1)
    if draft.ends_with_last:
        done = peer.only(PublishDone)
        assert (done.code, done.streams) == (3, 3)
        assert source.take(events.Unsubscribed)
    else:
        assert not peer.take(PublishDone)
    assert peer.lost is None


@where_they_end
def test_a_last_group_may_have_left_when_it_becomes_the_last(world: World, draft: Draft) -> None:
    source, _ = published(world)
    span = {"filter": ABSOLUTE_RANGE, "start": Location(4, 0), "end": 9}
    peer, asked = watching(world, draft, source, **span)
    source.session.open_group(asked.id, 4, whole=b"\x01x")
    world.run()
    peer.say(SubscribeUpdate(2, 0, Location(4, 0), 5, 128, True), request=0)
    assert not peer.take(PublishDone)
    peer.say(SubscribeUpdate(4, 0, Location(4, 0), 4, 128, True), request=0)
    assert peer.only(PublishDone).code == 3
    assert peer.lost is None


def test_a_last_group_beyond_all_there_can_be_is_none(world: World, draft: Draft) -> None:
    source, _ = published(world)
    last = MAX_SEQUENCE + 1
    more = {"filter": ABSOLUTE_RANGE, "start": Location(4, 0), "end": last}
    peer, asked = watching(world, draft, source, **more)
    assert (asked.start, asked.end) == (4, None)
    peer.say(SubscribeUpdate(2, 0, Location(4, 0), 7, 5, True), request=0)
    assert source.take(events.SubscribeUpdated)[-1].end == 7
    peer.say(SubscribeUpdate(4, 0, Location(0, 0), None, 5, True), request=0)
    assert source.take(events.SubscribeUpdated)[-1].end is None
    source.session.open_group(asked.id, 8, whole=b"\x05eight")
    world.run()
    (stream,) = peer.groups
    assert read(peer, stream)[1:] == (8, [b"eight"])


def test_a_viewer_wants_groups_that_are_a_little_late(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, asked = watching(world, draft, source)
    assert asked.max_latency == 1_000
    update = SubscribeUpdate(2, 0, Location(0, 0), None, 128, True, timeout=300)
    for said, meant in ((300, 300), (1 << 61, 1_000), (400, 400), (0, 1_000)):
        peer.say(update._replace(timeout=said), request=0)
        assert source.take(events.SubscribeUpdated)[-1].max_latency == meant
    other, _ = published(world, "demo/mic")
    peer.ask(Subscribe(4, (b"demo", b"mic"), b"audio", timeout=200))
    assert other.only(events.Subscribed).max_latency == 200


def test_it_hears_what_there_is_and_what_comes_and_goes(world: World, draft: Draft) -> None:
    source, announces = published(world)
    peer = world.peer(draft)
    peer.ask(SubscribeNamespace(0, (b"demo",)), own=draft.namespace_streams)
    peer.only(RequestOk)
    source.session.announce(announces, "demo/mic", ())
    world.run()
    source.session.unannounce(announces, "demo/cam")
    world.run()
    world.tick(30)
    if draft.namespace_streams:
        assert [each.suffix for each in peer.take(NamespaceFound)] == [(b"cam",), (b"mic",)]
        assert peer.only(NamespaceGone).suffix == (b"cam",)
        return
    found = [each.namespace for each in peer.take(PublishNamespace)]
    assert found == [CAM, (b"demo", b"mic")]
    assert peer.only(PublishNamespaceDone).namespace == CAM


def test_it_may_stop_listening(world: World, draft: Draft) -> None:
    source, announces = published(world)
    peer = world.peer(draft)
    peer.ask(SubscribeNamespace(0, ()), own=draft.namespace_streams)
    if draft.namespace_streams:
        leave(peer, peer.lines[0])
    else:
        peer.say(UnsubscribeNamespace(0, ()))
    peer.heard.clear()
    source.session.announce(announces, "demo/mic", ())
    world.run()
    assert not peer.heard
    assert peer.lost is None


def test_peers_of_moq_transport_hear_each_other(world: World, draft: Draft) -> None:
    source = world.peer(draft)
    source.ask(PublishNamespace(0, CAM))
    viewer = world.peer(draft)
    viewer.ask(Subscribe(0, CAM, b"video"))
    asked = source.only(Subscribe)
    serving(source, asked)
    source.bring(head(draft, 7, 0), objects(draft, b"one"))
    ok = viewer.only(SubscribeOk)
    (stream,) = viewer.groups
    assert read(viewer, stream) == (ok.alias, 0, [b"one"])


@pytest.mark.parametrize("version", ["moq-lite-04", "moq-lite-05"])
def test_it_is_told_how_far_a_track_goes(world: World, draft: Draft, version: str) -> None:
    source = world.lite(version=version)
    (asked,) = source.take(events.AnnounceRequested)
    source.session.answer_announce(asked.request, [("demo/cam", (), events.FREE)])
    world.run()
    peer = world.peer(draft)
    peer.ask(TrackStatus(6, CAM, b"video"))
    for each in source.take(events.TrackRequested):
        source.session.answer_track(each.request, TrackInfo(1))
        world.run()
    for each in source.take(events.Subscribed):
        source.session.accept(each.id, 1)
    world.run()
    assert peer.only(RequestOk).largest is None
    world.tick(1)
    assert source.take(events.Unsubscribed)
    viewer = world.lite(version=version)
    viewer.session.subscribe("demo/cam", "video", Demand(200))
    world.run()
    id = source.only(events.Subscribed).id
    source.session.accept(id, 1)
    stream = source.session.open_group(id, 9)
    frame = encode_frame(source.session.layout, b"one", 0)
    source.session.write(stream, frame + frame)
    world.run()
    peer.ask(TrackStatus(8, CAM, b"video"))
    ok = peer.only(RequestOk)
    assert (ok.largest, ok.request) == ((9, 1), -1 if draft.request_streams else 8)
    if draft.request_streams:
        assert peer.lines[8] in peer.ended
    assert not peer.groups
    assert peer.lost is None


def test_the_first_who_watches_is_told_as_well(world: World, draft: Draft) -> None:
    """Players fetch the beginning of a track only where something is said to be there."""
    peer = world.peer(draft)
    peer.ask(PublishNamespace(0, CAM))
    peer.only(RequestOk)
    viewer = world.peer(draft)
    viewer.ask(Subscribe(0, CAM, b"video"))
    serving(peer, peer.only(Subscribe), largest=Location(4, 9))
    world.run()
    assert viewer.only(SubscribeOk).largest == (4, 0)
    peer.bring(head(draft, 7, 4), objects(draft, b"one", b"two"))
    second = world.peer(draft)
    second.ask(Subscribe(0, CAM, b"video"))
    assert second.only(SubscribeOk).largest == (4, 1)


def test_frames_are_counted_once_however_many_ask(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(0)
    source, _ = published(world)
    peer, asked = watching(world, draft, source)
    stream = source.session.open_group(asked.id, 4)
    source.session.write(stream, b"\x03one\x03two", False)
    world.run()
    counted: list[int] = []
    weigh = transcode.weigh

    def weighed(layout: Any, chunks: Any, size: int, marks: Any) -> tuple[int, int]:
        counted.append(size)
        return weigh(layout, chunks, size, marks)

    monkeypatch.setattr(transcode, "weigh", weighed)
    for request in range(2, 8, 2):
        peer.ask(TrackStatus(request, CAM, b"video"))
        assert peer.only(RequestOk).largest == (4, 1)
    source.session.write(stream, b"\x05three", False)
    world.run()
    for request in range(8, 14, 2):
        peer.ask(TrackStatus(request, CAM, b"video"))
        assert peer.only(RequestOk).largest == (4, 2)
    assert counted == [8, 14]


def test_who_asks_how_far_a_track_goes_may_leave(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer = world.peer(draft)
    peer.ask(TrackStatus(6, CAM, b"video"))
    asked = source.only(events.Subscribed)
    if draft.request_streams:
        peer.end.reset(peer.lines[6], 1)
        world.run()
    else:
        peer.say(Unsubscribe(6))
    assert source.take(events.Unsubscribed)
    source.session.accept(asked.id, 1)
    world.run()
    assert not peer.take(RequestOk)
    assert peer.lost is None


def test_it_is_not_told_of_what_it_may_not_see(world: World, draft: Draft) -> None:
    published(world, "demo/theirs/cam")
    peer = world.peer(draft, f"/demo?jwt={token(subscribe='mine')}")
    peer.ask(TrackStatus(0, (b"theirs", b"cam"), b"video"))
    world.tick(30)
    assert peer.only(RequestError).code in (1, draft.missing)
    assert not peer.take(RequestOk)


# -- what there is not ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        TrackStatus(0, CAM, b"\xff"),
        Fetch(0, namespace=CAM, track=b"\xff", start=Location(0, 0), end=Location(1, 0)),
        Subscribe(0, CAM, b"\xff"),
    ],
    ids=lambda asked: f"{type(asked).__name__}",
)
def test_what_there_are_no_words_for_is_refused(world: World, draft: Draft, asked: Any) -> None:
    peer = world.peer(draft)
    peer.ask(asked)
    error = peer.only(RequestError)
    assert (error.code, bool(error.reason)) == (3, True)
    assert peer.lost is None


def test_a_request_that_is_in_use_ends_the_session(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, _ = watching(world, draft, source)
    peer.ask(Subscribe(0, CAM, b"audio"))
    assert peer.lost is not None
    assert peer.lost[0] == 3


@where_requests_have_streams
def test_numbers_beyond_those_of_moq_lite_end_the_session(world: World, draft: Draft) -> None:
    other = world.peer(draft)
    peer = world.peer(draft)
    peer.ask(Subscribe(1 << 63, CAM, b"video"))
    assert peer.lost is not None
    assert peer.lost[0] == 3
    assert other.lost is None


@where_requests_have_streams
def test_streams_of_requests_end_on_both_sides(world: World, draft: Draft) -> None:
    peer, _, asked = publishing(world, draft)
    line = peer.lines[asked.request]
    peer.say(RequestError(asked.request, Subscribe, 0, "no"), request=asked.request, fin=True)
    assert line in peer.ended
    peer.end.send(peer.lines[0], b"", True)
    world.run()
    assert peer.lines[0] in peer.ended


# -- the end --------------------------------------------------------------------------------


def test_a_relay_that_leaves_says_so(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    world.door.close("https://other.example/")
    world.run()
    assert peer.only(Goaway).uri == "https://other.example/"


@where_requests_have_streams
def test_a_peer_that_stops_listening_may_leave_in_peace(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.end.stop(3, 1)
    peer.end.send(2, b"", True)
    world.run()
    assert peer.lost is None


def test_a_peer_that_leaves_is_heard_of(world: World, draft: Draft) -> None:
    peer = world.peer(draft)
    peer.say(Goaway("https://other.example/"))
    assert [event for event, _ in world.said if event == "peer is leaving"]
