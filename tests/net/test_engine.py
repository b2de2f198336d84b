"""What the engine counts and bounds, against a client in the same process."""

import random
import ssl

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import StopSendingReceived, StreamDataReceived
from aioquic.quic.packet import QuicErrorCode
from tests.net.conftest import CERTIFICATES, flush

from relay.errors import ConfigError
from relay.net.engine import Engine, configure
from relay.net.settings import ListenSettings, QuicLimits

MEGABYTE = 1 << 20


def exact(engine) -> int:
    """The unsent bytes, counted the slow way."""
    return sum(
        stream.sender._buffer_stop - stream.sender.highest_offset
        for stream in engine._streams.values()
    )


def test_unsent_is_what_a_full_count_says(bench) -> None:
    room = bench(alpn="moq-lite-05")
    engine, dice = room.server.engine, random.Random(7)
    transport = room.visits[0].transport
    streams: list[int] = []
    for _ in range(200):
        choice = dice.random()
        if choice < 0.3 or not streams:
            if (stream := transport.open_uni()) is not None:
                streams.append(stream)
        elif choice < 0.7:
            transport.send(dice.choice(streams), bytes(dice.randrange(20_000)), dice.random() < 0.2)
        elif choice < 0.8:
            transport.reset(dice.choice(streams), 1)
        elif choice < 0.85 and (live := [s for s in streams if s in room.client._streams]):
            room.client.stop_stream(dice.choice(live), 1)
        room.pump(0.003)
        assert engine.unsent == exact(engine) >= 0
    room.pump(2.0)
    assert engine.unsent == exact(engine) == 0


def test_a_reset_forgets_its_bytes_at_once(bench) -> None:
    room = bench(alpn="moq-lite-05")
    transport, engine = room.visits[0].transport, room.server.engine
    stream = transport.open_uni()
    transport.send(stream, bytes(MEGABYTE))
    assert transport.capacity() == 0
    transport.reset(stream, 1)
    assert engine.unsent == 0
    assert transport.capacity() > 0
    assert not engine._streams[stream].sender._chunks


def test_a_stop_forgets_them_too(bench) -> None:
    room = bench(alpn="moq-lite-05")
    transport = room.visits[0].transport
    stream = transport.open_uni()
    transport.send(stream, bytes(8 * MEGABYTE))
    room.pump(0.01)
    room.client.stop_stream(stream, 1)
    room.pump(0.1)
    assert room.server.engine.unsent == 0


def test_capacity_obeys_stream_credit(bench) -> None:
    room = bench(alpn="moq-lite-05")
    transport = room.visits[0].transport
    stream = transport.open_uni()
    room.server.engine._streams[stream].max_stream_data_remote = 500
    assert transport.capacity(stream) == 500
    transport.send(stream, bytes(400))
    assert transport.capacity(stream) == 100
    assert transport.capacity() > 5000
    assert transport.capacity(999) == 0


def test_capacity_obeys_connection_credit(bench) -> None:
    room = bench(alpn="moq-lite-05")
    engine = room.server.engine
    engine._remote_max_data = engine._remote_max_data_used + 700
    assert room.visits[0].transport.capacity() == 700


@pytest.mark.parametrize("way", ["sent", "offered"])
def test_who_fills_what_room_there_is_is_never_over_the_ceiling(bench, way) -> None:
    room = bench(alpn="moq-lite-05", limits=QuicLimits(max_unsent=100_000))
    transport, engine = room.visits[0].transport, room.server.engine
    # Without loss a window grows for as long as the connection lives, as the peer's credit may.
    engine._loss._cc.congestion_window = 50 * MEGABYTE
    stream = transport.open_uni()
    engine._remote_max_data = engine._streams[stream].max_stream_data_remote = 50 * MEGABYTE
    if way == "sent":
        transport.send(stream, bytes(transport.capacity(stream)))
    else:
        while transport.offer(stream, bytes(1000), 1000):
            pass
    assert not transport.is_closed
    assert 0 < engine.unsent <= 50_000, "control messages find room as well"
    assert not transport.is_ample(1)


def test_who_waits_for_room_is_asked_though_somebody_else_found_some(bench, recorder) -> None:
    room = bench(alpn="moq-lite-05")
    engine, transport, listener = room.server.engine, room.visits[0].transport, recorder()
    room.visits[0].accept(listener, "moq-lite-05")
    room.pump()
    stream = transport.open_uni()
    engine._loss._cc.congestion_window = 3000

    def say() -> None:
        transport.send(stream, bytes(transport.capacity()))
        assert transport.capacity() == 0  # there is more to say
        engine._loss._cc.congestion_window = 4000  # with what packets add

    listener.on_flush = say
    transport.wake()
    for data, size, _ in flush(room.server, room.time):
        for at in range(0, len(data), size):
            room.client.receive_datagram(data[at : at + size], ("192.0.2.2", 2), room.time)
    assert transport.is_ample(1)  # all of it is under way
    room.time += 0.05
    answers = room.client.datagrams_to_send(room.time)
    room.server.feed([data for data, _ in answers], ("192.0.2.1", 1), room.time)
    assert engine.has_news
    assert not engine.heard_more
    room.server.take_events()
    flush(room.server, room.time)
    assert engine.traffic[0] > 6000


@pytest.mark.parametrize("bounds", ["connection", "stream", "window"])
def test_what_is_offered_is_taken_where_there_is_so_much_room(bench, bounds) -> None:
    room = bench(alpn="moq-lite-05")
    transport, engine = room.visits[0].transport, room.server.engine
    stream, other = transport.open_uni(), transport.open_uni()
    if bounds == "connection":
        engine._remote_max_data = engine._remote_max_data_used + 700
    elif bounds == "stream":
        engine._streams[stream].max_stream_data_remote = 700
    else:
        engine._loss._cc.congestion_window = 700
    assert not transport.offer(stream, b"no", 701)
    assert (engine.unsent, engine.written(stream)) == (0, 0)
    assert transport.offer(stream, b"yes" * 100, 700)
    assert transport.capacity(stream) == 400
    assert not transport.offer(stream, b"no", 401)
    assert transport.offer(stream, b"!", 400)
    assert engine.written(stream) == 301
    transport.send(other, b"", True)
    assert not transport.offer(other, b"no", 1), "it has ended"
    transport.reset(stream, 7)
    assert not transport.offer(stream, b"no", 1), "it was broken off"
    assert not transport.offer(999, b"no", 0), "there is none"
    assert engine.unsent == exact(engine)
    transport.close(0)
    assert not transport.offer(transport.open_uni() or 0, b"no", 0)


def test_the_receive_window_slides_and_never_doubles(bench, recorder) -> None:
    limits = QuicLimits(max_data=100_000, max_stream_data=60_000)
    room = bench(limits, alpn="moq-lite-05")
    recorder_of(room, recorder)
    for _ in range(30):
        stream = room.client.get_next_available_stream_id(True)
        room.client.send_stream_data(stream, bytes(50_000), True)
        room.pump(0.1)
    received = room.server.engine._local_max_data.used
    assert received == 30 * 50_000
    assert received <= room.client._remote_max_data <= received + limits.max_data


def test_resets_give_their_credit_back(bench, recorder) -> None:
    limits = QuicLimits(max_data=50_000, max_stream_data=30_000)
    room = bench(limits, alpn="moq-lite-05")
    recorder_of(room, recorder)
    for _ in range(20):
        stream = room.client.get_next_available_stream_id(True)
        room.client.send_stream_data(stream, bytes(20_000))
        room.pump(0.05)
        room.client.reset_stream(stream, 1)
        room.pump(0.1)
    engine = room.server.engine
    assert engine._local_max_data.used == 20 * 20_000
    assert engine._delivered == engine._local_max_data.used


def test_gaps_are_bounded_by_the_connections_window(bench) -> None:
    limits = QuicLimits(max_data=100_000, max_stream_data=90_000)
    room = bench(limits, alpn="moq-lite-05")
    room.client._remote_max_data = 1 << 40
    for _ in range(4):
        stream = room.client.get_next_available_stream_id(True)
        room.client.send_stream_data(stream, bytes(80_000))
        sender = room.client._streams[stream].sender
        sender._pending.subtract(0, 1000)
    room.pump(0.5)
    assert room.closed_with() == QuicErrorCode.FLOW_CONTROL_ERROR


def test_the_limit_can_be_widened_once_it_is_known_who_the_peer_is(bench) -> None:
    room = bench(limits=QuicLimits(max_streams=3), alpn="moq-lite-05")
    room.server.engine.widen(2)
    room.pump(0.1)
    assert room.client._remote_max_streams_uni == 3
    room.visits[0].transport.widen(8)
    room.pump(0.1)
    assert (room.client._remote_max_streams_uni, room.client._remote_max_streams_bidi) == (8, 8)
    for number in range(8):
        room.client.send_stream_data(4 * number + 2, b"x")
    room.pump(0.1)
    assert room.server.engine.ending is None
    assert len(room.server.engine._streams) >= 8


def test_streams_beyond_the_limit_end_the_connection(bench) -> None:
    room = bench(QuicLimits(max_streams=4), alpn="moq-lite-05")
    room.client._remote_max_streams_uni = 100
    room.client.send_stream_data(2 + 4 * 4, b"x")
    room.pump(0.2)
    assert room.closed_with() == QuicErrorCode.STREAM_LIMIT_ERROR


def test_an_oversized_datagram_never_blocks_those_behind_it(bench) -> None:
    room = bench(alpn="moq-lite-05")
    engine = room.server.engine
    engine._datagrams_pending.append(bytes(5000))
    assert engine.send_datagram(b"small")
    room.pump()
    assert not engine._datagrams_pending


def test_a_peer_without_datagrams(bench) -> None:
    room = bench(alpn="moq-lite-05")
    room.server.engine._remote_max_datagram_frame_size = None
    transport = room.visits[0].transport
    assert not transport.send_datagram(b"")
    transport.wake()
    room.pump()
    assert not transport.send_datagram(b"")


def test_codes_travel_in_webtransports_space_and_both_are_read(bench, recorder) -> None:
    room = bench(alpn="moq-lite-05")
    heard, transport = recorder_of(room, recorder)
    stream = transport.open_bidi()
    transport.send(stream, b"x")
    room.pump()
    transport.stop(stream, 30)
    room.client.send_stream_data(0, b"y")
    room.pump()
    assert [e.error_code for e in room.of(StopSendingReceived, stream)] == [0x52E4A40FA8FA]
    room.client.reset_stream(0, 0x52E4A40FA8FA)
    room.client.stop_stream(stream, 29)
    room.pump()
    assert heard.resets == {0: 30, stream: 30}
    assert heard.stops == {stream: 29}


def just_stopped(bench, recorder):
    """A stream of the client's that was heard and stopped, which the client does not know yet."""
    room = bench(alpn="moq-lite-05")
    heard, transport = recorder_of(room, recorder)
    room.client.send_stream_data(2, b"one")
    room.pump()
    transport.stop(2, 1)
    room.pump(0.005, mute=True)
    return room, heard, transport


def test_of_a_stopped_stream_only_the_end_is_told(bench, recorder) -> None:
    room, heard, transport = just_stopped(bench, recorder)
    room.client.send_stream_data(2, b"two")
    assert heard.streams == {2: b"one"}
    assert not heard.resets
    room.pump(1.0)
    assert heard.streams == {2: b"one"}
    assert heard.resets == {2: 1}, "a stock client answers a stop with a reset"
    assert not transport._stopped


def test_a_stop_that_crosses_the_end_of_its_stream(bench, recorder) -> None:
    room, heard, transport = just_stopped(bench, recorder)
    room.client.send_stream_data(2, b"two", True)
    room.pump(1.0)
    assert heard.streams == {2: b"one"}
    assert heard.finished == [2]
    assert not heard.resets
    room.client.send_stream_data(0, b"question", True)
    room.pump()
    transport.stop(0, 1)
    assert not transport._stopped, "there is nothing left to be stopped"


def recorder_of(room, recorder):
    """An accepted raw session."""
    heard = recorder()
    room.visits[0].accept(heard, None)
    room.pump()
    return heard, room.visits[0].transport


@pytest.mark.parametrize(("code", "is_transport", "told"), [(7, False, 7), (1, True, 0)])
def test_the_peers_close(bench, recorder, code, is_transport, told) -> None:
    room = bench(alpn="moq-lite-05")
    heard, _ = recorder_of(room, recorder)
    room.client.close(code, 0 if is_transport else None, "because")
    room.pump(0.2)
    assert heard.lost == [(told, "because")]
    assert room.ends == 1


def test_a_long_reason_is_cut(bench, recorder) -> None:
    room = bench(alpn="moq-lite-05")
    heard, transport = recorder_of(room, recorder)
    transport.close(5, "ü" * 5000)
    room.pump(0.2)
    assert room.client._close_event.reason_phrase == "ü" * 256
    assert heard.lost == [(5, "ü" * 5000)]


def test_losing_packets_loses_no_byte(bench) -> None:
    room = bench(alpn="moq-lite-05")
    transport, dice = room.visits[0].transport, random.Random(3)
    stream = transport.open_uni()
    data = dice.randbytes(120_000)
    transport.send(stream, data, True)
    for _ in range(200):
        room.pump(0.02, mute=dice.random() < 0.2)
    assert b"".join(e.data for e in room.of(StreamDataReceived, stream)) == data
    assert room.server.engine.unsent == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_datagram_size": 1199},
        {"max_datagram_size": 16_384},
        {"max_streams": 0},
        {"max_streams": (1 << 60) + 1},
        {"max_data": (1 << 60) + 1},
        {"max_stream_data": (1 << 60) + 1},
        {"idle_timeout": 0},
        {"congestion_control": "vegas"},
    ],
)
def test_limits_that_quic_cannot_obey(wrong) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        QuicLimits(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"read_batch": 0}, {"read_batch": 1 << 31}, {"socket_buffer": 1 << 31}]
)
def test_limits_that_a_socket_cannot_obey(wrong) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ListenSettings(**wrong)


def test_the_greatest_windows_are_told_to_the_peer(bench) -> None:
    most = 1 << 60
    limits = QuicLimits(max_streams=most, max_data=most, max_stream_data=most)
    room = bench(limits=limits, alpn="moq-lite-05")
    assert room.client._remote_max_data == most


def test_a_whole_stream_beyond_what_was_granted_is_left_to_the_long_way(bench) -> None:
    engine = bench(alpn="moq-lite-05").server.engine
    streams, credit = engine._local_max_streams_uni, engine._local_max_data
    first = streams.used << 2 | 2
    credit.value = credit.used + 10
    assert not engine._whole_stream(first, bytes(11))
    assert not engine._whole_stream(first + 4, bytes(5)), "not the next one"
    assert engine._whole_stream(first, bytes(10))
    credit.value += 1 << 30
    streams.value = streams.used
    assert not engine._whole_stream(first + 4, bytes(5))
    streams.value += 1
    assert not engine._whole_stream(first + 4, bytes(engine._local_max_stream_data_uni + 1))
    assert engine._whole_stream(first + 4, bytes(5))


def test_a_handshake_proves_the_address_where_it_began_and_no_other() -> None:
    limits, now = QuicLimits(), 100.0
    asking, serving = configure(limits, True, ("x",)), configure(limits, False, ("x",))
    asking.verify_mode = ssl.CERT_NONE
    pair = CERTIFICATES.current
    serving.certificate, serving.private_key = pair.chain[0], pair.key
    client = QuicConnection(configuration=asking)
    engine = Engine(serving, limits, client.original_destination_connection_id)
    here, there, elsewhere = ("192.0.2.1", 1), ("192.0.2.2", 2), ("198.51.100.1", 443)
    client.connect(there, now)
    for data, _ in client.datagrams_to_send(now):
        engine.receive([data], here, now)
    for data, _ in engine.datagrams_to_send(now):
        client.receive_datagram(data, there, now)
    last = [data for data, _ in client.datagrams_to_send(now)]
    # Whoever is at the other address has heard nothing of it.
    engine.receive(last, elsewhere, now)
    assert [path.addr for path in engine._network_paths] == [here]
    assert not engine._handshake_complete
    engine.receive(last, here, now)
    assert engine._handshake_complete
    for data, _ in engine.datagrams_to_send(now):
        client.receive_datagram(data, there, now)
    # From now on a client may move; how much is sent there before it answers is limited.
    now += 0.1
    stream = engine.open_stream(True)
    engine.send(stream, bytes(50_000), True)
    client.send_ping(1)
    moved = [data for data, _ in client.datagrams_to_send(now)]
    engine.receive(moved, elsewhere, now)
    sent = [len(data) for data, address in engine.datagrams_to_send(now) if address == elsewhere]
    assert 0 < sum(sent) <= 3 * sum(map(len, moved))
