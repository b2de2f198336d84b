"""Messages in every version: known bytes, round trips, noise, and answers in pieces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import DecodeError
from relay.wire import lite, messages
from relay.wire.buffer import MAX_VARINT, StreamBuffer
from relay.wire.lite import Dialect
from relay.wire.messages import (
    Announce,
    AnnounceEnd,
    AnnounceInit,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceUpdate,
    Fetch,
    Goaway,
    Group,
    Message,
    Probe,
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeOk,
    SubscribeStart,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
)
from relay.wire.version import LITE_01, LITE_02, LITE_03, LITE_04, LITE_05, LITE_06

EACH = (LITE_01, LITE_02, LITE_03, LITE_04, LITE_05, LITE_06)
ALL = {dialect.name: dialect for dialect in EACH}
OLD, MIDDLE = (LITE_01, LITE_02), (LITE_03, LITE_04)
VECTORS = Path(__file__).parents[1] / "vectors" / "wire_lite.json"
ROWS: list[dict[str, Any]] = json.loads(VECTORS.read_text())["messages"]
LIMIT = 65536

ints = st.integers(0, MAX_VARINT)
groups = st.none() | st.integers(0, MAX_VARINT - 1)
text = st.text(max_size=12)
u8 = st.integers(0, 255)
frames = {"first_frame": ints, "last_frame": groups}
wishes = {"ordered": st.booleans(), "max_latency": ints, "start": groups, "end": groups}
hops = st.lists(ints, max_size=32).map(tuple)

KINDS: dict[type[Message], st.SearchStrategy[Any]] = {
    AnnounceRequest: st.builds(AnnounceRequest, text, ints),
    AnnounceInit: st.builds(AnnounceInit, st.lists(text, max_size=4).map(tuple)),
    AnnounceOk: st.builds(AnnounceOk, ints, ints),
    Announce: st.builds(Announce, st.booleans(), text, hops),
    AnnounceStart: st.builds(AnnounceStart, text, hops, ints, ints, st.just(0)),
    AnnounceEnd: st.builds(AnnounceEnd, ints),
    AnnounceUpdate: st.builds(AnnounceUpdate, ints, hops, ints, ints, st.just(0)),
    Subscribe: st.builds(
        Subscribe,
        ints,
        text,
        text,
        u8,
        **wishes,
        **frames,
        is_paused=st.just(False),
        patience=st.just(0),
    ),
    SubscribeUpdate: st.builds(SubscribeUpdate, u8, **wishes, **frames, is_paused=st.just(False)),
    SubscribeOk: st.builds(SubscribeOk, u8, **wishes),
    SubscribeStart: st.builds(SubscribeStart, ints),
    SubscribeEnd: st.builds(SubscribeEnd, ints),
    SubscribeDrop: st.builds(SubscribeDrop, ints, ints, ints),
    TrackRequest: st.builds(TrackRequest, text, text),
    TrackInfo: st.builds(TrackInfo, u8, st.booleans(), ints, st.integers(1, MAX_VARINT)),
    Fetch: st.builds(Fetch, text, text, u8, ints, **frames),
    Group: st.builds(Group, ints, ints, ints, st.just(False)),
    Probe: st.builds(Probe, ints, ints),
    Goaway: st.builds(Goaway, text),
}
PAIRS = [(dialect, cls) for dialect in ALL.values() for cls in KINDS if cls in dialect.codecs]
ABSENT = [(dialect, cls) for dialect in ALL.values() for cls in KINDS if cls not in dialect.codecs]
Read = Callable[[Dialect, StreamBuffer, int], Message | None]
FAMILIES: dict[Read, tuple[type[Message], ...]] = {
    Dialect.read_reply: (SubscribeOk, SubscribeStart, SubscribeEnd, SubscribeDrop),
    Dialect.read_announce: (Announce, AnnounceStart, AnnounceEnd, AnnounceUpdate),
}


def name(value: object) -> str:
    return value.name if isinstance(value, Dialect) else getattr(value, "__name__", str(value))


def carried(dialect: Dialect, message: Any) -> Any:
    """What of a message is left after it was written and read."""
    if dialect in OLD:
        match message:
            case Announce():
                return message._replace(hops=())
            case Subscribe():
                return Subscribe(*message[:4])
            case SubscribeOk():
                return SubscribeOk(message.priority if dialect is LITE_01 else 0)
    if dialect is LITE_03:
        match message:
            case Announce():
                return message._replace(hops=(0,) * len(message.hops))
            case Probe():
                return message._replace(rtt=0)
    if dialect is LITE_06:
        match message:
            case Subscribe() | SubscribeUpdate():
                return message._replace(ordered=False, start=message.start or None)
            case TrackInfo():
                return message._replace(ordered=False)
    return message


def sayable(dialect: Dialect, message: Any) -> Any:
    if isinstance(message, AnnounceRequest) and not dialect.excludes_hop:
        return message._replace(exclude=0)
    if dialect is not LITE_06:
        match message:
            case Group():
                return message._replace(first_frame=0)
            case Subscribe() | SubscribeUpdate() | Fetch():
                return message._replace(first_frame=0, last_frame=None)
    return message


def body_of(dialect: Dialect, wire: bytes, cls: type[Message]) -> bytes:
    """The body in what `Dialect.encode` gave, with nothing around it."""
    buffer = StreamBuffer(wire)
    for family in (dialect.typed_replies, dialect.typed_announces):
        if cls in family:
            assert buffer.varint() == family.index(cls)
    body = buffer.message(LIMIT)
    assert body is not None
    assert len(buffer) == 0
    return body


def from_row(row: dict[str, Any]) -> Message:
    fields = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in row["fields"].items()
    }
    cls = getattr(messages, row["message"])
    message: Message = cls(**fields)
    return message


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['version'][-2:]}-{row['message']}")
def test_known_bytes(row: dict[str, Any]) -> None:
    dialect, expected = ALL[row["version"]], from_row(row)
    wire = bytes.fromhex(row["hex"].replace("|", ""))
    got = dialect.decode(type(expected), body_of(dialect, wire, type(expected)))
    assert got == expected
    assert type(got) is type(expected)
    if not row.get("read_only"):
        assert dialect.encode(expected) == wire


def test_every_message_has_known_bytes() -> None:
    rows = {(row["version"], row["message"]) for row in ROWS}
    assert {(dialect.name, cls.__name__) for dialect, cls in PAIRS} == rows


@pytest.mark.parametrize(("dialect", "cls"), PAIRS, ids=name)
@settings(max_examples=10, deadline=None)
@given(st.data())
def test_round_trip(dialect: Dialect, cls: type[Message], data: st.DataObject) -> None:
    message = sayable(dialect, data.draw(KINDS[cls]))
    body = body_of(dialect, dialect.encode(message), cls)
    got = dialect.decode(cls, body)
    assert got == carried(dialect, message)
    assert type(got) is cls
    with pytest.raises(DecodeError, match=cls.__name__):
        dialect.decode(cls, body + b"\x00")
    for cut in range(len(body)):
        with pytest.raises(DecodeError):
            dialect.decode(cls, body[:cut])


@pytest.mark.parametrize(("dialect", "cls"), PAIRS, ids=name)
@settings(max_examples=10, deadline=None)
@given(st.data(), st.binary(max_size=24))
def test_noise(dialect: Dialect, cls: type[Message], data: st.DataObject, noise: bytes) -> None:
    valid = body_of(dialect, dialect.encode(sayable(dialect, data.draw(KINDS[cls]))), cls)
    body = valid[: data.draw(st.integers(0, len(valid)))] + noise
    try:
        got = dialect.decode(cls, body)
    except DecodeError:
        return
    assert type(got) is cls
    assert dialect.decode(cls, body_of(dialect, dialect.encode(got), cls)) == got


@pytest.mark.parametrize(("dialect", "cls"), ABSENT, ids=name)
@settings(max_examples=2, deadline=None)
@given(st.data())
def test_absent_messages(dialect: Dialect, cls: type[Message], data: st.DataObject) -> None:
    with pytest.raises(ValueError, match=cls.__name__):
        dialect.encode(data.draw(KINDS[cls]))
    with pytest.raises(ValueError, match=cls.__name__):
        dialect.decode(cls, b"")


@pytest.mark.parametrize("dialect", [LITE_01, LITE_02, LITE_03, LITE_06], ids=name)
def test_what_may_not_be_lost_is_refused(dialect: Dialect) -> None:
    with pytest.raises(ValueError, match="exclude"):
        dialect.encode(AnnounceRequest("demo", 7))


@pytest.mark.parametrize(
    "message",
    [
        Group(0, 1, 2),
        Fetch("a", "b", 0, 1, first_frame=1),
        Fetch("a", "b", 0, 1, last_frame=0),
        SubscribeUpdate(0, first_frame=1),
        Subscribe(0, "a", "b", 0, end=3, last_frame=0),
    ],
    ids=repr,
)
def test_parts_of_groups_are_refused_where_they_would_pass_for_the_whole(message: Message) -> None:
    assert LITE_06.encode(message)
    with pytest.raises(ValueError, match="_frame"):
        LITE_05.encode(message)


def test_the_farthest_start_that_one_version_says_can_be_said_in_all() -> None:
    asked = SubscribeUpdate(0, False, 0, start=MAX_VARINT)
    heard = LITE_06.decode(
        SubscribeUpdate, body_of(LITE_06, LITE_06.encode(asked), SubscribeUpdate)
    )
    assert heard.start == MAX_VARINT - 1
    for dialect in (LITE_04, LITE_05):
        body = body_of(dialect, dialect.encode(heard), SubscribeUpdate)
        again = dialect.decode(SubscribeUpdate, body)
        assert again.start == heard.start


@pytest.mark.parametrize(
    "message",
    [
        Subscribe(0, "a", "b", 256),
        Subscribe(0, "a", "b", 0, start=-1),
        Subscribe(MAX_VARINT + 1, "a", "b", 0),
        TrackInfo(0, False, 0, 0),
        Announce(True, "a", (1,) * 33),
        Goaway("x" * 8193),
    ],
    ids=repr,
)
def test_values_that_cannot_be_said(message: Message) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the contract, texts differ
        LITE_05.encode(message)


@pytest.mark.parametrize(
    ("dialect", "cls", "hex_"),
    [
        (LITE_04, Announce, "02 00 00"),  # a restart where there is none
        (LITE_05, Announce, "03 00 00"),  # no such status
        (LITE_03, Announce, "01 00 21"),  # a chain of 33
        (LITE_05, Announce, "01 00 21" + "00" * 33),
        (LITE_05, TrackInfo, "00 00 00 00"),  # no timescale
        (LITE_05, Goaway, "6001" + "61" * 8193),
        (LITE_01, AnnounceInit, "ffffffffffffffff"),
        (LITE_05, Subscribe, "00 01ff 00 00 00 00 00 00"),
        (LITE_06, AnnounceRequest, "00 00"),  # excludes nobody any more
        (LITE_06, AnnounceStart, "00 01 00 00"),  # no cold cost
        (LITE_06, AnnounceUpdate, "00 21" + "00" * 35),
        (LITE_06, TrackInfo, "00 00 00"),  # no timescale
        (LITE_06, Group, "00 00"),  # no first frame
    ],
)
def test_broken_bodies(dialect: Dialect, cls: type[Message], hex_: str) -> None:
    with pytest.raises(DecodeError, match=cls.__name__):
        dialect.decode(cls, bytes.fromhex(hex_))


def replies(dialect: Dialect, read: Read) -> list[type[Message]]:
    return [cls for cls in FAMILIES[read] if cls in dialect.codecs]


REPLYING = [(dialect, read) for dialect in ALL.values() for read in FAMILIES]


@pytest.mark.parametrize(("dialect", "read"), REPLYING, ids=name)
@settings(max_examples=10, deadline=None)
@given(st.data())
def test_replies_in_pieces(dialect: Dialect, read: Read, data: st.DataObject) -> None:
    one = st.one_of([KINDS[cls] for cls in replies(dialect, read)])
    messages = [sayable(dialect, message) for message in data.draw(st.lists(one, max_size=4))]
    wire = b"".join(map(dialect.encode, messages))
    expected = [carried(dialect, message) for message in messages]

    whole, bytewise = StreamBuffer(wire), StreamBuffer()
    assert [read(dialect, whole, LIMIT) for _ in messages] == expected
    assert read(dialect, whole, LIMIT) is None
    got: list[Message] = []
    for byte in wire:
        bytewise.append(bytes([byte]))
        message = read(dialect, bytewise, LIMIT)
        if message is not None:
            got.append(message)
            assert len(bytewise) == 0
    assert got == expected
    assert [type(message) for message in got] == [type(message) for message in messages]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(REPLYING), st.lists(st.binary(max_size=12), max_size=4))
def test_noise_for_replies(where: tuple[Dialect, Read], chunks: list[bytes]) -> None:
    dialect, read = where
    buffer = StreamBuffer()
    try:
        for chunk in chunks:
            buffer.append(chunk)
            while (message := read(dialect, buffer, 64)) is not None:
                assert type(message) in replies(dialect, read)
    except DecodeError:
        return
    assert len(buffer) <= sum(map(len, chunks))


@pytest.mark.parametrize("dialect", [LITE_03, LITE_04, LITE_05, LITE_06], ids=name)
def test_unknown_reply_type_is_refused_at_once(dialect: Dialect) -> None:
    with pytest.raises(DecodeError, match="type 3"):
        dialect.read_reply(StreamBuffer(b"\x03"), LIMIT)


def test_type_numbers_belong_to_their_version() -> None:
    drop = SubscribeDrop(1, 2, 3)
    for dialect in MIDDLE:
        assert dialect.read_reply(StreamBuffer(b"\x01\x03\x01\x02\x03"), 9) == drop
        with pytest.raises(DecodeError):
            dialect.read_reply(StreamBuffer(b"\x02\x03\x01\x02\x03"), 9)
    for dialect in (LITE_05, LITE_06):
        assert dialect.read_reply(StreamBuffer(b"\x02\x03\x01\x02\x03"), 9) == drop


def test_announces_of_unknown_types_are_skipped() -> None:
    buffer = StreamBuffer(bytes.fromhex("03 02 abcd 4040 00 01 01 07 09".replace(" ", "")))
    assert LITE_06.read_announce(buffer, LIMIT) == AnnounceEnd(7)
    assert LITE_06.read_announce(buffer, LIMIT) is None
    buffer.append(bytes.fromhex("4041"))
    with pytest.raises(DecodeError, match="at most 64"):
        LITE_06.read_announce(buffer, 64)


@pytest.mark.parametrize(("dialect", "read"), REPLYING, ids=name)
def test_replies_are_limited(dialect: Dialect, read: Read) -> None:
    is_typed = len(replies(dialect, read)) > 1
    typed = b"\x00" if is_typed else b""
    buffer = StreamBuffer(typed + b"\x40\x41")
    with pytest.raises(DecodeError, match="at most 64"):
        read(dialect, buffer, 64)


@pytest.mark.parametrize("dialect", EACH, ids=lambda dialect: dialect.name)
def test_what_many_are_told_is_what_one_is_told(dialect) -> None:
    for group in (Group(1, 2), Group(1, 3), Group(1, 2), Group(70, 1 << 20)):
        assert dialect.encode_shared(group) == dialect.encode(group)


def test_messages_of_one_shape_are_not_taken_for_each_other() -> None:
    alike: list[Message] = [SubscribeStart(1), AnnounceEnd(1)]
    assert alike[0] == alike[1]
    written = [LITE_06.encode_shared(each) for each in alike]
    assert written == [LITE_06.encode(each) for each in alike]
    assert written[0] != written[1]


def test_messages_that_are_kept_are_bounded() -> None:
    for sequence in range(3 * lite.MAX_KEPT):
        LITE_06.encode_shared(Group(1, sequence))
    assert lite._written.cache_info().currsize <= lite.MAX_KEPT
