"""The two calls that move datagrams, and how the socket below them is made.

A socket here never blocks and never raises for what the network did: an ICMP error costs one
datagram, a full kernel queue is answered to the caller. How many datagrams a system call moves is
known here and nowhere else. This module must not know QUIC.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from relay.errors import ConfigError
from relay.hosts import with_port
from relay.net.built import speedups

Address = tuple[Any, ...]
"""A socket address as the system gives it: two members for IPv4, four for IPv6. Of who sent
something to a socket that listens everywhere one more says to which of this machine's hosts, and
what is sent to that address leaves from there: to the peer anything else is a stranger's."""

Datagrams = tuple[bytes, int]
"""Datagrams, joined, and the size of each; the last may be shorter."""

AnySocket = TypeVar("AnySocket", bound=socket.socket)

Run = tuple[Address, list[bytes]]
"""Datagrams that came in a row from one address and begin alike; not always all of them."""

Note = tuple[int, int, bytes]
"""What comes or leaves beside a message (cmsg(3)): level, kind, value."""

Received = tuple[list[Run], int]
"""What came, and the last error that the kernel told of (that a connected peer's port is closed,
say), 0 without any."""

Receive = Callable[[socket.socket, int, int], Received]
"""Reads datagrams, as `receive`."""

Send = Callable[["Socket", bytes, int, Address | None], int]
"""Sends datagrams, as `send`."""

MAX_DATAGRAM = 65535
"""Largest UDP payload in bytes that is read."""

LARGE = 2048
"""Bytes from which on a datagram counts as two, and so on: what takes long to hear is what holds
much, and one may hold as much as forty that networks usually carry."""

MAX_TRAIN = 64
"""Datagrams in one system call (UDP_MAX_SEGMENTS of the kernel)."""

_MAX_TRAIN_BYTES = 65_000
"""A train with its headers has to fit an IP packet's length field."""

_UDP_SEGMENT = 103
_UDP_GRO = 104
"""Options of Linux (udp(7)) that Python's socket module does not name."""

_ASK_WHERE: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 8),  # IP_PKTINFO
    socket.AF_INET6: (socket.IPPROTO_IPV6, 49),  # IPV6_RECVPKTINFO
}
"""Options of Linux by which each datagram says to which host it was sent (ip(7), ipv6(7))."""

_WHERE, _WHERE_6 = (socket.IPPROTO_IP, 8), (socket.IPPROTO_IPV6, 50)
"""How it is said (IP_PKTINFO, IPV6_PKTINFO), and from which host one is to leave: in_pktinfo, a
number, that host and another; in6_pktinfo, the host and a number."""

_EVERYWHERE = frozenset(("0.0.0.0", "::"))

_MTU_DISCOVER = ((socket.IPPROTO_IP, 10), (socket.IPPROTO_IPV6, 23))
_PROBE = 3
"""Linux: never cut a packet in fragments, and leave it to us how large they may be (ip(7))."""

_ANCILLARY = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(20)

_NOT_HERE = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))
_BUSY = frozenset((errno.EAGAIN, errno.EWOULDBLOCK))
_TOO_LARGE = frozenset((errno.EINVAL, errno.EMSGSIZE))
_NO_TRAINS = _TOO_LARGE | {errno.EIO, errno.EOPNOTSUPP}


class Socket(socket.socket):
    """A socket that does not block; ``in_trains`` says whether its kernel takes many datagrams in
    one call (UDP_SEGMENT)."""

    __slots__ = ("in_trains",)

    def __init__(self, family: int = -1, fileno: int | None = None) -> None:
        """A new one, or one of a process that handed it down."""
        super().__init__(family, -1 if fileno is not None else socket.SOCK_DGRAM, -1, fileno)
        self.setblocking(False)
        self.in_trains = False
        if sys.platform == "linux":
            for level, option in _MTU_DISCOVER:
                with contextlib.suppress(OSError):
                    self.setsockopt(level, option, _PROBE)
            with contextlib.suppress(OSError):
                # Asked only to learn whether the kernel knows it: 0 means no trains by default.
                self.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, 0)
                self.in_trains = True


def receive(sock: socket.socket, limit: int, alike: int) -> Received:
    """Read about ``limit`` datagrams that are there, fewer of large ones (`weight`); the kernel may
    join some of a train.

    Those of a run have the highest bit of the first byte in common, and the ``alike`` bytes (below
    32) that follow; a datagram that is shorter is alone.
    """
    runs: list[Run] = []
    count = trouble = 0
    last: tuple[int, bytes] | None = None
    for _ in range(limit):
        try:
            data, ancillary, _, sender = sock.recvmsg(MAX_DATAGRAM, _ANCILLARY)
        except (BlockingIOError, InterruptedError):
            break
        except OSError as error:
            trouble = error.errno or errno.EIO
        else:
            size = _segment_size(ancillary) if ancillary else 0
            address = (*sender, *_where(ancillary)) if ancillary else sender
            for at in range(0, len(data), size) if 0 < size < len(data) else (0,):
                one = data[at : at + size] if size else data
                mark = (one[0] & 0x80, one[1 : 1 + alike]) if len(one) > alike else None
                if mark is not None and mark == last and runs[-1][0] == address:
                    runs[-1][1].append(one)
                else:
                    runs.append((address, [one]))
                    last = mark
                count += weight(len(one))
        if count >= limit:
            break
    return runs, trouble


def weight(size: int) -> int:
    """As how many datagrams one of ``size`` bytes counts."""
    return 1 + size // LARGE


def writer(wants_speed: bool) -> Send:
    """Who sends datagrams: `send`, or the same in C where that is wanted and was built for this
    system."""
    return getattr(speedups(), "send", send) if wants_speed else send


def reader(wants_speed: bool) -> Receive:
    """Who reads datagrams: `receive`, or the same in C where that is wanted and was built for this
    system."""
    return getattr(speedups(), "receive", receive) if wants_speed else receive


def send(sock: Socket, data: bytes, size: int, address: Address | None) -> int:
    """Send datagrams of ``size`` bytes, joined, to one address (``None``: the connected one).

    The last one may be shorter. Answers how many bytes are done: fewer than given means that the
    kernel takes no more now. A datagram that cannot be sent for another reason (no route, too big)
    is lost, as it would be on the way.
    """
    at, end = 0, len(data)
    most = size
    here: list[Note] = []
    if address is not None:
        address, host = parted(address)
        here = [_from(host, len(address) > 2)] if host else []
    if sock.in_trains:
        most *= max(1, min(MAX_TRAIN, _MAX_TRAIN_BYTES // size))
    while at < end:
        train = data if not at and end <= most else data[at : at + most]
        try:
            if len(train) > size:
                option = (socket.SOL_UDP, _UDP_SEGMENT, size.to_bytes(2, sys.byteorder))
                if address is None:
                    sock.sendmsg((train,), (option,))
                else:
                    sock.sendmsg((train,), (option, *here), 0, address)
            elif address is None:
                sock.send(train)
            elif here:
                sock.sendmsg((train,), here, 0, address)
            else:
                sock.sendto(train, address)
        except OSError as error:
            if error.errno in _BUSY:
                return at
            if len(train) > size and error.errno in _NO_TRAINS:
                most = size
                if error.errno not in _TOO_LARGE:  # which speaks of this path alone
                    sock.in_trains = False  # the route's device cannot
                continue
        at += len(train)
    return end


def joined(trains: Iterable[Datagrams]) -> list[Datagrams]:
    """The same datagrams in the same order, in as few trains as their sizes allow."""
    done: list[Datagrams] = []
    parts: list[bytes] = []
    size = total = 0
    for data, step in trains:
        if parts and not total % size and (step == size or len(data) <= min(step, size)):
            parts.append(data)
            total += len(data)
            continue
        if parts:
            done.append((b"".join(parts), size))
        parts, size, total = [data], min(step, len(data)), len(data)
    if parts:
        done.append((b"".join(parts), size))
    return done


def _where(ancillary: list[Note]) -> tuple[str, ...]:
    """To which host a message was sent, where it says so."""
    for level, kind, value in ancillary:
        if (level, kind) == _WHERE:
            return (socket.inet_ntop(socket.AF_INET, value[4:8]),)
        if (level, kind) == _WHERE_6:
            return (socket.inet_ntop(socket.AF_INET6, value[:16]),)
    return ()


def _from(host: str, is_six: bool) -> Note:
    """What has a message leave from a host."""
    if is_six:
        return (*_WHERE_6, socket.inet_pton(socket.AF_INET6, host) + bytes(4))
    return (*_WHERE, bytes(4) + socket.inet_pton(socket.AF_INET, host) + bytes(4))


def _segment_size(ancillary: list[Note]) -> int:
    """The size of the datagrams the kernel joined, 0 when it did not."""
    for level, kind, value in ancillary:
        if level == socket.SOL_UDP and kind == _UDP_GRO:
            return int.from_bytes(value[:4], sys.byteorder)
    return 0


def bind(host: str, port: int, buffer: int) -> list[Socket]:
    """Sockets for every address of ``host``; ``::`` and the empty host take IPv4 as well.

    Port 0 takes a free one, the same for all. Raises `ConfigError` with one line when the host
    does not resolve or the port is taken.
    """
    try:
        found = addresses_of(host or "::", port, socket.SOCK_DGRAM)
        return each_of(found, port, lambda family, to: _bound(family, to, buffer))
    except OSError as error:
        place = with_port(host, port)
        raise ConfigError(f"cannot listen on UDP {place}: {_words(error)}") from error


def each_of(
    addresses: Iterable[tuple[int, Address]], port: int, open: Callable[[int, Address], AnySocket]
) -> list[AnySocket]:
    """What ``open(family, address)`` makes of every address, all with one port: where that is 0,
    the first one's. Names have addresses that their machine has not (``localhost`` that of IPv6
    where there is none): they are left out, unless none is left.

    Raises `OSError`, with nothing left open.
    """
    sockets: list[AnySocket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sockets.append(open(family, (address[0], port, *address[2:])))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
            else:
                port = sockets[0].getsockname()[1]
        if missing is not None and not sockets:
            raise missing
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def bind_beside(first: Socket, buffer: int) -> Socket:
    """Another socket on the port of ``first``, which shares it. Raises `OSError`."""
    return _bound(first.family, first.getsockname(), buffer, is_shared=True)


def connect(
    family: int, address: Address, buffer: int, bind: tuple[str, int] | None = None
) -> Socket:
    """A socket that talks to one address only, from ``bind`` where that is of the same family.

    Raises `OSError` when there is no route, or the local address cannot be had.
    """
    sock = _socket(family, buffer)
    try:
        if bind is not None and (":" in bind[0]) == (family == socket.AF_INET6):
            sock.bind(bind)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def plain(address: Address) -> tuple[str, int]:
    """Host and port of a socket address; an IPv4 address inside IPv6 is shown as IPv4."""
    host = str(address[0])
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return host, int(address[1])


def parted(address: Address) -> tuple[Address, str]:
    """A socket address as the system takes it, and this machine's host to it, else an empty one."""
    is_told = len(address) in (3, 5) and isinstance(address[-1], str)
    return (address[:-1], address[-1]) if is_told else (address, "")


def anywhere(host: str) -> str:
    """The same host, but for ``::`` on a machine without IPv6: there it is IPv4's."""
    return "0.0.0.0" if host == "::" and not _has_ipv6() else host


def addresses_of(host: str, port: int, kind: int) -> list[tuple[int, Address]]:
    """Family and address of each place where sockets of a ``kind`` listen for a host. Raises
    `OSError`."""
    found = socket.getaddrinfo(anywhere(host), port, type=kind, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _bound(family: int, address: Address, buffer: int, is_shared: bool = False) -> Socket:
    sock = _socket(family, buffer)
    try:
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        if address[0] in _EVERYWHERE and sys.platform == "linux":
            with contextlib.suppress(OSError):
                sock.setsockopt(*_ASK_WHERE[family], 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _socket(family: int, buffer: int) -> Socket:
    sock = Socket(family)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, buffer)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_UDP, _UDP_GRO, 1)
    return sock


def _words(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the host does not resolve"
    if error.errno == errno.EADDRINUSE:
        return "the port is in use by another program"
    return os.strerror(error.errno) if error.errno else str(error)
