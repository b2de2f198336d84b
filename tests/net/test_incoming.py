"""What comes in the short way against the library: a hostile peer finds no difference."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import next_key_phase
from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    ConnectionTerminated,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode
from aioquic.quic.stream import QuicStreamReceiver
from aioquic.tls import Epoch
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.net import ackrate
from relay.net.engine import MAX_TLS_MESSAGE, Engine, configure
from relay.net.settings import QuicLimits
from relay.net.tls import Certificates
from relay.net.window import SIZE, Window
from relay.wire.buffer import encode_varint

PAIR = Certificates.generated(["localhost"]).current
HERE, THERE, ELSEWHERE = ("192.0.2.2", 2), ("192.0.2.1", 1), ("192.0.2.3", 3)
FAR = 1 << 33
"""Number of the first packet an engine sends to the forger: no made-up acknowledgement hits it."""

LIMITS = QuicLimits(max_data=4000, max_stream_data=600, max_streams=6, idle_timeout=10.0)


def early(receiver: QuicStreamReceiver) -> list[tuple[int, bytearray]]:
    """What came before its turn."""
    pieces = getattr(receiver, "_early", None)
    return list(zip(pieces._starts, pieces._pieces, strict=True)) if pieces else []


@pytest.fixture(scope="module", autouse=True, params=[True, False], ids=["c", "python"])
def takes_steps_in_c(request) -> Iterator[None]:
    """Everything holds whoever takes the everyday steps."""
    with patch(f"{__name__}.LIMITS", replace(LIMITS, speedups=request.param)):
        yield


@dataclass
class Side:
    """An engine whose peer's keys are known, so that anything can be said to it."""

    is_short: bool
    now: float = 100.0
    heard: list[Any] = field(default_factory=list)
    went_short: int = 0
    forgets: bool = True
    """Whether the library forgets at once."""

    def __post_init__(self) -> None:
        self.client = client = QuicConnection(configuration=configure(LIMITS, True, ("x",)))
        client.configuration.verify_mode = ssl.CERT_NONE
        # The size stays, so the numbers of packets do.
        limits = replace(LIMITS, short_way=self.is_short, max_datagram_size=1200)
        serving = configure(limits, False, ("x",))
        serving.certificate, serving.private_key = PAIR.chain[0], PAIR.key
        self.engine = Engine(serving, limits, client.original_destination_connection_id)
        client.connect(THERE, self.now)
        for _ in range(6):
            for data, _address in client.datagrams_to_send(self.now):
                self.engine.receive_datagram(data, HERE, self.now)
            for data, _address in self.engine.datagrams_to_send(self.now):
                client.receive_datagram(data, THERE, self.now)
            self.now += 0.1
            for end in (client, self.engine):
                end.handle_timer(self.now)
        assert self.engine.is_settled is self.is_short
        self.keys = client._cryptos[Epoch.ONE_RTT].send
        self.cids = [each.cid for each in self.engine._host_cids]
        self.number = client._packet_number
        self.engine._packet_number = FAR
        self.engine._renew_at = 2 * FAR  # no key has sealed all these
        self.drain()
        self.heard.clear()
        if self.forgets:
            self.forget_at_once()
        receive, long_way = self.engine.receive, self.engine._receive_long

        def counted(datagrams: list[bytes], address: Any, now: float) -> None:
            self.went_short += len(datagrams)
            receive(datagrams, address, now)

        def counted_long(data: bytes, address: Any, now: float) -> None:
            self.went_short -= 1
            long_way(data, address, now)

        self.engine.receive = counted  # type: ignore[method-assign]
        self.engine._receive_long = counted_long  # type: ignore[method-assign]

    def forget_at_once(self) -> None:
        """The library forgets a stream that is over when it sends next, and until then finds fault
        with data beyond its end; the short way forgets at once (RFC 9000, 4.5, allows both)."""
        engine = self.engine

        def forgetting(hears: Any) -> Any:
            def handle(context: Any, kind: int, buf: Any) -> None:
                hears(context, kind, buf)
                for stream in list(engine._streams.values()):
                    if stream.is_finished:
                        engine._discard(stream)

            return handle

        for name in ("_handle_reset_stream_frame", "_handle_stream_frame"):
            setattr(engine, name, forgetting(getattr(engine, name)))

    def say(self, packet: Packet) -> None:
        """Bring a packet."""
        if (data := self.made(packet)) is not None:
            self.engine.receive_datagram(data, ELSEWHERE if packet.moves else HERE, self.now)

    def made(self, packet: Packet) -> bytes | None:
        """A packet, unless there is too little in it."""
        parts = [each if isinstance(each, bytes) else self.ack(each) for each in packet.frames]
        plain = mutated(b"".join(parts), packet.mutations)
        self.number += packet.ahead
        number, size = max(0, self.number - packet.back), packet.length
        if packet.updates_key:
            self.keys = next_key_phase(self.keys)
        first = 0x40 | packet.bits | size - 1 | self.keys.key_phase << 2
        truncated = (number & (1 << 8 * size) - 1).to_bytes(size, "big")
        header = bytes([first]) + self.cids[packet.cid % len(self.cids)] + truncated
        if len(plain) + size < 4:
            return None
        data: bytes = self.keys.encrypt_packet(header, plain, number)
        return data[:-1] + bytes([data[-1] ^ 1]) if packet.is_spoilt else data

    def ack(self, below: int) -> bytes:
        """That everything has arrived, and ``below`` packets more than there were."""
        last = self.engine._packet_number - 1 + below
        return b"\x02" + encode_varint(last) + b"\x00\x00" + encode_varint(last)

    def drain(self) -> None:
        """Hear, and answer as a relay does."""
        engine = self.engine
        while (event := engine.next_event()) is not None:
            if isinstance(event, StreamReset):
                engine.was_reset(event.stream_id)
            if isinstance(event, StreamDataReceived):
                self.note_data(event)
                if event.end_stream and not event.stream_id & 2:
                    engine.send(event.stream_id, b"thanks", True)
            elif isinstance(event, StopSendingReceived):
                self.heard.append(event)
                engine.drop_unsent(event.stream_id)
            elif isinstance(event, ConnectionIdRetired):
                self.heard.append(type(event))
            elif isinstance(event, ConnectionIdIssued):
                pass  # told again with each probe, which the short way never puts off for long
            else:
                self.heard.append(event)

    def note_data(self, event: StreamDataReceived) -> None:
        """Bytes that come in a row are one piece, however they are cut."""
        last = self.heard[-1] if self.heard else None
        if isinstance(last, StreamDataReceived) and last.stream_id == event.stream_id:
            self.heard.pop()
            data = last.data + event.data
        else:
            data = event.data
        self.heard.append(StreamDataReceived(data, event.end_stream, event.stream_id))

    def flush(self) -> None:
        """Send what is to be sent; nobody hears it."""
        pacer = self.engine._loss._pacer
        if pacer.packet_time is not None:
            # The library fills its bucket even when nothing leaves, and after that the bucket may
            # become larger.
            pacer.update_bucket(now=self.now)
        self.engine.departures(self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        for _ in range(50):
            due = self.engine.deadline()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.engine.handle_timer(self.now)
            self.drain()
            self.flush()
        self.now = end

    def state(self) -> dict[str, Any]:
        """What a difference would show in."""
        engine = self.engine
        space = engine._spaces[Epoch.ONE_RTT]
        over = engine._close_event
        if over is not None:
            # Far beyond the end of a stream that is over, either fault is one.
            named = replace(over, error_code=3, reason_phrase="") if is_beyond(over) else over
            heard = [named if each == over else each for each in self.heard]
            return {"heard": heard, "over": named, "state": engine._state}
        return {
            "heard": self.heard,
            "streams": {
                stream_id: (
                    stream.receiver.highest_offset,
                    stream.receiver._buffer_start,
                    stream.receiver._final_size,
                    stream.receiver.is_finished,
                    early(stream.receiver),
                    # The library moves the limit of a stream that is over, too, for nobody.
                    stream.receiver.is_finished or stream.max_stream_data_local,
                    stream.max_stream_data_remote,
                    stream.sender._reset_error_code,
                    stream.sender._buffer_fin,
                    stream.sender.is_finished,
                )
                for stream_id, stream in sorted(engine._streams.items())
            },
            "granted": [
                (each.value, each.used)
                for each in (
                    engine._local_max_data,
                    engine._local_max_streams_bidi,
                    engine._local_max_streams_uni,
                )
            ],
            "credit": (
                engine._remote_max_data,
                engine._remote_max_data_used,
                engine._remote_max_streams_bidi,
                engine._remote_max_streams_uni,
            ),
            "delivered": engine.traffic,
            "received": [
                number in space.received_packets
                for number in range(
                    max(0, space.largest_received_packet - 127), space.largest_received_packet + 9
                )
            ],
            "largest": (space.largest_received_packet, space.expected_packet_number),
            "to be acknowledged": space.ack_at is not None,
            "ids": (len(engine._host_cids), self.cids.index(engine.host_cid)),
            "peer's ids": (engine._peer_cid.sequence_number, len(engine._peer_cid_available)),
            "paths": [(each.addr, each.is_validated) for each in engine._network_paths],
            "spin": engine._spin_bit,
            "key": engine._cryptos[Epoch.ONE_RTT].key_phase,
            "unsent": engine.unsent,
        }


def is_beyond(over: ConnectionTerminated) -> bool:
    """Whether it ended for data beyond a limit, or beyond the end of a stream."""
    return over.error_code in (QuicErrorCode.FLOW_CONTROL_ERROR, QuicErrorCode.FINAL_SIZE_ERROR)


@dataclass(frozen=True)
class Packet:
    """A packet of a forger; whole numbers among ``frames`` are acknowledgements of everything."""

    frames: list[bytes | int]
    mutations: list[tuple[str, int, int]] = field(default_factory=list)
    ahead: int = 1
    back: int = 0
    length: int = 2
    bits: int = 0
    cid: int = 0
    moves: bool = False
    updates_key: bool = False
    is_spoilt: bool = False


def mutated(plain: bytes, mutations: list[tuple[str, int, int]]) -> bytes:
    """The payload after a few bytes were changed, inserted or cut off."""
    data = bytearray(plain)
    for how, where, what in mutations:
        at = where % (len(data) + 1)
        if how == "cut":
            del data[at:]
        elif how == "insert":
            data.insert(at, what)
        elif at < len(data):
            data[at] = what
    return bytes(data)


def numbers(*likely: int) -> st.SearchStrategy[bytes]:
    """A varint: a likely one, a small one or any, now and then longer than it has to be."""
    value = st.one_of(
        st.sampled_from(likely or (0,)),
        st.integers(0, 30),
        st.sampled_from([4001, 1 << 14, 1 << 30, 1 << 60, (1 << 60) + 1, (1 << 62) - 1]),
    )
    return st.builds(
        lambda number, size: max(
            encode_varint(number), (number | 3 << 62).to_bytes(8, "big") if size else b"", key=len
        ),
        value,
        st.sampled_from([0, 0, 0, 0, 1]),
    )


IDS = st.sampled_from(
    [encode_varint(each) for each in (2, 2, 2, 6, 0, 0, 4, 10, 22, 26, 3, 1, 7, 11)]
)


@st.composite
def stream_frames(draw: st.DrawFn) -> bytes:
    kind = draw(st.integers(0x08, 0x0F))
    data = draw(st.sampled_from([b"", b"a", b"abcdef", bytes(30), bytes(300), bytes(700)]))
    frame = bytes([kind]) + draw(st.one_of(IDS, IDS, IDS, numbers()))
    if kind & 4:
        frame += draw(numbers(0, 1, 6, 30, 31, 300, 301, 570, 600))
    if kind & 2:
        frame += draw(
            st.one_of(
                st.just(encode_varint(len(data))), st.just(encode_varint(len(data))), numbers()
            )
        )
    return frame + data


def made(kind: int, *parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(lambda found: bytes([kind]) + b"".join(found))


CID_8 = st.sampled_from([b"\x08" + bytes([each]) * 24 for each in range(3)])
OTHERS = st.one_of(
    st.integers(0, 5).map(bytes),
    st.just(b"\x01"),
    made(0x02, numbers(), numbers(), numbers(0, 1, 2), numbers(), numbers(0), numbers(0)),
    made(0x03, numbers(), numbers(), numbers(0), numbers(), numbers(), numbers(), numbers()),
    made(0x04, IDS, numbers(), numbers(0, 6, 30, 300, 600, 601)),
    made(0x05, IDS, numbers()),
    made(0x06, numbers(0), st.just(b"\x02hi")),
    made(0x07, st.just(b"\x02hi")),
    made(0x10, numbers(5000, 1 << 21)),
    made(0x11, IDS, numbers(700, 5000)),
    made(0x12, numbers(6, 7, 100)),
    made(0x13, numbers(6, 7, 100)),
    made(0x14, numbers()),
    made(0x15, IDS, numbers()),
    made(0x16, numbers()),
    made(0x17, numbers()),
    made(0x18, numbers(8, 9), numbers(0), CID_8),
    made(0x19, numbers(0, 1, 2)),
    made(0x1A, st.just(b"8 bytes.")),
    made(0x1B, st.just(b"8 bytes.")),
    made(0x1C, numbers(), numbers(), st.just(b"\x02hi")),
    made(0x1D, numbers(), st.just(b"\x02hi")),
    st.just(b"\x1e"),
    made(0x24, IDS, numbers(0, 1), numbers(6, 30, 300, 600, 601), numbers(0, 1, 6, 30, 300)),
    made(0x30, st.binary(max_size=6)),
    made(0x31, st.just(b"\x02hi")),
    made(0x40, st.sampled_from([b"\x02", b"\x08", b"\x1e", b"\x42"])),
    st.binary(max_size=12),
)
FRAMES = st.lists(
    st.one_of(
        stream_frames(), stream_frames(), stream_frames(), st.sampled_from([0] * 30 + [5]), OTHERS
    ),
    max_size=4,
)
MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["set", "insert", "cut"]), st.integers(0, 60), st.integers(0, 255)),
    max_size=2,
)


def rarely(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual] * 12 + list(others))


PACKETS = st.builds(
    Packet,
    FRAMES,
    st.one_of(st.just([]), st.just([]), st.just([]), MUTATIONS),
    rarely(1, 0, 2, 5, 300),
    rarely(0, 1, 2, 7, 200),
    st.sampled_from([2, 2, 1, 3, 4]),
    rarely(0, 0x20, 0x20, 0x20, 0x20, 0x08, 0x10),
    rarely(0, 1, 2),
    rarely(False, True),
    rarely(False, True),
    rarely(False, True),
)
STEPS = st.lists(
    st.one_of(
        PACKETS,
        PACKETS,
        PACKETS,
        st.sampled_from(["flush", "flush", "send", "open", 0.001, 0.03, 0.4, 6.0]),
    ),
    min_size=1,
    max_size=25,
)


def play(side: Side, step: Packet | str | float) -> None:
    """Have one thing happen."""
    if isinstance(step, Packet):
        side.say(step)
        side.drain()
    elif isinstance(step, float):
        side.wait(step)
    elif step == "open":
        if (stream := side.engine.open_stream(True)) is not None:
            side.engine.send(stream, b"news", False)
    elif step == "send":
        for stream in list(side.engine._streams):
            side.engine.send(stream, bytes(100), False)
    else:
        side.flush()


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_a_forger_finds_no_difference(steps) -> None:
    # Acknowledgements wait for a timer, as the library's do.
    with patch.object(ackrate, "_USUAL", 1 << 30):
        short, stock = Side(True), Side(False)
        for side in (short, stock):
            play(side, "open")
            play(side, "flush")
        for step in steps:
            for side in (short, stock):
                play(side, step)
                # What is to be sent leaves at once: acknowledgements of all hit the same then.
                side.flush()
            assert short.state() == stock.state()
        assert not stock.went_short


def test_the_numbers_that_came_are_not_kept_for_ever() -> None:
    side = Side(True)
    side.wait(1.0)
    for number in range(2000):
        # Whatever its bits are, a number that is left out makes no hole in it.
        side.say(Packet([b"\x01\x01"], ahead=2 if number % 32 == 7 else 1))
        side.flush()
    assert side.engine.is_settled
    window = side.engine._space.received_packets
    assert side.engine._space.largest_received_packet == side.number
    assert isinstance(window, Window)
    assert len(window._came) <= SIZE
    assert side.number in window
    assert 5 in window, "forgotten: as if it had come"


def test_what_comes_twice_is_opened_twice_at_most() -> None:
    side = Side(True)
    side.wait(1.0)
    opener, opened = side.engine._keys.opener, 0

    class Counting:
        def open(self, packets: list[bytes], start: int, *more: Any) -> Any:
            nonlocal opened
            opened += len(packets) - start
            return opener.open(packets, start, *more)

    side.engine._keys.opener = Counting()
    read: list[bytes] = []
    for number in range(40):
        data = side.made(Packet([b"\x0e\x02" + bytes([number, 1]) + b"x"]))
        assert data is not None
        read += [data, data]
    side.engine.receive(read, HERE, side.now)
    side.engine.receive(read, HERE, side.now)
    side.drain()
    assert [(each.stream_id, each.data) for each in side.heard] == [(2, b"x" * 40)]
    assert opened == 2 * len(read)
    assert side.engine._space.largest_received_packet == side.number


BLOCKED = b"\x14\x00"
RESET = b"\x04\x02\x00\x41\xf4"
"""The first stream of the peer's breaks off; it would have had 500 bytes."""


@pytest.mark.parametrize("late", [[b"\x0a\x02\x04data"], []])
@pytest.mark.parametrize("is_short", [True, False])
def test_what_a_reset_stream_never_brings_is_given_back_once(is_short, late) -> None:
    side = Side(is_short)
    side.wait(1.0)
    side.say(Packet([RESET]))
    for frame in late:
        side.say(Packet([frame]))  # overtaken; the end of the stream is not taken yet
    side.drain()
    side.flush()
    side.say(Packet([b"\x0a\x02\x04data"]))
    side.drain()
    assert side.engine._local_max_data.used == 500
    assert side.engine.traffic[1] == 500


def test_a_stream_that_is_over_goes_also_when_the_pacer_was_in_the_way() -> None:
    side = Side(True, forgets=False)
    side.wait(1.0)
    side.say(Packet([BLOCKED, RESET]))  # what follows an odd frame is the library's
    side.drain()
    pacer = side.engine._loss._pacer
    assert pacer.packet_time
    pacer.bucket_time, pacer.evaluation_time = 0.0, side.now
    side.flush()
    assert 2 in side.engine._streams
    side.wait(2 * pacer.packet_time)
    assert 2 not in side.engine._streams


def test_a_stream_is_granted_more_also_when_the_pacer_was_in_the_way() -> None:
    side = Side(True)
    side.wait(1.0)
    limit = side.engine._local_max_stream_data_uni
    side.say(Packet([b"\x0e\x02" + encode_varint(limit - 4) + b"\x04last"]))
    side.drain()
    stream, pacer = side.engine._streams[2], side.engine._loss._pacer
    assert pacer.packet_time
    pacer.bucket_time, pacer.evaluation_time = 0.0, side.now
    side.flush()
    assert stream.max_stream_data_local_sent == limit
    side.wait(2 * pacer.packet_time)
    assert stream.max_stream_data_local_sent == 2 * limit


def test_a_grant_that_was_lost_is_said_again() -> None:
    side = Side(True)
    side.wait(1.0)
    limit = side.engine._local_max_stream_data_uni
    side.say(Packet([b"\x0e\x02" + encode_varint(limit - 4) + b"\x04last"]))
    side.drain()
    side.wait(0.1)
    stream = side.engine._streams[2]
    assert stream.max_stream_data_local_sent == 2 * limit
    for _ in range(5):
        side.engine.send_ping(0)
        side.flush()
    latest = encode_varint(side.engine._packet_number - 1)
    side.say(Packet([b"\x02" + latest + b"\x00\x00\x00"]))
    assert stream.max_stream_data_local_sent == 0, "it is lost"
    side.wait(0.1)
    assert stream.max_stream_data_local_sent == 2 * limit


@pytest.mark.parametrize("says_long", [True, False])
def test_a_stop_that_was_lost_is_said_again(says_long) -> None:
    side = Side(True)
    side.wait(1.0)
    side.say(Packet([b"\x0a\x02\x05hello"]))
    side.drain()
    side.wait(0.1)
    if says_long:
        side.engine.send_ping(0)
    side.engine.stop(2, 7)
    side.flush()
    side.wait(0.1)
    stream = side.engine._streams[2]
    assert not stream.receiver.stop_pending
    for _ in range(5):
        side.engine.send_ping(0)
        side.flush()
    latest = encode_varint(side.engine._packet_number - 1)
    side.say(Packet([b"\x02" + latest + b"\x00\x00\x00"]))
    assert stream.receiver.stop_pending, "it is lost"
    side.wait(0.1)
    assert not stream.receiver.stop_pending


def test_what_the_library_hears_of_streams_it_answers() -> None:
    side = Side(True, forgets=False)
    side.wait(1.0)
    limit = side.engine._local_max_stream_data_uni
    most = b"\x0e\x06" + encode_varint(limit - 4) + b"\x04most"
    broken = b"\x24\x0a\x00" + encode_varint(limit - 4) + b"\x01"
    side.say(Packet([BLOCKED, RESET, most, broken]))
    side.drain()
    side.flush()
    assert 2 not in side.engine._streams
    for each in (6, 10):
        assert side.engine._streams[each].max_stream_data_local_sent == 2 * limit
    assert not side.engine._is_long_due


@pytest.mark.parametrize("ranges", [b"\x00\x00\x00", b"\x00\x01\x00\x00\x00"])
@pytest.mark.parametrize("kind", [0x02, 0x03])
@pytest.mark.parametrize("is_short", [True, False])
def test_nothing_arrives_that_was_not_sent(is_short, kind, ranges) -> None:
    side = Side(is_short)
    side.wait(1.0)
    tail = ranges + bytes(3) * (kind & 1)
    for beyond in (0, 1):
        assert side.engine.ending is None
        last = encode_varint(side.engine._packet_number - 1 + beyond)
        side.say(Packet([bytes([kind]) + last + tail]))
    assert side.engine.ending is not None
    assert side.engine.ending.error_code == QuicErrorCode.PROTOCOL_VIOLATION
    assert side.engine.ending.frame_type == kind


@pytest.mark.parametrize("odd", [b"\x14\x00", b"\x1a" + bytes(8), b"\x30hello"])
def test_an_odd_frame_costs_the_same_however_many_streams_are_open(odd) -> None:
    with patch(f"{__name__}.LIMITS", replace(LIMITS, max_streams=1000)):
        side = Side(True)
    side.wait(1.0)
    side.say(Packet([b"\x0a" + encode_varint(4 * 900 + 2) + b"\x01x"]))
    side.drain()
    side.wait(0.1)
    assert len(side.engine._streams) == 901
    with patch.object(side.engine, "_write_stream_limits") as asked:
        side.say(Packet([odd]))
        side.wait(0.1)
    assert side.engine.ending is None
    assert not asked.called


def test_a_late_packet_is_not_taken_for_the_latest() -> None:
    side = Side(True)
    side.wait(1.0)
    begun = side.number
    side.say(Packet([b"\x01\x01"], ahead=20))
    space = side.engine._space
    # What was told up to here is known to have arrived, and forgotten.
    space.ack_queue.subtract(0, side.number + 1)
    for late in (11, 12, 13):
        side.say(Packet([b"\x01\x01"], ahead=0, back=side.number - begun - late))
    assert space.largest_received_packet == side.number
    side.say(Packet([b"\x0a\x02\x04data"], ahead=0))
    side.drain()
    assert side.heard == [], "a number that has come is not heard again"


def test_two_packets_are_acknowledged_at_once_and_one_by_and_by() -> None:
    side = Side(True)
    side.wait(1.0)

    def told() -> int:
        before = side.engine._packet_number
        side.flush()
        return side.engine._packet_number - before

    one = Packet([b"\x0a\x02\x04data"])
    side.say(one)
    side.drain()
    assert told() == 0
    side.say(one)
    side.drain()
    assert told() == 1
    assert side.engine._space.ack_at is None
    assert told() == 0
    side.say(one)
    side.drain()
    assert told() == 0
    assert side.engine.deadline() == pytest.approx(side.now + 0.001)
    side.wait(0.001)
    assert side.engine._space.ack_at is None


def asked(sequence: int, threshold: int, delay: int) -> bytes:
    return b"\x40\xaf" + b"".join(map(encode_varint, (sequence, threshold, delay, 1)))


@pytest.mark.parametrize("is_short", [True, False])
def test_a_peer_may_ask_for_fewer_acknowledgements(is_short: bool) -> None:
    side = Side(is_short)
    side.wait(1.0)

    def hear(packet: Packet, times: int) -> int:
        """How many packets are told upon so many."""
        before = side.engine._packet_number
        for _ in range(times):
            side.say(packet)
            side.drain()
            side.flush()
        return side.engine._packet_number - before

    one = Packet([b"\x0a\x02\x04data"])
    hear(Packet([asked(7, 5, 50_000)]), 1)
    side.wait(1.0)
    assert hear(one, 5) == 0
    assert side.engine.deadline() == pytest.approx(side.now + 0.05, abs=0.001)
    if is_short:  # the library waits for its timer
        assert hear(one, 1) == 1
        assert side.engine._space.ack_at is None
        assert hear(one, 1) == 0
        assert hear(Packet([b"\x01" + bytes(8)], ahead=3), 1) == 1  # something is missing
    hear(one, 1)
    side.wait(0.02)
    assert side.engine._spaces[Epoch.ONE_RTT].ack_at is not None
    assert hear(Packet([b"\x1f" + bytes(8)]), 1) == 1  # at once
    hear(Packet([asked(6, 1, 1_000)]), 1)  # was said earlier, and counts no more
    side.wait(1.0)
    assert hear(one, 3) == 0
    hear(Packet([asked(8, 0, 1_000)]), 1)
    side.wait(1.0)
    assert hear(one, 2) == 2 or not is_short
    assert not side.engine.is_over


@pytest.mark.parametrize("is_short", [True, False])
def test_nobody_may_ask_for_more_of_them_than_is_offered(is_short: bool) -> None:
    side = Side(is_short)
    side.wait(1.0)
    side.say(Packet([asked(0, 1, 999)]))
    side.drain()
    assert side.engine.is_over
    assert side.engine._close_event.error_code == QuicErrorCode.PROTOCOL_VIOLATION


CASES = [
    pytest.param([b"\x0c\x02" + b"\xff" * 8 + b"data"], id="beyond all offsets"),
    pytest.param([b"\x0c\x1a" + b"\xff" * 8 + b"x"], id="beyond all offsets and streams"),
    pytest.param([b"\x0e\x02\x00\x3fdata"], id="longer than the packet"),
    pytest.param([b"\x0f\x02\x02\x01x", b"\x0f\x02\x04\x01x"], id="after the end"),
    pytest.param([b"\x0a\x03\x04data"], id="on a stream of ours"),
    pytest.param([b"\x0a\x1a\x04data"], id="too many streams"),
    pytest.param([b"\x0e\x02\x42\x58\x04data"], id="over the stream's limit"),
    pytest.param([b"\x04\x00\x00\x01", b"\x0a\x00\x04data"], id="data beyond a reset"),
    pytest.param([b"\x0a\x00\x04data", b"\x04\x00\x00\x03"], id="a reset before the data's end"),
    pytest.param([b"\x04\x02\x00\x42\x59"], id="a reset over the stream's limit"),
    pytest.param([b"\x04\x03\x00\x00"], id="a reset of a stream of ours"),
    pytest.param([b"\x24\x03\x00\x06\x02"], id="a late reset of a stream of ours"),
    pytest.param([b"\x24\x02\x00\x42\x59\x02"], id="a late reset over the stream's limit"),
    pytest.param([b"\x24\x02\x00\x06\x07"], id="a reset behind the end"),
    pytest.param([b"\x0a\x02\x04data", b"\x24\x02\x00\x03\x02"], id="a late reset too early"),
    pytest.param([b"\x24\x02\x00\x06\x02", b"\x0a\x02\x07too far"], id="data beyond a late reset"),
    pytest.param([b"\x24\x02\x00\x06\x02", b"\x0b\x02\x04data"], id="an end before a late reset"),
    pytest.param([b"\x24\x02\x00\x06\x02", b"\x04\x02\x00\x07"], id="another size of a reset"),
    pytest.param([b"\x24\x02\x00\x06\x02", b"\x24\x02\x01\x06\x02"], id="another code of a reset"),
    pytest.param(
        [b"\x24\x02\x00\x06\x02", b"\x04\x02\x01\x06"], id="another code of a plain reset"
    ),
    pytest.param([b"\x24\x02\x00\x06"], id="a late reset that is cut off"),
    pytest.param([b"\x05\x02\x00"], id="a stop of what is only theirs"),
    pytest.param([b"\x05\x03\x00"], id="a stop of what was never opened"),
    pytest.param([b"\x02\x03\x00\x00\x09"], id="a negative packet number"),
    pytest.param([b"\x12" + b"\xd0" + bytes(6) + b"\x01"], id="streams beyond all limits"),
    pytest.param([b"\x11\x02\x05"], id="a limit on what cannot be sent"),
    pytest.param([], id="no frames"),
]


@pytest.mark.parametrize("frames", CASES)
def test_a_fault_is_named_as_the_library_names_it(frames) -> None:
    ends = []
    for is_short in (True, False):
        side = Side(is_short)
        side.say(Packet([*frames], length=4))
        side.drain()
        over = side.engine.ending
        assert isinstance(over, ConnectionTerminated)
        assert bool(side.went_short) is (is_short and bool(frames))
        ends.append(over)
    assert ends[0] == ends[1]


@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "library"])
@pytest.mark.parametrize(
    "head", [b"\x0e\x02", b"\x0e\x00", b"\x06"], ids=["one-way", "two-way", "handshake"]
)
def test_a_peer_may_not_leave_any_number_of_gaps(is_short, head) -> None:
    side = Side(is_short)
    with patch("relay.net.pieces.MOST", 50):
        for at in range(1, 101, 2):
            side.say(Packet([head + encode_varint(at) + b"\x01x"]))
        assert (side.engine.tally.count, side.engine.ending) == (50, None)
        side.say(Packet([head + encode_varint(101) + b"\x01x"]))
    assert side.engine.ending is not None
    assert side.engine.ending.reason_phrase == "too many gaps in streams"


@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "library"])
def test_pieces_of_a_stream_that_breaks_off_are_forgotten(is_short) -> None:
    side = Side(is_short)
    for stream in (b"\x00", b"\x02"):
        for at in (1, 3, 5):
            side.say(Packet([b"\x0e" + stream + encode_varint(at) + b"\x01x"]))
    assert side.engine.tally.count == 6
    side.say(Packet([b"\x0e\x02\x00\x02ab", b"\x04\x00\x00\x06"]))
    side.drain()
    assert side.engine.tally.count == 2
    side.say(Packet([b"\x04\x02\x00\x06"]))
    side.drain()
    assert side.engine.tally.count == 0


LATE = b"\x24\x02\x09\x41\xf4\x06"
"""The first stream of the peer's, of 500 bytes, breaks off with code 9, six bytes arrive."""


@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "library"])
@pytest.mark.parametrize(
    ("frames", "got"),
    [
        pytest.param([b"\x0a\x02\x06abcdef", LATE], b"abcdef", id="they came before"),
        pytest.param([LATE, b"\x0a\x02\x06abcdef"], b"abcdef", id="they come later"),
        pytest.param(
            [LATE, b"\x0e\x02\x03\x05defgh", b"\x0a\x02\x03abc"], b"abcdefgh", id="in pieces"
        ),
        pytest.param(
            [b"\x0a\x02\x03abc", LATE, b"\x0e\x02\x03\x03def"], b"abcdef", id="half before"
        ),
        pytest.param(
            [b"\x0a\x02\x03abc", LATE, b"\x24\x02\x09\x41\xf4\x03"], b"abc", id="then fewer"
        ),
        pytest.param(
            [b"\x24\x02\x09\x41\xf4\x03", LATE, b"\x0a\x02\x03abc"], b"abc", id="no more again"
        ),
        pytest.param([LATE, LATE, b"\x0a\x02\x06abcdef", LATE], b"abcdef", id="told several times"),
        pytest.param([b"\x0a\x02\x01a", LATE, b"\x04\x02\x09\x41\xf4"], b"a", id="then plainly"),
        pytest.param([b"\x24\x02\x09\x41\xf4\x00"], b"", id="none"),
    ],
)
def test_a_stream_breaks_off_behind_the_bytes_that_arrive_all_the_same(
    is_short, frames, got
) -> None:
    side = Side(is_short)
    side.wait(1.0)
    news = [StreamReset(error_code=9, stream_id=2)]
    for frame in frames:
        assert frame is LATE or news[0] not in side.heard
        side.say(Packet([frame]))
        side.drain()
    assert side.heard == ([StreamDataReceived(got, False, 2)] if got else []) + news
    side.flush()
    assert 2 not in side.engine._streams
    assert side.engine._local_max_data.used == side.engine.traffic[1] == 500
    assert side.engine.ending is None


@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "library"])
def test_a_tls_message_that_never_ends_is_not_kept(is_short) -> None:
    side = Side(is_short)
    size, at = 1000, 0
    while side.engine.ending is None and at < 2 * MAX_TLS_MESSAGE:
        data = b"\x14\xff\xff\xff".ljust(size, b"x") if not at else b"x" * size
        side.say(Packet([b"\x06" + encode_varint(at) + encode_varint(size) + data]))
        at += size
    assert MAX_TLS_MESSAGE < at <= MAX_TLS_MESSAGE + size
    assert side.engine.ending is not None
    assert side.engine.ending.error_code == QuicErrorCode.CRYPTO_BUFFER_EXCEEDED
