"""The short way against the library's own client, on a network that loses and reorders."""

from __future__ import annotations

import gc
import heapq
import logging
import random
import ssl
import weakref
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.tls import CipherSuite, Epoch
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.net import built, keys, outgoing, short_way
from relay.net.codes import to_http3
from relay.net.engine import Engine, configure
from relay.net.mtu import GONE, SAFE
from relay.net.settings import QuicLimits
from relay.net.tls import Certificates

PAIR = Certificates.generated(["localhost"]).current
HERE, THERE = ("192.0.2.2", 2), ("192.0.2.1", 1)


@dataclass
class Net:
    """An engine and a plain client with a network and a clock between them."""

    is_short: bool = True
    loss: float = 0.0
    mtu: int = 1500
    peer_takes: int | None = None
    here: tuple[str, int] = HERE
    delay: float = 0.01
    jitter: float = 0.0
    seed: int = 1
    ciphers: list[CipherSuite] | None = None
    limits: QuicLimits = field(default_factory=QuicLimits)
    hears_of_heads: bool = False
    """Whether the client is one that hears of streams that break off behind their heads."""
    now: float = 100.0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.order = count()
        self.under_way: list[tuple[float, int, bool, bytes]] = []
        self.got: dict[int, bytearray] = {}
        self.finished: set[int] = set()
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.broken: dict[int, int] = {}
        self.heard: dict[int, bytearray] = {}
        self.ends: list[ConnectionTerminated] = []
        self.short = self.long = 0
        asking = configure(self.limits, True, ("x",))
        self.client = QuicConnection(configuration=asking)
        if self.hears_of_heads:
            self.client = Engine(asking, replace(self.limits, short_way=False))
        self.client.configuration.verify_mode = ssl.CERT_NONE
        if self.ciphers:
            self.client.configuration.cipher_suites = self.ciphers
        limits = replace(self.limits, short_way=self.is_short)
        serving = configure(limits, False, ("x",))
        serving.certificate, serving.private_key = PAIR.chain[0], PAIR.key
        self.server = Engine(serving, limits, self.client.original_destination_connection_id)
        loss, departures, long_way = self.loss, self.server.departures, self.server._depart_long

        def counted(now: float):
            left = departures(now)
            self.short += sum(-(-len(data) // size) for data, size, _ in left)
            return left

        def counted_long(now: float):
            left = long_way(now)
            self.short -= sum(-(-len(data) // size) for data, size, _ in left)
            return left

        self.server.departures, self.server._depart_long = counted, counted_long
        if self.peer_takes is not None:
            said = self.client._serialize_transport_parameters
            most = b"\x03\x02" + (self.peer_takes | 0x4000).to_bytes(2, "big")
            self.client._serialize_transport_parameters = lambda: said() + most
        self.client.connect(THERE, self.now)
        self.loss = 0.0
        self.run(0.5)
        self.loss = loss

    def run(self, seconds: float, until=lambda: False) -> None:
        end = self.now + seconds
        while not until():
            self._exchange()
            times = [self.server.deadline(), self.client.get_timer()]
            if self.under_way:
                times.append(self.under_way[0][0])
            # What is due at this very moment the library may see to at the next one.
            later = max(self.now + 1e-6, min(t for t in times if t is not None))
            if later >= end:
                self.now = end
                return
            self.now = later
            while self.under_way and self.under_way[0][0] <= self.now:
                _, _, is_up, data = heapq.heappop(self.under_way)
                if is_up:
                    self.server.receive_datagram(data, self.here, self.now)
                else:
                    self.client.receive_datagram(data, THERE, self.now)
            timers = (self.server.deadline(), self.client.get_timer())
            is_due = timers[0] is not None and timers[0] <= self.now
            assert not (is_due and self.server.is_fresh(self.now))
            for side, due in zip((self.server, self.client), timers, strict=True):
                if due is not None and due <= self.now:
                    side.handle_timer(self.now)

    def _exchange(self) -> None:
        self._events()
        recovery = self.server._loss
        most = max(recovery.congestion_window, recovery.bytes_in_flight)
        probing = self.server._probe_pending
        for data, _ in self.server.datagrams_to_send(self.now):
            self._post(False, data)
        if self.server._handshake_confirmed and not probing:
            assert recovery.bytes_in_flight <= most
        assert self.server._remote_max_data_used <= self.server._remote_max_data
        for data, _ in self.client.datagrams_to_send(self.now):
            self._post(True, data)

    def _post(self, is_up: bool, data: bytes) -> None:
        if self.dice.random() >= self.loss and len(data) <= self.mtu:
            when = self.now + self.delay + self.dice.random() * self.jitter
            heapq.heappush(self.under_way, (when, next(self.order), is_up, data))

    def _events(self) -> None:
        while (event := self.client.next_event()) is not None:
            if self.hears_of_heads and isinstance(event, StreamReset):
                self.client.was_reset(event.stream_id)
            if isinstance(event, StreamDataReceived):
                self.got.setdefault(event.stream_id, bytearray()).extend(event.data)
                if event.end_stream:
                    self.finished.add(event.stream_id)
            elif isinstance(event, StreamReset):
                self.resets[event.stream_id] = event.error_code
            elif isinstance(event, StopSendingReceived):
                self.stops[event.stream_id] = event.error_code
            elif isinstance(event, ConnectionTerminated):
                self.ends.append(event)
        while (event := self.server.next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                self.heard.setdefault(event.stream_id, bytearray()).extend(event.data)
            elif isinstance(event, StreamReset):
                self.server.was_reset(event.stream_id)
                self.broken[event.stream_id] = event.error_code
            elif isinstance(event, StopSendingReceived):
                self.server.drop_unsent(event.stream_id)


OURS = ["open", "send", "send", "end", "reset", "break", "stop"]
THEIRS = ["up", "feed", "feed", "shut", "key", "wait"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from([*OURS, *THEIRS]),
        st.integers(0, 7),
        st.integers(0, 9000),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    STEPS,
    st.integers(0, 1 << 16),
    st.sampled_from([0.0, 0.02, 0.1]),
    st.sampled_from([0, 0.02]),
    st.booleans(),
    st.booleans(),
)
def test_whatever_is_done_every_byte_arrives(steps, seed, loss, jitter, speedups, hears) -> None:
    limits = QuicLimits(
        max_data=60_000, max_stream_data=20_000, idle_timeout=1000.0, speedups=speedups
    )
    net = Net(loss=loss, jitter=jitter, seed=seed, limits=limits, hears_of_heads=hears)
    heads: dict[int, bytes] = {}
    wrote: dict[int, bytearray] = {}
    up: dict[int, bytearray] = {}
    fed: list[int] = []
    shut: set[int] = set()
    over: set[int] = set()
    for what, which, size in steps:
        live = [stream for stream in wrote if stream not in over]
        stream = live[which % len(live)] if live else None
        data = net.dice.randbytes(size)
        if what == "open" and (stream := net.server.open_stream(True)) is not None:
            wrote[stream] = bytearray()
        elif what == "up":
            up_stream = net.client.get_next_available_stream_id(is_unidirectional=True)
            net.client.send_stream_data(up_stream, data, True)
            up[up_stream] = bytearray(data)
        elif what == "feed":
            if which < 4 or not fed:
                fed.append(net.client.get_next_available_stream_id(is_unidirectional=True))
            if fed[-1] not in shut:
                net.client.send_stream_data(fed[-1], data + b"x")
            net.run(1.0)
        elif what == "shut" and fed:
            if size % 2:
                net.server.send_ping(0)  # the library says both
            net.server.stop(fed[-1], 5)
            shut.add(fed[-1])
        elif what == "key":
            # The library loses what comes under old keys after an update, so it is done in quiet.
            net.run(10.0)
            net.server.request_key_update()
            net.server.send_ping(0)
            net.run(10.0)
        elif what == "wait":
            net.run(size / 100_000)
        elif stream is not None and what == "send":
            net.server.send(stream, data, False)
            wrote[stream] += data
        elif stream is not None and what == "end":
            net.server.send(stream, b"", True)
            over.add(stream)
        elif stream is not None and what == "reset":
            net.server.reset(stream, 9)
            over.add(stream)
            wrote[stream].clear()
        elif stream is not None and what == "break":
            head = bytes(wrote[stream][: size % 2000])
            net.server.reset(stream, 9, len(head))
            heads[stream] = head if hears else b""
            over.add(stream)
            wrote[stream].clear()
        elif stream is not None and what == "stop" and stream in net.client._streams:
            net.client.stop_stream(stream, 3)
            over.add(stream)
            wrote[stream].clear()
    net.run(25.0)
    assert not net.ends
    for stream, head in heads.items():
        assert net.got.get(stream, b"").startswith(head)
        assert net.resets[stream] == 9
    for stream, data in wrote.items():
        if data:
            assert net.got.get(stream, b"") == data
        if stream in net.finished and stream in over and data:
            assert net.got[stream] == data
    assert {each: data for each, data in net.heard.items() if each not in fed} == up
    assert net.stops.keys() == shut
    assert net.server.unsent == 0
    assert net.server._loss.bytes_in_flight == 0


@pytest.mark.parametrize("loss", [0.0, 0.15])
@pytest.mark.parametrize("is_short", [True, False])
def test_streams_are_broken_off_by_either_side(is_short, loss) -> None:
    net = Net(is_short=is_short, loss=loss, delay=0.01, seed=3)
    taken: list[float] = []
    take_turn = net.server._depart_long
    net.server._depart_long = lambda now: taken.append(now) or take_turn(now)
    streams = [net.client.get_next_available_stream_id(i % 2 == 0) for i in range(2)]
    streams += [streams[i % 2] + 4 * (i // 2) for i in range(2, 40)]
    for stream in streams:
        net.client.send_stream_data(stream, b"question")
    net.run(2.0)
    taken.clear()
    for stream in streams:
        net.server.stop(stream, stream + 1)
        if not stream & 2:
            net.server.send(stream, b"half an ans", False)
            net.server.reset(stream, stream + 2)
    net.run(20.0)
    assert net.stops == {stream: stream + 1 for stream in streams}
    assert net.broken == net.stops, "a stock client answers a stop with a reset"
    assert net.resets == {stream: stream + 2 for stream in streams if not stream & 2}
    # The library is only needed to grant the peer more streams.
    assert loss or len(taken) <= 4 or not is_short
    assert not net.server._streams
    assert not net.server.stirred
    assert net.server._local_max_data.used == net.server.traffic[1] == 40 * len(b"question")


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("hears", [True, False])
@pytest.mark.parametrize("is_short", [True, False])
def test_heads_of_streams_that_break_off_arrive_where_the_peer_hears_of_it(
    is_short, hears, loss
) -> None:
    net = Net(is_short=is_short, loss=loss, delay=0.01, seed=4, hears_of_heads=hears)
    streams = [net.server.open_stream(True, b"head") for _ in range(40)]
    for stream in streams[::2]:
        net.server.send(stream, bytes(3000), False)
    net.run(0.012)
    late = [net.server.open_stream(True, b"head") for _ in range(40)]
    for stream in [*streams, *late]:
        net.server.send(stream, bytes(3000), False)
        net.server.reset(stream, stream + 2, 4)
    net.run(20.0)
    assert net.resets == {stream: stream + 2 for stream in [*streams, *late]}
    if hears:
        assert all(net.got[stream].startswith(b"head") for stream in [*streams, *late])
        assert {bytes(net.got[stream]) for stream in late} == {b"head"}
    else:
        assert not net.got.keys() & set(late), "as ever"
    assert not net.ends
    assert not net.server._streams
    assert not net.server.stirred
    assert net.server.unsent == 0


def test_a_reset_waits_for_credit_for_what_is_kept() -> None:
    net = Net(limits=QuicLimits(max_data=1000, max_stream_data=600), hears_of_heads=True)
    streams = [net.server.open_stream(True, bytes(400)) for _ in range(3)]
    net.client._write_connection_limits = lambda **_: None  # type: ignore[method-assign]
    net.server.reset(streams[2], 7, 300)
    net.run(1.0)
    assert not net.resets
    assert not net.ends
    del net.client._write_connection_limits
    net.client.send_ping(1)
    net.run(1.0)
    assert net.resets == {streams[2]: 7}
    assert len(net.got[streams[2]]) == 300


def carried(is_short: bool, loss: float, seed: int, **more) -> tuple[Net, float]:
    """Seconds in which two megabytes in groups of 100 kB arrive."""
    net = Net(is_short=is_short, loss=loss, delay=0.025, jitter=0.004, seed=seed, **more)
    begun, streams = net.now, []
    for index in range(20):
        stream = net.server.open_stream(True)
        net.server.send(stream, bytes([index]) * 100_000, True)
        streams.append(stream)
    net.run(300.0, lambda: len(net.finished) == 20)
    assert [bytes(net.got[s]) for s in streams] == [bytes([i]) * 100_000 for i in range(20)]
    return net, net.now - begun


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05])
def test_it_is_no_slower_than_the_library_under_loss(loss) -> None:
    runs = [(carried(True, loss, seed), carried(False, loss, seed)) for seed in range(3)]
    short, stock = sum(a[1] for a, _ in runs), sum(b[1] for _, b in runs)
    assert short <= stock * 1.25
    assert all(a[0].short > 1000 and b[0].short == 0 for a, b in runs)


@pytest.mark.parametrize(
    "cipher",
    [
        CipherSuite.AES_128_GCM_SHA256,
        CipherSuite.AES_256_GCM_SHA384,
        CipherSuite.CHACHA20_POLY1305_SHA256,
    ],
)
@pytest.mark.parametrize("speedups", [False, True])
def test_every_cipher_goes_the_short_way(cipher, speedups) -> None:
    net, _ = carried(True, 0.0, 1, ciphers=[cipher], limits=QuicLimits(speedups=speedups))
    assert net.server._cryptos[Epoch.ONE_RTT].send.cipher_suite is cipher
    assert net.short > 1000
    before = net.short
    for side in (net.server, net.client):
        for phase in (1, 0):  # each update follows from the one before it (RFC 9001, 6.1)
            side.request_key_update()
            side.send_ping(0)
            net.run(1.0)
            assert net.server._keys.phase == phase
            stream = net.server.open_stream(True)
            net.server.send(stream, bytes(50_000), True)
            net.run(2.0)
            assert net.got[stream] == bytes(50_000)
    assert net.short > before + 4 * 30


def test_keys_are_changed_before_they_are_worn_out(monkeypatch) -> None:
    monkeypatch.setattr(outgoing, "_KEY_LIFE", 300)
    phases = []
    derive = keys.Keys.follow

    def follow(self, crypto):
        derive(self, crypto)
        if not phases or phases[-1] != self.phase:
            phases.append(self.phase)

    monkeypatch.setattr(keys.Keys, "follow", follow)
    net, _ = carried(True, 0.0, 1)
    for _ in range(5):
        net.server.send(net.server.open_stream(True), bytes(400_000), True)
        net.run(1.0)
    assert phases[:4] == [0, 1, 0, 1]
    assert not net.ends


def test_a_publisher_hears_of_new_keys_though_the_first_packet_under_them_is_lost() -> None:
    net = Net()
    net.run(1.0)
    stream = net.client.get_next_available_stream_id(is_unidirectional=True)
    net.server._renew_at = net.server._packet_number + 20
    post, lost = net._post, []

    def lossy(is_up: bool, data: bytes) -> None:
        if not is_up and not lost and net.server._keys.phase:
            lost.append(data)
        else:
            post(is_up, data)

    net._post = lossy
    for _ in range(100):
        net.client.send_stream_data(stream, bytes(3000))
        net.run(0.05)
    net.run(1.0)
    assert lost
    assert net.heard[stream] == bytes(300_000)
    assert net.server._keys.phase == 1
    assert not net.ends


def test_streams_that_are_over_leave_nothing_behind() -> None:
    net = Net()
    for _ in range(300):
        net.server.send(net.server.open_stream(True), bytes(200), True)
        net.client.send_stream_data(net.client.get_next_available_stream_id(True), b"x", True)
        net.run(0.05)
    net.run(1.0)
    assert len(net.finished) == len(net.heard) == 300
    assert not net.server._streams
    assert not net.server.stirred


def test_signs_of_life_leave_nothing_behind_on_a_silent_connection() -> None:
    net = Net()
    net._events = lambda: None  # nobody looks where there is no news
    for _ in range(5):
        net.server.send_ping(0)
        net.run(1.0)
    assert not net.server.events


def test_where_packets_left_or_came_lately_nothing_is_due() -> None:
    net = Net()
    net.run(1.0)
    assert not net.server.is_fresh(net.now)  # for long nothing was heard
    stream = net.server.open_stream(True)
    net.server.send(stream, bytes(200), False)
    net.run(0.004)
    assert net.server.is_fresh(net.now)
    net.loss = 1.0
    net.run(0.05)
    assert not net.server.is_resting
    assert not net.server.is_fresh(net.now)  # a probe may be due
    net.loss = 0.0
    net.run(2.0)
    stream = net.client.get_next_available_stream_id(True)
    for _ in range(2):  # upon the first the peer is granted another stream
        net.run(2.0)
        net.client.send_stream_data(stream, bytes(4000))
        net.run(0.02)
    assert net.server.is_resting
    assert net.server.is_fresh(net.now)


def test_what_may_be_asked_is_looked_at_less_often_where_there_is_nothing(monkeypatch) -> None:
    monkeypatch.setattr(outgoing, "_IN_VAIN", 5)
    net = Net()
    net.run(3.0)
    looks: list[float] = []
    look = net.server._extras
    monkeypatch.setattr(net.server, "_extras", lambda now: looks.append(now) or look(now))
    stream = net.server.open_stream(True)
    for _ in range(300):
        net.server.send(stream, bytes(200), False)
        net.run(0.02)
    assert 6 <= len(looks) <= 12
    net.server._ack_rate.offered(1000)
    net.server.send(stream, bytes(200), False)
    net.run(1.0)
    net.server.send(stream, bytes(200), False)
    net.run(0.1)
    assert net.server._ack_rate.asked > 2


def test_the_garbage_collector_has_nothing_to_do() -> None:
    net = Net()
    gone: list[weakref.ref[Any]] = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            stream = net.server.open_stream(True)
            net.server.send(stream, bytes(200), True)
            gone.append(weakref.ref(net.server._streams[stream]))
            net.client.send_stream_data(net.client.get_next_available_stream_id(True), b"x", True)
            net.run(0.05)
        net.run(1.0)
        assert [each for each in gone if each()] == []
    finally:
        gc.enable()


def test_another_version_of_the_library_is_left_alone(monkeypatch, caplog) -> None:
    monkeypatch.setattr(short_way, "CHECKED", frozenset())
    short_way._tell_unchecked.cache_clear()
    with caplog.at_level(logging.WARNING, "relay.net"):
        net, _ = carried(True, 0.0, 1)
        Net()  # it is said once, not for every connection
    assert net.short == 0
    assert sum("quic.short_way is off" in record.message for record in caplog.records) == 1


def test_who_makes_packets_is_said(monkeypatch) -> None:
    assert short_way.packets_by(QuicLimits(speedups=False)) == "python"
    assert short_way.packets_by(QuicLimits(short_way=False)) == "library"
    monkeypatch.setattr(built, "_found", None)
    assert short_way.packets_by(QuicLimits()) == "python"
    monkeypatch.setattr(short_way, "CHECKED", frozenset())
    assert short_way.packets_by(QuicLimits()) == "library"


@pytest.mark.parametrize(("mtu", "size"), [(1500, 1452), (1400, 1392), (1300, 1252), (1200, 1200)])
def test_packets_are_as_large_as_the_path_carries(mtu, size) -> None:
    net, _ = carried(True, 0.0, 1, mtu=mtu)
    assert net.server._mtu.size == net.server._max_datagram_size == size


def test_a_path_that_comes_to_carry_less_loses_nothing() -> None:
    net, _ = carried(True, 0.0, 1)
    assert net.server._max_datagram_size == 1452
    net.mtu = 1300
    stream = net.server.open_stream(True)
    net.server.send(stream, bytes(200_000), True)
    net.run(60.0, lambda: stream in net.finished)
    assert net.got[stream] == bytes(200_000)
    assert net.server._max_datagram_size == 1200
    net.run(15.0)
    for _ in range(15):  # with room for tries in between
        net.server.send(net.server.open_stream(True), bytes(5_000), True)
        net.run(1.0)
    assert net.server._max_datagram_size == 1252


def test_what_the_library_sends_fits_the_size_that_is_left() -> None:
    net, _ = carried(True, 0.0, 1)
    net.run(2.0)  # until all is acknowledged, and something may leave
    server = net.server
    server.send(server.open_stream(True), bytes(5000), True)
    server._mtu.lost(GONE, net.now)
    server.send_ping(1)
    sizes = [size for _, size, _ in server.departures(net.now)]
    assert sizes
    assert max(sizes) == server._max_datagram_size == SAFE


def test_no_larger_packet_leaves_than_the_peer_takes() -> None:
    sizes: set[int] = set()

    class Watched(Net):
        def _post(self, is_up: bool, data: bytes) -> None:
            if not is_up:
                sizes.add(len(data))
            super()._post(is_up, data)

    net = Watched(peer_takes=1250)
    stream = net.server.open_stream(True)
    net.server.send(stream, bytes(100_000), True)
    net.run(10.0)
    assert max(sizes) == 1250
    assert net.got[stream] == bytes(100_000)


def test_a_client_that_moves_is_on_the_short_way_again() -> None:
    net, _ = carried(True, 0.0, 1)
    net.here = ("192.0.2.7", 7)
    for _ in range(20):
        stream = net.server.open_stream(True)
        net.server.send(stream, bytes(50_000), True)
        net.client.send_stream_data(net.client.get_next_available_stream_id(True), b"x", True)
        net.run(1.0)
        assert stream in net.finished
    assert len(net.server._network_paths) == 2
    assert net.server.get_peer_address() == net.here
    before = net.short
    net.server.send(net.server.open_stream(True), bytes(50_000), True)
    net.run(1.0)
    assert net.short >= before + 30


class Moved(Net):
    """Nothing that goes to where the client was arrives once it ``left``."""

    left = False

    def _exchange(self) -> None:
        self._events()
        for data, address in self.server.datagrams_to_send(self.now):
            if address == self.here or not self.left:
                self._post(False, data)
        for data, _ in self.client.datagrams_to_send(self.now):
            self._post(True, data)


@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "library"])
def test_a_silent_viewer_that_moved_hears_all_after_its_first_word(is_short) -> None:
    net = Moved(is_short=is_short)
    net.left, net.here = True, ("192.0.2.7", 7)
    sent = []
    for _ in range(80):  # as long as the window has room, and longer
        sent.append(net.server.open_stream(True))
        net.server.send(sent[-1], bytes(3_000), True)
        net.run(0.05)
    net.client.send_ping(1)
    net.run(0.6)
    assert net.finished.issuperset(sent)


@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "library"])
def test_after_a_long_break_the_first_word_that_is_heard_lets_all_go_on(is_short) -> None:
    net = Net(is_short=is_short)
    net.mtu = 0  # nothing arrives
    sent = []
    for _ in range(120):
        sent.append(net.server.open_stream(True))
        net.server.send(sent[-1], bytes(3_000), True)
        net.run(0.1)
    net.mtu = 1500
    assert net.server.deadline() > net.now + 1.0
    net.client.send_ping(1)
    net.run(0.2)
    assert net.finished
    net.run(5.0)
    assert net.finished.issuperset(sent)


@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "library"])
def test_who_is_heard_and_hears_nothing_is_not_asked_all_the_time(is_short) -> None:
    net = Net(is_short=is_short)
    post, again = net._post, net.server._loss.reschedule_data
    asked: list[float] = []
    net._post = lambda is_up, data: post(is_up, data) if is_up else None
    net.server._loss.reschedule_data = lambda now: (asked.append(now), again(now=now))
    net.server.send(net.server.open_stream(True), bytes(3_000), True)
    for number in range(200):
        net.client.send_ping(number)
        net.run(0.05)
    assert 15 <= len(asked) <= 25


def test_a_client_that_moves_to_a_path_that_carries_less_keeps_its_session() -> None:
    net = Moved()
    net.run(1.0)
    assert net.server._max_datagram_size == 1452
    net.left, net.here, net.mtu = True, ("192.0.2.7", 7), 1300
    # With so much from there more than a small packet may be sent before the address is proved.
    net.client.send_stream_data(net.client.get_next_available_stream_id(True), bytes(9000), True)
    sent = []
    for _ in range(40):
        sent.append(net.server.open_stream(True))
        net.server.send(sent[-1], bytes(3000), True)
        net.run(0.05)
    assert net.server.get_peer_address() == net.here
    assert net.finished.issuperset(sent)
    net.run(10.0)
    assert net.server._max_datagram_size == 1252


def test_an_address_that_never_answered_keeps_nobody_off_the_short_way() -> None:
    net = Moved()
    net.run(1.0)
    net.left = True
    net.here = ("192.0.2.7", 7)
    net.client.send_ping(1)
    net.run(0.005)
    net.mtu = 0  # nothing arrives there
    net.run(0.02)
    net.here, net.mtu = ("192.0.2.8", 8), 1500
    net.client.send_ping(2)
    net.run(1.0)
    assert [each.is_validated for each in net.server._network_paths] == [True, False, True]
    before = net.short
    stream = net.server.open_stream(True)
    net.server.send(stream, bytes(50_000), True)
    net.run(1.0)
    assert stream in net.finished
    assert net.short >= before + 30


def test_off_the_short_way_a_reset_leaves_beside_what_fills_packets(bench) -> None:
    room = bench(QuicLimits(short_way=False), alpn="moq-lite-05")
    transport = room.visits[0].transport
    large, broken = transport.open_uni(), transport.open_uni()
    transport.send(broken, bytes(4000))
    room.pump(0.05)
    for stream in (large, broken):
        transport.send(stream, bytes(600_000))
    room.pump(0.003)
    transport.reset(broken, 7)
    room.pump(0.05)
    assert [event.error_code for event in room.of(StreamReset, broken)] == [to_http3(7)]
    room.pump(2.0)
    got = sum(len(event.data) for event in room.of(StreamDataReceived, large))
    assert got == 600_000
