"""Sockets: never blocking, never raising for what the network did."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ConfigError
from relay.net import udp


@pytest.fixture
def pair():
    """Two bound sockets."""
    (one,), (two,) = udp.bind("127.0.0.1", 0, 65536), udp.bind("127.0.0.1", 0, 65536)
    yield one, two
    one.close()
    two.close()


def built(in_c: bool, choose: Callable[[bool], Any], twin: Any) -> Any:
    """Who does it, in C or in Python."""
    found = choose(in_c)
    if in_c and found is twin:
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail("the C extension was not built")
        pytest.skip("not built for this system")
    return found


@pytest.fixture(params=[False, True], ids=["python", "c"])
def receive(request: pytest.FixtureRequest):
    """Who reads datagrams, of each kind."""
    return built(request.param, udp.reader, udp.receive)


@pytest.fixture(params=[False, True], ids=["python", "c"])
def send(request: pytest.FixtureRequest):
    """Who sends datagrams, of each kind."""
    return built(request.param, udp.writer, udp.send)


def datagrams(found: udp.Received) -> list[bytes]:
    """What came, whoever sent it."""
    return [data for _, some in found[0] for data in some]


def test_what_is_sent_is_received_up_to_the_limit(pair, receive, send) -> None:
    one, two = pair
    for data in (b"a", b"b", b"c"):
        assert send(one, data, 1, two.getsockname()) == 1
    assert datagrams(receive(two, 2, 8)) == [b"a", b"b"]
    assert receive(two, 5, 8) == ([(one.getsockname(), [b"c"])], 0)
    assert receive(two, 5, 8) == ([], 0)


def test_of_large_ones_fewer_are_read_at_a_time(pair, receive) -> None:
    one, two = pair
    for index in range(6):
        one.sendto(bytes([index]) * 4096, two.getsockname())
    first = datagrams(receive(two, 6, 8))
    assert len(first) < 6
    assert first + datagrams(receive(two, 100, 8)) == [bytes([at]) * 4096 for at in range(6)]


def test_it_is_told_from_whom_each_came(pair, receive) -> None:
    _, two = pair
    others = [udp.bind("127.0.0.1", 0, 65536)[0] for _ in range(3)]
    expected = []
    for index in (0, 0, 1, 2, 2, 0, 1, 1, 1, 0, 2):
        data = bytes([index]) * (index * 700)  # one may be empty
        others[index].sendto(data, two.getsockname())
        expected.append((data, others[index].getsockname()))
    runs, trouble = receive(two, 100, 8)
    assert trouble == 0
    assert [(data, address) for address, some in runs for data in some] == expected
    for sock in others:
        sock.close()


def runs_of(datagrams: list[tuple[int, bytes]], alike: int) -> list[tuple[int, list[bytes]]]:
    """How datagrams of several senders are told, said in another way."""
    runs: list[tuple[int, list[bytes]]] = []
    for sender, data in datagrams:
        if runs and runs[-1][0] == sender:
            first = runs[-1][1][0]
            are_long = min(len(first), len(data)) > alike
            if are_long and (first[0] < 0x80, first[1 : 1 + alike]) == (
                data[0] < 0x80,
                data[1 : 1 + alike],
            ):
                runs[-1][1].append(data)
                continue
        runs.append((sender, [data]))
    return runs


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from(
                [b"", b"\x40", b"\x40ab", b"\x41abc", b"\x40abd", b"\xc0abc", b"\x7fb", b"\x40ba"]
            ),
        ),
        max_size=12,
    ),
    st.integers(0, 3),
)
@pytest.mark.parametrize("in_c", [False, True], ids=["python", "c"])
def test_datagrams_that_begin_alike_come_together(in_c, sent, alike) -> None:
    receive = built(in_c, udp.reader, udp.receive)
    senders = [udp.bind("127.0.0.1", 0, 65536)[0] for _ in range(2)]
    (sock,) = udp.bind("127.0.0.1", 0, 65536)
    addresses = [each.getsockname() for each in senders]
    for sender, data in sent:
        senders[sender].sendto(data, sock.getsockname())
    found, batches = [], []
    while batch := receive(sock, 4, alike)[0]:  # what one call reads is told by itself
        found += [(addresses.index(address), some) for address, some in batch]
        batches.append(sum(len(some) for _, some in batch))
    at, expected = 0, []
    for size in batches:
        expected += runs_of(sent[at : at + size], alike)
        at += size
    assert found == expected
    assert at == len(sent)
    for each in (*senders, sock):
        each.close()


@pytest.mark.parametrize("alike", [-1, 32, "8"])
def test_not_any_number_of_bytes_is_compared(alike) -> None:
    receive = built(True, udp.reader, udp.receive)
    (sock,) = udp.bind("127.0.0.1", 0, 65536)
    with contextlib.closing(sock), pytest.raises((ValueError, TypeError)):
        receive(sock, 1, alike)


def test_an_address_of_ipv6(receive) -> None:
    try:
        (one,), (two,) = udp.bind("::1", 0, 65536), udp.bind("::1", 0, 65536)
    except ConfigError:
        pytest.skip("no IPv6 here")
    one.sendto(b"six", two.getsockname())
    assert receive(two, 1, 8) == ([(one.getsockname(), [b"six"])], 0)
    one.close()
    two.close()


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is Linux's")
@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_an_answer_leaves_from_the_host_that_was_asked(receive, send, everywhere) -> None:
    try:
        (here,) = udp.bind(everywhere, 0, 65536)
    except ConfigError:
        pytest.skip("no IPv6 here")
    port = here.getsockname()[1]
    hosts = ["127.0.0.2", "127.0.0.1", "127.0.0.3"]
    with contextlib.closing(here):
        for host in hosts:
            peer = udp.connect(socket.AF_INET, (host, port), 65536, ("127.0.0.1", 0))
            with contextlib.closing(peer):  # which hears nobody else
                peer.send(host.encode())
                ((address, [data]),), _ = receive(here, 9, 8)
                assert udp.plain(address) == peer.getsockname()
                assert send(here, data, 9, address) == 9  # one datagram
                assert send(here, data + b"!", 4, address) == 10  # a train
                train = [data[:4], data[4:8], data[8:] + b"!"]
                assert datagrams(receive(peer, 9, 8)) == [data, *train]


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.9 is Linux's")
def test_packets_of_one_client_to_several_hosts_are_told_apart(receive) -> None:
    (here,) = udp.bind("0.0.0.0", 0, 65536)
    (peer,) = udp.bind("127.0.0.1", 0, 65536)
    with contextlib.closing(here), contextlib.closing(peer):
        sent = [("127.0.0.1", b"one"), ("127.0.0.1", b"two"), ("127.0.0.9", b"three")]
        for host, data in sent:
            peer.sendto(data, (host, here.getsockname()[1]))
        runs, _ = receive(here, 9, 2)
        assert [(udp.parted(address)[1], some) for address, some in runs] == [
            ("127.0.0.1", [b"one"]),
            ("127.0.0.1", [b"two"]),
            ("127.0.0.9", [b"three"]),
        ]


def test_what_is_no_socket_is_refused(receive) -> None:
    with pytest.raises((TypeError, AttributeError)):
        receive("none", 1, 8)
    with socket.socket() as stream:
        stream.setblocking(False)
        assert receive(stream, 3, 8) == ([], errno.ENOTCONN), "every try fails"


class Broken:
    """A socket that fails in one way."""

    in_trains = False

    def __init__(self, *failures: int | None) -> None:
        self.failures = list(failures)

    def sendto(self, data: bytes, address: object) -> None:
        if (number := self.failures.pop(0)) is not None:
            raise OSError(number, "")


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EWOULDBLOCK])
def test_a_full_queue_is_answered(number) -> None:
    assert udp.send(Broken(None, number), b"aabbc", 2, ("x", 1)) == 2


@pytest.mark.parametrize(
    "number", [errno.ENETUNREACH, errno.EPERM, errno.EMSGSIZE, errno.ECONNREFUSED, errno.ENOBUFS]
)
def test_any_other_failure_loses_one_datagram(number) -> None:
    assert udp.send(Broken(number, None), b"ab", 1, ("x", 1)) == 2


def test_a_closed_socket_moves_nothing(pair, receive, send) -> None:
    one, two = pair
    address = two.getsockname()
    two.close()
    assert receive(two, 5, 8) == ([], errno.EBADF)
    assert send(two, b"abc", 2, one.getsockname()) == 3, "lost, as on the way"
    assert send(one, b"abc", 2, address) == 3


class Mute(udp.Socket):
    """A socket of this machine alone, whose peer reads nothing: it is full soon."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        socket.socket.__init__(self, socket.AF_UNIX, socket.SOCK_DGRAM, 0, near.detach())
        self.setblocking(False)
        self.in_trains = False

    def close(self) -> None:
        self.far.close()
        super().close()


def test_what_the_kernel_does_not_take_is_answered(send) -> None:
    with contextlib.closing(Mute()) as sock:
        data = bytes(1000) * 5000
        done = send(sock, data, 1000, None)
        assert 0 < done < len(data)
        assert done % 1000 == 0
        assert send(sock, data, 1000, None) == 0
        took = 0
        sock.far.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while sock.far.recv(2000):
                took += 1000
        assert took == done


def test_a_datagram_that_is_too_large_is_lost(pair, receive, send) -> None:
    one, two = pair
    for in_trains in (True, False):
        one.in_trains = in_trains
        assert send(one, bytes(65_520) + b"x", 65_520, two.getsockname()) == 65_521
        assert datagrams(receive(two, 9, 8)) == [b"x"]


def test_names_are_looked_up(pair, receive, send) -> None:
    one, two = pair
    assert send(one, b"abc", 2, ("localhost", two.getsockname()[1])) == 3
    assert datagrams(receive(two, 9, 8)) == [b"ab", b"c"]


def test_what_makes_no_sense_is_refused(pair, send) -> None:
    for wrong in (("::1", 9, 0, 0, 0), ("127.0.0.1",), "127.0.0.1", ("127.0.0.1", 1 << 20)):
        with pytest.raises((TypeError, OverflowError, ValueError)):
            send(pair[0], b"x", 1, wrong)


def test_a_closed_port_is_noticed_on_a_connected_socket(pair, receive, send) -> None:
    one, _ = pair
    address = one.getsockname()
    one.close()
    sock = udp.connect(socket.AF_INET, address, 65536)
    send(sock, b"x", 1, None)
    sock.setblocking(True)
    sock.settimeout(1)
    with pytest.raises(ConnectionRefusedError):
        sock.recv(1)
    sock.setblocking(False)
    send(sock, b"x", 1, None)
    assert receive(sock, 4, 8) == ([], errno.ECONNREFUSED)
    sock.close()


def test_dual_stack() -> None:
    (sock,) = udp.bind("::", 0, 65536)
    port = sock.getsockname()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
        four.sendto(b"x", ("127.0.0.1", port))
        sock.setblocking(True)
        data, address = sock.recvfrom(10)
    assert data == b"x"
    assert udp.plain(address)[0] == "127.0.0.1"
    sock.close()


def test_a_taken_port(pair) -> None:
    port = pair[0].getsockname()[1]
    with pytest.raises(ConfigError, match=f"cannot listen on UDP 127.0.0.1:{port}: .*in use"):
        udp.bind("127.0.0.1", port, 65536)


def test_addresses_that_this_machine_has_not_are_left_out(monkeypatch: Any) -> None:
    def named(*hosts: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (host, 0)) for host in hosts]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    named("203.0.113.1", "127.0.0.1", "127.0.0.2")
    one, two = udp.bind("somewhere", 0, 65536)
    with one, two:
        (first, port), (second, other) = one.getsockname(), two.getsockname()
        assert (first, second, port) == ("127.0.0.1", "127.0.0.2", other)
    named("203.0.113.1", "203.0.113.2")
    with pytest.raises(ConfigError, match=r"^cannot listen on UDP somewhere:0: "):
        udp.bind("somewhere", 0, 65536)


def test_a_host_that_is_none() -> None:
    with pytest.raises(ConfigError, match="does not resolve"):
        udp.bind("no such host.invalid", 0, 65536)


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        (("192.0.2.1", 5), ("192.0.2.1", 5)),
        (("::ffff:192.0.2.1", 5, 0, 0), ("192.0.2.1", 5)),
        (("2001:db8::1", 5, 0, 0), ("2001:db8::1", 5)),
    ],
)
def test_plain_addresses(address, plain) -> None:
    assert udp.plain(address) == plain


def test_a_train_leaves_and_comes_as_the_datagrams_it_was_made_of(pair, receive, send) -> None:
    one, two = pair
    sizes = [1200] * 7 + [300] + [1200, 1350, 10] + [900] * 70
    sent = [bytes([index]) * size for index, size in enumerate(sizes)]
    for start in range(0, len(sent), 20):
        part = sent[start : start + 20]
        for data, size in udp.joined((each, len(each)) for each in part):
            assert send(one, data, size, two.getsockname()) == len(data)
        got: list[bytes] = []
        while found := datagrams(receive(two, 256, 8)):
            got += found
        assert got == part


class NoTrains:
    """A socket whose device cannot send trains."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.in_trains = True

    def sendmsg(self, *_: object) -> None:
        raise OSError(errno.EIO, "")

    def sendto(self, data: bytes, address: object) -> None:
        self.sent.append(data)


def test_where_no_train_can_leave_datagrams_go_one_by_one() -> None:
    sock = NoTrains()
    assert sock.in_trains
    assert udp.send(sock, b"aabbc", 2, ("x", 1)) == 5
    assert sock.sent == [b"aa", b"bb", b"c"]
    assert not sock.in_trains


class Counting:
    """A socket that takes everything."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int]] = []
        self.in_trains = True

    def sendmsg(self, parts, ancillary, *_: object) -> None:
        self.sent.append((b"".join(parts), int.from_bytes(ancillary[0][2], sys.byteorder)))

    def sendto(self, data: bytes, address: object) -> None:
        self.sent.append((data, len(data)))


def cut(data: bytes, size: int) -> list[bytes]:
    """The datagrams of a train."""
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(st.integers(1, 1500), st.integers(1, 200), st.integers(1, 1500))
def test_a_call_moves_no_more_than_the_kernel_takes(size, count, last) -> None:
    datagrams = [bytes([index % 256]) * size for index in range(count)] + [bytes(min(last, size))]
    sock = Counting()
    assert udp.send(sock, b"".join(datagrams), size, ("x", 1)) == sum(map(len, datagrams))
    assert [each for train in sock.sent for each in cut(*train)] == datagrams
    for data, step in sock.sent:
        assert len(data) <= udp._MAX_TRAIN_BYTES
        assert len(cut(data, step)) <= udp.MAX_TRAIN
    full = min(udp.MAX_TRAIN, udp._MAX_TRAIN_BYTES // size)
    assert len(sock.sent) == -(-len(datagrams) // full)


@pytest.mark.parametrize("size", [64_999, 65_000, 65_001, 65_507])
def test_datagrams_larger_than_a_train_leave_one_by_one(size) -> None:
    sock = Counting()
    assert udp.send(sock, bytes(size + 5), size, ("x", 1)) == size + 5
    assert [len(data) for data, _ in sock.sent] == [size, 5]


@given(st.lists(st.tuples(st.sampled_from([10, 9, 13]), st.integers(1, 40)), max_size=12))
def test_trains_are_joined_where_their_sizes_allow(shapes) -> None:
    trains = [(bytes([index]) * length, size) for index, (size, length) in enumerate(shapes)]
    before = [each for train in trains for each in cut(*train)]
    joined = udp.joined(trains)
    assert [each for train in joined for each in cut(*train)] == before
    for (data, size), (after, step) in pairwise(joined):
        # What follows could not have been joined: it is larger, or what it would follow is short.
        assert len(data) % size or min(len(after), step) > size or (len(after) > step != size)


def test_joining_nothing() -> None:
    assert udp.joined([]) == []


SANDBOXED = """
import ctypes, errno, struct, sys
from relay.net import udp

(one,), (two,) = udp.bind("127.0.0.1", 0, 65536), udp.bind("127.0.0.1", 0, 65536)
steps = (
    (0x20, 0, 0, 0),  # load the number of a call
    (0x15, 0, 1, int(sys.argv[1])),  # is it recvmmsg?
    (0x06, 0, 0, 0x00050000 | int(sys.argv[2])),  # yes: an error
    (0x06, 0, 0, 0x7FFF0000),  # no: go on
)
code = b"".join(struct.pack("=HBBI", *step) for step in steps)
held = ctypes.create_string_buffer(code, len(code))
where = struct.pack("@HP", len(steps), ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(where), 0, 0):
    raise SystemExit("skip")
udp.send(one, b"abc", 1, two.getsockname())
runs, trouble = udp.reader(True)(two, 8, 8)
print([data for _, some in runs for data in some], trouble)
"""


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=["not there", "forbidden"])
def test_a_sandbox_without_the_call_for_many_datagrams(error: int) -> None:
    number = {"x86_64": 299, "aarch64": 243}.get(os.uname().machine)
    if sys.platform != "linux" or number is None:
        pytest.skip("whose number of recvmmsg is not known here")
    words = [sys.executable, "-c", SANDBOXED, str(number), str(error)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.stderr.strip() == "skip":
        pytest.skip("nothing can be forbidden here")
    assert done.stdout.strip() == "[b'a', b'b', b'c'] 0", done.stderr
