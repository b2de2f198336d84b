"""Several workers on one port: whose an id is, and what the kernel makes of it."""

import os
import random
import socket

import pytest
from aioquic.quic.configuration import QuicConfiguration
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ConfigError
from relay.net import steer, udp
from relay.net.engine import Engine
from relay.net.gate import Gate, read_header
from relay.net.settings import ListenSettings, QuicLimits
from relay.net.steer import MAX_WORKERS, Share, bind_all, program
from relay.net.tls import Certificates

SHARES = st.integers(1, MAX_WORKERS).flatmap(
    lambda count: st.builds(Share, st.integers(0, count - 1), st.just(count))
)


@given(SHARES, st.binary(min_size=1, max_size=20))
def test_an_id_is_made_ours_by_its_first_byte_alone(share: Share, cid: bytes) -> None:
    marked = share.mark(cid)
    assert share.is_ours(marked)
    assert (len(marked), marked[1:]) == (len(cid), cid[1:])
    assert share.mark(marked) == marked
    assert abs(marked[0] - cid[0]) < share.count


@given(SHARES)
def test_drawn_ids_are_ours_and_differ(share: Share) -> None:
    drawn = [share.draw(8) for _ in range(20)]
    assert all(map(share.is_ours, drawn))
    assert len(set(drawn)) == 20


@pytest.mark.parametrize(("index", "count"), [(1, 1), (-1, 2), (0, MAX_WORKERS + 1), (0, 0)])
def test_no_such_worker(index: int, count: int) -> None:
    with pytest.raises(ValueError, match="no worker"):
        Share(index, count)


def test_every_id_of_a_connection_is_its_workers() -> None:
    share = Share(2, 3)
    pair = Certificates.generated(["localhost"]).current
    for _ in range(20):
        configuration = QuicConfiguration(is_client=False, connection_id_length=8)
        configuration.certificate, configuration.private_key = pair.chain[0], pair.key
        engine = Engine(configuration, QuicLimits(), b"d" * 8, share=share)
        engine._remote_active_connection_id_limit = 8
        engine._replenish_connection_ids()
        ids = [each.cid for each in engine._host_cids]
        assert len(set(ids)) == 8
        assert all(map(share.is_ours, ids))
        assert engine.host_cid == engine._local_initial_source_connection_id == ids[0]


def test_a_retry_leads_back_to_its_worker() -> None:
    from tests.net.test_gate import HERE, first

    for index in range(3):
        gate = Gate(ListenSettings(max_handshakes=0), Share(index, 3))
        for _ in range(20):
            answer = gate.judge(first(), 1200, HERE, 0.0)
            assert isinstance(answer, bytes)
            header = read_header(answer)
            assert header is not None
            assert header.source_cid[0] % 3 == index


def crafted(cid: bytes) -> bytes:
    """A datagram with a long or a short header, to a connection id."""
    if random.random() < 0.5:
        return bytes((0xC0, 0, 0, 0, 1, len(cid))) + cid + os.urandom(20)
    return b"\x40" + cid + os.urandom(20)


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no port can be shared here")
@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_kernel_gives_each_datagram_to_its_worker(count: int) -> None:
    """From many source ports and with ids of all kinds, none goes astray."""
    workers = bind_all("127.0.0.1", 0, 1 << 20, count)
    place = workers[0][0].getsockname()
    if not steer.steer(workers[0][0], count):
        pytest.skip("the kernel steers nothing here")
    sent = [0] * count
    sources = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
    got = [0] * count
    try:
        for _ in range(16):
            for source in sources:
                cid = os.urandom(8)
                source.sendto(crafted(cid), place)
                sent[cid[0] % count] += 1
            for index, (sock,) in enumerate(workers):
                for _, some in udp.receive(sock, 1000, 8)[0]:
                    for data in some:
                        assert data[6 if data[0] & 0x80 else 1] % count == index
                        got[index] += 1
        assert got == sent
        assert min(sent) > 0
        sources[0].sendto(b"\x40", place)  # too short for an id
        expected = [(("127.0.0.1", _port(sources[0])), [b"\x40"])]
        assert udp.receive(workers[0][0], 10, 0)[0] == expected
    finally:
        for sock in (*sources, *(each for worker in workers for each in worker)):
            sock.close()


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_a_shared_port_is_not_shared_with_strangers() -> None:
    ours = bind_all("127.0.0.1", 0, 65536, 2)
    port = _port(ours[0][0])
    try:
        with pytest.raises(ConfigError, match="in use"):
            bind_all("127.0.0.1", port, 65536, 2)
        with pytest.raises(ConfigError, match="in use"):
            udp.bind("127.0.0.1", port, 65536)
    finally:
        for sock in (each for worker in ours for each in worker):
            sock.close()


def test_the_program_is_seven_steps() -> None:
    assert len(program(5)) == 7 * 8
