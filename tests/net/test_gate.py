"""Who may begin a handshake."""

import os

import pytest
from aioquic.quic.packet import QuicHeader, QuicPacketType
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.net.gate import Admitted, Gate, origin, read_header
from relay.net.settings import ListenSettings

HERE = ("192.0.2.1", 1000)


def first(token: bytes = b"", cid: bytes = b"d" * 8, version: int = 1) -> QuicHeader:
    return QuicHeader(version, QuicPacketType.INITIAL, 1200, cid, b"s" * 8, token, b"", [])


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::"),
    ],
)
def test_what_counts_as_one_address(address, key) -> None:
    assert origin(address) == key


def test_the_first_packet_must_be_padded_and_its_id_long() -> None:
    gate = Gate(ListenSettings())
    assert gate.judge(first(), 1199, HERE, 0.0) is None
    assert gate.judge(first(cid=b"d" * 7), 1200, HERE, 0.0) is None
    assert gate.judge(first(), 1200, HERE, 0.0) == Admitted(b"d" * 8)


def test_a_token_holds_for_its_address_its_id_and_thirty_seconds() -> None:
    gate = Gate(ListenSettings(max_handshakes=0))
    answer = gate.judge(first(), 1200, HERE, 100.0)
    retry = read_header(answer)
    assert retry.packet_type == QuicPacketType.RETRY
    again = first(retry.token, retry.source_cid)
    assert gate.judge(again, 1200, HERE, 101.0) == Admitted(b"d" * 8, retry.source_cid)
    for header, address, now in (
        (again, ("192.0.2.2", 1000), 101.0),
        (again, HERE, 131.0),
        (first(retry.token, b"e" * 8), HERE, 101.0),
        (first(retry.token[:-1], retry.source_cid), HERE, 101.0),
        (first(b"x"), HERE, 101.0),
    ):
        assert isinstance(gate.judge(header, 1200, address, now), bytes)


def test_no_answer_is_larger_than_its_question() -> None:
    busy, full = Gate(ListenSettings(max_handshakes=0)), Gate(ListenSettings(max_sessions=0))
    for gate, header in (
        (busy, first()),
        (busy, first(b"x")),
        (full, first()),
        (full, first(version=7)),
    ):
        answer = gate.judge(header, 1200, HERE, 0.0)
        assert isinstance(answer, bytes)
        assert len(answer) < 1200


def test_places_are_counted_per_address_and_given_back() -> None:
    gate = Gate(ListenSettings(max_sessions_per_address=1, max_sessions=2))
    neighbour, six = ("192.0.2.2", 1), ("2001:db8::1", 1, 0, 0)
    gate.enter(HERE)
    assert isinstance(gate.judge(first(), 1200, HERE, 0.0), bytes)
    assert gate.judge(first(), 1200, neighbour, 0.0) == Admitted(b"d" * 8)
    gate.enter(six)
    assert isinstance(gate.judge(first(), 1200, neighbour, 0.0), bytes)
    gate.leave(HERE, has_passed=False)
    gate.leave(six, has_passed=False)
    assert gate.judge(first(), 1200, HERE, 0.0) == Admitted(b"d" * 8)
    assert (gate.inside, gate.refused, gate.refused_last) == (0, 2, "192.0.2.2")


def test_a_name_that_a_proxy_passed_on_is_an_address_of_its_own() -> None:
    assert [origin((each, 0)) for each in ("made:up", "unknown", "")] == ["made:up", "unknown", ""]


def test_who_comes_while_nobody_is_let_in_is_not_one_too_many() -> None:
    gate = Gate(ListenSettings())
    gate.is_open = False
    assert isinstance(gate.judge(first(), 1200, HERE, 0.0), bytes)
    assert (gate.refused, gate.refused_last) == (0, "")
    assert not gate._inside


@given(st.binary(max_size=60), st.booleans())
@settings(max_examples=200)
def test_garbage_is_silence_or_a_short_answer(data: bytes, is_long: bool) -> None:
    gate = Gate(ListenSettings())
    if is_long:
        data = b"\xc0" + data
    data += os.urandom(8) + bytes(1200)
    header = read_header(data)
    if header is not None:
        verdict = gate.judge(header, len(data), HERE, 0.0)
        assert verdict is None or isinstance(verdict, Admitted) or len(verdict) < len(data)
