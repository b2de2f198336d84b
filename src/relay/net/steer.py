"""Several processes on one UDP port: whose a packet is, and how the kernel is told.

The law: the first byte of a connection id says which worker a packet belongs to, and nothing else
does, so a client may change its address and keeps its worker. Where the kernel cannot read that
byte, or errs, `relay.net.stray` carries the packet over. This module must not know what packets
hold beyond that byte, nor what a worker is.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys

from relay.errors import ConfigError
from relay.net import udp

MAX_WORKERS = 64
"""Processes on one port; each owns at least four of the 256 first bytes."""

UNSTEERED = "RELAY_UNSTEERED"
"""Variable that keeps the kernel from steering, as on systems where it cannot: for tests."""

_ATTACH = 51
"""SO_ATTACH_REUSEPORT_CBPF (Linux, asm-generic/socket.h)."""


class Share:
    """The connection ids of one worker among ``count``. Raises `ValueError` for no such worker."""

    __slots__ = ("count", "index")

    def __init__(self, index: int = 0, count: int = 1) -> None:
        if not 0 <= index < count <= MAX_WORKERS:
            raise ValueError(f"no worker {index} of {count}")
        self.index = index
        self.count = count

    def draw(self, length: int) -> bytes:
        """A random connection id of this worker."""
        return self.mark(os.urandom(length))

    def mark(self, cid: bytes) -> bytes:
        """The id that is this worker's and differs from ``cid`` in its first byte at most."""
        if self.count == 1 or not cid or self.is_ours(cid):
            return cid
        first = cid[0] - cid[0] % self.count + self.index
        return bytes((first if first < 256 else first - self.count,)) + cid[1:]

    def owner(self, cid: bytes) -> int:
        """Whose a packet to this id is."""
        return cid[0] % self.count if cid else 0

    def is_ours(self, cid: bytes) -> bool:
        """Whether it is this worker's."""
        return self.owner(cid) == self.index


WHOLE = Share()
"""One process has all ids."""


def program(count: int) -> bytes:
    """Classic BPF that answers the worker of a datagram; one too short for an id is worker 0's.

    The connection id begins at byte 6 of a long header and at byte 1 of a short one (RFC 9000, 17).
    """
    steps = (
        (0x30, 0, 0, 0),  # load byte 0
        (0x45, 0, 2, 0x80),  # is it a long header?
        (0x30, 0, 0, 6),  # yes: load byte 6
        (0x05, 0, 0, 1),  # and go on after the next
        (0x30, 0, 0, 1),  # no: load byte 1
        (0x94, 0, 0, count),  # the rest of its division by the number of workers
        (0x16, 0, 0, 0),  # is the answer
    )
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def steer(sock: socket.socket, count: int) -> bool:
    """Have the kernel give each datagram of the port to its worker; False where it cannot.

    ``sock`` is any socket of the port; workers are numbered in the order of binding.
    """
    if sys.platform != "linux" or os.environ.get(UNSTEERED):
        return False
    steps = program(count)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    # struct sock_fprog: the number of steps, and where they are.
    where = struct.pack("@HP", len(steps) // 8, ctypes.addressof(buffer))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH, where)
    except OSError:
        return False
    return True


def bind_all(host: str, port: int, buffer: int, count: int) -> list[list[udp.Socket]]:
    """The sockets of each worker, in order. Raises `ConfigError` when the port is taken.

    They have to stay open in the process that called: closing one would renumber the others.
    """
    firsts = udp.bind(host, port, buffer)
    # Shared from now on only, so that another relay on this port is noticed as it always is.
    workers = [firsts]
    try:
        for first in firsts:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(1, count):
            workers.append([])
            for first in firsts:
                workers[-1].append(udp.bind_beside(first, buffer))
    except (OSError, AttributeError) as error:
        for sock in (each for worker in workers for each in worker):
            sock.close()
        raise ConfigError(f"server.workers: this system shares no port: {error}") from None
    for first in firsts:
        steer(first, count)
    return workers
