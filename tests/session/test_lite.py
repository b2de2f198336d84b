"""Two sessions back to back, in every version, whole and byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogue import End, Side, Talk, Wire
from relay.errors import ProtocolViolation
from relay.path import ROOT, Path
from relay.session import announcing, events
from relay.session.announcing import MAX_BEHIND
from relay.session.events import FREE
from relay.session.lite import LiteSession
from relay.session.settings import SessionSettings
from relay.wire import unread
from relay.wire.buffer import encode_varint
from relay.wire.frame import Layout, encode_frame
from relay.wire.messages import MAX_SEQUENCE, Bidi, SubscribeUpdate, TrackInfo

WANT = SubscribeUpdate(7, False, 500, None, None)
SETTING_UP = ["moq-lite-06", "moq-lite-05"]
PROTOCOLS = ["moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03", "moql"]


def frames(talk: Talk, *payloads: bytes) -> bytes:
    """A group's body in the talk's layout."""
    body = b""
    previous = 0
    for number, payload in enumerate(payloads):
        body += encode_frame(talk.client.session.layout, payload, number * 10, previous)
        previous = number * 10
    return body


def test_both_sides_open_once(talk: Talk) -> None:
    assert talk.server.only(events.Opened).publishes
    assert talk.client.only(events.Opened).subscribes
    assert talk.client.session.version == talk.server.session.version


def test_target_travels_where_the_transport_carries_none(cut: int) -> None:
    for protocol in ("moq-lite-06", "moq-lite-05", "moql"):
        talk = Talk(protocol, cut, target="/demo?jwt=a.b.c")
        assert talk.server.only(events.Opened).target == "/demo?jwt=a.b.c"


@pytest.mark.parametrize("protocol", SETTING_UP)
def test_setup_names_our_hop(protocol: str, cut: int) -> None:
    talk = Talk(protocol, cut)
    assert talk.server.only(events.Opened).origin == 11
    assert talk.client.only(events.Opened).origin == 22


def test_no_identifier_is_the_in_band_handshake(cut: int) -> None:
    talk = Talk(None, cut)
    assert talk.client.session.version == "moq-lite-02"
    assert talk.server.session.version == "moq-lite-02"


def test_announce_and_unannounce(talk: Talk) -> None:
    talk.server.session.listen(Path("live"))
    talk.run()
    asked = talk.client.only(events.AnnounceRequested)
    assert asked.prefix == "live"
    talk.client.session.answer_announce(asked.request, [("live/a", (5,), FREE)])
    talk.run()
    first = talk.server.only(events.Announced)
    talk.client.session.announce(asked.request, "live/b/c", ())
    talk.client.session.unannounce(asked.request, "live/a")
    talk.run()
    assert first.path == "live/a"
    assert talk.server.only(events.Announced).path == "live/b/c"
    assert talk.server.only(events.Unannounced).path == "live/a"


def test_what_there_is_to_tell_leaves_as_there_is_room(talk: Talk) -> None:
    talk.server.session.listen(ROOT)
    talk.run()
    asked = talk.client.only(events.AnnounceRequested)
    end = talk.wire.client
    end.room = 0
    there = {f"{number}/{'x' * 1000}" for number in range(40)}
    talk.client.session.answer_announce(asked.request, [(path, (5,), FREE) for path in there])
    talk.client.session.announce(asked.request, "late", (5,))
    gone = min(there)
    talk.client.session.unannounce(asked.request, gone)
    talk.run()
    assert not talk.server.take(events.Announced)
    handed, send = 0, end.send

    def count(stream: int, data: bytes, fin: bool = False) -> None:
        nonlocal handed
        handed += len(data)
        end.room -= len(data)
        send(stream, data, fin)

    end.send = count
    turns = 0
    while talk.client.session.has_waiting:
        end.room, before = 3000, handed
        talk.client.flush()
        talk.run()
        assert handed - before <= 3000 + 65_536
        turns += 1
        assert turns < 40
    heard = {event.path for event in talk.server.take(events.Announced)}
    assert heard == {*there, "late"}
    assert talk.server.only(events.Unannounced).path == gone
    assert turns > 1


def test_whoever_stays_behind_with_what_happens_is_given_up(talk: Talk) -> None:
    talk.server.session.listen(ROOT)
    talk.run()
    asked = talk.client.only(events.AnnounceRequested)
    session = talk.client.session
    talk.wire.client.room = 0
    session.answer_announce(asked.request, [])
    name = "x" * 4000
    for number in range(4000):
        session.announce(asked.request, f"{number}/{name}", (5,))
        if session.closed:
            break
    assert session.closed
    assert number * len(name) > MAX_BEHIND * 0.9
    talk.run()
    assert talk.server.lost is not None


@pytest.mark.parametrize("is_later", [False, True])
def test_whoever_is_told_the_same_again_and_again_is_given_up(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, is_later: bool
) -> None:
    monkeypatch.setattr(announcing, "LOOK", 10)
    session = talk.client.session
    session.settings = SessionSettings(max_announces=5)  # so that 80 are told beside the longest
    there = [(f"a/{number}", (5,), FREE) for number in range(40)]
    for count in range(4):
        assert not session.closed
        talk.server.session.listen(ROOT)
        talk.run()
        (asked,) = talk.client.take(events.AnnounceRequested)
        session.answer_announce(asked.request, [] if is_later else there)
        for each in there if is_later else ():
            session.announce(asked.request, *each)
        assert session.closed == (count == 3)


def test_chains_end_with_the_peer(talk: Talk) -> None:
    talk.server.session.listen(ROOT)
    talk.run()
    asked = talk.client.only(events.AnnounceRequested)
    talk.client.session.answer_announce(asked.request, [("a", (5, 6), FREE)])
    talk.run()
    hops = talk.server.only(events.Announced).hops
    expected = {f"moq-lite-0{n}": (5, 6, 11) for n in (4, 5, 6)} | {"moq-lite-03": (0, 0, 0)}
    # 01 and 02 carry no chain at all: one hop nobody can name
    assert hops == expected.get(talk.client.session.version, (0,))


def test_empty_answer_is_still_an_answer(talk: Talk) -> None:
    talk.server.session.listen(ROOT)
    talk.run()
    talk.client.session.answer_announce(talk.client.only(events.AnnounceRequested).request, [])
    talk.run()
    assert talk.server.take(events.Announced) == []
    assert talk.wire.server.closed is None


def test_second_announce_is_a_restart_or_silence(talk: Talk) -> None:
    talk.server.session.listen(ROOT)
    talk.run()
    asked = talk.client.only(events.AnnounceRequested)
    talk.client.session.answer_announce(asked.request, [("a", (5,), FREE)])
    talk.client.session.announce(asked.request, "a", (6,))
    talk.run()
    assert len(talk.server.take(events.Announced)) == (2 if talk.features.restart_in_place else 1)
    assert talk.wire.server.closed is None


def test_lost_announce_stream_loses_its_paths(talk: Talk) -> None:
    talk.server.session.listen(ROOT)
    talk.run()
    asked = talk.client.only(events.AnnounceRequested)
    talk.client.session.answer_announce(asked.request, [("a", (), FREE), ("b", (), FREE)])
    talk.run()
    talk.wire.client.reset(asked.request, 3)
    talk.run()
    assert talk.server.only(events.AnnouncesLost).paths == ("a", "b")


def subscribe(talk: Talk) -> events.Subscribed:
    talk.client.session.subscribe("demo/cam", "video", WANT)
    talk.run()
    asked: events.Subscribed = talk.server.only(events.Subscribed)
    return asked


def test_subscribe_carries_what_the_version_can_say(talk: Talk) -> None:
    asked = subscribe(talk)
    assert (asked.broadcast, asked.track, asked.priority) == ("demo/cam", "video", 7)
    assert asked.max_latency == (500 if talk.features.subscribe_update else 0)


def test_groups_arrive_with_their_boundaries(talk: Talk) -> None:
    asked = subscribe(talk)
    talk.server.session.accept(asked.id, 127)
    body = frames(talk, b"hello", b"", b"x" * 3000)
    stream = talk.server.session.open_group(asked.id, 41)
    assert stream is not None
    talk.server.session.write(stream, body[:4])
    talk.server.session.write(stream, body[4:], True)
    talk.run()
    start = 41 if talk.features.subscribe_ack == "start" else None
    assert talk.client.only(events.SubscribeAccepted) == events.SubscribeAccepted(0, start)
    opened = talk.client.only(events.GroupOpened)
    assert (opened.id, opened.sequence) == (0, 41)
    assert b"".join(e.data for e in talk.client.take(events.GroupReceived)) == body
    assert talk.client.only(events.GroupFinished).stream == stream


def test_a_group_cut_inside_a_frame_is_aborted(talk: Talk) -> None:
    asked = subscribe(talk)
    stream = talk.server.session.open_group(asked.id, 1)
    assert stream is not None
    talk.server.session.write(stream, frames(talk, b"hello")[:-1], True)
    talk.run()
    assert talk.client.take(events.GroupFinished) == []
    assert talk.client.only(events.GroupAborted).code == 5
    assert talk.wire.client.closed is None


def test_a_reset_group_is_aborted_with_its_code(talk: Talk) -> None:
    asked = subscribe(talk)
    stream = talk.server.session.open_group(asked.id, 1)
    assert stream is not None
    talk.run()
    talk.server.session.reset(stream, 26)
    talk.run()
    assert talk.client.only(events.GroupAborted).code == 26


def test_stopping_a_group_leaves_the_subscription(talk: Talk) -> None:
    asked = subscribe(talk)
    stream = talk.server.session.open_group(asked.id, 1)
    assert stream is not None
    talk.run()
    talk.client.session.stop(stream, 0)
    talk.run()
    assert talk.server.stopped == [(stream, talk.features.codes.say(0))]
    assert talk.server.take(events.Unsubscribed) == []


def test_a_group_nobody_asked_for_is_stopped(talk: Talk) -> None:
    asked = subscribe(talk)
    talk.client.session.unsubscribe(0)
    stream = talk.server.session.open_group(asked.id, 1)
    assert stream is not None
    talk.run()
    assert talk.client.take(events.GroupOpened) == []
    assert (stream, talk.features.codes.say(0)) in talk.server.stopped


def test_unsubscribe_is_heard(talk: Talk) -> None:
    asked = subscribe(talk)
    talk.client.session.unsubscribe(0)
    talk.run()
    assert talk.server.only(events.Unsubscribed).id == asked.id
    assert talk.client.take(events.SubscribeRefused) == []


def test_refusal_carries_the_code(talk: Talk) -> None:
    asked = subscribe(talk)
    talk.server.session.refuse(asked.id, 30)
    talk.run()
    assert talk.client.only(events.SubscribeRefused) == events.SubscribeRefused(0, 30)
    assert talk.server.take(events.Unsubscribed) == []


def test_the_end_of_a_track(talk: Talk) -> None:
    asked = subscribe(talk)
    talk.server.session.accept(asked.id, 0)
    talk.server.session.complete(asked.id, 9)
    talk.run()
    end = 9 if talk.features.subscribe_ack == "start" else None
    assert talk.client.only(events.SubscribeFinished) == events.SubscribeFinished(0, end)


def test_update_reaches_the_publisher(talk: Talk) -> None:
    asked = subscribe(talk)
    talk.client.session.resubscribe(0, SubscribeUpdate(9, True, 1, 3, 8))
    talk.run()
    heard = talk.server.take(events.SubscribeUpdated)
    if talk.features.subscribe_update:
        ordered = not talk.features.start_floor  # 06 knows one order only
        assert heard == [events.SubscribeUpdated(asked.id, 9, ordered, 1, 3, 8)]
    else:
        assert heard == []


def test_track_properties(talk: Talk) -> None:
    request = talk.client.session.describe("demo/cam", "video")
    if not talk.features.track_stream:
        assert request is None
        return
    talk.run()
    asked = talk.server.only(events.TrackRequested)
    assert (asked.broadcast, asked.track) == ("demo/cam", "video")
    talk.server.session.answer_track(asked.request, TrackInfo(3, True, 250, 90_000))
    talk.run()
    described = talk.client.only(events.TrackDescribed)
    ordered = not talk.features.start_floor
    assert described == events.TrackDescribed(request, 3, ordered, 250, 90_000)
    assert talk.server.take(events.TrackCancelled) == []


def test_refused_track_properties() -> None:
    talk = Talk("moq-lite-05")
    talk.client.session.describe("demo/cam", "video")
    talk.run()
    talk.server.session.refuse_track(talk.server.only(events.TrackRequested).request, 13)
    talk.run()
    assert talk.client.only(events.TrackRefused).code == 13


def test_datagrams_only_where_the_version_has_them(talk: Talk) -> None:
    asked = subscribe(talk)
    sent = talk.server.session.send_datagram(asked.id, 4, 90, b"ping")
    talk.run()
    assert sent == talk.features.datagrams
    heard = talk.client.take(events.DatagramReceived)
    assert heard == ([events.DatagramReceived(0, 4, 90, b"ping")] if sent else [])


def test_probes_are_answered(talk: Talk) -> None:
    stream = talk.wire.client.open_bidi()
    assert stream is not None
    talk.wire.client.send(stream, b"\x04")
    talk.run()
    if Bidi.PROBE not in talk.features.bidi:
        assert (stream, 10) in talk.client.stopped or talk.server.take(events.ProbeRequested) == []
        return
    assert talk.server.only(events.ProbeRequested).stream == stream
    talk.server.session.report(stream, 1_000_000, 20)
    talk.wire.client.reset(stream, 0)
    talk.run()
    assert talk.server.only(events.StreamCancelled).stream == stream
    assert talk.wire.server.closed is None


def test_goaway_only_where_the_version_has_it(talk: Talk) -> None:
    talk.server.session.goaway("")
    talk.run()
    assert len(talk.client.take(events.GoawayReceived)) == int(talk.features.goaway)
    assert talk.wire.client.closed is None


def test_nothing_is_left_of_a_thousand_groups(protocol: str) -> None:
    talk = Talk(protocol)
    asked = subscribe(talk)
    before = len(talk.client.session._flows), len(talk.server.session._flows)
    for sequence in range(1000):
        stream = talk.server.session.open_group(asked.id, sequence)
        assert stream is not None
        talk.server.session.write(stream, frames(talk, b"x"), True)
    talk.run()
    assert len(talk.client.take(events.GroupArrived)) == 1000
    assert (len(talk.client.session._flows), len(talk.server.session._flows)) == before


def test_requests_wait_for_stream_credit() -> None:
    talk = Talk("moq-lite-05")
    talk.wire.client.credit = 1
    for name in "abc":
        talk.client.session.subscribe("demo", name, WANT)
    talk.run()
    assert [e.track for e in talk.server.take(events.Subscribed)] == ["a"]
    talk.client.session.unsubscribe(1)
    talk.wire.client.credit = 5
    talk.client.flush()
    talk.run()
    assert [e.track for e in talk.server.take(events.Subscribed)] == ["c"]


def test_a_wish_that_changes_before_there_is_a_stream_is_heard_as_it_is_then() -> None:
    talk = Talk("moq-lite-05")
    talk.wire.client.credit = 0
    talk.client.session.subscribe("demo", "a", SubscribeUpdate(1, False, 0, None, 3))
    talk.client.session.resubscribe(0, SubscribeUpdate(9, True, 1, 3, None))
    talk.wire.client.credit = 1
    talk.client.flush()
    talk.run()
    heard = talk.server.only(events.Subscribed)
    assert heard == events.Subscribed(0, "demo", "a", 9, True, 1, 3, None)
    assert not talk.server.take(events.SubscribeUpdated)


def test_more_waiting_requests_than_allowed_fail() -> None:
    talk = Talk("moq-lite-05", settings=SessionSettings(max_pending=2))
    talk.wire.client.credit = 0
    for name in "abcd":
        talk.client.session.subscribe("demo", name, WANT)
    talk.client.flush()
    assert [e.id for e in talk.client.take(events.SubscribeRefused)] == [2, 3]


def test_waiting_requests_that_were_taken_back_make_room() -> None:
    talk = Talk("moq-lite-05", settings=SessionSettings(max_pending=2))
    talk.wire.client.credit = 0
    session = talk.client.session
    session.subscribe("demo", "a", WANT)
    session.unsubscribe(session.subscribe("demo", "b", WANT))
    fetch = session.fetch("demo", "c", 0, 0)
    session.cancel_fetch(fetch)
    kept = session.subscribe("demo", "d", WANT)
    refused = session.subscribe("demo", "e", WANT)
    talk.client.flush()
    assert [e.id for e in talk.client.take(events.SubscribeRefused)] == [refused]
    talk.wire.client.credit = 9
    talk.client.flush()
    talk.run()
    assert [e.id for e in talk.server.take(events.Subscribed)] == [0, kept]


# -- misbehaviour ---------------------------------------------------------------------------------


def hostile(protocol: str = "moq-lite-05") -> tuple[Side, End]:
    """A server that has heard a minimal SETUP, and its end for raw bytes."""
    wire = Wire()
    wire.client.open_bidi()
    server = Side(wire.server, protocol, False)
    server.start()
    if protocol in SETTING_UP:
        server.stream_received(2, bytes.fromhex("010100"), True)
    server.heard.clear()
    return server, wire.server


def test_unknown_streams_cost_only_themselves() -> None:
    server, end = hostile()
    server.stream_received(0, b"\x2a" + b"x" * 100, False)
    server.stream_received(6, b"\x2b" + b"x" * 100, True)
    assert end.closed is None
    assert {what[0] for what in end.sent if what[1] in (0, 6)} == {"stream_reset", "stream_stopped"}


def test_what_is_broken_off_before_anything_came_is_ended_on_our_half_too() -> None:
    server, end = hostile()
    end.sent.clear()
    server.stream_reset(0, 0)  # two ways
    server.stream_reset(6, 0)  # one
    server.stream_reset(1, 0)  # our own, which is over
    assert end.sent == [("stream_reset", 0, 0)]
    assert end.closed is None


def test_an_oversized_message_ends_the_session() -> None:
    server, end = hostile()
    server.stream_received(0, bytes.fromhex("02bfffffff") + b"x" * 9, False)
    assert end.closed is not None
    assert end.closed[0] == 3


def test_a_subscribe_id_used_twice_ends_the_session() -> None:
    server, end = hostile()
    message = bytes.fromhex("0216000a") + b"demo/bcast" + b"\x04data" + bytes(5)
    server.stream_received(0, message, False)
    assert server.only(events.Subscribed).broadcast == "demo/bcast"
    server.stream_received(4, message, False)
    assert end.closed is not None
    assert end.closed[0] == 3


def test_a_second_setup_ends_the_session() -> None:
    server, end = hostile()
    server.stream_received(6, bytes.fromhex("010100"), True)
    assert end.closed is not None


def test_what_comes_before_setup_waits_for_it() -> None:
    wire = Wire()
    server = Side(wire.server, "moq-lite-05", False)
    server.start()
    server.stream_received(0, bytes.fromhex("01020000"), False)
    assert server.heard == []
    server.stream_received(2, bytes.fromhex("010100"), True)
    assert [type(e) for e in server.heard] == [events.Opened, events.AnnounceRequested]


def test_an_announced_name_that_cannot_be_one_is_ignored() -> None:
    server, end = hostile("moq-lite-04")
    server.session.listen(ROOT)
    name = b"/".join([b"a"] * 40)
    server.stream_received(1, bytes([len(name) + 3, 1, len(name)]) + name + b"\0", False)
    assert server.take(events.Announced) == []
    assert end.closed is None


def test_more_announces_than_allowed_end_the_session() -> None:
    talk = Talk("moq-lite-05")
    talk.server.session.settings = SessionSettings(max_announces=3)
    talk.server.session.listen(ROOT)
    talk.run()
    asked = talk.client.only(events.AnnounceRequested)
    talk.client.session.answer_announce(asked.request, [(str(i), (), FREE) for i in range(4)])
    talk.run()
    assert talk.wire.server.closed is not None
    assert "max_announces" in talk.wire.server.closed[1]


def test_an_unknown_protocol_is_our_own_mistake() -> None:
    with pytest.raises(ProtocolViolation):
        LiteSession(Wire().server, "moqt-13", origin=1)


@settings(max_examples=150, deadline=None)
@given(
    protocol=st.sampled_from(PROTOCOLS),
    pieces=st.lists(
        st.tuples(
            st.sampled_from([0, 2, 4, 6, 8, 10, 1, 5]),
            st.binary(max_size=40),
            st.booleans(),
        ),
        max_size=20,
    ),
)
def test_noise_never_raises(protocol: str, pieces: list[tuple[int, bytes, bool]]) -> None:
    server, _ = hostile(protocol)
    if protocol != "moql":
        server.session.listen(ROOT)
    ended: set[int] = set()
    for stream, data, fin in pieces:
        if stream not in ended:
            server.stream_received(stream, data, fin)
            if fin:
                ended.add(stream)
    server.datagram_received(b"".join(data for _, data, _ in pieces))
    for stream in (0, 2, 4):
        if stream not in ended:
            server.stream_reset(stream, 1)
        server.stream_stopped(stream, 1)


def test_layouts_follow_the_version(talk: Talk) -> None:
    timed = talk.client.session.version in SETTING_UP
    assert talk.client.session.layout is (Layout.TIMED if timed else Layout.UNTIMED)


def test_a_chain_that_has_no_room_for_us_is_not_announced(protocol: str) -> None:
    talk = Talk(protocol)
    talk.server.session.listen(ROOT)
    talk.run()
    asked = talk.client.only(events.AnnounceRequested)
    full = tuple(range(100, 132))
    stamped = talk.features.stamps_hop == "sender"
    talk.client.session.answer_announce(
        asked.request, [("full", full, FREE), ("fits", full[:31], FREE)]
    )
    talk.client.session.announce(asked.request, "late", full)
    talk.client.session.announce(asked.request, "short", (7,))
    talk.run()
    heard = [event.path for event in talk.server.take(events.Announced)]
    assert heard == (["fits", "short"] if stamped else ["full", "fits", "late", "short"])
    assert talk.wire.server.closed is None


def test_more_announce_requests_than_allowed_are_reset() -> None:
    talk = Talk("moq-lite-05")
    talk.client.session.settings = SessionSettings(max_announce_requests=2)
    for name in "abc":
        talk.server.session.listen(Path(name))
    talk.run()
    asked = talk.client.take(events.AnnounceRequested)
    assert [event.prefix for event in asked] == ["a", "b"]
    assert len(talk.server.take(events.AnnouncesLost)) == 1
    talk.server.stream_reset(asked[0].request, 0)
    talk.client.stream_reset(asked[0].request, 0)
    talk.server.session.listen(Path("d"))
    talk.run()
    assert talk.client.only(events.AnnounceRequested).prefix == "d"


def test_a_second_farewell_ends_the_session() -> None:
    server, end = hostile()
    server.stream_received(0, bytes.fromhex("050100"), False)
    assert server.only(events.GoawayReceived).uri == ""
    assert end.closed is None
    server.stream_received(0, bytes.fromhex("0100"), False)
    assert end.closed is not None


def test_a_second_client_setup_ends_the_session() -> None:
    server, end = hostile("moql")
    setup = bytes.fromhex("20000a01c0000000ff0dad0200")
    server.stream_received(0, setup[:4], False)
    server.stream_received(4, setup, False)
    server.only(events.Opened)
    server.stream_received(0, setup[4:], False)
    assert server.take(events.Opened) == []
    assert end.closed is not None
    assert end.closed[0] == 3


def test_too_much_before_setup_ends_the_session() -> None:
    wire = Wire()
    limit = SessionSettings(max_early=100)
    server = Side(wire.server, "moq-lite-05", False, settings=limit)
    server.start()
    for stream in range(0, 80, 8):
        server.stream_received(stream, bytes.fromhex("01020000"), False)
    assert wire.server.closed is None
    server.stream_received(80, bytes.fromhex("013f") + bytes(60), False)
    assert wire.server.closed is not None
    assert "max_early" in wire.server.closed[1]


def test_too_much_that_is_left_half_said_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MAX_UNREAD", 100)
    half = bytes((Bidi.SUBSCRIBE, 40)) + bytes(39)  # of which the first is its kind
    server, end = hostile()
    for stream in range(0, 80, 4):
        server.stream_received(4 + stream, half, False)
        server.stream_reset(4 + stream, 0)  # nor does it count any more
    assert end.closed is None
    for stream in (200, 204):
        server.stream_received(stream, half[:20], False)
        server.stream_received(stream, half[20:], False)
    assert end.closed is None
    server.stream_received(208, half, False)
    assert end.closed is not None
    assert "unfinished" in end.closed[1]


@pytest.mark.parametrize("sequence", [MAX_SEQUENCE, MAX_SEQUENCE + 1, MAX_SEQUENCE + 2])
def test_a_group_whose_end_cannot_be_said_is_not_taken(sequence: int) -> None:
    server, end = hostile()
    id = server.session.subscribe("demo", "data", WANT)
    header = encode_varint(id) + encode_varint(sequence)
    server.stream_received(6, b"\0" + encode_varint(len(header)) + header, False)
    server.datagram_received(header + b"\0x")
    taken = [type(event) for event in server.heard]
    possible = sequence <= MAX_SEQUENCE
    assert taken == ([events.GroupOpened, events.DatagramReceived] if possible else [])
    assert end.closed is None


def test_updates_that_come_together_count_once() -> None:
    server, _ = hostile()
    asked = bytes.fromhex("0216000a") + b"demo/bcast" + b"\x04data" + bytes(5)
    updates = b"".join(bytes((5, priority, 0, 0, 0, 0)) for priority in range(1, 9))
    server.stream_received(0, asked + updates[:-6], False)
    assert server.only(events.SubscribeUpdated).priority == 7
    server.stream_received(0, updates[-6:], False)
    assert server.only(events.SubscribeUpdated).priority == 8


def test_the_oldest_version_is_spoken_by_whoever_offers_nothing_newer(
    monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    from relay.session import opening

    monkeypatch.setattr(opening, "INBAND_CODES", (0xFF0DAD01,))
    talk = Talk("moql", cut)
    assert talk.server.session.version == talk.client.session.version == "moq-lite-01"
    talk.server.session.listen(ROOT)
    talk.run()
    asked = talk.client.only(events.AnnounceRequested)
    talk.client.session.answer_announce(asked.request, [("a", (), FREE)])
    talk.run()
    assert talk.server.only(events.Announced).path == "a"
    talk.server.session.subscribe("a", "t", WANT)
    talk.run()
    subscribed = talk.client.only(events.Subscribed)
    talk.client.session.accept(subscribed.id, 5)
    stream = talk.client.session.open_group(subscribed.id, 3)
    assert stream is not None
    talk.client.session.write(stream, frames(talk, b"old"), True)
    talk.run()
    assert talk.server.only(events.SubscribeAccepted).id == 0
    assert talk.server.only(events.GroupOpened).sequence == 3
    ended = events.GroupFinished if cut else events.GroupArrived
    assert len(talk.server.take(ended)) == 1
