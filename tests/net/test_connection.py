"""What a connection hands up of what its engine has heard."""

from __future__ import annotations

from typing import Any

import pytest
from aioquic.quic.events import QuicEvent, StopSendingReceived, StreamDataReceived, StreamReset
from tests.net.conftest import flush

from relay.net.connection import Connection


class Heard:
    """An engine that has heard this."""

    is_settled = True
    heard_more = wants_room = False

    def __init__(self, *events: QuicEvent) -> None:
        self.events = list(events)

    def next_event(self) -> QuicEvent | None:
        return self.events.pop(0) if self.events else None

    def drop_unsent(self, stream: int) -> None:
        """Nothing was sent."""


class Told:
    """An application that notes what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        self.said.append((stream, data, fin))

    def stream_stopped(self, stream: int, code: int) -> None:
        self.said.append((stream, code))


A, B, C = 3, 7, 11


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        ([(A, b"a", True), (B, b"b", True)], [(A, b"a", True), (B, b"b", True)]),
        # In one call for each stream, in the order in which they began.
        (
            [(A, b"a", False), (B, b"b", True), (C, b"c", False), (A, b"d", True), (C, b"e", True)],
            [(A, b"ad", True), (B, b"b", True), (C, b"ce", True)],
        ),
        ([(A, b"a", True), (B, b"b", False), (C, b"c", True)], None),
        ([(A, b"a", False), (A, b"", True)], [(A, b"a", True)]),
    ],
)
def test_streams_are_told_in_the_order_in_which_they_began(heard: Any, told: Any) -> None:
    engine = Heard(*(StreamDataReceived(data, fin, stream) for stream, data, fin in heard))
    connection = Connection(None, engine, None, (), None)  # type: ignore[arg-type]
    connection.application = application = Told()  # type: ignore[assignment]
    connection.take_events()
    assert application.said == (told or heard)


def test_what_is_no_data_comes_after_the_data_before_it() -> None:
    engine = Heard(
        StreamDataReceived(b"a", False, A),
        StopSendingReceived(error_code=5, stream_id=B),
        StreamDataReceived(b"b", True, A),
    )
    connection = Connection(None, engine, None, (), None)  # type: ignore[arg-type]
    connection.application = application = Told()  # type: ignore[assignment]
    connection.take_events()
    assert application.said == [(A, b"a", False), (B, 5), (A, b"b", True)]


@pytest.mark.parametrize(
    ("stream", "news", "is_due"),
    [
        (2, {}, False),  # a group's bytes: whoever has something to say because of them says so
        (3, {}, False),
        (0, {}, True),
        (1, {}, True),
        (2, {"heard_more": True}, True),
        (2, {"wants_room": True}, True),
        (None, {}, True),
    ],
)
def test_who_only_hears_groups_is_not_asked_for_more(stream, news, is_due) -> None:
    engine = Heard(*([StreamDataReceived(b"a", True, stream)] if stream is not None else []))
    vars(engine).update(news)
    connection = Connection(None, engine, None, (), None)  # type: ignore[arg-type]
    connection.application = Told()  # type: ignore[assignment]
    connection.take_events()
    assert connection.is_due == is_due


def test_an_id_is_known_before_the_peer_can_use_it(bench, monkeypatch) -> None:
    known: set[bytes] = set()
    monkeypatch.setattr(bench, "add_id", lambda self, connection, cid: known.add(cid))
    new = bench(alpn="moq-lite-05")
    client, server = new.client, new.server
    client.change_connection_id()  # the old one is given back, for another one
    for data, _ in client.datagrams_to_send(new.time):
        server.feed([data], ("192.0.2.1", 1), new.time)
    server.take_events()
    for data, size, _ in flush(server, new.time):
        for at in range(0, len(data), size):
            client.receive_datagram(data[at : at + size], ("192.0.2.2", 2), new.time)
    told = {each.cid for each in client._peer_cid_available}
    assert len(told) == 3
    assert told <= known


@pytest.mark.parametrize(
    ("alpn", "said"),
    [
        ("moq-lite-05", [0x52E4A40FA8FA, 0x52E4A40FA8F8]),
        ("moqt-18", [30, 29]),
        ("moq-00", [30, 29]),
    ],
)
def test_over_raw_quic_the_protocol_says_in_which_range_codes_travel(bench, recorder, alpn, said):
    room = bench(alpn=alpn)
    (visit,) = room.visits
    visit.accept(recorder(), alpn)
    room.client.send_stream_data(0, b"x")
    room.pump()
    visit.transport.reset(0, 30)
    visit.transport.stop(0, 29)
    room.pump()
    assert [
        each.error_code for each in (*room.of(StreamReset), *room.of(StopSendingReceived))
    ] == said
