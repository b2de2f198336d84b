"""A viewer as a relay sees a browser: WebTransport, moq-lite-05, a connection id of no length.

Its job is to hand frames on cheaply; `moq-rs` cannot be told the length of its connection ids. It
acknowledges once a millisecond while packets come, which on loopback is once in a frame of 8 KiB (7
packets); Chromium does for every tenth packet or after a quarter of a round trip. It must not know
what is measured, and believes every certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aioquic.buffer import encode_uint_var as varint
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import H3Event, HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

from relay.wire.buffer import scan_varint

VERSION = "moq-lite-05"
SETUP = bytes((1, 1, 0))
GROUP, SUBSCRIBE, TRACK = 0, 2, 6
MAX_LATENCY_MS = 30_000
BATCH = 64
"""Datagrams read before packets are built."""

RETRY = 0.05
"""Seconds before a track is asked for again that the relay did not know."""


class Line(QuicConnection):
    """A connection with a single connection id, which is empty. Windows are about Chromium's."""

    def __init__(self) -> None:
        super().__init__(
            configuration=QuicConfiguration(
                alpn_protocols=["h3"],
                connection_id_length=0,
                max_datagram_frame_size=65536,
                max_data=15 << 20,
                max_stream_data=6 << 20,
                server_name="localhost",
                verify_mode=ssl.CERT_NONE,
            )
        )
        # The library takes the length of its own ids for the server's first, which servers refuse.
        self._peer_cid.cid = self._original_destination_connection_id = os.urandom(8)

    def _replenish_connection_ids(self) -> None:
        """There is only one empty id."""


@dataclass
class Arriving:
    """A group's stream: what came and is no whole frame yet."""

    data: bytearray = field(default_factory=bytearray)
    started: bool = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now."""
        self.data += data
        if not self.started and not self._start():
            return []
        frames, at = [], 0
        while (stamp := scan_varint(self.data, at)) and (size := scan_varint(self.data, stamp[1])):
            if len(self.data) < size[1] + size[0]:
                break
            at = size[1] + size[0]
            frames.append(bytes(self.data[size[1] : at]))
        del self.data[:at]
        return frames

    def _start(self) -> bool:
        """Take the head off: type, length, subscription and sequence."""
        length = scan_varint(self.data, 1)
        if length is None or len(self.data) < length[1] + length[0]:
            return False
        del self.data[: length[1] + length[0]]
        self.started = True
        return True


class Browser:
    """One session. Use `browser`."""

    def __init__(self, url: str, took: Callable[[bytes], None]) -> None:
        parts = urlsplit(url)
        self.took = took
        self.address = (parts.hostname, parts.port)
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.setblocking(False)
        self.sock.connect(self.address)
        self.line = Line()
        self.http3: H3Connection | None = None
        self.session = -1
        self.loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self.loop.create_future()
        self.answers: dict[int, asyncio.Future[bool]] = {}
        self.groups: dict[int, Arriving | None] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.subscriptions = 0

    async def open(self) -> None:
        """Raises `ConnectionError`."""
        self.loop.add_reader(self.sock, self._readable)
        self.line.connect(self.address, self.loop.time())
        self.http3 = H3Connection(self.line, enable_webtransport=True)
        self._turn()
        await self.opened
        assert self.http3 is not None
        self._send(True, SETUP, True)

    async def watch(self, path: str, track: str) -> None:
        """Subscribe, once the relay knows the track."""
        names = b"".join(varint(len(name)) + name.encode() for name in (path, track))
        known = await self._ask(names)
        while not known:
            await asyncio.sleep(RETRY)
            known = await self._ask(names)
        wishes = bytes((128, 0)) + varint(MAX_LATENCY_MS) + bytes((0, 0))
        body = varint(self.subscriptions) + names + wishes
        self.subscriptions += 1
        self._send(False, bytes((SUBSCRIBE,)) + varint(len(body)) + body, False)

    async def _ask(self, names: bytes) -> bool:
        """Whether the relay answers what it knows of the track."""
        stream = self._send(False, bytes((TRACK,)) + varint(len(names)) + names, False)
        self.answers[stream] = self.loop.create_future()
        return await self.answers[stream]

    def close(self) -> None:
        """Say goodbye."""
        self.line.close()
        self._turn()
        if self.timer is not None:
            self.timer.cancel()
        self.loop.remove_reader(self.sock)
        self.sock.close()

    def _send(self, uni: bool, data: bytes, fin: bool) -> int:
        assert self.http3 is not None
        stream = self.http3.create_webtransport_stream(self.session, is_unidirectional=uni)
        self.line.send_stream_data(stream, data, fin)
        self._turn()
        return stream

    def _readable(self) -> None:
        now = self.loop.time()
        for _ in range(BATCH):
            try:
                data = self.sock.recv(2048)
            except (BlockingIOError, ConnectionRefusedError):
                break
            self.line.receive_datagram(data, self.address, now)
        self._turn()

    def _due(self) -> None:
        self.timer = None
        self.line.handle_timer(self.loop.time())
        self._turn()

    def _turn(self) -> None:
        """Hear what happened, send what is to be sent, and wake up in time."""
        while (event := self.line.next_event()) is not None:
            self._heard(event)
        for data, _ in self.line.datagrams_to_send(self.loop.time()):
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                self.sock.send(data)
        due = self.line.get_timer()
        if self.timer is not None and self.timer.when() != due:
            self.timer.cancel()
            self.timer = None
        if self.timer is None and due is not None:
            self.timer = self.loop.call_at(due, self._due)

    def _heard(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated) and not self.opened.done():
            self.opened.set_exception(ConnectionError(event.reason_phrase))
        elif isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.answers.pop(event.stream_id).set_result(False)
        if isinstance(event, StreamDataReceived) and self._is_ours(event.stream_id):
            if event.data and event.stream_id in self.answers:
                self.answers.pop(event.stream_id).set_result(True)
        elif self.http3 is not None:
            for each in self.http3.handle_event(event):
                self._understood(each)
            if self.session < 0 and self.http3.received_settings is not None:
                self._connect(self.http3)

    def _is_ours(self, stream: int) -> bool:
        """Whether it is a two-way stream of the session: HTTP/3 takes the answer for its own."""
        return stream % 4 == 0 and stream > self.session >= 0

    def _connect(self, http3: H3Connection) -> None:
        self.session = self.line.get_next_available_stream_id()
        host, port = self.address
        headers = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":authority": f"{host}:{port}",
            ":path": self.target,
            ":protocol": "webtransport",
            "sec-webtransport-http3-draft02": "1",
            "wt-available-protocols": f'"{VERSION}"',
        }
        http3.send_headers(self.session, [(k.encode(), v.encode()) for k, v in headers.items()])

    def _understood(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived) and event.stream_id == self.session:
            status = dict(event.headers).get(b":status", b"")
            if status == b"200":
                self.opened.set_result(None)
            else:
                self.opened.set_exception(ConnectionError(f"refused with {status.decode()}"))
        elif isinstance(event, WebTransportStreamDataReceived):
            self._bytes(event.stream_id, event.data, event.stream_ended)

    def _bytes(self, stream: int, data: bytes, ended: bool) -> None:
        if data and stream not in self.groups:
            # what is no group is the relay's SETUP, or that it wants to know what we publish
            is_group = stream % 4 == 3 and data[0] == GROUP
            self.groups[stream] = Arriving() if is_group else None
        group = self.groups.get(stream)
        for frame in group.feed(data) if group is not None else ():
            self.took(frame)
        if ended:
            self.groups.pop(stream, None)


@contextlib.asynccontextmanager
async def browser(url: str, took: Callable[[bytes], None]) -> AsyncIterator[Browser]:
    """A session with the relay at ``url`` (``https://``); ``took`` is given every frame."""
    made = Browser(url, took)
    try:
        await made.open()
        yield made
    finally:
        made.close()
