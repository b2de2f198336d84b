"""Sessions over a plain stream: TCP or a unix socket, between machines that trust the network.

QMux's records follow each other, each behind its length (draft-ietf-quic-qmux). There is neither
TLS nor HTTP: which version of MoQ is spoken is settled among the transport parameters, by the
server's order as ALPN is (RFC 7301, 3.2), and where the session goes stands in its SETUP. This
module must not know who listens, nor who is let in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

from relay.errors import ProtocolViolation
from relay.net.http3 import MAX_OFFERED
from relay.net.qmux import QmuxTransport
from relay.net.qmux_frames import MAX_RECORD, PLAIN, Parameters
from relay.net.settings import QuicLimits
from relay.net.turns import Turns, Use
from relay.wire.buffer import encode_varint, scan_varint

TCP, UNIX = "tcp", "unix"
"""Both ways, as URLs, knocks and the sockets of a relay call them."""

READ = 1 << 16
"""Bytes that are read at a time."""

SIGNS = 3
"""Signs of life within the time after which silence means that nobody is there."""

LEAST = 1.0
"""Seconds of that time, whatever the peer says."""


class Records:
    """Records from bytes, however those are cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The records that are whole now. Raises `ProtocolViolation` for one that is too long."""
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while (size := scan_varint(buffer, at)) is not None:
                if size[0] > MAX_RECORD:
                    raise ProtocolViolation(f"a record of {size[0]} bytes")
                end = size[1] + size[0]
                if end > len(buffer):
                    break
                at = end
                yield bytes(buffer[size[1] : end])
        finally:
            del buffer[:at]


class StreamTransport(QmuxTransport):
    """One side of such a session."""

    def __init__(
        self,
        is_client: bool,
        limits: QuicLimits,
        failed: Callable[[Exception], None],
        writer: asyncio.StreamWriter,
        protocols: Sequence[str],
    ) -> None:
        """``failed`` hears what cost the session; ``protocols`` are ours, best first."""
        super().__init__(is_client, limits, failed)
        self._writer = writer
        self._protocols = protocols
        self._idle = limits.idle_timeout
        self._heard_at = self._loop.time()
        self._living: asyncio.Future[None] | None = None
        """Signs of life, once it is known how often the peer needs them."""
        self._has_said_so = False
        """Whether it was we who ended the session."""
        self.begin(PLAIN, limits.idle_timeout, protocols)

    def offered(self, protocols: Sequence[str]) -> None:
        """The peer has said what it speaks, best first."""
        raise NotImplementedError

    async def carry(self, reader: asyncio.StreamReader, turns: Turns) -> None:
        """Carry what is said both ways until the connection is gone; under an ended session that
        may take as long as a goodbye may."""
        writing = asyncio.ensure_future(self._write())
        records, use = Records(), Use()
        try:
            while data := await reader.read(READ):
                self._heard_at = self._loop.time()
                for record in () if self.is_closed else records.feed(data):
                    await turns.through(self.hear(record), use)
                    if self.is_closed:
                        break
                if self.is_closed and not self._has_said_so:
                    break  # the peer has, and waits for us to hang up
        except ProtocolViolation as error:
            self.close(error.session_code, str(error))
            await asyncio.wait((writing,), timeout=self._limits.close_timeout)
        except OSError:
            pass  # the peer hung up
        finally:
            writing.cancel()
            if self._living is not None:
                self._living.cancel()
            self.lost("the connection is gone")
            self._writer.transport.abort()

    async def _write(self) -> None:
        with contextlib.suppress(OSError):
            await self.write(self._send)

    async def _send(self, record: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionAbortedError  # in uvloop's loop writing would raise something else
        self._writer.write(encode_varint(len(record)) + record)
        await self._writer.drain()

    async def _keep_alive(self) -> None:
        """Say something now and then, and end what nobody answers."""
        while not self.is_closed:
            await asyncio.sleep(self._idle / SIGNS)
            self.end_if_silent(self._heard_at, self._idle)
            self.ping()

    # What `QmuxTransport` leaves open

    def _believe(self, peer: Parameters) -> None:
        super()._believe(peer)
        if peer.max_idle_timeout:
            self._idle = min(self._idle, max(LEAST, peer.max_idle_timeout / 1000))
        self._living = asyncio.ensure_future(self._keep_alive())
        self.offered(peer.protocols[:MAX_OFFERED])

    def _write_close(self, code: int, reason: str) -> None:
        self._has_said_so = True
        super()._write_close(code, reason)

    def _end(self, code: int, reason: str) -> None:
        if not self.is_closed:
            # Somebody who reads nothing would be waited for, for ever.
            self._loop.call_later(self._limits.close_timeout, self._writer.transport.abort)
        super()._end(code, reason)
