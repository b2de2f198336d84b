"""Asking for fewer acknowledgements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.net.ackrate import MOST, PATIENCE, AckRate, Asked
from relay.net.parameters import LEAST_ACK_DELAY, MIN_ACK_DELAY, OURS, number, read
from relay.wire.buffer import encode_varint, scan_varint

OFFER = encode_varint(0xFF04DE1B) + b"\x02" + encode_varint(1000)
OTHERS = b"\x04\x04\x84\x00\x00\x00" + b"\x0e\x01\x05"


def offered(parameters: bytes = OFFER) -> AckRate:
    rate = AckRate()
    if (least := number(read(parameters), MIN_ACK_DELAY)) is not None:
        rate.offered(least)
    return rate


def numbers(frame: bytes) -> list[int]:
    found, at = [], 0
    while at < len(frame):
        value, at = scan_varint(frame, at) or (-1, len(frame))
        found.append(value)
    return found


def test_we_can_be_asked_as_well() -> None:
    assert number(read(OURS), MIN_ACK_DELAY) == LEAST_ACK_DELAY
    asked = Asked(0.001)
    assert (asked.every, asked.patience, asked.strays) == (2, 0.001, 1)
    asked.hear(3, 9, 40_000)
    assert (asked.every, asked.patience, asked.strays) == (10, 0.04, 10)
    asked.hear(3, 1, 20_000)
    asked.hear(2, 1, 20_000)
    assert asked.every == 10
    asked.hear(4, 1 << 61, 1 << 61)
    assert (asked.every, asked.patience) == (MOST, PATIENCE)
    asked.hear(5, 0, 1_000)
    assert (asked.every, asked.patience) == (1, 0.001)


def test_nobody_is_asked_who_does_not_offer_it() -> None:
    assert AckRate().wish(1 << 20, 1452) is None
    assert offered(OTHERS).wish(1 << 20, 1452) is None


def test_a_peer_that_waits_longer_at_least_is_not_asked() -> None:
    slow = encode_varint(0xFF04DE1B) + b"\x04" + encode_varint(int(PATIENCE * 2e6))
    assert offered(slow).wish(1 << 20, 1452) is None


def test_a_peer_is_never_asked_for_less_than_it_offers() -> None:
    rate = offered(encode_varint(0xFF04DE1B) + b"\x04" + encode_varint(40_000))
    rate.ask(rate.wish(1 << 20, 1452) or 0)
    assert numbers(rate.ask(rate.wish(1452, 1452) or 0)) == [0xAF, 1, 1, 40_000, 3]


def test_the_offer_is_found_among_others() -> None:
    for parameters in (OFFER, OTHERS + OFFER, OFFER + OTHERS):
        assert offered(parameters).wish(1 << 20, 1452) == MOST


@given(st.binary(max_size=40))
def test_any_parameters_are_read(data) -> None:
    offered(data)


def test_a_small_window_needs_every_acknowledgement() -> None:
    rate = offered()
    assert rate.wish(14_520, 1452) is None
    assert rate.wish(1452 * 40, 1452) == 10


def test_it_is_asked_again_only_when_it_changes_much() -> None:
    rate = offered()
    first = rate.ask(rate.wish(1452 * 80, 1452) or 0)
    assert numbers(first) == [0xAF, 0, 19, 80_000, 3]
    assert rate.wish(1452 * 90, 1452) is None
    assert rate.wish(1452 * 160, 1452) == 40
    second = rate.ask(rate.wish(1452 * 20, 1452) or 0)
    assert numbers(second) == [0xAF, 1, 1, 25_000, 3]


def test_what_was_lost_is_asked_again() -> None:
    rate = offered()
    rate.ask(rate.wish(1 << 20, 1452) or 0)
    assert rate.wish(1 << 20, 1452) is None
    rate.lost()
    assert rate.wish(1 << 20, 1452) == MOST
    rate.ask(2)
    rate.lost()
    assert rate.wish(14_520, 1452) == 2
