"""Packets at the wrong worker: carried over whole, with their address, and never in a circle."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.net import stray
from relay.net.steer import Share
from relay.net.stray import StandIn, Strays, _messages, cid_byte, unpack

V4 = ("192.0.2.7", 4433)
V6 = ("2001:db8::9", 4434, 0, 3)
TOLD = [(*V4, "192.0.2.1"), (*V6, "2001:db8::1"), ("::ffff:192.0.2.7", 9, 0, 0, "::ffff:192.0.2.1")]
"""Of whom it is known as well to which host of this machine they sent."""


@pytest.fixture
def two(tmp_path: Path):
    """The sockets of two workers."""
    one, other = (Strays(Share(index, 2), tmp_path) for index in range(2))
    yield one, other
    one.close()
    other.close()


def packet(first: int, size: int = 100) -> bytes:
    return b"\x40" + bytes((first,)) + os.urandom(size)


def test_ours_stay_and_theirs_arrive(two) -> None:
    one, other = two
    ours, theirs, more = packet(4), packet(5), packet(7)
    assert one.keep(1, [(V4, [ours]), (V4, [theirs]), (V6, [more])]) == [(V4, [ours])]
    assert list(other.receive(10)) == [(1, [(V4, [theirs]), (V6, [more])])]
    assert list(one.receive(10)) == []


def test_a_long_header_has_its_id_elsewhere() -> None:
    assert cid_byte(b"\xc0\0\0\0\1\x08\x2a1234567") == 0x2A
    assert cid_byte(b"\x40\x2b") == 0x2B
    assert cid_byte(b"\x40") == cid_byte(b"") == cid_byte(b"\xc0\0\0\0\1\x08") == 0


def test_what_is_not_ours_either_travels_no_further(two) -> None:
    one, other = two
    (message,) = _messages(0, [(V4, [packet(4)]), (V4, [packet(5)])])
    one.sock.sendto(message, other.sock.getsockname())
    ((_, found),) = other.receive(10)
    assert [cid_byte(data) for _, [data] in found] == [5]


def test_packets_of_a_worker_that_is_gone_are_of_whoever_reads_them(two) -> None:
    one, other = two
    other.close()
    runs = [(V4, [packet(4)]), (V4, [packet(5)])]
    assert one.keep(0, runs) == runs


def test_a_worker_that_does_not_keep_up_keeps_what_is_its(two) -> None:
    one, _ = two
    burst = [(V4, [packet(5, 60_000)]) for _ in range(2000)]
    assert one.keep(0, burst) == []


@pytest.mark.parametrize("who", ["a worker", "a stand-in"])
def test_one_that_does_not_keep_up_keeps_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Linux counts what it has not read against its sender."""
    usual = stray._socket

    def small() -> socket.socket:
        made = usual()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        return made

    monkeypatch.setattr(stray, "_socket", small)
    zero, one, two = (Strays(Share(index, 3), tmp_path) for index in range(3))
    stand_in = StandIn(3, tmp_path)
    give = zero.keep if who == "a worker" else stand_in.pass_on
    for _ in range(20):
        give(0, [(V4, [packet(1, 30_000)])])
    for _ in range(5):
        sent = packet(2)
        give(0, [(V4, [sent])])
        assert list(two.receive(1)) == [(0, [(V4, [sent])])]
    for each in (zero, one, two, stand_in):
        each.close()


def test_a_stand_in_gives_owners_their_own_and_the_rest_to_the_next(tmp_path: Path) -> None:
    zero, two = (Strays(Share(index, 3), tmp_path) for index in (0, 2))
    stand_in = StandIn(3, tmp_path)
    packets = {first: packet(first) for first in (6, 7, 8)}
    stand_in.pass_on(1, [(V6, [data]) for data in packets.values()])
    assert list(zero.receive(10)) == [(1, [(V6, [packets[6]])])]
    assert sorted(two.receive(10)) == [(1, [(V6, [packets[first]])]) for first in (7, 8)]
    two.close()
    stand_in.pass_on(0, [(V4, [packets[7], packets[7]])])
    assert list(zero.receive(10)) == [(0, [(V4, [packets[7]])] * 2)]
    zero.close()
    stand_in.pass_on(0, [(V4, [packets[7]])])  # nobody is there: lost
    stand_in.close()


def test_a_burst_fits_a_short_queue(two) -> None:
    one, other = two
    burst = [packet(1, 1300) for _ in range(100)]
    assert one.keep(0, [(V4, burst)]) == []
    assert [data for _, some in other.receive(10) for _, [data] in some] == burst


def test_garbage_is_skipped(two) -> None:
    one, other = two
    for message in (b"", b"\0\x09", b"\0\x04\x01", b"\0\x04" + bytes(8) + b"\0", os.urandom(100)):
        one.sock.sendto(message, other.sock.getsockname())
    one.keep(0, [(V4, [packet(5)])])
    assert [data[1] for _, some in other.receive(10) for _, [data] in some if data] == [5]


@given(
    st.integers(0, 255),
    st.lists(
        st.tuples(st.sampled_from([V4, V6, *TOLD]), st.lists(st.binary(max_size=3000), max_size=9)),
        max_size=20,
    ),
)
def test_nothing_changes_on_the_way(line: int, runs) -> None:
    found = []
    for message in _messages(line, runs):
        number, some = unpack(message)
        assert number == line
        assert len(message) < 1 << 16
        found += some
    assert found == [(address, [data]) for address, datagrams in runs for data in datagrams]


@given(st.binary(max_size=200))
def test_any_message_is_read_or_refused(message: bytes) -> None:
    try:
        _, packets = unpack(message)
    except ValueError:
        return
    assert sum(len(data) for _, [data] in packets) <= len(message)
