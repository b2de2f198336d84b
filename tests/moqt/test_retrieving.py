"""A group that the relay does not hold is asked of a publisher that speaks moq-transport."""

from __future__ import annotations

import pytest

from relay.errors import DecodeError, Dropped, Expired, Forbidden, NotFound
from relay.moqt import retrieving
from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.fetched import Place
from relay.moqt.messages import (
    Fetch,
    FetchCancel,
    FetchOk,
    Location,
    PublishNamespace,
    RequestError,
    Subscribe,
    SubscribeOk,
)
from relay.moqt.properties import written
from relay.session import events
from relay.wire.frame import Layout, encode_frame
from relay.wire.messages import SubscribeUpdate as Demand

from .conftest import World
from .test_fetching import asking, fetched
from .test_interpreter import CAM, head, objects

GROUP = 3
STAMP = 5_000_000

has_flags = pytest.mark.parametrize(
    "draft", [each for each in DRAFTS if each.fetched.has_flags], ids=lambda draft: str(draft.name)
)


class Room:
    """A publisher of moq-transport whose group 7 the relay holds, and a viewer who fetches
    another."""

    def __init__(self, world: World, draft: Draft) -> None:
        self.world, self.draft = world, draft
        self.source = world.peer(draft)
        self.source.ask(PublishNamespace(0, CAM))
        self.viewer = world.lite(version="moq-lite-05")
        self.viewer.session.subscribe("demo/cam", "video", Demand(200))
        world.run()
        self.subscribed = self.source.only(Subscribe)
        answer = SubscribeOk(self.subscribed.request, 9, timescale=1_000 * draft.timestamps)
        self.source.say(answer, request=self.subscribed.request)
        self.source.bring(head(draft, 9, 7), objects(draft, b"seven"))

    def fetch(self, group: int = GROUP) -> Fetch:
        self.viewer.session.fetch("demo/cam", "video", group, 100)
        self.world.run()
        asked: Fetch = self.source.only(Fetch)
        return asked

    def accept(
        self, asked: Fetch, end: tuple[int, int] = (GROUP, 0), *, ends_track: bool = False
    ) -> None:
        timescale = 1_000_000 * self.draft.timestamps
        ok = FetchOk(asked.request, Location(*end), ends_track, timescale=timescale)
        self.source.say(ok, request=asked.request)

    def bring(self, asked: Fetch, *pieces: bytes, fin: bool = True) -> int:
        return self.source.bring(self.draft.fetch_head(asked.request), *pieces, fin=fin)

    def got(self) -> bytes:
        return b"".join(each.data for each in self.viewer.take(events.FetchReceived))

    def refused(self) -> int:
        code: int = self.viewer.only(events.FetchRefused).code
        return code

    def is_forgotten(self) -> bool:
        interpreter = self.source.visit.wire.server.receiver
        talks = [type(each).__name__ for each in interpreter._talks.values()]
        rest = interpreter.groups.retrievals, interpreter.requests._ours
        return (
            "Retrieving" not in talks
            and len(rest[0]) == 0
            and [*rest[1]] == [self.subscribed.request]
        )


def written_out(draft: Draft, *payloads: bytes, group: int = GROUP, first: int = 0) -> bytes:
    """Objects as they stand on the stream of a fetch."""
    pieces = []
    for number, payload in enumerate(payloads, first):
        place = Place(group, number, number == first, None)
        extensions = written(draft, b"", STAMP + number) if draft.timestamps else b""
        pieces += [draft.fetched.head(draft.encode_varint, place, 128, extensions)]
        pieces += [draft.encode_varint(len(payload)), payload]
        if not payload and draft.fetched.has_status:
            pieces += [draft.encode_varint(0)]
    return b"".join(pieces)


def in_lite(draft: Draft, *payloads: bytes) -> bytes:
    """The same for a viewer; without timestamps they say when they came, which is now."""
    frames, before = [], 0
    for number, payload in enumerate(payloads):
        stamp = STAMP + number if draft.timestamps else 0
        frames.append(encode_frame(Layout.TIMED, payload, stamp - before))
        before = stamp
    return b"".join(frames)


def payloads_in(data: bytes, *payloads: bytes) -> bool:
    at = 0
    for each in payloads:
        at = data.find(each, at)
        if at < 0:
            return False
        at += len(each)
    return True


def test_a_group_that_is_not_held_is_asked_for(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    asked = room.fetch()
    assert (asked.namespace, asked.track, asked.start) == (CAM, b"video", (GROUP, 0))
    assert (asked.end, asked.priority) == ((GROUP, 0), 155)
    room.accept(asked)
    assert room.got() == b""
    room.bring(asked, written_out(draft, b"one", b"", b"three"))
    assert payloads_in(room.got(), b"one", b"three")
    assert len(room.viewer.take(events.FetchFinished)) == 1
    assert room.source.lost is None
    assert room.is_forgotten()
    assert not room.source.take(FetchCancel)
    room.viewer.session.fetch("demo/cam", "video", GROUP, 100)  # it is held by now
    world.run()
    assert payloads_in(room.got(), b"one", b"three")
    assert not room.source.take(Fetch)


@pytest.mark.parametrize("is_early", [False, True])
def test_the_beginning_of_a_group_is_not_taken_for_all_of_it(
    world: World, draft: Draft, is_early: bool
) -> None:
    """A publisher that is writing a group has so far what it says in its answer."""
    room = Room(world, draft)
    asked = room.fetch(9)
    begun = written_out(draft, b"one", b"two", group=9)
    if is_early:
        room.bring(asked, begun)
        room.accept(asked, (9, 2))
    else:
        room.accept(asked, (9, 2))
        room.bring(asked, begun)
    assert (room.refused(), room.got()) == (NotFound.code, b"")
    assert room.is_forgotten()
    room.source.bring(head(draft, 9, 9), objects(draft, b"one", b"two", b"three"))
    room.viewer.session.fetch("demo/cam", "video", 9, 100)
    world.run()
    assert payloads_in(room.got(), b"one", b"two", b"three")
    assert room.source.lost is None


def test_the_last_group_of_a_track_is_whole(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    asked = room.fetch(9)
    room.accept(asked, (9, 2), ends_track=True)
    room.bring(asked, written_out(draft, b"one", b"two", group=9))
    assert payloads_in(room.got(), b"one", b"two")
    assert room.viewer.only(events.FetchFinished)


def test_objects_may_come_before_the_answer(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    asked = room.fetch()
    room.bring(asked, written_out(draft, b"one", b"two"))
    assert room.got() == b""
    room.accept(asked)
    data = room.got()
    assert payloads_in(data, b"one", b"two")
    if draft.timestamps:
        assert data == in_lite(draft, b"one", b"two")
    assert room.viewer.only(events.FetchFinished)
    assert room.is_forgotten()


def test_of_what_comes_before_the_answer_so_much_is_kept(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieving, "MAX_EARLY", 64)
    room = Room(World(0), draft)
    asked = room.fetch()
    stream = room.bring(asked, written_out(draft, b"x" * 100), fin=False)
    assert room.refused()
    assert stream in room.source.stops
    assert room.is_forgotten()


def test_so_much_is_kept_of_all_that_comes_before_the_answers(
    world: World, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieving, "ALL_EARLY", 350)
    room = Room(world, draft)
    asked = [room.fetch(group) for group in range(4)]
    for number in (0, 1, 2):
        room.bring(asked[number], written_out(draft, b"x" * 100, group=number))
        if number == 0:
            room.accept(asked[0], (0, 0))  # it counts no more
            assert room.viewer.only(events.FetchFinished)
    room.bring(asked[3], written_out(draft, b"x" * 200, group=3), fin=False)
    assert room.refused()
    for number in (1, 2):
        room.accept(asked[number], (number, 0))
        assert room.viewer.only(events.FetchFinished)
    assert room.is_forgotten()
    assert room.source.visit.wire.server.receiver.groups.early == 0


def test_what_a_viewer_of_the_same_protocol_fetches_is_asked_for(
    world: World, draft: Draft
) -> None:
    room = Room(world, draft)
    peer = world.peer(draft)
    peer.ask(asking((5, 1), (7, 0)))
    for group in (5, 6):
        asked = room.source.only(Fetch)
        assert asked.start == (group, 0)
        room.accept(asked, (group, 0))
        room.bring(asked, written_out(draft, b"a%d" % group, b"b%d" % group, group=group))
    assert fetched(peer) == [(5, 1, b"b5"), (6, 0, b"a6"), (6, 1, b"b6"), (7, 0, b"seven")]
    assert room.is_forgotten()


@pytest.mark.parametrize("why", ["missing", "range", "rights", "other"])
def test_a_refusal_is_passed_on(world: World, draft: Draft, why: str) -> None:
    room = Room(world, draft)
    asked = room.fetch()
    numbers = {"missing": draft.missing, "range": draft.fetched.out_of_range, "rights": 1}
    error = RequestError(asked.request, Fetch, numbers.get(why, 0), "no")
    room.source.say(error, request=asked.request)
    expected = {"missing": NotFound.code, "range": NotFound.code, "rights": Forbidden.code}
    code = room.refused()
    if why in expected:
        assert code == expected[why]
    assert room.is_forgotten()
    assert room.source.lost is None


@pytest.mark.parametrize("how", ["reset", "empty", "cut", "other group", "backward"])
def test_a_group_that_is_not_whole_breaks_off(world: World, draft: Draft, how: str) -> None:
    room = Room(world, draft)
    asked = room.fetch()
    room.accept(asked)
    good = written_out(draft, b"one")
    if how == "reset":
        stream = room.bring(asked, good, fin=False)
        room.source.end.reset(stream, 1)
        world.run()
    elif how == "empty":
        room.bring(asked)
    elif how == "cut":
        room.bring(asked, good[:-1])
    elif how == "other group":
        room.bring(asked, written_out(draft, b"one", group=GROUP + 1))
    else:
        room.bring(asked, good, good)
    if how in ("empty", "other group"):
        assert room.refused() == (NotFound.code if how == "empty" else DecodeError.code)
    else:
        assert len(room.viewer.take(events.FetchRefused)) == 1
    assert not room.viewer.take(events.FetchFinished)
    assert room.source.lost is None
    assert room.is_forgotten()


@has_flags
@pytest.mark.parametrize(
    "flags", [0x00, 0x04, 0x08, 0x80, 0xFF, 0x8D], ids=lambda flags: f"{flags:02x}"
)
def test_what_refers_to_nothing_breaks_off(draft: Draft, flags: int) -> None:
    room = Room(World(0), draft)
    asked = room.fetch()
    room.accept(asked)
    room.bring(asked, draft.encode_varint(flags) + b"\x03\x00\x01x", fin=False)
    assert room.refused() == DecodeError.code
    assert room.source.lost is None
    assert room.is_forgotten()


@has_flags
def test_objects_may_leave_out_numbers_and_say_their_subgroups(draft: Draft) -> None:
    room = Room(World(0), draft)
    asked = room.fetch()
    room.accept(asked)
    number = 2 if draft.fetched.counts_groups else 4
    body = [
        *(0x1F, GROUP, 6, 2, 0x80, 1, ord("1")),  # of subgroup 6
        *(0x05, number, 1, ord("2")),  # of the same
        *(0x02, 1, ord("3")),
    ]
    pieces = [draft.encode_varint(each) if each < 0x80 else bytes((each,)) for each in body]
    room.bring(asked, b"".join(pieces))
    assert payloads_in(room.got(), b"1", b"2", b"3")
    assert room.viewer.only(events.FetchFinished)


@pytest.mark.parametrize("draft", [each for each in DRAFTS if each.fetched.says_unknown], ids=str)
@pytest.mark.parametrize("kind", [0x8C, 0x10C, 0x20C], ids=["none", "unknown", "timed out"])
def test_what_is_unknown_is_not_whole_and_what_is_not_there_is(draft: Draft, kind: int) -> None:
    room = Room(World(0), draft)
    asked = room.fetch()
    room.accept(asked)
    gap = b"".join(map(draft.encode_varint, (kind, GROUP, 1)))
    rest = b"".join(
        map(draft.encode_varint, (0x10 | 0x04, 1 if draft.fetched.counts_groups else 2))
    )
    room.bring(asked, gap, rest + b"\x80\x01x")
    if kind == 0x8C:
        assert payloads_in(room.got(), b"x")
        assert room.viewer.only(events.FetchFinished)
    else:
        assert room.refused() == NotFound.code
    assert room.is_forgotten()


def test_who_no_longer_wants_it_says_so(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    asked = room.fetch()
    room.accept(asked)
    stream = room.bring(asked, written_out(draft, b"one"), fin=False)
    assert payloads_in(room.got(), b"one")
    room.viewer.session.cancel_fetch(next(iter(room.viewer.session.fetches)))
    world.run()
    assert stream in room.source.stops
    if draft.request_streams:
        assert room.source.lines[asked.request] in room.source.ended
    else:
        assert room.source.only(FetchCancel).request == asked.request
    assert room.source.lost is None
    room.source.end.reset(stream, 1)
    if draft.request_streams:
        room.source.end.send(room.source.lines[asked.request], b"", True)
    world.run()
    assert room.is_forgotten()


def test_a_publisher_that_says_nothing_is_given_up(world: World, draft: Draft) -> None:
    room = Room(world, draft)
    asked = room.fetch()
    world.tick(9)
    assert not room.viewer.take(events.FetchRefused)
    world.tick(2)
    assert room.refused() == Expired.code
    stream = room.bring(asked, written_out(draft, b"one"), fin=False)
    assert stream in room.source.stops
    room.accept(asked)
    assert room.is_forgotten()
    assert room.source.lost is None


@pytest.mark.parametrize("draft", [each for each in DRAFTS if each.request_streams], ids=str)
def test_the_end_of_the_requests_stream_is_no_answer(draft: Draft) -> None:
    room = Room(World(0), draft)
    asked = room.fetch()
    line = room.source.lines[asked.request]
    room.source.end.send(line, b"", True)
    room.world.run()
    assert room.refused() == Dropped.code
    assert room.is_forgotten()


def test_what_nobody_asked_for_is_stopped(draft: Draft) -> None:
    room = Room(World(0), draft)
    stream = room.source.bring(draft.fetch_head(99), written_out(draft, b"one"), fin=False)
    assert stream in room.source.stops
    asked = room.fetch()
    room.accept(asked)
    room.bring(asked, written_out(draft, b"one"))
    stream = room.bring(asked, written_out(draft, b"two"), fin=False)
    assert stream in room.source.stops
    assert room.got().count(b"two") == 0
