"""Groups all of which come at once: the same is heard as of those that come in pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogue import End, Side, Talk, Wire
from relay.session import events
from relay.wire.buffer import encode_varint
from relay.wire.frame import encode_frame
from relay.wire.messages import MAX_SEQUENCE, SubscribeUpdate

WANT = SubscribeUpdate(7, False, 500, None, None)
PROTOCOLS = ["moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03"]
STREAM = 6


def asked(protocol: str) -> tuple[Side, End]:
    """A server that asked for one track, 0, and its end for raw bytes."""
    wire = Wire()
    server = Side(wire.server, protocol, False)
    server.start()
    if protocol in PROTOCOLS[:2]:
        server.stream_received(2, bytes.fromhex("010100"), True)
    server.session.subscribe("demo", "data", WANT)
    server.heard.clear()
    wire.server.sent.clear()
    return server, wire.server


def head(session: Any, sequence: int, subscription: int = 0, first: int = 0) -> bytes:
    numbers = (subscription, sequence) + ((first,) if session.version == "moq-lite-06" else ())
    body = b"".join(map(encode_varint, numbers))
    return b"\0" + encode_varint(len(body)) + body


def in_pieces(heard: list[Any]) -> list[Any]:
    """What is heard of a whole group, as if it had come in pieces."""
    told: list[Any] = []
    for event in heard:
        if isinstance(event, events.GroupArrived):
            if event.stream is None:
                told.append(events.GroupOpened(STREAM, event.id, event.sequence))
            told += [
                events.GroupReceived(STREAM, event.data),
                events.GroupFinished(STREAM),
            ]
        else:
            told.append(event)
    return told


def test_a_whole_group_is_told_in_one(talk: Talk, cut: int) -> None:
    talk.client.session.subscribe("a", "b", WANT)
    talk.run()
    layout = talk.client.session.layout
    body = encode_frame(layout, b"one", 5) + encode_frame(layout, b"", 9, 5)
    assert talk.server.session.open_group(0, 41, whole=body) is not None
    talk.run()
    found = talk.client.take(events.GroupArrived)
    if cut:
        assert found == []
        assert b"".join(e.data for e in talk.client.take(events.GroupReceived)) == body
        assert len(talk.client.take(events.GroupFinished)) == 1
    else:
        assert found == [events.GroupArrived(0, 41, body)]
        assert talk.client.take(events.GroupOpened) == []


def test_what_comes_at_once_after_its_header_is_told_in_one() -> None:
    server, _ = asked("moq-lite-06")
    server.stream_received(STREAM, head(server.session, 9), False)
    assert server.heard == [events.GroupOpened(STREAM, 0, 9)]
    server.stream_received(STREAM, b"\0\1x\0\1y", True)
    assert server.heard[1:] == [events.GroupArrived(0, 9, b"\0\1x\0\1y", STREAM)]
    assert not server.session._flows.keys() & {STREAM}


def test_a_whole_group_leaves_in_one_piece() -> None:
    talk = Talk("moq-lite-06")
    talk.client.session.subscribe("a", "b", WANT)
    talk.run()
    stream = talk.server.session.open_group(0, 9, whole=b"\0\1x")
    assert talk.wire.server.sent[-1] == ("stream_received", stream, b"\0\x03\0\x09\0\0\1x", True)
    talk.wire.server.credit = 0
    assert talk.server.session.open_group(0, 10, whole=b"\0\1x") is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_kept_of_a_whole_group(protocol: str) -> None:
    server, end = asked(protocol)
    before = server.session._flows.copy(), server.session._in_use.copy()
    body = encode_frame(server.session.layout, b"x", 0)
    for sequence in range(5000):  # more than streams that may be open at a time
        server.stream_received(STREAM + 4 * sequence, head(server.session, sequence) + body, True)
    assert [event.sequence for event in server.heard] == list(range(5000))
    assert (server.session._flows, server.session._in_use) == before
    assert end.closed is None


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("nobody asked for it", (3, 5)),
        ("its end could not be said", (0, MAX_SEQUENCE + 1)),
    ],
)
def test_what_is_not_wanted_is_stopped_all_the_same(what: str, numbers: tuple[int, int]) -> None:
    server, end = asked("moq-lite-06")
    data = head(server.session, numbers[1], numbers[0]) + b"\0\1x"
    server.stream_received(STREAM, data, True)
    assert server.heard == [], what
    assert [sent[:2] for sent in end.sent] == [("stream_stopped", STREAM)]


def test_half_a_group_at_once_is_not_taken_for_the_whole() -> None:
    server, _ = asked("moq-lite-06")
    server.stream_received(STREAM, head(server.session, 9, first=1) + b"\0\1x", True)
    assert server.heard == []


@pytest.mark.parametrize("end_comes_later", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_group_that_ends_within_its_header_costs_only_itself(
    protocol: str, size: int, end_comes_later: bool
) -> None:
    server, end = asked(protocol)
    before = server.session._flows.copy(), server.session._in_use.copy()
    server.stream_received(STREAM, head(server.session, 1)[:size], not end_comes_later)
    if end_comes_later:
        server.stream_received(STREAM, b"", True)
    assert (server.heard, end.sent, end.closed) == ([], [], None)
    assert (server.session._flows, server.session._in_use) == before
    body = encode_frame(server.session.layout, b"x", 0)
    server.stream_received(STREAM + 4, head(server.session, 2) + body, True)
    assert server.heard == [events.GroupArrived(0, 2, body)]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(PROTOCOLS),
    st.integers(0, 2),
    st.integers(0, 70) | st.integers(MAX_SEQUENCE - 1, MAX_SEQUENCE + 2),
    st.lists(st.binary(max_size=70), max_size=3),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=2),
    st.integers(-3, 0),
)
def test_all_at_once_is_as_in_pieces(
    protocol: str,
    subscription: int,
    sequence: int,
    payloads: list[bytes],
    mutations: list[tuple[int, int]],
    short: int,
) -> None:
    sides = asked(protocol), asked(protocol), asked(protocol)
    session = sides[0][0].session
    data = bytearray(head(session, sequence, subscription))
    for payload in payloads:
        data += encode_frame(session.layout, payload, 0)
    for at, value in mutations:
        if 0 < at < len(data):
            data[at] = value
    wire = bytes(data[: len(data) + short])
    cut = len(head(session, sequence, subscription))
    cuts = (wire,), (wire[:cut], wire[cut:]), (wire, b"")
    for (side, _), parts in zip(sides, cuts, strict=True):
        for index, part in enumerate(parts):
            side.stream_received(STREAM, part, index == len(parts) - 1)
    *others, (pieces, end) = sides
    for side, other in others:
        assert in_pieces(side.heard) == pieces.heard
        assert (other.closed is None) == (end.closed is None)
        assert side.session._flows.keys() == pieces.session._flows.keys()
        assert side.session._in_use == pieces.session._in_use
