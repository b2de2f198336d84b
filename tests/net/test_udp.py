"""Sockets: never blocking, never raising for what the network did."""

import errno
import socket

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


def test_what_is_sent_is_received_up_to_the_limit(pair) -> None:
    one, two = pair
    assert udp.send(one, [b"a", b"", b"c"], two.getsockname()) == 3
    assert [data for data, _ in udp.receive(two, 2)[0]] == [b"a", b""]
    assert udp.receive(two, 5) == ([(b"c", one.getsockname())], False)
    assert udp.receive(two, 5) == ([], False)


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
    assert udp.send(Broken(None, number), [b"a", b"b", b"c"], ("x", 1)) == 1


@pytest.mark.parametrize(
    "number", [errno.ENETUNREACH, errno.EPERM, errno.EMSGSIZE, errno.ECONNREFUSED, errno.ENOBUFS]
)
def test_any_other_failure_loses_one_datagram(number) -> None:
    assert udp.send(Broken(number, None), [b"a", b"b"], ("x", 1)) == 2


def test_a_closed_port_is_noticed_on_a_connected_socket(pair) -> None:
    one, _ = pair
    address = one.getsockname()
    one.close()
    sock = udp.connect(socket.AF_INET, address, 65536)
    udp.send(sock, [b"x"], None)
    sock.setblocking(True)
    sock.settimeout(1)
    with pytest.raises(ConnectionRefusedError):
        sock.recv(1)
    sock.setblocking(False)
    udp.send(sock, [b"x"], None)
    assert udp.receive(sock, 4)[1]
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


def test_a_train_leaves_and_comes_as_the_datagrams_it_was_made_of(pair) -> None:
    one, two = pair
    sizes = [1200] * 7 + [300] + [1200, 1350, 10] + [900] * 70
    datagrams = [bytes([index]) * size for index, size in enumerate(sizes)]
    for start in range(0, len(datagrams), 20):
        part = datagrams[start : start + 20]
        assert udp.send(one, part, two.getsockname()) == len(part)
        got: list[bytes] = []
        while found := udp.receive(two, 256)[0]:
            got += [data for data, _ in found]
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
    assert udp.send(sock, [b"a", b"b", b"c"], ("x", 1)) == 3
    assert sock.sent == [b"a", b"b", b"c"]
    assert not sock.in_trains


@given(st.lists(st.integers(0, 3), min_size=1, max_size=70))
def test_a_train_is_of_one_size_but_its_last(kinds) -> None:
    sizes = [(0, 1200, 900, 1300)[kind] for kind in kinds]
    datagrams = [bytes(size) for size in sizes]
    for start in range(len(sizes)):
        length = udp._train(datagrams, start)
        train = sizes[start : start + length]
        assert 1 <= length <= udp.MAX_TRAIN
        assert sum(train) <= udp._MAX_TRAIN_BYTES
        assert length == 1 or 0 < train[-1] <= train[0]
        assert all(size == train[0] for size in train[:-1])
        following = sizes[start + length : start + length + 1]
        is_full = length == udp.MAX_TRAIN or sum(train) + sizes[start] > udp._MAX_TRAIN_BYTES
        if following == [train[0]] and train[0] == train[-1] and train[0]:
            assert is_full
