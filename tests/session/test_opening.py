"""How a conversation begins when the packets of its first words change places."""

from __future__ import annotations

import pytest

from dialogue import Side, Talk, Wire
from relay.path import ROOT
from relay.session import events
from relay.session.settings import SessionSettings

CHOSEN = bytes.fromhex("210009c0000000ff0dad0200")


def dialling(**limits: int) -> tuple[Side, Wire]:
    """A client that waits for the server's word for the version."""
    wire = Wire()
    client = Side(wire.client, "moql", True, settings=SessionSettings(**limits))
    client.start()
    wire.server.open_bidi()
    wire.server.open_bidi()
    wire.client.sent.clear()
    return client, wire


@pytest.mark.parametrize("pieces", [[b"\x01\x01\x00"], [b"", b"\x01", b"\x01\x00"]])
def test_requests_that_overtake_the_version_wait_for_it(pieces: list[bytes]) -> None:
    client, wire = dialling()
    for piece in pieces:
        client.stream_received(1, piece, False)
    client.stream_received(5, b"\x09", True)  # a purpose that nobody knows
    assert (client.heard, wire.client.sent) == ([], [])
    client.stream_received(0, CHOSEN, False)
    assert client.heard[1:] == [events.AnnounceRequested(1, ROOT, 0)]
    assert isinstance(client.heard[0], events.Opened)
    assert {sent[1] for sent in wire.client.sent} == {5}
    assert set(client.session._flows) == {0, 1}


def test_a_request_that_ends_and_overtakes_the_version_is_heard() -> None:
    client, _ = dialling()
    client.stream_received(1, b"\x01\x01\x00", True)
    client.stream_received(0, CHOSEN, False)
    assert [type(event) for event in client.heard[1:]] == [
        events.AnnounceRequested,
        events.AnnounceCancelled,
    ]


def test_what_was_broken_off_meanwhile_is_not_heard() -> None:
    client, wire = dialling()
    client.stream_received(1, b"\x01\x01\x00", False)
    client.stream_received(5, b"\x01\x01\x00", False)
    client.stream_reset(1, 0)
    client.stream_stopped(5, 0)
    client.stream_received(0, CHOSEN, False)
    assert [type(event) for event in client.heard] == [events.Opened]
    assert wire.client.closed is None


@pytest.mark.parametrize(
    "said", ["", "00", "01 01 00", "02 01", "03 01", "04", "05", "05 01 00", "06 01", "09"]
)
def test_requests_that_the_peer_breaks_off_are_forgotten(said: str, cut: int) -> None:
    talk = Talk("moq-lite-06", cut)
    stream = talk.wire.client.open_bidi()
    assert stream is not None
    talk.wire.client.send(stream, bytes.fromhex(said))
    talk.run()
    talk.wire.client.reset(stream, 7)
    talk.run()
    assert talk.server.session._flows == {}
    assert talk.server.session._in_use == [0, 0]
    assert talk.wire.client.closed is None


def test_no_more_than_max_early_waits() -> None:
    client, wire = dialling(max_early=8)
    client.stream_received(1, bytes(9), False)
    assert wire.client.closed is not None


def test_a_server_waits_for_nothing_but_the_offer() -> None:
    wire = Wire()
    wire.client.open_bidi()
    server = Side(wire.server, "moql", False)
    server.start()
    server.stream_received(0, b"\x01\x01\x00", False)
    assert wire.server.sent[0][:2] == ("stream_reset", 0)


def test_streams_that_end_without_a_word_before_the_version_are_forgotten() -> None:
    client, wire = dialling()
    client.stream_received(1, b"", True)
    client.stream_received(3, b"", True)
    client.stream_received(5, b"\x40", True)  # half of a number
    client.stream_received(0, CHOSEN, False)
    assert set(client.session._flows) == {0}
    assert client.session._in_use == [0, 0]
    assert wire.client.closed is None
