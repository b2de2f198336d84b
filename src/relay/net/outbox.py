"""Datagrams on their way out, and those the kernel would not take yet.

While anything waits, nothing overtakes it and no new packets should be built; what does not fit
the ceiling is dropped, as the network would drop it, and QUIC sends it again. This module must not
know connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from relay.net.udp import Address, Send, Socket


class Outbox:
    """What an endpoint's sockets still have to send."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: int, drained: Callable[[], None], send: Send
    ) -> None:
        """Keep at most ``limit`` datagrams; ``drained`` is called when all of them have left."""
        self.datagrams = self.bytes = 0
        """Datagrams sent, and bytes of UDP payload."""
        self.dropped = 0
        """Datagrams the kernel did not take in time."""
        self._loop = loop
        self._limit = limit
        self._drained = drained
        self.way = send
        """What sends, as `relay.net.udp.send`."""
        self.waiting: deque[tuple[Socket, bytes, Address | None]] = deque()
        """What the kernel did not take yet, datagram by datagram."""
        self._watched: Socket | None = None

    def send(self, sock: Socket, data: bytes, size: int, address: Address | None) -> None:
        """Send a train to one address (``None``: the socket's own peer), or keep, or drop."""
        done = 0 if self.waiting else self.way(sock, data, size, address)
        self.datagrams += -(-done // size)
        self.bytes += done
        if done != len(data):
            self.keep(sock, data, size, address, done)

    def keep(
        self, sock: Socket, data: bytes, size: int, address: Address | None, done: int
    ) -> None:
        """Of a train so many bytes have left: keep the rest, or drop it."""
        rest = range(done, len(data), size)
        kept = rest[: max(0, self._limit - len(self.waiting))]
        self.dropped += len(rest) - len(kept)
        self.waiting.extend((sock, data[at : at + size], address) for at in kept)
        self._watch()

    def clear(self) -> None:
        """Forget what is waiting; before its sockets are closed."""
        self.waiting.clear()
        self._watch()

    def _watch(self) -> None:
        """Ask to be told when the first in line may leave."""
        first = self.waiting[0][0] if self.waiting else None
        if first is self._watched:
            return
        if self._watched is not None:
            self._loop.remove_writer(self._watched.fileno())
        if first is not None:
            self._loop.add_writer(first.fileno(), self._writable)
        self._watched = first

    def _writable(self) -> None:
        while self.waiting:
            sock, datagram, address = self.waiting[0]
            if not self.way(sock, datagram, len(datagram), address):
                break
            self.waiting.popleft()
            self.datagrams += 1
            self.bytes += len(datagram)
        self._watch()
        if not self.waiting:
            self._drained()
