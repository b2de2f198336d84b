"""The steps in C against those in Python: whatever happens, the books of both are the same."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from aioquic.quic.connection import Limit
from aioquic.quic.events import StopSendingReceived, StreamReset
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.stream import QuicStream

from relay.net import steps
from relay.net.built import speedups
from relay.net.engine import Engine, configure
from relay.net.settings import QuicLimits
from relay.net.tls import Certificates
from relay.wire.buffer import encode_varint, encode_varints

pytestmark = pytest.mark.skipif(speedups() is None and not os.environ.get("CI"), reason="not built")

PAIR = Certificates.generated(["localhost"]).current
HERE, THERE = ("192.0.2.2", 2), ("192.0.2.1", 1)
SIZES = (0, 1, 20, 300, 1100, 1166, 1167, 2400, 9000, 20_000)
USUAL = QuicLimits(max_streams=16, max_unsent=16_000)
NARROW = QuicLimits(max_data=20_000, max_stream_data=900, max_streams=6)
WIDE = QuicLimits(max_data=1 << 50, max_stream_data=1 << 45, max_unsent=1 << 52, max_streams=100)
FAR = 1 << 30
KINDS = (*steps._BOOKS, Limit)
IN_A_CIRCLE = frozenset(("stream", "_owner"))


class Ends:
    """Two engines, a client's and a server's, and all that happens to them."""

    def __init__(self, limits: QuicLimits, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        self.now = 100.0
        asking, serving = configure(limits, True, ("x",)), configure(limits, False, ("x",))
        asking.verify_mode = ssl.CERT_NONE
        serving.certificate, serving.private_key = PAIR.chain[0], PAIR.key
        client = Engine(asking, limits)
        server = Engine(serving, limits, client.original_destination_connection_id)
        self.ends = client, server
        self.under_way: tuple[list[bytes], ...] = [], []
        """What each end has still to receive."""
        self.delay, self.loss = 0.01, 0.0
        client.connect(THERE, self.now)
        for _ in range(8):
            self.carry()
        self.loss = dice.choice((0.0, 0.0, 0.02, 0.1))
        self.slower = dice.choice((1.0, 1.0, 1.2))
        is_known, renews, edge = (dice.random() < 0.5 for _ in range(3))
        for end in self.ends:
            assert end.is_settled
            # A handshake has not always as many bytes.
            control: Any = end._loss._cc
            control.congestion_window = window = 14_000
            control._peak, control._enough = 0, window if edge else 1 << 16
            control._period_ends = self.now + 1.0
            control.ssthresh = dice.choice((None, window, window + 5000))
            end._loss._rtt_initialized = is_known
            pacer = end._loss._pacer
            pacer.update_rate(window, 0.02)
            pacer.bucket_time = pacer.bucket_max
            end._packet_number += 60 if edge else 0
            end._renew_at = end._packet_number + 15 if renews else 1 << 40

    def carry(self) -> Any:
        """What is to be sent leaves, and what is under way arrives."""
        left = [self.flush(which) for which in (0, 1)]
        self.now += self.delay
        told = [self.receive(which, 99) for which in (0, 1)]
        return left, told, self.wake()

    def flush(self, which: int) -> Any:
        left = [(len(data), size, data) for data, size, _ in self.ends[which].departures(self.now)]
        for whole, size, data in left:
            for at in range(0, whole, size):
                if self.dice.random() >= self.loss:
                    self.under_way[1 - which].append(data[at : at + size])
        return [sizes[:2] for sizes in left]

    def receive(self, which: int, most: int) -> Any:
        end, waiting = self.ends[which], self.under_way[which]
        some, waiting[:most] = waiting[:most], []
        if self.dice.random() < 0.05:
            some.reverse()
        if some:
            end.receive(some, HERE if which else THERE, self.now)
        return self.drain(end)

    def drain(self, end: Any) -> list[str]:
        told = []
        while self.dice.random() < 0.95 and (event := end.next_event()) is not None:
            told.append(type(event).__name__ + str(shown(event)) + str(vars(event).get("data", "")))
            if isinstance(event, StreamReset):
                end.was_reset(event.stream_id)
            elif isinstance(event, StopSendingReceived):
                end.drop_unsent(event.stream_id)
            elif getattr(event, "end_stream", False) and not event.stream_id & 2:
                end.send(event.stream_id, b"thanks", True)
        return told

    def wake(self) -> Any:
        due = [end.deadline() for end in self.ends]
        for end, at in zip(self.ends, due, strict=True):
            if at is not None and at <= self.now:
                end.handle_timer(self.now)
        return due, [end.is_impatient for end in self.ends]

    def say(self, which: int, *frames: bytes) -> Any:
        """Something that this end would not say by itself."""
        end, other = self.ends[which], self.ends[1 - which]
        number, end._packet_number = end._packet_number, end._packet_number + 1
        first = 0x41 | end._keys.phase << 2 | self.dice.choice((0, 0x20))
        plain = b"".join(frames).ljust(4, b"\0")
        packet = end._keys.sealer.seal(plain, first, end._peer_cid.cid, number)
        other.receive([packet] * self.dice.choice((1, 1, 1, 2)), THERE if which else HERE, self.now)
        return self.drain(other)

    def acknowledge(self, which: int) -> Any:
        """An acknowledgement of some packets that are under way, and perhaps of none before."""
        book = self.ends[1 - which]._loss.book
        if not book:
            return None
        first, last = (self.dice.choice(book[:4]) for _ in range(2))
        begin, end = self.dice.choice((first.first, book[0].first, last.last)), last.last
        ranges = [end, self.dice.choice((0, 50, 9000)), 0, max(0, end - begin)]
        if begin > 9 and self.dice.random() < 0.3:
            ranges[2:] = [1, ranges[3], 0, 1]
        return self.say(which, b"\x02" + encode_varints(ranges))

    def step(self) -> Any:
        """One thing happens."""
        dice, which = self.dice, self.dice.randrange(2)
        end: Any = self.ends[which]
        mine = 2 + (not end._is_client)
        ours = [each for each in end._streams if each & 3 in (0, 1, mine)]
        stream = dice.choice(ours[-5:] or [mine])
        heard = dice.choice([each for each in end._streams if each & 3 == 5 - mine] or [5 - mine])
        size = dice.choice(SIZES)
        data, fin = bytes((dice.randrange(256),)) * size, dice.random() < 0.3
        limit = end._local_max_streams_uni
        deeds: list[tuple[int, Callable[[], Any]]] = [
            (22, self.carry),
            (12, lambda: self.flush(which)),
            (6, lambda: self.receive(which, dice.choice((1, 3, 20)))),
            (8, lambda: self.wait(dice.choice((0.0, 0.0005, 0.002, 0.03, 0.3)))),
            (3, lambda: self.wait(max(0.0, (end.deadline() or 0.0) - self.now))),
            (6, lambda: end.open_stream(True, data, fin)),
            (1, lambda: end.open_stream(True)),
            (1, lambda: end.open_stream(True, b"", True)),
            (3, lambda: end.open_stream(False, data, fin)),
            (6, lambda: end.send(stream, data, fin)),
            (9, lambda: end.offer(stream, data, dice.choice((0, size, size + 1, 9000)))),
            (3, lambda: (end.capacity(), end.capacity(stream))),
            (3, lambda: [end.is_ample(end.capacity() + each) for each in (0, 1)]),
            (2, lambda: end.reset(stream, 7, dice.choice((0, end.written(stream))))),
            (1, lambda: end.stop(heard, 7)),
            (1, lambda: (end.stop(stream, 7), self.receive(which, 99))),
            (8, lambda: self.acknowledge(which)),
            (1, lambda: self.say(which, encode_varints((0x10, end._local_max_data.value + 99)))),
            (1, lambda: self.say(which, encode_varints((0x13, dice.choice((6, 20, 30)))))),
            (1, lambda: self.say(which, b"\x04" + encode_varints((stream, 7, 20_000)))),
            (1, lambda: self.say(which, b"\x05" + encode_varints((heard, 7)))),
            (5, lambda: self.say(which, *self.bytes_of(which, stream, data[:1000], fin))),
            (1, lambda: self.say(which, *self.bytes_of(which, stream, b"", fin), b"\x01")),
            (1, lambda: self.say(which, b"\x01", b"\x31\x02hi")),
            (1, lambda: end.send_datagram(b"hi")),
            (1, lambda: end.widen(limit.value - 3)),
            (1, lambda: setattr(end, "_extras_at", self.now)),
            (1, lambda: setattr(end, "_remote_max_data", end._remote_max_data_used + size)),
            (3, lambda: self.far(end, data)),
        ]
        deed = dice.choices([each for _, each in deeds], [often for often, _ in deeds])[0]
        return deed()

    def wait(self, seconds: float) -> Any:
        self.now += min(seconds, 1.0)
        self.delay *= self.slower if self.delay < 0.2 else 0.05
        return self.wake()

    def bytes_of(self, which: int, stream: int, data: bytes, fin: bool) -> Iterator[bytes]:
        """Some of a stream's next bytes, or others; or a stream that is not there yet."""
        other = self.ends[1 - which]
        if self.dice.random() < 0.4:
            limit = other._local_max_streams_uni
            next_one = self.dice.choices((limit.used, limit.value - 1, limit.value), (30, 3, 1))[0]
            stream = next_one << 2 | 2 + other._is_client
        known = other._streams.get(stream)
        at = 0 if known is None else known.receiver.highest_offset
        at = max(0, at + self.dice.choice((0, 0, 0, 0, -1, 1)))
        yield (
            bytes((0x0E | fin,))
            + encode_varints((stream, at))
            + b"".join((encode_varint(len(data)), data))
        )

    def far(self, end: Any, data: bytes) -> Any:
        """A stream that has said very much, and says some more."""
        stream = end.open_stream(True) if end._most > 1 << 40 else None
        if stream is not None:
            sender = end._streams[stream].sender
            far = FAR - self.dice.choice((0, 10, 1200, 5000))
            sender._buffer_start = sender._buffer_stop = sender.highest_offset = far
            end.send(stream, data, False)
        return stream


def shown(what: Any, depth: int = 0) -> Any:
    """All that is in books, for comparing."""
    if what is None or isinstance(what, (bool, int, float, range)):
        return what
    if isinstance(what, bytes):
        return len(what)
    if isinstance(what, (list, tuple)):
        return [shown(each, depth + 1) for each in what]
    if isinstance(what, RangeSet):
        return list(what)
    if isinstance(what, dict):
        return [(key, shown(each, depth + 1)) for key, each in what.items()]
    if depth > 4 or not isinstance(what, KINDS):
        return getattr(what, "_stream_id", type(what).__name__)
    slots = {
        name: shown(getattr(what, name), depth + 1)
        for kind in type(what).__mro__
        for name in getattr(kind, "__slots__", ())
        if hasattr(what, name) and name not in IN_A_CIRCLE
    }
    rest = vars(what).items() if depth and hasattr(what, "__dict__") else ()
    return slots | {name: each for name, each in rest if isinstance(each, (bool, int, float))}


@pytest.mark.parametrize("limits", [USUAL, NARROW, WIDE], ids=["usual", "narrow", "wide"])
@pytest.mark.parametrize("seed", range(8))
def test_both_keep_the_same_books(limits: QuicLimits, seed: int) -> None:
    # The library takes turns in the order of a set.
    with patch.object(QuicStream, "__hash__", lambda self: self.stream_id):
        quick, plain = (Ends(replace(limits, speedups=each), seed) for each in (True, False))
        assert type(quick.ends[0]) is not type(plain.ends[0])
        for number in range(160):
            assert quick.step() == plain.step()
            if number % 4 == 3:
                assert shown(quick.ends) == shown(plain.ends)


@pytest.mark.parametrize(
    ("book", "slot"),
    [("_numbers", "_came"), ("_loss", "book"), (None, "_peer_cid"), (None, "_home")],
)
def test_what_is_missing_in_a_book_is_an_error(book: str | None, slot: str) -> None:
    ends = Ends(replace(USUAL, speedups=True), 1)
    end: Any = ends.ends[1]
    ends.say(0, b"\x01")
    end.open_stream(True, bytes(3000), False)
    delattr(getattr(end, book) if book else end, slot)
    with pytest.raises((AttributeError, TypeError)):
        ends.flush(1), ends.say(0, b"\x01")


def test_so_it_is_where_a_packet_comes_twice() -> None:
    ends = Ends(replace(USUAL, speedups=True), 1)
    ends.say(0, b"\x01")
    del ends.ends[1]._space.received_packets
    with patch.object(ends.dice, "choice", max), pytest.raises(TypeError):
        ends.say(0, b"\x01")


def test_so_it_is_where_a_stream_ends() -> None:
    ends = Ends(replace(USUAL, speedups=True), 1)
    ends.say(0, b"\x0a\x02\x01a")
    del ends.ends[1]._streams[2].stream_id
    with pytest.raises(AttributeError):
        ends.say(0, b"\x0f\x02\x01\x01b")


@pytest.mark.parametrize(
    ("what", "fin", "error"),
    [("stream", 0, 3), ("connection", 0, 3), ("connection", 1, 3), ("streams", 1, 4)],
)
def test_a_peer_that_takes_more_than_it_was_granted_is_refused(
    what: str, fin: int, error: int
) -> None:
    ends = Ends(replace(USUAL, speedups=True), 1)
    end: Any = ends.ends[1]
    streams, credit = end._local_max_streams_uni, end._local_max_data
    stream, at = streams.used << 2 | 2, 0
    if not fin:  # one that has begun; else all of one in a frame
        ends.say(0, b"\x0e" + encode_varints((stream, 0, 1)) + b"a")
        at = 1
    if what == "stream":
        end._streams[stream].max_stream_data_local = at + 8
    elif what == "connection":
        credit.value = credit.used + 8
    else:
        streams.value = streams.used
    ends.say(0, bytes((0x0E | fin,)) + encode_varints((stream, at, 9)) + bytes(9))
    assert end.ending is not None
    assert end.ending.error_code == error
