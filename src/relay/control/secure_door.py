"""TLS of connections before anything is asked over them.

The law: a connection counts from its first moment on and has so long for its handshake as for a
request, since whoever says nothing takes a file descriptor whether or not HTTP has heard of it. The
event loop's own way tells nobody of connections in their handshake and gives each a minute. This
module must not know what comes after it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from relay.control.sips import Sips

RETRY = 1.0
"""Seconds until it is looked again for a connection, when one could not be taken."""


class SecureDoor:
    """A socket that listens, with TLS for whoever comes; closed like the loop's own servers."""

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLContext,
        seconds: float,
        make: Callable[[], Sips],
    ) -> None:
        """A handshake may take so many ``seconds``; longer, and the connection is cut. Each is
        heard by what ``make`` makes for it."""
        self._sock = sock
        self._tls = tls
        self._seconds = seconds
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._begin(self._accept())

    def close(self) -> None:
        """Take no more connections, and cut those in their handshake."""
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """It is."""

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            try:
                sock, address = await self._loop.sock_accept(self._sock)
            except ConnectionError:  # it has gone already
                continue
            except OSError:  # no file descriptor is left, say
                await asyncio.sleep(RETRY)
                continue
            heard = self._make()
            if heard.inner.arrive(address):
                self._begin(self._shake(sock, heard))
            else:
                heard.inner.leave()
                sock.close()

    async def _shake(self, sock: socket.socket, heard: Sips) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: heard, sock, ssl=self._tls, ssl_handshake_timeout=self._seconds
            )
        except OSError:  # whatever they said, or did not say in time
            heard.inner.leave()
