"""Two ends of a conversation without a network: a pair of transports that feed each other.

Everything sent is queued and delivered by `Wire.run`, whole or byte by byte, so that every parser
meets every cut. Codes and ids are checked the way a real transport would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from relay.session.lite import LiteSession
from relay.session.transport import is_server_opened, is_uni

MAX_DATAGRAM = 1200
"""Bytes of a datagram that it carries."""


class End:
    """One end's `Transport`."""

    def __init__(self, wire: Wire, server: bool, credit: int = 1 << 30) -> None:
        self.wire = wire
        self.server = server
        self.peer: End | None = None
        self.receiver: Any = None
        self.rtt = 0.01
        self.room = 1 << 30
        self.widest = 0
        self.credit = credit
        self.closed: tuple[int, str] | None = None
        self.sent: list[tuple[Any, ...]] = []
        self.dirty = False
        self._next = {"uni": 2 + server, "bidi": 0 + server}
        self._ended: set[int] = set()
        """Streams whose half of ours is over."""
        self._heard: set[int] = set()
        """... and those of which the peer's half is."""
        self._stopped: set[int] = set()
        """Streams whose half of the peer's is to end and has not yet."""
        self.is_lost = False
        self.under_way: set[int] = set()
        """One-way streams that a test says have not arrived."""

    def _open(self, kind: str) -> int | None:
        if self.closed or self.credit <= 0:
            return None
        self.credit -= 1
        stream = self._next[kind]
        self._next[kind] += 4
        return stream

    def open_uni(self, head: bytes = b"", fin: bool = False) -> int | None:
        stream = self._open("uni")
        if stream is not None and (head or fin):
            self.send(stream, head, fin)
        return stream

    def open_bidi(self) -> int | None:
        return self._open("bidi")

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        if not self._is_open(stream):
            return
        if fin:
            self._ended.add(stream)
        self._push("stream_received", stream, bytes(data), fin)

    def capacity(self, stream: int | None = None) -> int:
        return self.room if not self.closed and (stream is None or self._is_open(stream)) else 0

    def widen(self, streams: int) -> None:
        self.widest = max(self.widest, streams)

    def is_ample(self, room: int) -> bool:
        return self.capacity() >= room and self.credit > 8

    def offer(self, stream: int, data: bytes, room: int) -> bool:
        has_room = self.capacity(stream) >= room
        if has_room:
            self.send(stream, data)
        return has_room

    def reset(self, stream: int, code: int) -> None:
        if self._is_open(stream):
            self._ended.add(stream)
            self._push("stream_reset", stream, code)

    def stop(self, stream: int, code: int) -> None:
        is_ours = is_uni(stream) and is_server_opened(stream) == self.server
        is_over = is_ours or stream in self._heard or stream in self._stopped
        if not self.closed and not is_over:
            self._stopped.add(stream)
            self._push("stream_stopped", stream, code)

    def send_datagram(self, data: bytes) -> bool:
        if self.closed or len(data) > MAX_DATAGRAM:
            return False
        self._push("datagram_received", data)
        return True

    def bandwidth(self) -> int:
        return 1_000_000

    def is_quiet(self) -> bool:
        return self.closed is not None or not self.wire.queue

    def oldest_under_way(self) -> int | None:
        return min(self.under_way, default=None)

    def traffic(self) -> tuple[int, int]:
        said = [
            sum(len(each) for what in end.sent for each in what if isinstance(each, bytes))
            for end in (self, self.peer or self)
        ]
        return said[0], said[1]

    def ping(self) -> None:
        """Nothing idles out here."""

    def wake(self) -> None:
        self.dirty = True

    def close(self, code: int, reason: str = "") -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self.wire.queue.append((self, "connection_lost", (code, reason)))
            if self.peer is not None and self.peer.closed is None:
                self._push("connection_lost", code, reason)

    def _is_open(self, stream: int) -> bool:
        """Whether our half of the stream takes anything."""
        if self.closed is not None or stream in self._ended:
            return False
        if is_server_opened(stream) == self.server:
            return stream < self._next["uni" if is_uni(stream) else "bidi"]
        return not is_uni(stream) and (self.peer is None or stream < self.peer._next["bidi"])

    def hears(self, what: str, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """What the receiver is told of what came; ``None`` for nothing."""
        if self.receiver is None or self.is_lost or (self.closed and what != "connection_lost"):
            return None
        self.dirty = True
        if what == "connection_lost":
            self.is_lost, self.closed = True, self.closed or args
            return self.closed
        if what == "stream_stopped":
            if not self._is_open(args[0]):
                return None
            self.reset(*args)  # as QUIC answers it (RFC 9000, 3.5)
        elif what == "stream_reset" or (what == "stream_received" and args[2]):
            self._heard.add(args[0])
        if what == "stream_received" and args[0] in self._stopped:
            return (args[0], b"", True) if args[2] else None
        return args

    def _push(self, what: str, *args: Any) -> None:
        self.sent.append((what, *args))
        queue = self.wire.queue
        if self.wire.joins and queue and what == "stream_received":
            peer, before, (stream, *more) = queue[-1]
            if (peer, before, stream) == (self.peer, what, args[0]):
                queue[-1] = peer, what, (stream, more[0] + args[1], args[2])
                return
        queue.append((self.peer, what, args))


class Wire:
    """A pair of ends; ``cut`` bytes per delivery (0 = as sent).

    ``joins`` says whether what is sent in a row on one stream arrives in one piece.
    """

    def __init__(self, cut: int = 0) -> None:
        self.queue: deque[tuple[Any, str, tuple[Any, ...]]] = deque()
        self.cut = cut
        self.joins = False
        self.client = End(self, server=False)
        self.server = End(self, server=True)
        self.client.peer = self.server
        self.server.peer = self.client

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Deliver everything, and what that causes, until nothing is under way."""
        for _ in range(1_000_000):
            if until is not None and until():
                return
            if self.queue:
                self._deliver(*self.queue.popleft())
                continue
            dirty = [end for end in (self.client, self.server) if end.dirty]
            if not dirty:
                return
            for end in dirty:
                end.dirty = False
                if end.receiver is not None and not end.closed:
                    end.receiver.flush()
        raise AssertionError("the conversation never ends")

    def _deliver(self, end: End, what: str, args: tuple[Any, ...]) -> None:
        told = end.hears(what, args)
        if told is None:
            return
        if what == "stream_received" and self.cut and len(told[1]) > self.cut:
            stream, data, fin = told
            for start in range(0, len(data), self.cut):
                last = start + self.cut >= len(data)
                end.receiver.stream_received(stream, data[start : start + self.cut], fin and last)
            return
        getattr(end.receiver, what)(*told)


class Side:
    """A receiver that only remembers what its session said."""

    def __init__(self, end: End, protocol: str | None, client: bool, **more: Any) -> None:
        self.session = LiteSession(
            end, protocol, origin=11 if client else 22, client=client, **more
        )
        self.heard: list[Any] = []
        self.lost: tuple[int, str] | None = None
        self.stopped: list[tuple[int, int]] = []
        end.receiver = self

    def start(self) -> None:
        self.heard += self.session.start()

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        self.heard += self.session.stream_received(stream, data, fin)

    def stream_reset(self, stream: int, code: int) -> None:
        self.heard += self.session.stream_reset(stream, code)

    def stream_stopped(self, stream: int, code: int) -> None:
        self.stopped.append((stream, code))
        self.heard += self.session.stream_stopped(stream, code)

    def datagram_received(self, data: bytes) -> None:
        self.heard += self.session.datagram_received(data)

    def flush(self) -> None:
        self.heard += self.session.flush()

    def connection_lost(self, code: int, reason: str) -> None:
        self.lost = (code, reason)

    def take(self, kind: type[Any]) -> list[Any]:
        """The events of one kind heard so far; they are forgotten."""
        found = [event for event in self.heard if isinstance(event, kind)]
        self.heard = [event for event in self.heard if not isinstance(event, kind)]
        return found

    def only(self, kind: type[Any]) -> Any:
        """The one event of that kind."""
        (event,) = self.take(kind)
        return event


class Talk:
    """A client and a server that have introduced themselves."""

    def __init__(self, protocol: str | None, cut: int = 0, **more: Any) -> None:
        self.wire = Wire(cut)
        self.client = Side(self.wire.client, protocol, True, **more)
        self.server = Side(self.wire.server, protocol, False)
        self.client.start()
        self.server.start()
        self.run()

    def run(self) -> None:
        self.wire.run()

    @property
    def features(self) -> Any:
        return self.client.session.dialect
