"""Raw QUIC as a transport: the connection is the session.

It owns what every session needs on top of an engine (an inbox, credit, capacity, the guard around
the receiver), so that WebTransport differs only in heads and closing. Streams are broken off with
codes in WebTransport's range here, too: the Rust stack takes any other for none. Not so where the
protocol is one that native stacks of all kinds speak, which know its codes alone. Peers may send
codes in either space, and those from that range are read back into ours. This module must not know
HTTP/3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.errors import LimitExceeded, RelayError
from relay.net.codes import to_http3, turned_away, unmap
from relay.net.connection import Connection
from relay.net.inbox import Inbox
from relay.session.transport import Receiver

_INTERNAL = RelayError.session_code

_PLAIN = ("moqt-", "moq-00")
"""How the protocols begin whose codes travel as they are."""


class QuicTransport:
    """A session over raw QUIC; both `Transport` for those above and `Application` below."""

    def __init__(self, connection: Connection, ready: Callable[[QuicTransport], None]) -> None:
        """``ready`` is called once, right after the handshake."""
        self.connection = connection
        self.protocol: str | None = connection.alpn
        """The agreed protocol identifier."""
        self.inbox = Inbox(connection.limits, self._receiver_failed, self.close)
        self.is_closed = False
        """Whether the session is over for those above."""
        self._engine = connection.engine
        self._ready = ready
        self._outgoing = int if connection.alpn.startswith(_PLAIN) else to_http3
        self._stopped: set[int] = set()
        """Streams whose half of the peer's is to end and has not yet."""
        self._is_flushing = False
        """Whether packets are built right after: what is written now needs no flush of its own."""
        self._is_due_again = False
        """Whether the receiver asked meanwhile to be heard once more, in a turn of its own."""

    def start(self, receiver: Receiver) -> None:
        """Name the receiver; what came before is replayed in order, never inside this call."""
        self.inbox.start(receiver)
        self.connection.wake()

    # What those above may ask (`relay.session.transport.Transport`)

    @property
    def rtt(self) -> float:
        """Smoothed round-trip time in seconds, 0.0 while unknown."""
        return self._engine.rtt

    def open_uni(self, head: bytes = b"", fin: bool = False) -> int | None:
        """A new outgoing stream that begins with ``head``, ``None`` without credit."""
        return self._open(True, head, fin)

    def open_bidi(self) -> int | None:
        """A new two-way stream, ``None`` without credit."""
        return self._open(False, b"")

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        """Append to the stream; after its end or the session's nothing happens."""
        if not self.is_closed:
            unsent = self._engine.send(stream, data, fin)
            if not self._is_flushing:
                # Not `Connection.wake`: whoever hands bytes over has said what there is to say.
                self.connection.host.wake(self.connection)
            if unsent > self.connection.limits.max_unsent:
                self.close(LimitExceeded.session_code, "the peer reads too slowly (max_unsent)")

    def is_quiet(self) -> bool:
        """Whether everything handed over has been acknowledged."""
        return self.is_closed or self._engine.is_quiet

    def oldest_under_way(self) -> int | None:
        """The lowest one-way stream of ours that has ended and has not arrived whole."""
        return None if self.is_closed else self._engine.oldest_under_way()

    def traffic(self) -> tuple[int, int]:
        """Bytes of stream data handed over, and received."""
        return self._engine.traffic

    def widen(self, streams: int) -> None:
        """Let the peer have so many streams of each kind open."""
        if not self.is_closed:
            self._engine.widen(streams)
            self._stir()

    def ping(self) -> None:
        """Keep the connection from idling out."""
        if not self.is_closed:
            self._engine.send_ping(0)
            self._stir()

    def capacity(self, stream: int | None = None) -> int:
        """Bytes that would leave soon."""
        return 0 if self.is_closed else self._engine.capacity(stream)

    def is_ample(self, room: int) -> bool:
        """Whether there is so much room, and a good many more streams."""
        return not self.is_closed and self._engine.is_ample(room)

    def offer(self, stream: int, data: bytes, room: int) -> bool:
        """Append to the stream where there is so much room."""
        if self.is_closed or not self._engine.offer(stream, data, room):
            return False
        if not self._is_flushing:  # as `send` does, for each frame and viewer
            connection = self.connection
            host = connection.host
            if host.is_in_turn:
                host.awake[connection] = None
            else:
                host.wake(connection)
        return True

    def reset(self, stream: int, code: int) -> None:
        """Break off our half."""
        if not self.is_closed:
            self._engine.reset(stream, self._outgoing(code), self._head_size(stream))
            self._stir()

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to break off its half; of what still comes only the end is told."""
        if self.is_closed or stream in self._stopped:
            return  # it was asked already, with the code of then
        if self._engine.is_receiving(stream):
            self._engine.stop(stream, self._outgoing(code))
            self._stopped.add(stream)
            self._stir()

    def send_datagram(self, data: bytes) -> bool:
        """Send unreliably; False when it could not be taken."""
        if self.is_closed or not self._engine.send_datagram(data):
            return False
        self._stir()
        return True

    def bandwidth(self) -> int:
        """Estimated send rate in bits per second."""
        return self._engine.bandwidth()

    def wake(self) -> None:
        """Have the receiver's flush called before this turn's packets are built."""
        if self._is_flushing:
            self._is_due_again = True
        else:
            self.connection.wake()

    def close(self, code: int, reason: str = "") -> None:
        """End the session; the receiver hears of it at the next flush."""
        if not self.is_closed:
            self.end(code, reason)
            self._engine.end(code, reason)

    # What comes from below (`relay.net.connection.Application`)

    def handshake_completed(self) -> None:
        """There is a session."""
        self._ready(self)

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """Bytes of a stream of this session."""
        if stream in self._stopped:
            if not fin:
                return
            self._stopped.discard(stream)
            data = b""
        self.inbox.stream_received(stream, data, fin)

    def stream_reset(self, stream: int, code: int) -> None:
        """The peer broke off its half."""
        self._stopped.discard(stream)
        self.inbox.stream_reset(stream, self._incoming(code))

    def stream_stopped(self, stream: int, code: int) -> None:
        """The peer no longer reads our half."""
        self.inbox.stream_stopped(stream, self._incoming(code))

    def datagram_received(self, data: bytes) -> None:
        """A datagram arrived."""
        self.inbox.datagram_received(data)

    def flush(self) -> None:
        """Let the receiver speak."""
        self._is_flushing = True
        try:
            self.inbox.flush()
        finally:
            self._is_flushing = False
        if self._is_due_again:
            self._is_due_again = False
            self.connection.wake()

    def overdue(self) -> None:
        """Raw QUIC waits for nothing after its handshake but the answer to a visit."""
        self.close(_INTERNAL, "nobody answered")

    def terminated(self, code: int, is_transport: bool, reason: str) -> None:
        """The connection is over: so is the session, unless it was already."""
        if is_transport and code and not reason:
            reason = f"QUIC error {code:#x}"  # RFC 9000, 20.1
        self.end(0 if is_transport else self._incoming(code), reason)

    # What both halves use

    def end(self, code: int, reason: str) -> None:
        """The session is over: tell the receiver with the next flush."""
        if self.is_closed:
            return
        self.is_closed = True
        self.inbox.lost(code, reason)
        self._stopped.clear()
        self.connection.wake()

    def turn_away(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Refuse the peer; what the headers say, the goodbye does."""
        self.close(*turned_away(status, headers))

    def admit(self, receiver: Receiver, protocol: str | None) -> None:
        """Open the session; ALPN has settled the protocol already."""
        self.connection.deadline = None
        self.start(receiver)

    def _stir(self) -> None:
        """Something is there to be sent."""
        if not self._is_flushing:
            self.connection.wake()

    def _open(self, uni: bool, head: bytes, fin: bool = False) -> int | None:
        if self.is_closed:
            return None
        stream = self._engine.open_stream(uni, head, fin)
        # Who waits for credit asks at every flush, and must not cause the next one by that.
        if stream is not None and not self._is_flushing:
            self.connection.host.wake(self.connection)  # as `send` does
        return stream

    def _head_size(self, stream: int) -> int:
        """Bytes of a stream that say what it belongs to: the peer gets them also when it is broken
        off, if that can be."""
        return 0

    def _incoming(self, code: int) -> int:
        mapped = unmap(code)
        return code if mapped is None else mapped

    def _receiver_failed(self, error: Exception) -> None:
        self.connection.host.failed(error)
        self.close(_INTERNAL, "internal error")
