"""Packets that came to the wrong worker, carried over to the one whose they are.

The kernel steers most packets (`relay.net.steer`); where it cannot, or while the port's sockets
change, whoever reads a packet that is not its own passes it on over a unix socket, with the address
it came from. Several go in one message, for the queue of such a socket is short. What the owner
does not take in time is lost, as on any network; where there is no owner, because it has died and
is being started again, another takes its place: it lets newcomers in and tells the sessions of the
dead that they are no more. This module must not know what a packet holds beyond the first byte of
its connection id.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from relay.net.steer import Share
from relay.net.udp import Address, Run, parted

MAX_MESSAGE = 60_000
"""Bytes of datagrams in one message; a larger datagram goes alone."""

READ = 1 << 17
"""Bytes of the largest message that is read."""

ADOPT = 0x80
"""Set beside the socket's number where the packets are to be the reader's, whoever's they were."""


_HEAD = struct.Struct("!BHIH")
"""What a packet begins with: the kind of its address, port, scope, and the bytes of the packet."""

_FAMILIES = {4: (socket.AF_INET, 4), 6: (socket.AF_INET6, 16)}
"""Kinds of addresses, and how many bytes a host of each has."""

_HERE = 0x10
"""Set beside the kind where a second host is the one of this machine that it was sent to."""


def cid_byte(data: bytes) -> int:
    """The first byte of the connection id, 0 for a datagram without one (`steer.program`)."""
    at = 6 if data and data[0] & 0x80 else 1
    return data[at] if len(data) > at else 0


class Strays:
    """One worker's unix socket for packets that others read, and its way to theirs."""

    def __init__(self, share: Share, places: Path) -> None:
        """``places`` is the folder of all workers' sockets. Raises `OSError`."""
        self._share = share
        self._ways = _Ways(share.count, places)
        own = _place(places, share.index)
        Path(own).unlink(missing_ok=True)
        self.sock = _socket()
        self.sock.bind(own)

    def keep(self, line: int, runs: list[Run]) -> list[Run]:
        """Pass on what is not ours and answer the rest, with what is of workers that are not there;
        ``line`` numbers the socket they came to.

        Those of a run have their connection id in common. A worker has its sockets in the same
        order as all others.
        """
        owned = _by_owner(runs, self._share.count)
        ours = owned.pop(self._share.index, [])
        for owner, theirs in owned.items():
            if not self._ways.carry(owner, line, theirs):
                ours.extend(theirs)
        return ours

    def receive(self, limit: int) -> Iterator[tuple[int, list[Run]]]:
        """Up to ``limit`` messages from the other workers: the socket's number, and its packets."""
        for _ in range(limit):
            try:
                message = self.sock.recv(READ)
            except OSError:
                return
            try:
                line, runs = unpack(message)
            except ValueError:
                continue
            if not line & ADOPT:
                # What is not ours here is nobody's: passed on again, it might travel for ever.
                runs = _by_owner(runs, self._share.count).get(self._share.index, [])
            yield line & ~ADOPT, runs

    def close(self) -> None:
        """Take no more."""
        self.sock.close()
        self._ways.close()


class StandIn:
    """Passes on what comes for workers that are not there. It belongs to no worker."""

    def __init__(self, count: int, places: Path) -> None:
        """``places`` is the folder of the sockets of ``count`` workers."""
        self._count = count
        self._ways = _Ways(count, places)

    def pass_on(self, line: int, runs: list[Run]) -> None:
        """Packets for whoever's they are, or for the next that is there; ``line`` and ``runs`` are
        those of `Strays.keep`. An owner that has just come gets its own."""
        for owner, theirs in _by_owner(runs, self._count).items():
            if self._ways.carry(owner, line, theirs):
                continue
            for further in range(1, self._count):
                if self._ways.carry((owner + further) % self._count, line | ADOPT, theirs):
                    break

    def close(self) -> None:
        """Pass on no more."""
        self._ways.close()


class _Ways:
    """The way to each worker: a socket of its own, for what one does not read fills the sender's,
    and must not keep anything from the others."""

    def __init__(self, count: int, places: Path) -> None:
        self._places = [_place(places, index) for index in range(count)]
        self._socks = [_socket() for _ in range(count)]

    def carry(self, owner: int, line: int, runs: Iterable[Run]) -> bool:
        """Send packets to a worker. False when nobody is there; what it has no room for is lost."""
        sock, place = self._socks[owner], self._places[owner]
        for message in _messages(line, runs):
            try:
                sock.sendto(message, place)
            except (ConnectionRefusedError, FileNotFoundError):
                return False
            except OSError:
                continue  # it does not keep up
        return True

    def close(self) -> None:
        """Send no more."""
        for sock in self._socks:
            sock.close()


def _socket() -> socket.socket:
    """One for messages between workers."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    with contextlib.suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return made


def _place(folder: Path, index: int) -> str:
    """Where a worker's socket is."""
    return str(folder / f"stray-{index}")


def _by_owner(runs: Iterable[Run], count: int) -> dict[int, list[Run]]:
    """Packets by the worker, of so many, whose they are."""
    owned: defaultdict[int, list[Run]] = defaultdict(list)
    for run in runs:
        owned[cid_byte(run[1][0]) % count].append(run)
    return owned


def _messages(line: int, runs: Iterable[Run]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for address, data in ((address, data) for address, datagrams in runs for data in datagrams):
        if parts and size + len(data) > MAX_MESSAGE:
            yield bytes((line,)) + b"".join(parts)
            parts.clear()
            size = 0
        parts.append(_pack(data, address))
        size += len(parts[-1])
    if parts:
        yield bytes((line,)) + b"".join(parts)


def _pack(data: bytes, address: Address) -> bytes:
    address, here = parted(address)
    host = str(address[0]).partition("%")[0]
    kind = 6 if ":" in host else 4
    scope = int(address[3]) if len(address) > 3 else 0
    head = _HEAD.pack(kind | _HERE if here else kind, int(address[1]), scope, len(data))
    hosts = (socket.inet_pton(_FAMILIES[kind][0], each) for each in (host, here) if each)
    return b"".join((head, *hosts, data))


def unpack(message: bytes) -> tuple[int, list[Run]]:
    """The socket's number and the packets of a message, each by itself. Raises `ValueError` for
    anything else."""
    if not message:
        raise ValueError("an empty message")
    runs: list[Run] = []
    at = 1
    try:
        while at < len(message):
            kind, port, scope, size = _HEAD.unpack_from(message, at)
            at += _HEAD.size
            family, length = _FAMILIES[kind & ~_HERE]
            hosts = []
            for _ in range(2 if kind & _HERE else 1):
                hosts.append(socket.inet_ntop(family, message[at : at + length]))
                at += length
            if at + size > len(message):
                raise ValueError("a message that is cut short")
            rest = (0, scope) if family == socket.AF_INET6 else ()
            runs.append(((hosts[0], port, *rest, *hosts[1:]), [message[at : at + size]]))
            at += size
    except KeyError:
        raise ValueError("an unknown kind of address") from None
    except struct.error:
        raise ValueError("a message that is cut short") from None
    return message[0], runs
