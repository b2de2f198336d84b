"""Who reads for workers that are away: the others, and nobody where there is none."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.net.steer import Share, bind_all
from relay.net.stray import Strays
from relay.server.absence import Absences
from relay.server.listeners import Workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel has to steer")

COUNT = 2
PACKETS = {0: b"\x40\x04" + bytes(30), 1: b"\x40\x05" + bytes(30)}
"""One for each worker; the kernel steers them to their sockets."""


@pytest.fixture
def quic() -> Iterator[Workers]:
    """The sockets of all workers."""
    sockets = bind_all("127.0.0.1", 0, 1 << 16, COUNT)
    yield sockets
    for sock in (each for worker in sockets for each in worker):
        sock.close()


def send(quic: Workers, *workers: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for worker in workers:
            sender.sendto(PACKETS[worker], quic[0][0].getsockname())


def heard(strays: Strays) -> list[bytes]:
    return [data for _, runs in strays.receive(10) for _, some in runs for data in some]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0.01)


def test_one_that_is_there_gets_what_comes_for_one_that_is_not(
    quic: Workers, tmp_path: Path
) -> None:
    async def main() -> None:
        zero = Strays(Share(0, COUNT), tmp_path)
        absences = Absences(quic, tmp_path)
        absences.begin(1)
        send(quic, 1, 0, 1)
        await settle()
        assert heard(zero) == [PACKETS[1]] * 2
        assert quic[0][0].recv(100) == PACKETS[0], "whoever is there reads for itself"
        absences.end(1)
        send(quic, 1)
        await settle()
        assert heard(zero) == []
        assert quic[1][0].recv(100) == PACKETS[1]
        absences.close()
        zero.close()

    asyncio.run(main())


def test_while_nobody_is_there_packets_wait(quic: Workers, tmp_path: Path) -> None:
    async def main() -> None:
        absences = Absences(quic, tmp_path)
        absences.begin(0)
        absences.begin(1)
        send(quic, 0, 1)
        await settle()
        zero = Strays(Share(0, COUNT), tmp_path)
        absences.end(0)
        await settle()
        assert heard(zero) == [PACKETS[1]]
        assert quic[0][0].recv(100) == PACKETS[0]
        absences.close()
        send(quic, 1)
        await settle()
        assert quic[1][0].recv(100) == PACKETS[1], "after the end nobody else reads"
        zero.close()

    asyncio.run(main())
