"""Messages in every draft: known bytes, round trips, what is cut off, left over or unknown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.moqt.golden import READ, WRITTEN, Rows
from tests.moqt.strategies import kinds

from relay.errors import DecodeError
from relay.moqt.drafts import DRAFTS, Draft, by_identifier
from relay.moqt.messages import (
    ABSOLUTE_RANGE,
    ABSOLUTE_START,
    REDIRECT,
    ClientSetup,
    Fetch,
    Goaway,
    Location,
    MaxRequest,
    Message,
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
    Unknown,
    Unsubscribe,
    UnsubscribeNamespace,
)
from relay.wire.buffer import MAX_VARINT, StreamBuffer
from relay.wire.version import TRANSPORT

ALL = {draft.number: draft for draft in DRAFTS}
NEW = (17, 18, 19, 20, 21, 22)
LIMIT = 65535
EACH = [
    pytest.param(draft, cls, to, id=f"{draft.number}-{cls.__name__}-{to and to.__name__}")
    for draft in DRAFTS
    for cls, to in draft.codecs.written
]
MODEST = settings(max_examples=30, deadline=None)


def clean(text: str) -> bytes:
    return bytes.fromhex(text.replace("|", ""))


def apart(rows: Rows) -> list[Any]:
    """Each row for each of its drafts."""
    return [
        pytest.param(ALL[number], message, text, id=f"{number}-{text[:16]}")
        for numbers, message, text in rows
        for number in numbers
    ]


def read(draft: Draft, wire: bytes, limit: int = LIMIT) -> Message | None:
    """The one message; nothing may be left."""
    buffer = StreamBuffer(wire)
    found = draft.read(buffer, limit)
    assert len(buffer) == (len(wire) if found is None else 0)
    return found


def anonymous(draft: Draft, message: Any) -> Any:
    """As it is read where the wire does not tell who says it, or what it answers."""
    if draft.request_streams and isinstance(message, ServerSetup):
        return ClientSetup()
    if getattr(message, "to", None) is None:
        return message
    kind, _ = draft.codecs.written[type(message), message.to]
    generic = draft.codecs.written.get((type(message), None))
    return message._replace(to=None) if generic and generic[0] == kind else message


def test_every_message_has_known_bytes():
    known = {(number, type(message)) for numbers, message, _ in WRITTEN for number in numbers}
    assert {(draft.number, cls) for draft in DRAFTS for cls, _ in draft.codecs.written} <= known


@pytest.mark.parametrize(("draft", "message", "text"), apart(WRITTEN))
def test_known_bytes_are_written_and_read(draft, message, text):
    assert draft.encode(message).hex() == clean(text).hex()
    assert read(draft, clean(text)) == anonymous(draft, message)


@pytest.mark.parametrize(("draft", "message", "text"), apart(READ))
def test_known_bytes_are_read(draft, message, text):
    assert read(draft, clean(text)) == message
    if message[2:3] != (REDIRECT,):
        assert draft.encode(message).hex() != clean(text).hex()


@pytest.mark.parametrize(("draft", "cls", "to"), EACH)
@MODEST
@given(data=st.data())
def test_what_is_written_is_read(draft, cls, to, data):
    message = data.draw(kinds(draft)[cls, to])
    wire = draft.encode(message)
    assert read(draft, wire) == anonymous(draft, message)
    buffer = StreamBuffer(wire + wire)
    assert draft.read(buffer, LIMIT) == draft.read(buffer, LIMIT)
    assert len(buffer) == 0


@pytest.mark.parametrize(("draft", "message", "text"), apart([*WRITTEN, *READ]))
def test_what_is_cut_off_is_awaited_or_refused(draft, message, text):
    wire = clean(text)
    for size in range(len(wire)):
        assert read(draft, wire[:size]) is None
    head = len(draft.encode_varint(draft.scan_varint(wire)[0])) + 2
    for size in range(len(wire) - head):
        body = wire[head : head + size]
        shorter = wire[: head - 2] + len(body).to_bytes(2, "big") + body
        try:
            # Properties may end anywhere, and so may what stands before them.
            assert type(read(draft, shorter)) is type(message)
        except DecodeError:
            continue


@pytest.mark.parametrize(("draft", "message", "text"), apart(WRITTEN))
def test_bytes_that_are_left_over_are_refused(draft, message, text):
    wire = clean(text)
    head = len(draft.encode_varint(draft.scan_varint(wire)[0])) + 2
    longer = wire[: head - 2] + (len(wire) - head + 3).to_bytes(2, "big") + wire[head:] + b"???"
    with pytest.raises(DecodeError):
        read(draft, longer)


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.name)
@settings(max_examples=300, deadline=None)
@given(kind=st.integers(0, 0x60) | st.just(0x2F00), body=st.binary(max_size=40))
def test_noise_is_a_message_or_an_error(draft, kind, body):
    wire = draft.encode_varint(kind) + len(body).to_bytes(2, "big") + body
    try:
        found = read(draft, wire)
    except DecodeError:
        return
    assert found is not None
    if isinstance(found, Unknown):
        assert found == Unknown(kind)
    elif found[2:3] != (REDIRECT,):
        assert read(draft, draft.encode(found)) is not None


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.name)
def test_an_unknown_message_is_skipped(draft):
    unknown = draft.encode_varint(0x3E) + b"\x00\x03abc"
    buffer = StreamBuffer(unknown + draft.encode(Goaway("x")))
    assert draft.read(buffer, LIMIT) == Unknown(0x3E)
    assert draft.read(buffer, LIMIT) == Goaway("x")
    with pytest.raises(ValueError, match="has no Unknown"):
        draft.encode(Unknown(0x3E))


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.name)
def test_a_length_above_the_limit_is_refused_at_once(draft):
    wire = draft.encode(Goaway("x" * 20))
    assert read(draft, wire, len(wire) - 3)
    for kind in (0x10, 0x3E):
        with pytest.raises(DecodeError, match="at most 20"):
            draft.read(StreamBuffer(draft.encode_varint(kind) + b"\x00\x15"), 20)


def test_a_length_of_eight_bytes_is_read():
    assert read(
        ALL[16], clean("06 0013 | 00 01 c000000000000001 61 c000000000000000")
    ) == PublishNamespace(0, (b"a",))
    with pytest.raises(DecodeError, match="within a field"):
        read(ALL[16], clean("06 000b | 00 01 ffffffffffffffff 61"))
    with pytest.raises(DecodeError, match="within an integer"):
        read(ALL[16], clean("06 0005 | 00 00 c00000"))


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.name)
def test_a_namespace_has_at_most_32_parts(draft):
    for message in (PublishNamespace(0, (b"x",) * 32), Subscribe(0, (b"",) * 32, b"")):
        assert read(draft, draft.encode(message)) == message
    with pytest.raises(ValueError, match="33 parts"):
        draft.encode(PublishNamespace(0, (b"x",) * 33))
    wire = draft.encode(PublishNamespace(0, (b"x",) * 32))
    with pytest.raises(DecodeError, match="33 parts"):
        read(draft, wire.replace(b"\x20\x01x", b"\x21\x01x", 1))


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.name)
def test_long_texts(draft):
    cut = read(draft, draft.encode(PublishDone(1, 0, 0, "é" * 600)))
    assert isinstance(cut, PublishDone)
    assert cut.reason == "é" * 512
    with pytest.raises(ValueError, match="8192 bytes"):
        draft.encode(Goaway("x" * 8193))
    with pytest.raises(ValueError, match="at most 65535"):
        draft.encode(Subscribe(0, (b"x" * 65535,), b""))
    size = draft.encode_varint(1025)
    body = draft.encode_varint(0) * (2 + (not draft.request_streams)) + size + b"x" * 1025
    with pytest.raises(DecodeError, match="more than 1024 bytes"):
        read(draft, b"\x0b" + len(body).to_bytes(2, "big") + body)


BROKEN = [
    ((14,), "03 0007 | 00 00 00 80 03 01 02", "order"),
    ((14,), "03 0007 | 00 00 00 80 00 02 02", "0 or 1"),
    ((14,), "03 0008 | 00 00 00 80 00 01 05 00", "no filter 5"),
    ((14,), "03 000b | 00 00 00 80 00 01 04 05 00 04 00", "range of groups"),
    ((15, 16), "03 0006 | 00 00 00 01 10 02", "0 or 1"),
    ((15, 16), "03 0007 | 00 00 00 01 20 4100", "a byte is needed"),
    ((15, 16), "03 0006 | 00 00 00 01 22 03", "order"),
    ((15, 16), "03 0007 | 00 00 00 01 21 01 00", "no filter 0"),
    ((15, 16), "03 0008 | 00 00 00 01 21 02 02 00", "too many"),
    ((15,), "03 0008 | 00 00 00 02 20 01 20 01", "said twice"),
    ((16,), "03 0008 | 00 00 00 02 20 01 00 01", "said twice"),
    ((15, 16), "20 0005 | 01 03 02 04 00", "no way 4"),
    ((14,), "20 0002 | 4041", "65 versions"),
    ((15, 16), "16 0005 | 02 04 00 01 00", "no fetch 4"),
    ((15, 16), "04 0007 | 00 00 01 09 03 05 00", "within"),
    ((14, 15, 16), "10 0002 | 01 ff", "UTF-8"),
    # Nothing tells how long an unknown one is.
    (NEW, "07 0003 | 01 33 00", "no parameter 51"),
    (NEW, "04 0006 | 00 02 08 01 00 01", "said twice"),
    (NEW, "af00 0004 | 01 00 00 00", "said twice"),
    (NEW, "af00 0003 | 05 02 61", "within a field"),
    (NEW, "04 0004 | 00 00 22 00", "order"),
    (NEW, "04 0005 | 00 00 22 8100", "a byte is needed"),
    ((17,), "0b 0009 | fc000000000000 00 00", "seven bytes"),
    ((17,), "fc000000000001 0000", "seven bytes"),
    ((18, 19), "03 000a | 00 00 00 01 21 04 05 05 00 00", "no filter 5"),
    ((20, 21), "03 000b | 00 00 00 01 21 05 00 00 00 00 00", "5 integers"),
    ((20, 21), "16 000b | 02 00 00 01 21 05 00 00 00 00 00", "5 integers"),
    ((20, 21), "03 0011 | 00 00 00 01 21 0b ffffffffffffffffff 00 01", "range of groups"),
    ((22,), "03 0011 | 00 00 00 01 21 03 ffffffffffffffffff 00 01", "range of groups"),
    ((22,), "03 0008 | 00 00 00 01 21 06 00 00", "no filter 6"),
    ((22,), "03 0007 | 00 00 00 01 21 05 00", "too many"),
    ((22,), "07 0004 | 01 21 02 00", "within"),
    ((18, 19, 20, 21, 22), "05 0004 | 34 00 00 00", "within"),
    ((17,), "05 0006 | 34 00 00 00 00 00", "too many"),
    ((17, 19, 20, 21, 22), "10 0003 | 00 00 05", "too many"),
]


@pytest.mark.parametrize(
    ("draft", "text", "why"),
    [(ALL[number], text, why) for numbers, text, why in BROKEN for number in numbers],
)
def test_broken_bodies(draft, text, why):
    with pytest.raises(DecodeError, match=why):
        read(draft, clean(text))


UNSAYABLE: list[tuple[tuple[int, ...], Message]] = [
    ((14,), SubscribeUpdate(1, 0, None, None, 128, True)),
    ((14,), SubscribeUpdate(1, 0, Location(0, 0), None, None, True)),
    ((14,), SubscribeUpdate(1, 0, Location(0, 0), None, 128, None)),
    ((15, 16), SubscribeUpdate(1, 0, None, 4, None, None)),
    ((14, 15, 16), Subscribe(0, (), b"", filter=ABSOLUTE_START)),
    ((14, 15, 16), Subscribe(0, (), b"", filter=ABSOLUTE_RANGE, start=Location(5, 0))),
    ((14, 15, 16), Subscribe(0, (), b"", filter=ABSOLUTE_RANGE, start=Location(5, 0), end=4)),
    ((14, 15, 16), Subscribe(0, (), b"", filter=5)),
    ((14, 15, 16), Subscribe(0, (), b"", priority=256)),
    ((14, 15, 16), Subscribe(-1, (), b"")),
    ((14, 15, 16), Fetch(0, joining=1)),
    ((14, 15, 16), Fetch(0)),
    ((14, 15, 16), RequestOk(0, Subscribe)),
    ((14,), RequestOk(0, SubscribeUpdate)),
    ((14,), RequestOk(0)),
    ((14,), RequestError(0, None, 0, "")),
    ((14, 15, 16), MaxRequest(MAX_VARINT + 1)),
    ((16, *NEW), UnsubscribeNamespace(0, ())),
    (NEW, MaxRequest(0)),
    (NEW, Unsubscribe(0)),
    (NEW, PublishNamespaceDone(0, ())),
    ((16, *NEW), SubscribeOk(0, 0, order=0)),
    ((18, 19, 20, 21, 22), RequestError(0, None, REDIRECT, "")),
    ((20, 21, 22), Subscribe(0, (), b"", filter=ABSOLUTE_RANGE, start=Location(5, 0), end=4)),
    ((20, 21, 22), Subscribe(0, (), b"", filter=5)),
    ((20, 21, 22), SubscribeUpdate(1, -1, None, 4, None, None)),
    ((20, 21, 22), Fetch(0, joining=1, relative=0)),
    ((20, 21, 22), Fetch(0, relative=-2)),
    ((20, 21, 22), Fetch(0, end=Location(4, 0))),
    ((20, 21, 22), Fetch(0, start=Location(5, 0), end=Location(4, 0))),
]


@pytest.mark.parametrize(
    ("draft", "message"),
    [(ALL[number], message) for numbers, message in UNSAYABLE for number in numbers],
)
def test_what_cannot_be_said_is_a_mistake_of_ours(draft, message):
    with pytest.raises(ValueError, match=r"."):
        draft.encode(message)


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.name)
def test_what_a_draft_does_not_carry_is_left_out(draft):
    setup = ClientSetup((0xFF00000E,), "/a", max_request=7)
    kept = read(draft, draft.encode(setup))
    assert isinstance(kept, ClientSetup)
    assert kept.versions == ((0xFF00000E,) if draft.number == 14 else ())
    assert kept.max_request == (0 if draft.request_streams else 7)
    ok = read(draft, draft.encode(SubscribeOk(5, 1)))
    assert ok == SubscribeOk(-1 if draft.request_streams else 5, 1)
    with pytest.raises(AttributeError):
        draft.number = 1


def test_of_a_namespace_and_a_request_that_is_written_which_the_draft_writes():
    done = PublishNamespaceDone(5, (b"a",))
    assert read(ALL[15], ALL[15].encode(done)) == PublishNamespaceDone(-1, (b"a",))
    assert read(ALL[16], ALL[16].encode(done)) == PublishNamespaceDone(5, ())


def test_the_table():
    assert [draft.number for draft in DRAFTS] == sorted(ALL, reverse=True)
    for draft in DRAFTS:
        assert draft.version == 0xFF000000 + draft.number
        assert draft.name == f"moq-transport-{draft.number}"
        assert f"moqt-{draft.number}" in draft.identifiers
        assert draft.request_streams == (draft.number >= 17)
        assert draft.namespace_streams == (draft.number >= 16)
        assert draft.half_closes == (draft.number >= 19)
        for cls in (Unsubscribe, MaxRequest):
            assert ((cls, None) in draft.codecs.written) != draft.request_streams
        assert (SubscribeNamespace, None) in draft.codecs.written
    identifiers = [each for draft in DRAFTS for each in draft.identifiers]
    assert "moq-00" in identifiers
    assert len(set(identifiers)) == len(identifiers)


def test_what_is_negotiated_is_what_is_spoken():
    assert list(TRANSPORT) == [each for draft in DRAFTS for each in reversed(draft.identifiers)]
    for identifier, dialect in TRANSPORT.items():
        draft = by_identifier(identifier)
        assert dialect.name == draft.name
        assert dialect.layout.is_timed == draft.timestamps
        assert dialect.layout.has_properties
