"""QMux sessions against a peer that holds them to every rule of credit, and against bad ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.net.credit import AMPLE, NEWEST, Table, table

from relay.errors import LimitExceeded, ProtocolViolation
from relay.net.qmux import EARLY, Half
from relay.net.qmux_frames import (
    LEGACY,
    MAX_RECORD,
    WIRES,
    Kind,
    Parameters,
    Wire,
    close_frame,
    data_frame,
    parameters_frame,
    reset_frame,
)
from relay.net.settings import QuicLimits
from relay.session.transport import is_uni
from relay.wire.buffer import encode_varints

# What is said before the peer has said what it takes


def test_what_is_said_early_waits_and_is_not_lost() -> None:
    with table(introduced=False) as at:
        stream = at.relay.open_uni(b"setup", True)
        asked = at.relay.open_bidi()
        at.relay.send(asked, b"question")
        at.settle()
        assert at.relay.capacity() == 0
        assert not at.peer.streams
        at.introduce()
        assert at.peer.streams == {stream: b"setup", asked: b"question"}
        assert at.peer.ended == {stream: "fin"}


def test_who_takes_fewer_streams_than_a_session_begins_with() -> None:
    few = Parameters(1 << 20, 1 << 18, 1 << 18, 1 << 18, 0, 0)
    with table(takes=few, introduced=False) as at:
        assert [at.relay.open_uni() is None for _ in range(EARLY + 1)] == [False] * EARLY + [True]
        at.introduce()
        assert at.relay.is_closed
        assert at.peer.closed[0] == ProtocolViolation.session_code
        assert b"max_streams" in at.peer.closed[1]


@pytest.mark.parametrize(
    "says",
    [
        [data_frame(NEWEST, 0, 0, b"x", False)],
        [parameters_frame(AMPLE)] * 2,
        [encode_varints((Kind.MAX_DATA, 5))],
        [parameters_frame(Parameters(max_record_size=5))],
    ],
    ids=["nothing", "twice", "credit", "small records"],
)
def test_parameters_come_once_and_first(says: list[bytes]) -> None:
    with table(introduced=False) as at:
        at.peer.say(*says)
        at.settle()
        assert at.peer.closed[0] == ProtocolViolation.session_code
        assert len(at.heard.lost) == 1


def test_padding_may_come_before_anything() -> None:
    with table(introduced=False) as at:
        at.peer.say(bytes(3), parameters_frame(AMPLE), bytes(5))
        at.settle()
        assert not at.relay.is_closed
        assert at.relay.capacity() > 0


# Credit for us


def test_credit_of_a_stream_that_nothing_was_said_on_counts() -> None:
    narrow = Parameters(1 << 20, 4, 4, 4, 10, 10)
    with table(takes=narrow) as at:
        at.peer.say(data_frame(NEWEST, 0, 0, b"ask", False))
        at.peer.grant_stream(0, 4)
        at.relay.send(0, b"eight by")
        at.settle()
        assert at.peer.streams[0] == b"eight by"
        assert at.relay.capacity(0) == 0


def test_what_is_broken_off_while_it_waits_is_not_said() -> None:
    with table(takes=Parameters(6, 100, 100, 100, 10, 10)) as at:
        first, second = at.relay.open_uni(), at.relay.open_uni()
        at.relay.send(first, b"0123456789", True)
        at.relay.send(second, b"abc", True)
        at.settle()
        at.peer.say(encode_varints((Kind.STOP, first, 7)))
        at.relay.reset(second, 8)
        at.settle()
        at.peer.grant(100)
        at.settle()
        assert at.peer.streams[first] == b"012345"
        assert at.peer.ended == {first: 7, second: 8}
        assert at.heard.stops(first) == [7]
        assert at.is_empty()


def test_credit_never_shrinks() -> None:
    with table(takes=Parameters(8, 8, 8, 8, 10, 10)) as at:
        at.peer.say(encode_varints((Kind.MAX_DATA, 3)), encode_varints((Kind.MAX_STREAMS_UNI, 0)))
        stream = at.relay.open_uni(b"eight by", True)
        at.settle()
        assert at.peer.streams[stream] == b"eight by"


def test_credit_goes_to_who_waited_longest() -> None:
    with table(takes=Parameters(2, 3, 3, 3, 10, 10)) as at:
        first, second, third = (at.relay.open_uni(text, True) for text in (b"abcd", b"ef", b"gh"))
        at.peer.grant_stream(first, 1)
        said = []
        for _ in range(6):
            at.peer.grant(1)
            at.settle()
            said.append([bytes(at.peer.streams.get(each, b"")) for each in (first, second, third)])
        assert said[1] == [b"abcd", b"", b""]
        assert said[2:4] == [[b"abcd", b"e", b""], [b"abcd", b"ef", b""]]
        assert said[5] == [b"abcd", b"ef", b"gh"]
        assert at.is_empty()


def test_credit_is_told_to_no_more_than_it_suffices_for(monkeypatch: pytest.MonkeyPatch) -> None:
    takes = Parameters(0, 9, 9, 9, 100, 100)
    with table(takes=takes, limits=QuicLimits(max_streams=1000)) as at:
        for stream in range(0, 4000, 4):  # of which nothing waits
            at.peer.grant_stream(stream, 1)
        for _ in range(50):
            at.relay.open_uni(b"1234", True)
        looked: list[int] = []
        say = at.relay._say

        def counted(stream: int, half: Half) -> None:
            looked.append(stream)
            say(stream, half)

        monkeypatch.setattr(at.relay, "_say", counted)
        for _ in range(200):
            at.peer.grant(1)
        assert len(looked) < 300
        at.settle()
        assert list(at.peer.streams.values()) == [b"1234"] * 50


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    with table(takes=Parameters(8, 8, 8, 8, 10, 10), limits=QuicLimits(max_unsent=1000)) as at:
        at.relay.open_uni(bytes(2000))
        at.settle()
        assert at.peer.closed == (
            LimitExceeded.session_code,
            b"the peer reads too slowly (max_unsent)",
        )


def test_whoever_asks_without_reading_is_not_answered() -> None:
    with table() as at:
        for number in range(20_000):
            list(at.relay.hear(encode_varints((Kind.PING, number))))
        assert at.relay._unsent() <= at.relay.window + 16
        at.settle()
        assert at.peer.pongs[:3] == [0, 1, 2]
        at.peer.pongs.clear()
        at.peer.say(encode_varints((Kind.PING, 77)))
        at.settle()
        assert at.peer.pongs == [77]


# Credit for the peer


def test_what_may_come_slides_with_what_came() -> None:
    with table(limits=QuicLimits(max_data=1000, max_stream_data=100)) as at:
        assert (at.peer.told.max_data, at.peer.told.max_stream_data_uni) == (1000, 100)
        for at_byte in range(0, 2000, 50):
            at.peer.say(data_frame(NEWEST, 2, at_byte, bytes(50), False))
        at.settle()
        assert not at.relay.is_closed
        assert (Kind.MAX_DATA, (3000,)) in at.peer.granted
        assert (Kind.MAX_STREAM_DATA, (2, 2100)) in at.peer.granted


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ([data_frame(NEWEST, 2, 0, bytes(101), False)], "max_stream_data"),
        ([reset_frame(NEWEST, 2, 0, 1 << 60)], "max_data"),
        ([data_frame(NEWEST, 4 * 20, 0, b"", False)], "one too many"),
        ([data_frame(NEWEST, (1 << 62) - 2, 0, b"", False)], "one too many"),
        ([reset_frame(NEWEST, (1 << 62) - 2, 0, 0)], "one too many"),
        ([data_frame(NEWEST, 1, 0, b"x", False)], "not the peer's"),
        ([data_frame(NEWEST, 3, 0, b"x", False)], "not the peer's"),
        ([bytes(MAX_RECORD + 1)], "a record of"),
        ([b"\x01"], "a frame of type"),
    ],
)
def test_more_than_may_come_ends_the_session(says: list[bytes], why: str) -> None:
    limits = QuicLimits(max_data=200, max_stream_data=100, max_streams=20)
    with table(limits=limits) as at:
        at.peer.say(*says)
        at.settle()
        assert at.peer.closed[0] == ProtocolViolation.session_code
        assert why in at.peer.closed[1].decode()
        assert at.is_empty()


def test_streams_may_begin_in_any_order_and_are_granted_anew() -> None:
    with table(limits=QuicLimits(max_streams=4)) as at:
        for stream in (14, 2, 10, 6):
            at.peer.say(data_frame(NEWEST, stream, 0, b"x", True))
        at.settle()
        assert [at.heard.ends(stream) for stream in (2, 6, 10, 14)] == [["fin"]] * 4
        assert at.peer.granted[-1] == (Kind.MAX_STREAMS_UNI, (8,))
        at.peer.say(data_frame(NEWEST, 6, 1, b"late", False))
        at.relay.widen(100)
        at.settle()
        assert at.heard.data(6) == b"x"
        assert (Kind.MAX_STREAMS_BIDI, (100,)) in at.peer.granted
        assert at.is_empty()


def test_a_reset_uses_the_credit_of_what_never_comes() -> None:
    with table(limits=QuicLimits(max_data=100, max_stream_data=100)) as at:
        at.peer.say(data_frame(NEWEST, 2, 0, bytes(10), False), reset_frame(NEWEST, 2, 5, 60))
        at.settle()
        assert at.heard.ends(2) == [5]
        assert at.peer.granted == [(Kind.MAX_DATA, (150,))]


# Other versions


def test_before_there_was_a_draft_nobody_spoke_of_credit() -> None:
    with table(wire=LEGACY) as at:
        stream = at.relay.open_uni(bytes(100_000), True)
        for first in (6, 2):
            at.peer.say(data_frame(LEGACY, first, 0, bytes(1 << 20), True))
        at.settle()
        assert len(at.peer.streams[stream]) == 100_000
        assert len(at.heard.data(2)) == len(at.heard.data(6)) == 1 << 20
        assert not at.relay.send_datagram(b"x")
        at.relay.ping()
        at.peer.say(close_frame(LEGACY, 5, b"bye"))
        at.settle()
        assert at.heard.lost == [(5, "bye")]
        assert at.is_empty()


def test_streams_are_bounded_also_without_credit() -> None:
    with table(wire=LEGACY, limits=QuicLimits(max_streams=10)) as at:
        at.peer.say(data_frame(LEGACY, 4 * 10 + 2, 0, b"x", False))
        at.settle()
        assert b"one too many" in at.peer.closed[1]


def test_datagrams_go_to_who_takes_them() -> None:
    with table(takes=Parameters(100, 100, 100, 100, 10, 10, 50)) as at:
        assert at.relay.send_datagram(bytes(40))
        assert not at.relay.send_datagram(bytes(50))
        at.peer.say(encode_varints((Kind.DATAGRAM,)) + b"hello")
        at.settle()
        assert at.peer.datagrams == [bytes(40)]
        assert at.heard.datagrams == [b"hello"]


# All of it, in any order


class Steps:
    """What may happen next, by names that hypothesis chooses."""

    def __init__(self, at: Table) -> None:
        self.at, self.ours = at, []
        self.said: dict[int, bytes] = {}
        self.over: set[int] = set()
        self.theirs: dict[int, int] = {}
        self.sent: dict[int, bytes] = {}

    def open(self, n: int) -> None:
        opened = self.at.relay.open_uni() if n % 3 else self.at.relay.open_bidi()
        if opened is not None:
            self.ours.append(opened)
            self.said[opened] = b""

    def send(self, n: int) -> None:
        if self.ours:
            stream = self.ours[n % len(self.ours)]
            if stream not in self.over:
                data = bytes([n % 251]) * (n % 70)
                fin = n % 7 == 0
                self.at.relay.send(stream, data, fin)
                self.said[stream] += data
                if fin:
                    self.over.add(stream)

    def reset(self, n: int) -> None:
        if self.ours:
            stream = self.ours[n % len(self.ours)]
            self.at.relay.reset(stream, n)
            self.over.add(stream)

    def stop(self, n: int) -> None:
        if self.ours:
            stream = self.ours[n % len(self.ours)]
            self.at.peer.say(encode_varints((Kind.STOP, stream, n)))
            self.over.add(stream)

    def grant(self, n: int) -> None:
        self.at.peer.grant(n % 40)

    def grant_stream(self, n: int) -> None:
        if self.ours:
            self.at.peer.grant_stream(self.ours[n % len(self.ours)], n % 40)

    def grant_streams(self, n: int) -> None:
        self.at.peer.grant_streams(bool(n % 2), n % 3)

    def hear(self, n: int) -> None:
        stream = 4 * (n % 6) + 2
        if self.theirs.get(stream) == -1:
            return
        data, fin = bytes([n % 251]) * (n % 30), n % 5 == 0
        offset = self.theirs.get(stream, 0)
        self.at.peer.say(data_frame(self.at.peer.wire, stream, offset, data, fin))
        self.sent[stream] = self.sent.get(stream, b"") + data
        self.theirs[stream] = -1 if fin else offset + len(data)

    def settle(self, n: int) -> None:
        self.at.settle()

    def finish(self) -> None:
        """Everything ends, and there is credit for it."""
        for stream in self.ours:
            if stream not in self.over:
                self.at.relay.send(stream, b"", True)
        if self.at.peer.wire.has_credit:
            self.at.peer.grant(1 << 20)
            for stream in self.ours:
                self.at.peer.grant_stream(stream, 1 << 20)
        for stream in range(2, 26, 4):
            if self.theirs.get(stream) != -1:
                self.at.peer.say(
                    data_frame(self.at.peer.wire, stream, self.theirs.get(stream, 0), b"", True)
                )
        for stream in self.ours:
            if not is_uni(stream):
                self.at.peer.say(data_frame(self.at.peer.wire, stream, 0, b"", True))
        self.at.settle()


NAMES = ("open", "send", "send", "send", "reset", "stop", "grant", "grant_stream")
STEPS = st.lists(
    st.tuples(
        st.sampled_from((*NAMES, "grant_streams", "hear", "hear", "settle")), st.integers(0, 5000)
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from(WIRES))
def test_nothing_is_lost_and_no_rule_broken(steps: list[tuple[str, int]], wire: Wire) -> None:
    takes = Parameters(64, 32, 32, 32, 2, 3, 0)
    limits = QuicLimits(max_data=4096, max_stream_data=2048, max_streams=8)
    with table(wire=wire, takes=takes, limits=limits) as at:
        may = Steps(at)
        for name, number in steps:
            if "grant" in name and not wire.has_credit:
                continue
            step: Callable[[int], None] = getattr(may, name)
            step(number)
        may.finish()
        assert at.peer.closed is None
        for stream, said in may.said.items():
            got = at.peer.streams[stream]
            assert said.startswith(bytes(got))
            assert at.peer.ended[stream] != "fin" or got == said
        for stream, data in may.sent.items():
            assert at.heard.data(stream) == data
        assert at.is_empty()
        assert not at.relay._sending
        assert not at.relay._receiving


# What comes twice, late or early


def test_a_reset_after_the_end_uses_no_credit_again() -> None:
    """It is allowed (RFC 9000, 3.1), as the answer to a stop that crossed the end."""
    with table(limits=QuicLimits(max_data=200, max_stream_data=200)) as at:
        for offset in range(0, 490, 70):
            at.peer.say(data_frame(NEWEST, 2, offset, bytes(70), offset == 420))
        at.settle()
        for _ in range(2):
            at.peer.say(reset_frame(NEWEST, 2, 5, 490))
        at.settle()
        assert not at.relay.is_closed
        assert at.heard.ends(2) == ["fin"]
        assert max(most for kind, most in at.peer.granted if kind == Kind.MAX_DATA) == (600,)
        assert at.is_empty()


def test_an_end_said_twice_does_not_cost_what_waits() -> None:
    with table(takes=Parameters(100, 4, 4, 4, 10, 10)) as at:
        stream = at.relay.open_uni(b"eight by", True)
        at.relay.send(stream, b"late", True)
        at.settle()
        assert at.peer.streams[stream] == b"eigh"
        at.peer.grant_stream(stream, 4)
        at.settle()
        assert at.peer.streams[stream] == b"eight by"
        assert at.peer.ended == {stream: "fin"}
        assert at.is_empty()


def test_credit_may_open_a_stream_of_the_peers() -> None:
    """It begins with whatever comes first of it (RFC 9000, 3.1)."""
    with table(takes=Parameters(100, 4, 4, 4, 10, 10)) as at:
        at.peer.grant_stream(0, 4)
        at.peer.say(data_frame(NEWEST, 0, 0, b"ask", True))
        at.relay.send(0, b"eight by", True)
        at.settle()
        assert at.peer.streams[0] == b"eight by"
        assert at.is_empty()


@pytest.mark.parametrize("kind", [Kind.MAX_STREAM_DATA, Kind.STOP])
def test_a_stream_that_we_did_not_open_is_none_to_be_spoken_of(kind: Kind) -> None:
    with table() as at:
        at.peer.say(encode_varints((kind, 1, 5)))
        at.settle()
        assert at.peer.closed[0] == ProtocolViolation.session_code


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_nothing_is_heard_after_the_end(wire: Wire) -> None:
    with table(wire=wire) as at:
        at.relay.close(7, "over")
        at.peer.say(data_frame(wire, 2, 0, b"late", True), reset_frame(wire, 6, 1, 0))
        at.settle()
        at.peer.say(close_frame(wire, 5, b"bye"))
        at.settle()
        assert at.peer.closed == (7, b"over")
        assert at.heard.lost == [(7, "over")]
        assert at.heard.data(2) == b""
        assert at.relay.is_over
        assert at.is_empty()


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_who_is_gone_leaves_nothing(wire: Wire) -> None:
    with table(wire=wire) as at:
        at.relay.open_uni(bytes(100_000), True)
        at.relay.lost("gone")
        at.settle()
        assert at.heard.lost == [(0, "gone")]
        assert at.peer.streams == {}
        assert at.relay.is_over
        assert at.is_empty()


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_a_ping_is_said_where_there_is_a_word_for_it(wire: Wire) -> None:
    with table(wire=wire) as at:
        at.relay.ping()
        at.relay.ping()
        at.settle()
        pings = [numbers for kind, numbers in at.peer.granted if kind == Kind.PING]
        assert pings == ([(0,), (1,)] if wire.has_records else [])


def test_what_who_does_not_read_makes_us_say_has_a_bound() -> None:
    """Streams that begin, end and are stopped cost their peer no credit, and us an answer each."""
    with table(limits=QuicLimits(max_unsent=1000)) as at:
        for stream in range(0, 4000, 4):
            at.peer.say(
                data_frame(NEWEST, stream, 0, b"", True), encode_varints((Kind.STOP, stream, 1))
            )
        at.loop.run_until_complete(asyncio.sleep(0))
        why = "the peer reads too slowly (max_unsent)"
        assert at.heard.lost == [(LimitExceeded.session_code, why)]
        assert at.relay._unsent() < 1200
