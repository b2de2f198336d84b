"""What a peer fetches: which groups come, in which order, and what is said where none can."""

from __future__ import annotations

from typing import Any

import pytest

from relay.moqt import fetching, requests
from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.messages import (
    DESCENDING,
    Fetch,
    FetchCancel,
    FetchOk,
    Location,
    Publish,
    RequestError,
    Subscribe,
    SubscribeOk,
    Unsubscribe,
)
from relay.moqt.varint import MAX_LEADING
from relay.session import events
from relay.wire.buffer import MAX_VARINT
from relay.wire.frame import Layout, encode_frame
from relay.wire.messages import SubscribeUpdate as Demand
from relay.wire.messages import TrackInfo

from .conftest import Peer, World, token
from .test_forward import forward
from .test_interpreter import CAM, head, objects, published, watching

where_a_fetch_may_join = pytest.mark.parametrize(
    "draft", [each for each in DRAFTS if each.number < 20], ids=lambda draft: str(draft.name)
)


def asking(start: tuple[int, int], end: tuple[int, int], request: int = 6, **more: Any) -> Fetch:
    """For a range that ends before object ``end`` of its last group, or with that."""
    named = {"namespace": CAM, "track": b"video"}
    return Fetch(request, **named, start=Location(*start), end=Location(*end), **more)


def fetched(peer: Peer, request: int = 6) -> list[tuple[int, int, bytes | None]]:
    """Group, number and payload of every object on the stream of a fetch; ``None`` for the last of
    some that are said to be unknown."""
    stream = outlet(peer, request)
    draft, data = peer.draft, peer.groups[stream]
    rules, order = draft.fetched, peer.descends
    at = len(draft.fetch_head(request))
    found: list[tuple[int, int, bytes | None]] = []
    has_priority = False
    group = number = -1

    def integer() -> int:
        nonlocal at
        value, at = draft.scan_varint(data, at) or (0, 0)
        return value

    while at < len(data):
        flags = integer() if rules.has_flags else 0x1C | 0x20
        if flags & 8:
            value = integer()
            steps = rules.counts_groups and found
            group = (group - value - 1 if order else group + value + 1) if steps else value
        if flags >= 128:
            assert (flags, rules.says_unknown) == (0x10C, True)
            number = integer()
            found.append((group, number, None))
            continue
        assert flags & 3 == 0
        if not rules.has_flags:
            assert integer() == 0  # the subgroup
        number = integer() if flags & 4 else number + 1
        has_priority = has_priority or bool(flags & 16)
        assert has_priority
        at += flags >> 4 & 1
        if flags & 0x20:
            size = integer()
            at += size
        size = integer()
        found.append((group, number, data[at : at + size]))
        at += size
        if not size and rules.has_status:
            assert integer() == 0
    return found


def outlet(peer: Peer, request: int = 6) -> int:
    """The stream of a fetch."""
    begin = peer.draft.fetch_head(request)
    (stream,) = [each for each, data in peer.groups.items() if data.startswith(begin)]
    return stream


class Room:
    """A viewer of moq-transport whose publisher speaks moq-lite and has groups 0 to 4 of three
    frames each, which the relay holds, unless they are ``asked`` for."""

    def __init__(self, world: World, draft: Draft, version: str = "moq-lite-05") -> None:
        self.world = world
        self.source = world.lite(version=version)
        (asked,) = self.source.take(events.AnnounceRequested)
        self.source.session.answer_announce(asked.request, [("demo/cam", (), events.FREE)])
        world.run()
        self.viewer = world.lite(version=version)
        self.viewer.session.subscribe("demo/cam", "video", Demand(200))
        world.run()
        self.describe()
        self.asked = self.source.only(events.Subscribed)
        self.peer = world.peer(draft)

    def describe(self) -> None:
        for each in self.source.take(events.TrackRequested):
            self.source.session.answer_track(each.request, TrackInfo(1, False, 60_000, 1_000_000))
        self.world.run()

    def frames(self, group: int, count: int = 3) -> bytes:
        named = [b"g%df%d" % (group, number) for number in range(count)]
        return b"".join(encode_frame(Layout.TIMED, each, 0) for each in named)

    def write(self, *groups: int, fin: bool = True) -> int:
        stream = -1
        for group in groups:
            stream = self.source.session.open_group(self.asked.id, group)
            self.source.session.write(stream, self.frames(group), fin)
        self.world.run()
        return stream

    def ask(self, fetch: Fetch) -> None:
        self.peer.ask(fetch)
        self.world.run()

    def begin_fetch(self) -> int:
        """Groups 5 to 7 are asked for, of which 5 has begun; answers the publisher's stream."""
        self.write(7)
        self.ask(asking((5, 0), (7, 0)))
        (asked,) = self.source.take(events.FetchRequested)
        stream: int = asked.stream
        self.source.session.write(stream, self.frames(5), False)
        self.world.run()
        return stream

    def answer(self, *groups: int) -> None:
        """What the publisher is asked for is had if it is among these."""
        for _ in range(10):
            for each in self.source.take(events.FetchRequested):
                if each.group in groups:
                    self.source.session.write(each.stream, self.frames(each.group), True)
                else:
                    self.source.session.reset(each.stream, 13)
            self.world.run()


def refusing(source: Peer) -> None:
    """A publisher of moq-transport has none of the groups it is asked for."""
    for _ in range(8):
        for asked in source.take(Fetch):
            missing = source.draft.fetched.out_of_range
            error = RequestError(asked.request, Fetch, missing, "none")
            source.say(error, request=asked.request)


def some(group: int, *numbers: int) -> list[tuple[int, int, bytes | None]]:
    return [(group, number, b"g%df%d" % (group, number)) for number in numbers]


def all_of(*groups: int) -> list[tuple[int, int, bytes | None]]:
    return [each for group in groups for each in some(group, 0, 1, 2)]


def lost(draft: Draft, group: int, last: int = MAX_VARINT) -> list[tuple[int, int, bytes | None]]:
    """What says that all up to an object, or up to the end of the group, is unknown."""
    return [(group, last, None)] if draft.fetched.says_unknown else []


@pytest.mark.parametrize(
    ("start", "end", "found", "told"),
    [
        ((1, 0), (3, 0), all_of(1, 2, 3), (3, 0)),
        ((1, 1), (2, 2), some(1, 1, 2) + some(2, 0, 1), (2, 2)),
        ((2, 1), (2, 2), some(2, 1), (2, 2)),
        ((3, 0), (99, 0), all_of(3, 4), (4, 3)),
        ((4, 2), (4, 0), some(4, 2), (4, 3)),
    ],
)
def test_a_range_comes_on_one_stream(
    world: World, draft: Draft, start: Any, end: Any, found: Any, told: Any
) -> None:
    room = Room(world, draft)
    room.write(0, 1, 2, 3, 4)
    room.ask(asking(start, end))
    ok = room.peer.only(FetchOk)
    assert (ok.end, ok.ends_track) == (told, False)
    assert ok.timescale == 1_000_000 * draft.timestamps
    assert fetched(room.peer) == found
    assert outlet(room.peer) in room.peer.whole
    world.tick(1)
    (guest,) = [each for each in world.door.guests.values() if each.session.version == draft.name]
    assert not guest.watching.viewings
    assert not guest.watching.fetchings
    interpreter = room.peer.visit.wire.server.receiver
    assert not interpreter.requests.outlet_stopped(outlet(room.peer))  # it is forgotten


def test_a_group_may_end_before_what_is_asked_for(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(3, 4)
    room.ask(asking((3, 7), (4, 1)))
    assert fetched(room.peer) == lost(draft, 3) + some(4, 0)


def test_groups_come_in_the_order_asked_for(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(0, 1, 2, 3)
    room.peer.descends = True
    room.ask(asking((0, 1), (2, 2), order=DESCENDING))
    assert fetched(room.peer) == some(2, 0, 1) + all_of(1) + some(0, 1, 2)


def test_what_the_relay_does_not_hold_is_asked_for(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(7)
    room.ask(asking((3, 0), (7, 0)))
    room.answer(4, 6)  # there are no groups 3 and 5
    found = lost(draft, 3) + all_of(4) + lost(draft, 5) + all_of(6, 7)
    assert fetched(room.peer) == found
    assert room.peer.only(FetchOk).end == (7, 3)
    room.peer.descends = True
    room.ask(asking((0, 0), (7, 0), request=8, order=DESCENDING))
    room.answer(2)
    found = all_of(7, 6) + lost(draft, 5) + all_of(4) + lost(draft, 3) + all_of(2)
    assert fetched(room.peer, 8) == found + lost(draft, 0)


def test_what_a_publisher_of_the_same_does_not_have_is_unknown(world: World, draft: Draft) -> None:
    source = world.peer(draft)
    source.ask(Publish(0, CAM, b"video", 9))
    viewer = world.peer(draft)
    viewer.ask(Subscribe(0, CAM, b"video"))
    source.bring(head(draft, 9, 7), objects(draft, b"one"))
    viewer.ask(asking((3, 0), (5, 2)))
    viewer.ask(asking((5, 0), (7, 0), request=8))
    refusing(source)
    assert fetched(viewer, 8) == [*lost(draft, 6), (7, 0, b"one")]
    if draft.fetched.nothing is None:
        assert fetched(viewer) == lost(draft, 5, 1)
    assert viewer.lost is None


def test_nothing_that_can_be_had_is_nothing(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(7)
    room.ask(asking((3, 0), (5, 0)))
    room.answer()
    if draft.fetched.nothing is None:
        assert room.peer.only(FetchOk).end == (5, 0)
        assert fetched(room.peer) == lost(draft, 5)
        assert outlet(room.peer) in room.peer.whole
    else:
        assert room.peer.only(RequestError).code == draft.fetched.nothing


def test_an_object_without_payload_is_one(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    stream = room.source.session.open_group(room.asked.id, 0)
    data = b"".join(encode_frame(Layout.TIMED, each, 0) for each in (b"", b"x", b""))
    room.source.session.write(stream, data, True)
    world.run()
    room.ask(asking((0, 0), (0, 0)))
    assert fetched(room.peer) == [(0, 0, b""), (0, 1, b"x"), (0, 2, b"")]


def test_a_group_that_goes_on_is_fetched_as_far_as_it_is_there(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    stream = room.write(0, fin=False)
    room.ask(asking((0, 0), (9, 0)))
    assert room.peer.only(FetchOk).end == (0, 3)
    assert outlet(room.peer) in room.peer.whole
    room.source.session.write(stream, encode_frame(Layout.TIMED, b"more", 0), True)
    world.run()
    assert fetched(room.peer) == all_of(0)


def test_a_track_that_nobody_watches_is_looked_for(world: World, draft: Draft) -> None:
    source = world.peer(draft)
    source.ask(Publish(0, CAM, b"video", 9))
    peer = world.peer(draft)
    peer.ask(asking((0, 0), (4, 0)))
    assert not peer.take(FetchOk)
    source.bring(head(draft, 9, 4), objects(draft, b"one"))
    world.tick(1)
    refusing(source)
    assert fetched(peer) == [*lost(draft, 3), (4, 0, b"one")]
    assert peer.only(FetchOk).end == (4, 1)


def test_a_group_that_comes_at_once_is_fetched_to_its_end(draft: Draft) -> None:
    world = World(0)
    room = Room(world, draft)
    room.viewer.session.unsubscribe(0)
    world.run()
    world.tick(1)
    room.ask(asking((3, 0), (9, 0)))
    asked = room.source.only(events.Subscribed)
    assert (asked.start, asked.max_latency) == (None, 0)
    room.source.session.open_group(asked.id, 4, whole=room.frames(4))
    world.run()
    room.answer(3)
    assert fetched(room.peer) == all_of(3, 4)
    assert room.peer.only(FetchOk).end == (4, 3)


@pytest.mark.parametrize(("start", "end"), [((2, 0), (1, 0)), ((2, 3), (2, 3)), ((9, 0), (9, 0))])
def test_ranges_that_are_none_are_refused(world: World, draft: Draft, start: Any, end: Any) -> None:
    room = Room(world, draft)
    room.write(0, 1, 2, 3)
    try:
        room.ask(asking(start, end))
    except ValueError:
        return  # the draft has no words for it
    error = room.peer.only(RequestError)
    assert (error.code, bool(error.reason)) == (draft.fetched.out_of_range, True)
    assert room.peer.lost is None


@pytest.mark.parametrize("draft", [each for each in DRAFTS if each.number >= 17], ids=str)
def test_numbers_beyond_those_of_moq_lite_cost_publishers_nothing(draft: Draft) -> None:
    """It may be in their turn that a fetch goes on."""
    world = World(0)
    source, _ = published(world)
    peer = world.peer(draft)
    peer.ask(asking((4, MAX_LEADING), (5, MAX_LEADING)))
    peer.ask(asking((4, 0), (4, MAX_LEADING), request=8))
    asked = source.only(events.Subscribed)
    source.session.accept(asked.id, 1)
    source.session.open_group(asked.id, 6, whole=b"\x01x")
    world.run()
    assert (source.lost, peer.lost) == (None, None)
    assert fetched(peer) == lost(draft, 5)
    assert fetched(peer, 8) == lost(draft, 4)
    assert len(peer.take(FetchOk)) == 2


def test_a_fetch_has_so_many_groups_and_no_more(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_GROUPS", 3)
    room = Room(World(0), draft)
    room.write(0, 1, 2, 3)
    room.ask(asking((0, 0), (3, 0)))
    error = room.peer.only(RequestError)
    assert (error.code, error.reason) == (3, "4 groups at once (at most 3)")
    room.ask(asking((1, 0), (3, 0), request=8))
    assert fetched(room.peer, 8) == all_of(1, 2, 3)


def test_so_many_fetches_go_on_at_a_time(draft: Draft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_FETCHES", 2)
    room = Room(World(0), draft)
    room.write(7)
    for request in (0, 2, 4):  # these leave room for others again
        room.ask(asking((9, 0), (9, 0), request=request))
        assert room.peer.only(RequestError).code == draft.fetched.out_of_range
    for request in (6, 8, 10):
        room.ask(asking((6, 0), (7, 0), request=request))
    assert room.peer.only(RequestError).reason == "more than 2 fetches at once"
    room.answer(6)
    assert fetched(room.peer) == fetched(room.peer, 8) == all_of(6, 7)
    room.ask(asking((7, 0), (7, 0), request=12))
    assert fetched(room.peer, 12) == all_of(7)


def test_groups_that_are_not_there_take_turns(world: World, draft: Draft) -> None:
    source, _ = published(world)  # one that speaks a version without FETCH
    peer, asked = watching(world, draft, source)
    source.session.open_group(asked.id, 100, whole=b"\x01x")
    world.run()
    server = peer.visit.wire.server
    wake, server.wake = server.wake, lambda: None
    peer.ask(asking((0, 0), (100, 0)))
    assert fetched(peer) == []
    server.wake = wake
    server.wake()
    world.run()
    assert fetched(peer) == [*lost(draft, 99), (100, 0, b"x")]


def test_what_it_may_not_see_is_not_fetched(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(0, 1)
    peer = world.peer(draft, f"/demo?jwt={token(subscribe='mine')}")
    peer.ask(asking((0, 0), (1, 0)))
    world.tick(30)
    assert peer.only(RequestError).code in (1, draft.missing)
    assert not peer.groups


def test_a_group_that_breaks_off_breaks_the_fetch_off(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    stream = room.begin_fetch()
    room.source.session.reset(stream, 1)
    world.run()
    assert outlet(room.peer) in room.peer.resets
    assert room.peer.only(FetchOk)
    assert room.peer.lost is None


def test_a_publisher_that_vanishes_breaks_the_fetch_off(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(7)
    room.ask(asking((5, 0), (7, 0)))
    room.source.session.close(0)
    world.run()
    world.tick(30)
    assert room.peer.only(RequestError).code == 0
    assert outlet(room.peer) in room.peer.resets


@pytest.mark.parametrize("how", ["say", "line", "stream"])
def test_a_peer_may_change_its_mind(world: World, draft: Draft, how: str) -> None:
    room = Room(world, draft)
    room.begin_fetch()
    peer = room.peer
    if how == "stream":
        peer.end.stop(outlet(peer), 1)
        world.run()
    elif draft.request_streams:
        peer.end.reset(peer.lines[6], 1)
        world.run()
    elif how == "say":
        peer.say(FetchCancel(6))
    else:
        peer.say(Unsubscribe(6))
    assert room.source.take(events.StreamCancelled)
    assert outlet(peer) not in peer.whole
    assert peer.lost is None
    room.ask(asking((7, 0), (7, 0), request=8))
    assert fetched(peer, 8) == all_of(7)


@pytest.mark.parametrize("draft", [each for each in DRAFTS if each.request_streams], ids=str)
def test_one_message_is_all_that_a_request_says(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(7)
    line = room.peer.lines[6] = room.peer.end.open_bidi()
    room.peer.end.send(line, draft.encode(asking((6, 0), (7, 0))), True)
    world.run()
    room.answer(6)
    assert fetched(room.peer) == all_of(6, 7)
    assert line in room.peer.ended


def test_what_is_fetched_waits_for_a_stream_and_for_room(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(0, 1, 2)
    below = room.peer.visit.wire.server
    below.credit = 0
    room.ask(asking((0, 0), (2, 0)))
    assert not room.peer.groups
    below.credit, below.room = 9, 0
    below.wake()
    world.run()
    assert fetched(room.peer) == []
    below.room = 1 << 20
    below.wake()
    world.run()
    assert fetched(room.peer) == all_of(0, 1, 2)


@pytest.mark.parametrize("start", [{"start": (0, 0), "end": (4, 0)}, {"joining": 0, "relative": 1}])
def test_a_track_of_which_nothing_comes_is_not_waited_for_without_end(
    world: World, draft: Draft, start: Any
) -> None:
    source, _ = published(world)
    peer, _ = watching(world, draft, source)
    if "joining" not in start:
        peer.ask(asking(**start))
    elif draft.number < 20:
        peer.ask(Fetch(6, **start))
    else:
        return  # the draft has no words for it
    world.tick(9)
    assert (peer.take(RequestError), len(world.waits)) == ([], 1)
    world.tick(2)
    error = peer.only(RequestError)
    assert (error.code, error.reason) == (
        draft.fetched.out_of_range,
        "nothing has been published so far",
    )
    assert (len(world.waits), peer.lost) == (0, None)
    (guest,) = [each for each in world.door.guests.values() if each.session.version == draft.name]
    assert len(guest.watching.viewings) == 1  # that of the subscription


@pytest.mark.parametrize("how", ["comes", "cancels", "leaves"])
def test_nobody_waits_who_has_it_or_wants_it_no_more(draft: Draft, how: str) -> None:
    world = World(0)
    source, _ = published(world)
    peer, asked = watching(world, draft, source)
    peer.ask(asking((0, 0), (4, 0)))
    assert len(world.waits) == 1
    if how == "comes":
        source.session.open_group(asked.id, 4, whole=b"\x01x")
    elif how == "leaves":
        peer.end.close(0, "")
    elif draft.request_streams:
        peer.end.reset(peer.lines[6], 1)
    else:
        peer.say(FetchCancel(6))
    world.run()
    assert len(world.waits) == 0
    world.tick(11)
    assert not peer.take(RequestError)


# -- joining a subscription ----------------------------------------------------------------------


@where_a_fetch_may_join
@pytest.mark.parametrize(
    ("start", "found"),
    [
        ({"relative": 2}, (5, 6)),
        ({"relative": 99}, (0, 1, 2, 3, 4, 5, 6)),
        ({"relative": 0}, (7,)),
        ({"absolute": 4}, (4, 5, 6)),
        ({"absolute": 7}, (7,)),
    ],
)
def test_what_comes_before_a_subscription(
    world: World, draft: Draft, start: Any, found: tuple[int, ...]
) -> None:
    """The subscription itself begins with a whole group."""
    room = Room(world, draft)
    room.write(*range(8))
    room.peer.ask(Subscribe(0, CAM, b"video"))
    assert room.peer.only(SubscribeOk).largest == Location(7, 2)
    room.write(8)
    room.ask(Fetch(6, joining=0, **start))
    assert fetched(room.peer) == all_of(*found)
    assert outlet(room.peer) in room.peer.whole
    assert room.peer.only(FetchOk).end == Location(found[-1], 0)


@where_a_fetch_may_join
def test_what_there_is_of_the_group_it_begins_with(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(6)
    room.write(7, fin=False)
    room.peer.ask(Subscribe(0, CAM, b"video"))
    assert room.peer.only(SubscribeOk).largest == Location(7, 2)
    room.ask(Fetch(6, joining=0, relative=0))
    assert fetched(room.peer) == all_of(7)
    assert outlet(room.peer) in room.peer.whole
    assert room.peer.only(FetchOk).end == Location(7, 3)


@where_a_fetch_may_join
def test_a_fetch_joins_a_subscription_that_is_there(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(0, 1)
    room.ask(Fetch(6, joining=4, relative=1))
    assert room.peer.only(RequestError).code == draft.fetched.not_joined
    room.peer.ask(Subscribe(0, CAM, b"video"))
    room.ask(Fetch(8, joining=0, absolute=2))
    assert room.peer.only(RequestError).code == draft.fetched.out_of_range


@where_a_fetch_may_join
def test_a_fetch_may_join_before_there_is_anything(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, asked = watching(world, draft, source)
    peer.ask(Fetch(6, joining=0, relative=1))
    assert not peer.take(FetchOk)
    stream = source.session.open_group(asked.id, 5)
    source.session.write(stream, b"\x03one", True)
    world.run()
    if draft.fetched.nothing is None:
        assert fetched(peer) == lost(draft, 4)
        assert peer.only(FetchOk).end == (4, 0)
    else:
        assert peer.only(RequestError).code == draft.fetched.nothing


@where_a_fetch_may_join
def test_what_is_paused_is_not_joined(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(*range(4))
    room.peer.ask(Subscribe(0, CAM, b"video", forward=False))
    room.ask(Fetch(6, joining=0, relative=1))
    if draft.fetched.joins_paused:
        assert fetched(room.peer) == all_of(2)
    else:
        error = room.peer.only(RequestError)
        assert (error.code, error.reason) == (0x11, "the subscription is paused")
    forward(room.peer, True)
    room.ask(Fetch(8, joining=0, relative=1))
    assert fetched(room.peer, 8) == all_of(2)
    assert room.peer.lost is None


@where_a_fetch_may_join
def test_what_was_paused_is_joined_where_it_goes_on(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(0, 1)
    room.peer.ask(Subscribe(0, CAM, b"video"))
    forward(room.peer, False)
    room.write(2, 3, 4)
    forward(room.peer, True)
    room.ask(Fetch(6, joining=0, relative=2))
    assert fetched(room.peer) == all_of(2, 3)


# -- the newest drafts ---------------------------------------------------------------------------


@pytest.mark.parametrize("draft", [each for each in DRAFTS if each.number >= 20], ids=str)
@pytest.mark.parametrize(("back", "found"), [(0, (4,)), (2, (2, 3, 4)), (9, (0, 1, 2, 3, 4))])
def test_a_range_may_be_counted_from_its_end(
    world: World, draft: Draft, back: int, found: tuple[int, ...]
) -> None:
    room = Room(world, draft)
    room.write(0, 1, 2, 3, 4)
    room.ask(Fetch(6, namespace=CAM, track=b"video", relative=back))
    assert fetched(room.peer) == all_of(*found)
    room.ask(Fetch(8, namespace=CAM, track=b"video"))
    assert fetched(room.peer, 8) == all_of(0, 1, 2, 3, 4)
    room.ask(Fetch(10, namespace=CAM, track=b"video", relative=-1))
    assert room.peer.only(RequestError).code == draft.fetched.out_of_range


@pytest.mark.parametrize("draft", [each for each in DRAFTS if each.number >= 20], ids=str)
def test_the_next_object_is_not_there(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    room.write(0, 1)
    next_group = draft.encode(Fetch(6, namespace=CAM, track=b"video", relative=-1))
    body, filter = next_group[3:].split(b"\x21\x01\x00")
    assert filter == b""
    body += b"\x21\x05" if draft.number >= 22 else b"\x21\x02\x00\x00"
    line = room.peer.end.open_bidi()
    room.peer.end.send(line, next_group[:1] + len(body).to_bytes(2, "big") + body)
    world.run()
    assert room.peer.only(RequestError).code == draft.fetched.out_of_range
