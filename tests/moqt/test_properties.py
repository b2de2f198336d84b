"""Properties of objects (extension headers): they are passed on with the objects whose they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.moqt import properties
from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.fetched import Place
from relay.moqt.messages import Fetch, FetchOk, Location, PublishNamespace, Subscribe
from relay.moqt.properties import MAX_PROPERTIES, Property, kept, scan_kept, written
from relay.wire.messages import SubscribeUpdate as Demand

from .conftest import Peer, World
from .test_fetching import fetched, outlet
from .test_interpreter import CAM, frames, published, read, serving, watching

ALIAS = 7
TIMES = {properties.TIMESCALE, properties.TIMESTAMP, properties.OLD_TIMESTAMP}
CAMERA: list[Property] = [(0x0D, b"avcC"), (0x22, 90_000), (0x23, b""), (0x3C, 2)]
"""As media players have them; the last one is the gap before a group."""

each_other = pytest.mark.parametrize("other", DRAFTS, ids=lambda draft: str(draft.name))


def said(draft: Draft, *found: Property) -> bytes:
    """Properties as a peer writes them, without their size."""
    out, before = b"", 0
    for number, value in found:
        out += draft.encode_varint(number - before if draft.property_steps else number)
        before = number
        bare = isinstance(value, int)
        out += draft.encode_varint(value if isinstance(value, int) else len(value))
        out += b"" if bare else bytes(value)  # type: ignore[arg-type]
    return out


def objects(draft: Draft, *each: tuple[bytes, bytes]) -> bytes:
    """Objects in a row: what they have of properties, and of payload."""
    size, out = draft.encode_varint, b""
    for found, payload in each:
        out += size(0) + size(len(found)) + found + size(len(payload)) + payload
        out += b"" if payload else size(0)
    return out


def seen(peer: Peer, stream: int) -> list[tuple[list[Property], bytes]]:
    """The objects of a stream of ours: properties but for times, and payload."""
    draft, data = peer.draft, peer.groups[stream]
    head, at = draft.scan_subgroup_head(data) or (None, 0)
    assert head is not None
    found = []

    def integer() -> int:
        nonlocal at
        value, at = draft.scan_varint(data, at) or (0, 0)
        return value

    while at < len(data):
        assert integer() == 0
        size = integer() if head.has_properties else 0
        has, at = properties.read(draft, data[at : at + size]), at + size
        size = integer()
        payload, at = data[at : at + size], at + size
        at += not size
        assert properties.TIMESTAMP in dict(has) or not draft.timestamps
        found.append(([each for each in has if each[0] not in TIMES], payload))
    return found


class Pair:
    """A publisher and a viewer who both speak moq-transport, and one who speaks moq-lite."""

    def __init__(self, world: World, draft: Draft, other: Draft, timescale: int = 1_000) -> None:
        self.world = world
        self.peer = world.peer(draft)
        self.peer.ask(PublishNamespace(0, CAM))
        self.viewer = world.peer(other)
        self.viewer.ask(Subscribe(0, CAM, b"video"))
        serving(self.peer, self.peer.only(Subscribe), alias=ALIAS, timescale=timescale)
        self.beside = world.lite()
        self.beside.session.subscribe("demo/cam", "video", Demand(200))
        world.run()

    def bring(self, *each: tuple[bytes, bytes], group: int = 0) -> int:
        """A group; answers on which stream the viewer has it."""
        draft, before = self.peer.draft, {*self.viewer.groups}
        self.peer.bring(draft.subgroup_head(ALIAS, group, 128, True), objects(draft, *each))
        (stream,) = self.viewer.groups.keys() - before
        assert stream in self.viewer.whole
        return stream


@each_other
def test_they_are_passed_on_as_they_came(world: World, draft: Draft, other: Draft) -> None:
    pair = Pair(world, draft, other)
    stream = pair.bring((said(draft, *CAMERA), b"key"), (b"", b"delta"), (said(draft, (2, 1)), b""))
    expected = [(CAMERA, b"key"), ([], b"delta"), ([(2, 1)], b"")]
    assert seen(pair.viewer, stream) == expected
    assert frames(pair.beside) == b"\x03key\x05delta\x00"
    assert pair.peer.lost is None


@each_other
@pytest.mark.parametrize("number", [properties.TIMESTAMP, properties.OLD_TIMESTAMP])
def test_a_time_of_the_wall_clock_is_passed_on(draft: Draft, other: Draft, number: int) -> None:
    """Where the track says no timescale it counts microseconds, in each draft the same."""
    pair, when = Pair(World(0), draft, other, timescale=0), 1_796_000_000_000_000
    stream = pair.bring((said(draft, *sorted([(number, when), (0x0D, b"avcC")])), b"key"))
    data = pair.viewer.groups[stream]
    kept_as = properties.TIMESTAMP if other.timestamps else number
    assert said(other, *sorted([(kept_as, when), (0x0D, b"avcC")])) in data


@each_other
def test_how_loud_a_sound_is_is_no_time(draft: Draft, other: Draft) -> None:
    """It has the number of a later timestamp where the timestamp has an earlier one."""
    pair = Pair(World(0), draft, other, timescale=0)
    sound = [(0x02, 1_796_000_000_000_000), (0x06, 63)]
    stream = pair.bring((said(draft, *sound), b"key"))
    clock = [(properties.TIMESTAMP, 50_000_000)] if other.timestamps else []
    assert said(other, *sound, *clock) in pair.viewer.groups[stream]


@each_other
def test_without_a_time_it_is_not_said_what_one_counts(draft: Draft, other: Draft) -> None:
    """The time at which the object came counts microseconds."""
    pair = Pair(World(0), draft, other, timescale=0)
    stream = pair.bring((said(draft, (properties.TIMESCALE, 90_000), (0x0D, b"avcC")), b"key"))
    came = [(0x0D, b"avcC"), (properties.TIMESTAMP, 50_000_000)]
    scale = [(properties.TIMESCALE, 90_000), (0x0D, b"avcC")]
    assert said(other, *(came if other.timestamps else scale)) in pair.viewer.groups[stream]


def test_where_no_object_has_any_nothing_is_said_of_them(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, asked = watching(world, draft, source)
    stream = source.session.open_group(asked.id, 0)
    world.run()
    source.session.write(stream, b"\x03one", True)
    world.run()
    (stream,) = peer.groups
    assert read(peer, stream) == (0, 0, [b"one"])
    head, _ = draft.scan_subgroup_head(peer.groups[stream]) or (None, 0)
    assert head is not None
    assert head.has_properties == draft.timestamps


def test_a_group_without_objects_is_one(world: World, draft: Draft) -> None:
    source, _ = published(world)
    peer, asked = watching(world, draft, source)
    source.session.write(source.session.open_group(asked.id, 0), b"", True)
    world.run()
    (stream,) = peer.whole
    assert read(peer, stream) == (0, 0, [])


def test_the_gap_before_an_object_is_not_passed_on(world: World, draft: Draft) -> None:
    """Its objects are numbered anew."""
    pair = Pair(world, draft, draft)
    stream = pair.bring((said(draft, (0x0D, b"x"), (0x3E, 4)), b"one"))
    assert seen(pair.viewer, stream) == [([(0x0D, b"x")], b"one")]


def test_too_many_are_left_out(world: World, draft: Draft) -> None:
    pair = Pair(world, draft, draft)
    few = said(draft, (0x0D, bytes(MAX_PROPERTIES - 100)))
    many = said(draft, (0x0D, bytes(MAX_PROPERTIES)))
    stream = pair.bring((few, b"one"), (many, b"two"), (b"", b"three"))
    assert [(len(has), payload) for has, payload in seen(pair.viewer, stream)] == [
        (1, b"one"),
        (0, b"two"),
        (0, b"three"),
    ]


def test_those_that_make_no_sense_are_left_out(world: World, draft: Draft) -> None:
    pair = Pair(world, draft, draft)
    for group, broken in enumerate((b"\x0d", b"\x0d\x09x", b"\x02", b"\x0d\x01x\x02")):
        stream = pair.bring((broken, b"one"), (b"", b"two"), group=group)
        assert seen(pair.viewer, stream) == [([], b"one"), ([], b"two")]
    assert frames(pair.beside) == b"\x03one\x03two" * 4


@each_other
def test_what_the_other_draft_has_no_number_for_is_left_out(draft: Draft, other: Draft) -> None:
    if not draft.timestamps:
        return
    pair = Pair(World(0), draft, other)
    large = said(draft, (2, 1 << 63), (4, 1), (1 << 63, 5))
    stream = pair.bring((large, b"one"))
    rest = [(2, 1 << 63), (4, 1), (1 << 63, 5)] if other.timestamps else [(4, 1)]
    assert seen(pair.viewer, stream) == [(rest, b"one")]


def test_a_group_on_several_streams_keeps_them(world: World, draft: Draft) -> None:
    pair = Pair(world, draft, draft)
    size = draft.encode_varint
    one, two = said(draft, (0x0D, b"1")), said(draft, (0x0D, b"2"))
    for group in (0, 1):
        for subgroup, found in enumerate((one, two)):
            begin = b"".join(map(size, (0x15, ALIAS, group, subgroup))) + b"\x80"
            pair.peer.bring(begin, size(subgroup) + size(len(found)) + found + size(1) + b"x")
    world.tick(30)
    for stream in pair.viewer.groups:
        assert seen(pair.viewer, stream) == [([(0x0D, b"1")], b"x"), ([(0x0D, b"2")], b"x")]
    assert len(pair.viewer.groups) == 2


def test_objects_in_datagrams_keep_them(world: World, draft: Draft) -> None:
    pair = Pair(world, draft, draft)
    size, found = draft.encode_varint, said(draft, (0x0D, b"1"))
    head = b"".join(map(size, (0x05, ALIAS, 3))) + b"\x80" + size(len(found)) + found
    pair.peer.end.send_datagram(head + b"payload")
    world.run()
    (stream,) = pair.viewer.groups
    assert seen(pair.viewer, stream) == [([(0x0D, b"1")], b"payload")]


def test_a_group_that_is_fetched_has_them(world: World, draft: Draft) -> None:
    """Both from the cache and from the publisher, who is asked for group 1."""
    pair = Pair(world, draft, draft)
    size, found = draft.encode_varint, said(draft, (0x0D, b"1"))
    pair.bring((found, b"two"), group=2)
    pair.viewer.ask(
        Fetch(4, namespace=CAM, track=b"video", start=Location(1, 0), end=Location(2, 0))
    )
    asked = pair.peer.only(Fetch)
    pair.peer.say(FetchOk(asked.request, Location(1, 0), timescale=1_000), request=asked.request)
    head = draft.fetched.head(size, Place(1, 0, True, None), 128, size(len(found)) + found)
    pair.peer.bring(draft.fetch_head(asked.request), head + size(3) + b"one")
    assert pair.viewer.only(FetchOk)
    assert [payload for *_, payload in fetched(pair.viewer, 4)] == [b"one", b"two"]
    assert pair.viewer.groups[outlet(pair.viewer, 4)].count(b"\x0d\x011") == 2


numbers = st.integers(0, 1 << 20) | st.integers(0, (1 << 62) - 1)
some: Any = st.lists(
    st.tuples(numbers, st.integers(0, (1 << 62) - 1) | st.binary(max_size=20)).map(
        lambda each: (each[0] & ~1 if isinstance(each[1], int) else each[0] | 1, each[1])
    ),
    max_size=5,
    unique_by=lambda each: each[0],
).map(lambda found: sorted(found, key=lambda each: each[0]))


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: str(draft.name))
@settings(max_examples=60, deadline=None)
@given(found=some, noise=st.binary(max_size=12))
def test_what_is_kept_is_what_came(draft: Draft, found: list[Property], noise: bytes) -> None:
    assert properties.read(draft, said(draft, *found)) == found
    front = kept(found, not draft.timestamps)
    rest, at = scan_kept(front + b"payload", 0) or (b"", 0)
    assert at == len(front)
    for size in range(len(front)):
        assert scan_kept(front[:size], 0) is None
    left = {0x3E, *(TIMES if draft.timestamps else ())}
    for other in DRAFTS:
        out = written(other, rest, 9)
        size, at = other.scan_varint(out, 0) or (0, 0)
        assert size == len(out) - at
        gone = left | (TIMES if other.timestamps else set())
        again = [each for each in properties.read(other, out[at:]) if each[0] not in gone]
        assert again == [each for each in found if each[0] not in gone]
    assert len(properties.read(draft, noise)) <= len(noise)
