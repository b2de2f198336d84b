"""Announces that are counted (06): numbers, restarts in place, costs, and what breaks the rules."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogue import End, Side, Talk, Wire
from relay.path import ROOT, Path
from relay.session import events
from relay.session.events import FREE, Cost
from relay.session.settings import SessionSettings
from relay.wire.buffer import encode_varint


def encode_message(kind: int, body: bytes) -> str:
    return (bytes([kind]) + encode_varint(len(body)) + body).hex()


OK = "0221 00"
"""ANNOUNCE_OK of hop 0x21 with nothing to follow."""
A = "0005 01 61 00 00 00"
"""ANNOUNCE_START of "a"."""


NAMELESS = "/".join(["x"] * 33).encode()
"""Of one segment more than a path may have."""
BAD = encode_message(0, encode_varint(len(NAMELESS)) + NAMELESS + bytes(3))


def asked(talk: Talk, prefix: Path = ROOT) -> Any:
    """The server asks, the client is asked."""
    talk.server.session.listen(prefix)
    talk.run()
    return talk.client.only(events.AnnounceRequested)


def listening(**limits: Any) -> tuple[Side, End]:
    """A server that has asked for everything, with its end for raw bytes; stream 1 answers."""
    wire = Wire()
    server = Side(wire.server, "moq-lite-06", False, settings=SessionSettings(**limits))
    server.start()
    server.stream_received(2, bytes.fromhex("010100"), True)
    server.session.listen(ROOT)
    server.heard.clear()
    return server, wire.server


def said(server: Side, *pieces: str) -> list[Any]:
    """What the server makes of an announce stream."""
    server.stream_received(1, bytes.fromhex("".join(pieces)), False)
    return server.heard


def test_costs_travel_with_announces(cut: int) -> None:
    talk = Talk("moq-lite-06", cut)
    request = asked(talk).request
    talk.client.session.answer_announce(request, [("a", (5,), Cost(1, 2))])
    talk.client.session.announce(request, "b", (), Cost(0, 7))
    talk.run()
    assert talk.server.take(events.Announced) == [
        events.Announced("a", (5, 11), Cost(1, 2)),
        events.Announced("b", (11,), Cost(0, 7)),
    ]


def test_elsewhere_there_are_no_costs(talk: Talk) -> None:
    request = asked(talk).request
    talk.client.session.answer_announce(request, [("a", (), Cost(1, 2))])
    talk.run()
    costs = [event.cost for event in talk.server.take(events.Announced)]
    assert costs == [Cost(1, 2) if talk.features.costs else None]


def test_a_link_has_its_price() -> None:
    for protocol, heard in (("moq-lite-06", 3), ("moq-lite-05", None)):
        talk = Talk(protocol, cost=3)
        assert talk.server.only(events.Opened).cost == heard
        assert talk.client.only(events.Opened).cost is None
    assert Talk("moq-lite-06", cost=0).server.only(events.Opened).cost == 0


def test_a_change_is_an_update_and_another_publisher_a_new_number(cut: int) -> None:
    talk = Talk("moq-lite-06", cut)
    request = asked(talk).request
    sent = talk.wire.client.sent
    session = talk.client.session
    session.answer_announce(request, [("a", (5,), FREE), ("b", (), FREE)])
    before = len(sent)
    session.announce(request, "b", (6,), Cost(0, 1))
    session.unannounce(request, "b")
    session.announce(request, "b", (7,))
    assert len(sent) == before  # what a turn has to say leaves in one piece, at its end
    session.flush()
    session.unannounce(request, "a")
    session.unannounce(request, "b")
    session.flush()
    session.flush()
    lines = [args[2].hex() for args in sent[before:]]
    assert lines == ["02050101060001" + "010101" + "000601620107" + "0000", "010100" + "010102"]
    talk.run()
    heard = [event for event in talk.server.heard if not isinstance(event, events.Opened)]
    assert heard == [
        events.Announced("a", (5, 11), FREE),
        events.Announced("b", (11,), FREE),
        events.Announced("b", (6, 11), Cost(0, 1)),
        events.Unannounced("b"),
        events.Announced("b", (7, 11), FREE),
        events.Unannounced("a"),
        events.Unannounced("b"),
    ]


def test_a_chain_that_became_too_long_ends_the_announce() -> None:
    talk = Talk("moq-lite-06")
    request = asked(talk).request
    talk.client.session.answer_announce(request, [("a", (5,), FREE)])
    talk.client.session.announce(request, "a", tuple(range(100, 133)))
    talk.client.session.announce(request, "a", (6,))
    talk.run()
    assert [type(event) for event in talk.server.heard[1:]] == [
        events.Announced,
        events.Unannounced,
        events.Announced,
    ]
    assert talk.wire.server.closed is None


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((OK, A, A), "announced twice"),
        ((OK, "01 01 00"), "number 0"),
        ((OK, A, "01 01 01"), "number 1"),
        ((OK, A, "01 01 00", "01 01 00"), "not any more"),
        ((OK, A, "01 01 00", "02 04 00 00 00 00"), "not any more"),
        ((OK, A, "02 04 09 00 00 00"), "number 9"),
        ((OK, "00 04 01 61 00 00"), "AnnounceStart"),
        ((OK, "02 03 00 00 00"), "AnnounceUpdate"),
    ],
)
def test_violations_end_the_session(lines: tuple[str, ...], reason: str) -> None:
    server, end = listening()
    said(server, *lines)
    assert end.closed is not None
    assert end.closed[0] == 3
    assert reason in end.closed[1]


def test_unknown_types_are_skipped() -> None:
    server, end = listening()
    heard = said(server, OK, A, "07 03 abcdef", "01 01 00")
    assert heard == [events.Announced("a", (0x21,), FREE), events.Unannounced("a")]
    assert end.closed is None


def test_a_name_nobody_could_ask_for_has_its_number_all_the_same() -> None:
    server, end = listening()
    heard = said(server, OK, BAD, A, "02 04 00 00 05 05", "01 01 00", "01 01 01")
    assert heard == [events.Announced("a", (0x21,), FREE), events.Unannounced("a")]
    assert end.closed is None


def test_names_that_cannot_be_used_count_as_well() -> None:
    server, end = listening(max_announces=3)
    said(server, OK, BAD, BAD, A)
    assert end.closed is None
    said(server, BAD)
    assert end.closed is not None
    assert "max_announces" in end.closed[1]


def test_retired_numbers_cost_nothing() -> None:
    server, end = listening(max_announces=3)
    said(server, OK)
    for number in range(500):
        said(server, A, encode_message(1, encode_varint(number)))
    assert end.closed is None
    assert server.session.count_announces() == 0
    (listener,) = server.session.listeners
    assert listener.numbers == {}


steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.lists(st.integers(1, 9), max_size=3)),
    max_size=25,
)


@pytest.mark.parametrize("protocol", ["moq-lite-06", "moq-lite-05", "moq-lite-04", "moql"])
@settings(max_examples=40, deadline=None)
@given(steps)
def test_what_is_told_is_what_is_heard(
    protocol: str, told: list[tuple[str, bool, list[int]]]
) -> None:
    talk = Talk(protocol)
    request = asked(talk).request
    talk.client.session.answer_announce(request, [])
    there: dict[str, tuple[int, ...]] = {}
    for name, active, chain in told:
        if active:
            if name not in there or talk.features.restart_in_place:
                there[name] = tuple(chain)
            talk.client.session.announce(request, name, tuple(chain), Cost(len(chain), 9))
        else:
            there.pop(name, None)
            talk.client.session.unannounce(request, name)
    talk.run()
    assert talk.wire.server.closed is None
    heard: dict[str, Any] = {}
    for event in talk.server.heard:
        if isinstance(event, events.Announced):
            heard[event.path] = event
        elif isinstance(event, events.Unannounced):
            del heard[event.path]
    assert heard.keys() == there.keys()
    if talk.features.costs:
        assert {name: event.hops[:-1] for name, event in heard.items()} == there
        assert {name: event.cost.warm for name, event in heard.items()} == {
            name: len(chain) for name, chain in there.items()
        }


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=12))
def test_noise_on_an_announce_stream(chunks: list[bytes]) -> None:
    server, _ = listening()
    said(server, OK)
    for chunk in chunks:
        server.stream_received(1, chunk, False)
    server.stream_reset(1, 0)


def test_a_first_answer_is_put_in_words_as_far_as_it_can_leave() -> None:
    """It may name very much, and nobody who does not read it is worth the work."""
    talk = Talk("moq-lite-06")
    request = asked(talk).request
    session, names = talk.client.session, [f"p{number}" for number in range(100)]
    with patch.object(session.transport, "capacity", lambda stream=None: 0):
        session.answer_announce(request, [(name, (5,), FREE) for name in names])
        session.unannounce(request, "p7")
        session.announce(request, "p8", (6,))
        session.announce(request, "q", (5,))
        assert session.count_untold() == 100
    session.flush()
    talk.run()
    assert session.count_untold() == 0
    told = talk.server.take(events.Announced)
    assert [event.path for event in told] == [*names, "p8", "q"]
    assert [event.path for event in talk.server.take(events.Unannounced)] == ["p7"]
