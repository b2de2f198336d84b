"""WebTransport against a client that does what it likes: heads, sessions, capsules, refusals."""

import asyncio
from unittest.mock import patch

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3Connection
from aioquic.quic.events import (
    DatagramFrameReceived,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from relay.errors import SessionLost
from relay.net import codes
from relay.net.capsule import close_capsule
from relay.net.dial import dial
from relay.net.settings import ListenSettings, QuicLimits
from relay.net.webtransport import MANY


def data_of(bench, stream: int) -> bytes:
    return b"".join(event.data for event in bench.of(StreamDataReceived, stream))


def test_settings_are_those_that_browsers_and_natives_need(bench) -> None:
    room = bench()
    answers = [e for e in room.of(StreamDataReceived) if e.stream_id & 3 == 3]
    for event in answers:
        room.h3.handle_event(event)
    settings = room.h3.received_settings
    for setting in (0x8, 0x33, 0x2B603742, 0xC671706A, 0x2C7CF000):
        assert settings[setting] == 1
    assert room.client._remote_max_datagram_frame_size == 65536


def test_a_request_becomes_a_knock(bench) -> None:
    room = bench()
    stream = room.client.get_next_available_stream_id()
    room.h3.send_headers(
        stream,
        [
            (b":path", b"/a/b?jwt=x.y"),
            (b":protocol", b"webtransport"),
            (b":authority", b"relay.example:443"),
            (b":method", b"CONNECT"),
            (b":scheme", b"https"),
            (b"origin", b"https://app.example"),
            (b"wt-available-protocols", b'"a\\"b", "x\\\\y", moq-lite-05, 7, ("z")'),
        ],
    )
    room.pump()
    knock = room.visits[0].knock
    assert (knock.transport, knock.target) == ("webtransport", "/a/b?jwt=x.y")
    assert knock.offered == ('a"b', "x\\y", "moq-lite-05")
    assert knock.remote == ("192.0.2.1", 1)
    assert knock.authority == "relay.example:443"
    assert knock.headers["origin"] == "https://app.example"
    assert not any(name.startswith(":") for name in knock.headers)


@pytest.mark.parametrize("name", ['a"b', "x\\y", "moq-lite-05"])
async def test_the_agreed_protocol_survives_its_escapes(house, name) -> None:
    async with house() as home:
        pair = await home.pair("https", protocol=name, protocols=("other", 'a"b', "x\\y", name))
        assert pair.dialled.protocol == name
        assert pair.visit.knock.offered == ("other", 'a"b', "x\\y", name)


async def test_no_agreed_protocol(house) -> None:
    async with house() as home:
        pair = await home.pair("https", protocol=None)
        assert pair.dialled.protocol is None


@pytest.mark.parametrize("value", [b'"open', b"\xff\xfe", b"a b c", b"(((", b'"' + b"x" * 5000])
def test_a_malformed_offer_offers_nothing(bench, value) -> None:
    room = bench()
    stream = room.client.get_next_available_stream_id()
    fields = {":method": "CONNECT", ":scheme": "https", ":authority": "r", ":path": "/"}
    headers = [(k.encode(), v.encode()) for k, v in fields.items()]
    headers += [(b":protocol", b"webtransport"), (b"wt-available-protocols", value)]
    room.h3.send_headers(stream, headers)
    room.pump()
    assert room.visits[0].knock.offered == ()
    assert not room.errors


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 503])
async def test_refusals_carry_their_status_and_end_the_connection(house, status, wait) -> None:
    async with house() as home:
        dialling = asyncio.ensure_future(
            dial(home.url("https"), protocols=("moq-lite-05",), tls=home.trust)
        )
        visit = await home.visits.get()
        visit.refuse(status, [("retry-after", "1")])
        with pytest.raises(SessionLost) as caught:
            await dialling
        assert caught.value.status == status
        await wait(lambda: home.endpoint.connections == 0)
        with pytest.raises(ValueError, match="answered before"):
            visit.refuse(404)


def test_a_refused_browser_that_stays_is_closed_after_the_timeout(bench) -> None:
    room = bench()
    stream = room.request()
    room.visits[0].refuse(401)
    room.pump(0.5)
    assert room.status(stream) == "401"
    assert room.closed_with() is None
    room.pump(0.7)
    assert room.closed_with() == codes.H3_NO_ERROR


def test_a_visit_nobody_answers_is_refused_and_its_late_answer_heard(bench, recorder) -> None:
    room = bench()
    stream = room.request()
    room.visits[0].too_late = lambda: (("x-request-id", "7"),)
    room.pump(10.2)
    answer = room.answer(stream)
    assert (answer[":status"], answer["x-request-id"]) == ("503", "7")
    late = recorder()
    room.visits[0].accept(late, None)
    room.pump(0.1)
    assert len(late.lost) == 1


def test_a_connection_that_never_asks_is_closed(bench) -> None:
    room = bench()
    room.pump(10.2)
    assert room.closed_with() == codes.H3_NO_ERROR


@pytest.mark.parametrize(
    ("pseudo", "status"),
    [
        ({"method": "GET", "protocol": ""}, "404"),
        ({"method": "HEAD", "protocol": ""}, "404"),
        ({"method": "POST", "protocol": ""}, "405"),
        ({"method": "CONNECT", "protocol": "websocket"}, "405"),
        ({"path": "nowhere"}, "400"),
    ],
)
def test_other_requests_are_turned_away_politely(bench, pseudo, status) -> None:
    room = bench()
    assert room.status(room.request(**pseudo)) == status
    assert not room.visits
    room.session()
    assert len(room.visits) == 1


def test_a_second_session_is_refused_and_the_first_lives(bench) -> None:
    room = bench()
    first, _, heard = room.session()
    assert room.status(room.request()) == "429"
    room.client.send_stream_data(2 + 4 * 8, b"\x40\x54" + encode_uint_var(first) + b"on", True)
    room.pump()
    assert list(heard.streams.values()) == [b"on"]
    assert len(room.visits) == 1


@pytest.mark.parametrize("uni", [True, False])
def test_a_head_byte_by_byte(bench, uni) -> None:
    room = bench()
    session, _, heard = room.session()
    stream = room.client.get_next_available_stream_id(uni)
    for byte in (b"\x40\x54" if uni else b"\x40\x41") + encode_uint_var(session) + b"hi":
        room.client.send_stream_data(stream, bytes([byte]))
        room.pump(0.005)
    room.client.send_stream_data(stream, b"", True)
    room.pump()
    assert heard.streams == {stream: b"hi"}
    assert heard.finished == [stream]
    assert not room.errors


@pytest.mark.parametrize("uni", [True, False])
def test_a_stream_of_an_unknown_session_is_refused_however_long_it_is(bench, uni) -> None:
    room = bench()
    session, _, heard = room.session()
    stream = room.client.get_next_available_stream_id(uni)
    kind = b"\x40\x54" if uni else b"\x40\x41"
    room.client.send_stream_data(stream, kind + encode_uint_var(session + 400))
    for _ in range(3):
        room.pump(0.005, mute=True)
        room.client.send_stream_data(stream, kind + encode_uint_var(session) + b"sneaked in")
    room.pump(1.0)
    assert {e.error_code for e in room.of(StopSendingReceived, stream)} == {codes.SESSION_GONE}
    assert not heard.streams
    assert room.closed_with() is None
    assert not room.server.application._stopped


@pytest.mark.parametrize("uni", [True, False])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_stream_of_an_unknown_session_that_ends_leaves_no_trace(bench, uni, is_whole) -> None:
    room = bench()
    session, _, heard = room.session()
    head = (b"\x40\x54" if uni else b"\x40\x41") + encode_uint_var(session + 400)
    stream = room.client.get_next_available_stream_id(uni)
    room.client.send_stream_data(stream, head, is_whole)
    if not is_whole:
        room.pump(0.005, mute=True)
        room.client.send_stream_data(stream, b"sneaked in", True)
    room.pump(1.0)
    assert not heard.streams
    assert room.closed_with() is None
    assert not room.server.application._stopped


def sent(room) -> None:
    """Whatever the client has to say arrives, and is not looked at yet."""
    packets = [data for data, _ in room.client.datagrams_to_send(room.time)]
    room.server.feed(packets, ("192.0.2.1", 1), room.time)


@pytest.mark.parametrize("critical", [3, 7, 11])
def test_a_critical_stream_that_is_stopped_right_after_a_request(bench, critical) -> None:
    room = bench()
    room.h3.send_headers(
        room.client.get_next_available_stream_id(),
        [
            (b":method", b"CONNECT"),
            (b":scheme", b"https"),
            (b":authority", b"relay.example"),
            (b":path", b"/demo"),
            (b":protocol", b"webtransport"),
        ],
    )
    sent(room)
    room.client.stop_stream(critical, 0)
    room.pump()
    assert room.closed_with() == codes.H3_CLOSED_CRITICAL_STREAM
    assert not room.errors


def test_a_critical_stream_that_is_stopped_right_after_settings(bench) -> None:
    room = bench(settings=False)
    room.h3 = H3Connection(room.client, enable_webtransport=True)
    sent(room)
    room.client.stop_stream(7, 0)
    room.pump()
    assert room.closed_with() == codes.H3_CLOSED_CRITICAL_STREAM
    assert not room.errors


def test_a_critical_stream_that_is_stopped_right_after_a_reset(bench) -> None:
    room = bench()
    session, _, heard = room.session()
    room.client.reset_stream(session, 0x10C)
    sent(room)
    room.client.stop_stream(11, 0)
    room.pump()
    assert room.closed_with() is not None
    assert len(heard.lost) == 1
    assert not room.errors


def test_a_session_id_that_no_session_can_have(bench) -> None:
    room = bench()
    room.session()
    stream = room.client.get_next_available_stream_id(True)
    room.client.send_stream_data(stream, b"\x40\x54\x03x")
    room.pump()
    assert room.closed_with() == codes.H3_ID_ERROR


def test_streams_that_overtake_their_request_are_replayed_in_order(bench, recorder) -> None:
    room = bench()
    session = room.client.get_next_available_stream_id()
    first, second = 14, 18
    room.client.send_stream_data(first, b"\x40\x54" + encode_uint_var(session) + b"one")
    room.pump()
    assert room.request(session) == session
    room.client.send_stream_data(second, b"\x40\x54" + encode_uint_var(session) + b"two", True)
    room.client.send_stream_data(first, b"!", True)
    room.pump()
    heard = recorder()
    room.visits[0].accept(heard, None)
    assert not heard.streams
    room.pump()
    assert heard.streams == {first: b"one!", second: b"two"}
    assert set(heard.finished) == {first, second}


def test_streams_for_a_session_that_never_comes_are_refused_when_another_does(bench) -> None:
    room = bench()
    stray = 14
    room.client.send_stream_data(stray, b"\x40\x54\x08stray")
    room.pump()
    _, _, heard = room.session()
    room.pump()
    assert not heard.streams
    stops = room.of(StopSendingReceived, stray)
    assert [e.error_code for e in stops] == [codes.BUFFERED_STREAM_REJECTED]


def test_what_comes_before_the_answer_is_bounded(bench) -> None:
    room = bench(QuicLimits(max_early_data=10_000))
    session = room.request()
    room.client.send_stream_data(14, b"\x40\x54" + encode_uint_var(session) + bytes(20_000))
    room.pump(0.2)
    assert room.closed_with() is not None
    assert not room.errors  # it is no mistake of ours


def test_a_reset_before_the_head_is_nobodys_business(bench) -> None:
    room = bench()
    _, _, heard = room.session()
    stream = room.client.get_next_available_stream_id()
    room.client.send_stream_data(stream, b"\x40")
    room.pump()
    room.client.reset_stream(stream, codes.to_http3(3))
    room.pump()
    assert room.closed_with() is None
    assert not heard.resets
    assert len(room.server.application._demux) == 0


def test_a_stop_before_the_head_is_told_after_it(bench) -> None:
    room = bench()
    session, _, heard = room.session()
    stream = room.client.get_next_available_stream_id()
    room.client.send_stream_data(stream, b"\x40")
    room.client.stop_stream(stream, codes.to_http3(9))
    room.pump()
    assert not heard.stops
    room.client.send_stream_data(stream, b"\x41" + encode_uint_var(session) + b"x")
    room.pump()
    assert heard.streams == {stream: b"x"}
    assert heard.stops == {stream: 9}


def test_codes_outside_the_range_read_as_zero(bench) -> None:
    room = bench()
    session, _, heard = room.session()
    stream = room.client.get_next_available_stream_id()
    room.client.send_stream_data(stream, b"\x40\x41" + encode_uint_var(session) + b"x")
    room.pump()
    room.client.stop_stream(stream, 0)
    room.client.reset_stream(stream, 0x10F)
    room.pump()
    assert heard.resets == heard.stops == {stream: 0}


def test_codes_go_out_mapped(bench) -> None:
    room = bench()
    session, visit, _ = room.session()
    stream = room.client.get_next_available_stream_id()
    room.client.send_stream_data(stream, b"\x40\x41" + encode_uint_var(session) + b"x")
    room.pump()
    visit.transport.reset(stream, 30)
    visit.transport.stop(stream, 29)
    room.pump()
    assert [e.error_code for e in room.of(StreamReset, stream)] == [0x52E4A40FA8FA]
    assert [e.error_code for e in room.of(StopSendingReceived, stream)] == [0x52E4A40FA8F8]


@pytest.mark.parametrize(
    "parameters", [b"", b"\x1d\x00", encode_uint_var(0x17F7586D2CB571) + b"\x00"]
)
def test_a_stream_that_is_broken_off_says_whose_it_was(bench, parameters) -> None:
    room = bench(parameters=parameters)
    session, visit, _ = room.session()
    told: dict[int, tuple[int, int, int]] = {}

    def hear(context, kind, buf) -> None:
        stream, *rest = (buf.pull_uint_var() for _ in range(4))
        told[stream] = tuple(rest)

    everywhere = room.client._QuicConnection__frame_handlers[0x04][1]
    room.client._QuicConnection__frame_handlers[0x24] = hear, everywhere
    transport = visit.transport
    asked = room.client.get_next_available_stream_id()
    room.client.send_stream_data(asked, b"\x40\x41" + encode_uint_var(session) + b"x")
    known = transport.open_uni(b"known")
    room.pump()
    uni, bidi = transport.open_uni(b"group"), transport.open_bidi()
    for stream in (known, uni, bidi, asked):
        transport.reset(stream, 30)
    room.pump()
    code = 0x52E4A40FA8FA
    plainly = {event.stream_id: event.error_code for event in room.of(StreamReset)}
    if parameters:
        assert told == {known: (code, 8, 3), uni: (code, 3, 3), bidi: (code, 3, 3)}
        assert plainly == {asked: code}, "on a stream of the peer's nothing comes first"
        assert data_of(room, uni) == b"\x40\x54" + encode_uint_var(session)
        assert data_of(room, bidi) == b"\x40\x41" + encode_uint_var(session)
    else:
        assert not told
        assert plainly == {each: code for each in (known, uni, bidi, asked)}
    room.pump(1.0)
    assert not {known, uni} & room.server.engine._streams.keys()
    assert room.server.engine.unsent == 0


def test_a_stream_that_breaks_off_behind_its_head_is_the_sessions(bench) -> None:
    room = bench()
    session, _, heard = room.session()
    stream = room.client.get_next_available_stream_id(is_unidirectional=True)
    head = b"\x40\x54" + encode_uint_var(session)
    frame = b"\x24" + b"".join(map(encode_uint_var, (stream, codes.to_http3(3), 100, len(head))))
    late = b"\x0a" + encode_uint_var(stream) + encode_uint_var(len(head)) + head
    for each in (frame, late):
        room.say(each)
    assert heard.resets == {stream: 3}
    assert not room.errors
    assert room.closed_with() is None


def test_the_servers_streams_begin_with_their_head(bench) -> None:
    room = bench()
    session, visit, heard = room.session()
    uni, bidi = visit.transport.open_uni(), visit.transport.open_bidi()
    visit.transport.send(uni, b"u", True)
    visit.transport.send(bidi, b"b", True)
    room.pump()
    assert data_of(room, uni) == b"\x40\x54" + encode_uint_var(session) + b"u"
    assert data_of(room, bidi) == b"\x40\x41" + encode_uint_var(session) + b"b"
    # What answers looks like an HTTP/3 frame and must not be read as one.
    room.client.send_stream_data(bidi, b"\x00\x05abc", True)
    room.pump()
    assert heard.streams == {bidi: b"\x00\x05abc"}
    assert room.closed_with() is None


def test_a_close_capsule_in_pieces_after_grease(bench) -> None:
    room = bench()
    session, _, heard = room.session()
    grease = encode_uint_var(0x1F * 7 + 0x17) + encode_uint_var(5) + b"hello"
    for byte in grease + close_capsule(77, "tschüss"):
        room.h3.send_data(session, bytes([byte]), False)
        room.pump(0.003)
    assert heard.lost == [(77, "tschüss")]
    room.pump(0.3)
    assert room.closed_with() == codes.H3_NO_ERROR
    assert room.of(StreamDataReceived, session)[-1].end_stream


def test_a_fin_without_capsule_is_a_close_with_zero(bench) -> None:
    room = bench()
    session, _, heard = room.session()
    room.h3.send_data(session, b"", True)
    room.pump(0.3)
    assert heard.lost == [(0, "")]
    assert room.closed_with() == codes.H3_NO_ERROR


def test_a_reset_of_the_request_ends_the_session(bench) -> None:
    room = bench()
    session, _, heard = room.session()
    room.client.reset_stream(session, 0x10C)
    room.pump(0.3)
    assert len(heard.lost) == 1
    assert room.closed_with() == codes.H3_NO_ERROR


def test_a_native_that_stops_our_control_stream_has_left(bench) -> None:
    room = bench()
    _, _, heard = room.session()
    room.client.stop_stream(3, 0)
    room.pump()
    assert heard.lost == [(0, "the peer closed HTTP/3")]
    assert not room.errors


def test_a_huge_unknown_capsule_costs_nothing_and_a_huge_close_the_session(bench) -> None:
    room = bench()
    session, _, heard = room.session()
    room.h3.send_data(session, encode_uint_var(0x1234) + encode_uint_var(400_000), False)
    room.h3.send_data(session, bytes(400_000), False)
    room.pump(0.5)
    assert not heard.lost
    room.h3.send_data(session, encode_uint_var(0x2843) + encode_uint_var(65537), False)
    room.pump(0.3)
    assert [code for code, _ in heard.lost] == [0]
    assert room.closed_with() == codes.H3_NO_ERROR


def test_our_close_waits_for_the_peers_goodbye_but_not_for_ever(bench) -> None:
    room = bench()
    session, visit, heard = room.session()
    visit.transport.close(1234, "over")
    room.pump(0.5)
    assert heard.lost == [(1234, "over")]
    assert data_of(room, session).endswith(close_capsule(1234, "over"))
    assert room.of(StreamDataReceived, session)[-1].end_stream
    assert room.closed_with() is None
    room.pump(0.7)
    assert room.closed_with() == codes.H3_NO_ERROR


def test_our_close_with_nothing_wrong_is_that_of_the_connection_without_a_capsule(bench) -> None:
    """Pages that come again after a connection that is lost take a capsule for the end of it."""
    room = bench()
    session, visit, heard = room.session()
    before = data_of(room, session)
    visit.transport.close(0, "the relay is stopping")
    room.pump(0.05)
    assert heard.lost == [(0, "the relay is stopping")]
    assert data_of(room, session) == before
    assert room.closed_with() == codes.H3_NO_ERROR


def test_our_close_ends_quic_with_the_peers_goodbye(bench) -> None:
    room = bench()
    session, visit, _ = room.session()
    visit.transport.close(1234, "over")
    room.pump(0.05)
    room.h3.send_data(session, b"", True)
    room.pump(0.05)
    # not in the same flight: Chromium would report a lost connection instead of code and reason
    assert room.closed_with() is None
    room.pump(0.2)
    assert room.closed_with() == codes.H3_NO_ERROR


@pytest.mark.parametrize("stream", ["request", "control"])
def test_an_endless_frame_is_not_kept(bench, stream) -> None:
    room = bench(QuicLimits(max_request_headers=5000))
    _, _, heard = room.session()
    if stream == "request":
        target, frame = room.client.get_next_available_stream_id(), b"\x01"
    else:
        target, frame = room.h3._local_control_stream_id, b"\x0d"
    room.client.send_stream_data(target, frame + encode_uint_var(1 << 30) + bytes(9000))
    room.pump(0.2)
    assert room.closed_with() == codes.H3_EXCESSIVE_LOAD
    assert len(heard.lost) == 1


def test_unfinished_frames_of_many_streams_are_not_kept(bench) -> None:
    room = bench(QuicLimits(max_request_headers=5000))
    room.session()

    def begin(count: int) -> list[int]:
        begun = []
        for _ in range(count):
            begun.append(room.client.get_next_available_stream_id())
            room.client.send_stream_data(begun[-1], b"\x01" + encode_uint_var(4000) + bytes(3900))
            room.pump(0.05)
        return begun

    for stream in begin(MANY):
        room.client.reset_stream(stream, 0)
    room.pump(0.2)
    begin(MANY)
    assert room.closed_with() is None
    begin(MANY)
    assert room.closed_with() == codes.H3_EXCESSIVE_LOAD


FRAMES = [
    pytest.param(b"\x01", b"\0\0" + b"\xff\x16" * 100, id="headers that grow"),
    pytest.param(b"\x01", b"\0\0" + b"\x50\x7f\x89\x26" + b"a" * 5000, id="long headers"),
    pytest.param(b"\x04", b"".join(map(encode_uint_var, range(64, 3600))), id="settings"),
]
"""Type and payload. `ff 16` is one byte's worth of QPACK for 76 bytes of a content policy."""


@pytest.mark.parametrize(("kind", "payload"), FRAMES)
def test_of_a_whole_frame_no_more_is_looked_at(bench, kind, payload) -> None:
    room = bench(QuicLimits(max_request_headers=5000), settings=kind != b"\x04")
    frame = kind + encode_uint_var(len(payload)) + payload
    if kind == b"\x04":
        room.client.send_stream_data(2, b"\0" + frame)
    else:
        room.client.send_stream_data(room.client.get_next_available_stream_id(), frame)
    # In one turn: nothing is seen of it while it is not whole.
    with patch("aioquic.h3.connection.validate_headers", side_effect=AssertionError):
        room.pump(0.2)
    assert (room.closed_with(), room.errors) == (codes.H3_EXCESSIVE_LOAD, [])


def test_datagrams_wait_until_the_peer_has_seen_the_answer(bench, recorder) -> None:
    room = bench()
    session = room.request()
    transport = room.visits[0].transport
    assert not transport.send_datagram(b"early")
    room.visits[0].accept(recorder(), None)
    assert not transport.send_datagram(b"same flight")
    room.pump()
    assert transport.send_datagram(b"now")
    room.pump()
    sent = [event.data for event in room.of(DatagramFrameReceived)]
    assert sent == [encode_uint_var(session // 4) + b"now"]


@pytest.mark.parametrize("data", [b"", b"\x40", b"\x09x", b"\xc0"])
def test_datagrams_of_no_session_are_dropped(bench, data) -> None:
    room = bench()
    session, _, heard = room.session()
    room.client.send_datagram_frame(data)
    room.client.send_datagram_frame(encode_uint_var(session // 4) + b"ours")
    room.pump()
    assert heard.datagrams == [b"ours"]
    assert room.closed_with() is None


async def test_a_protocol_that_was_not_offered_cannot_be_accepted(house, recorder) -> None:
    async with house() as home:
        dialling = asyncio.ensure_future(
            dial(home.url("https"), protocols=("moq-lite-05",), tls=home.trust)
        )
        visit = await home.visits.get()
        with pytest.raises(ValueError, match="not offered"):
            visit.accept(recorder(), "moq-lite-99")
        visit.accept(recorder(), "moq-lite-05")
        home.dialled.append(await dialling)


async def test_a_datagram_fits_a_packet_with_all_that_stands_before_it(house, wait) -> None:
    async with house(ListenSettings(limits=QuicLimits(max_datagram_size=1200))) as home:
        pair = await home.pair("https")
        await wait(lambda: pair.far.send_datagram(b""))
        # 1200 - 16 - 3 - 8 - 3, less one byte for the session.
        assert [pair.far.send_datagram(bytes(size)) for size in (1170, 1169)] == [False, True]
