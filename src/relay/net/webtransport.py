"""WebTransport over HTTP/3, the part both sides share (draft-ietf-webtrans-http3, RFC 9297).

One QUIC connection carries one session. Streams are told apart before HTTP/3 sees them, codes are
mapped both ways, and a session ends by a capsule and only then by QUIC, because browsers read the
reason nowhere else and never close QUIC themselves. This module must not know who is let in or how
a session is asked for.
"""

from __future__ import annotations

from aioquic.h3.events import DataReceived, HeadersReceived

from relay.errors import DecodeError
from relay.net.capsule import CapsuleReader, close_capsule
from relay.net.codes import (
    BUFFERED_STREAM_REJECTED,
    H3_CLOSED_CRITICAL_STREAM,
    H3_EXCESSIVE_LOAD,
    H3_ID_ERROR,
    H3_MESSAGE_ERROR,
    H3_NO_ERROR,
    H3_STREAM_CREATION_ERROR,
    SESSION_GONE,
    from_http3,
)
from relay.net.connection import Connection
from relay.net.demux import Demux, stream_head
from relay.net.http3 import Http3, Request
from relay.net.quic import QuicTransport
from relay.wire.buffer import encode_varint, scan_varint

GOODBYE = 0.1
"""Seconds in which our last packets travel before QUIC is closed under an ended session."""

MANY = 16
"""Times ``max_request_headers`` that are kept of unfinished frames of all streams together."""


class WebTransport(QuicTransport):
    """A session inside HTTP/3; subclasses ask for it or answer."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, lambda _: None)
        self.protocol = None
        self.http3 = Http3(connection.engine, connection.limits.max_request_headers)
        self.session: int | None = None
        """Stream id of the CONNECT request."""
        self.is_open = False
        """Whether the request was answered with 200."""
        self._demux = Demux()
        self._capsules = CapsuleReader(connection.limits.max_capsule)
        self._session_streams: set[int] = set()
        self._early_stops: dict[int, int] = {}
        self._claimed: int | None = None
        self._opened_at = 0
        self._is_leaving = False

    # To be filled by the side that asks or answers

    def headers_received(self, stream: int, request: Request, fin: bool) -> None:
        """Headers came on a request stream."""
        raise NotImplementedError

    # Asked from above

    def send_datagram(self, data: bytes) -> bool:
        """Send a datagram of the session, once the peer has seen that it is open."""
        session = self.session
        # What overtakes the answer to CONNECT is lost in browsers.
        if session is None or not self._engine.is_acknowledged(session, self._opened_at):
            return False
        return self.is_open and super().send_datagram(encode_varint(session // 4) + data)

    def close(self, code: int, reason: str = "") -> None:
        """End the session by capsule and FIN; QUIC follows with the peer's goodbye or a timeout."""
        if self.is_closed:
            return
        if self.session is None or not self.is_open:
            self.end(code, reason)
            self._engine.end(H3_NO_ERROR)
            return
        self.http3.end(self.session, close_capsule(code, reason))
        self.end(code, reason)
        self._linger(self.connection.limits.close_timeout)

    # Heard from below

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """Bytes of any stream: the session's go up, the rest is HTTP/3's."""
        if stream in self._session_streams:
            self._deliver(stream, data, fin)
        elif stream in self._stopped:
            if fin:
                self._stopped.discard(stream)
        elif self.is_closed and stream != self.session:
            return
        elif self._is_undecided(stream):
            decided = self._demux.feed(stream, data, fin)
            if decided is None:
                return
            if decided.session is not None:
                self._claim(stream, decided.session, decided.data, fin)
            else:
                self._early_stops.pop(stream, None)
                self._feed_http3(stream, decided.data, fin)
        else:
            self._feed_http3(stream, data, fin)

    def stream_reset(self, stream: int, code: int) -> None:
        """A stream broke off; the end of the CONNECT stream is the end of the session."""
        if stream == self.session:
            self.http3.reset(stream, code)
            self._ended(0, "the peer reset the session's stream")
        elif stream in self._session_streams:
            self._session_streams.discard(stream)
            super().stream_reset(stream, code)
        elif self.http3.owns(stream):
            self.http3.reset(stream, code)
        else:
            # It never said whose it was. HTTP/3 would answer a request that there never was.
            self._demux.forget(stream)
            self._stopped.discard(stream)
            self._early_stops.pop(stream, None)
            self._engine.reset(stream, SESSION_GONE)

    def stream_stopped(self, stream: int, code: int) -> None:
        """The peer no longer reads our half of a stream."""
        if stream in self.http3.critical:
            # Natives do this while they leave.
            self._ended(0, "the peer closed HTTP/3")
            self._engine.end(H3_CLOSED_CRITICAL_STREAM)
        elif stream == self.session:
            self._ended(0, "the peer left")
        elif stream in self._session_streams or self._is_local(stream):
            super().stream_stopped(stream, code)
        elif self.http3.owns(stream) or stream in self._stopped:
            return
        elif self._engine.is_receiving(stream):
            self._early_stops[stream] = code
        else:
            super().stream_stopped(stream, code)

    def datagram_received(self, data: bytes) -> None:
        """A datagram: its first varint is a quarter of the session's id (RFC 9297, 2.1)."""
        quarter = scan_varint(data, 0)
        if quarter is not None and self.session is not None and quarter[0] * 4 == self.session:
            super().datagram_received(data[quarter[1] :])

    def overdue(self) -> None:
        """The wait for a request or a goodbye is over."""
        self.end(0, "the session was never asked for")
        self._engine.end(H3_NO_ERROR)

    # What both sides use

    def opened(self, protocol: str | None, answered_at: int = 0) -> None:
        """The session is there; our datagrams wait until the peer has ``answered_at`` bytes."""
        self.is_open = True
        self.protocol = protocol
        self._opened_at = answered_at

    def bind_session(self, session: int) -> None:
        """The request's stream is known: streams that came for another session are refused."""
        self.session = session
        if self._claimed is not None and self._claimed != session:
            self.inbox.discard()
            for stream in self._session_streams:
                self._reject(stream, BUFFERED_STREAM_REJECTED)
            self._session_streams.clear()
        self._claimed = session

    def _open(self, uni: bool, head: bytes, fin: bool = False) -> int | None:
        if self.session is None or not self.is_open:
            return None
        stream = super()._open(uni, stream_head(uni, self.session) + head, fin)
        if stream is not None and not uni:
            self._session_streams.add(stream)
        return stream

    def _deliver(self, stream: int, data: bytes, fin: bool) -> None:
        if fin:
            self._session_streams.discard(stream)
        super().stream_received(stream, data, fin)

    def _claim(self, stream: int, session: int, rest: bytes, fin: bool) -> None:
        """A new stream of the peer's belongs to a session."""
        if session % 4:
            self._engine.end(H3_ID_ERROR, "no session has such an id")
            return
        if self._claimed is None:
            self._claimed = session
        if session != self._claimed or self.is_closed:
            self._early_stops.pop(stream, None)
            self._reject(stream, SESSION_GONE, fin)
            return
        self._session_streams.add(stream)
        if rest or fin:
            self._deliver(stream, rest, fin)
        if (code := self._early_stops.pop(stream, None)) is not None:
            super().stream_stopped(stream, code)

    def _reject(self, stream: int, code: int, fin: bool = False) -> None:
        if not fin:
            self._stopped.add(stream)
        self._engine.stop(stream, code)
        self._engine.reset(stream, code)
        self.connection.wake()

    def _feed_http3(self, stream: int, data: bytes, fin: bool) -> None:
        if stream & 1 and not stream & 2:
            self._engine.end(H3_STREAM_CREATION_ERROR, "two-way streams are the client's")
            return
        for event in self.http3.feed(stream, data, fin):
            if isinstance(event, HeadersReceived):
                request = Request.of(event.headers)
                self.headers_received(event.stream_id, request, event.stream_ended)
            elif isinstance(event, DataReceived) and event.stream_id == self.session:
                self._feed_capsules(event.data, event.stream_ended)
        # The library keeps an unfinished frame of any length, and one of each stream; we do not let
        # it.
        most = self.connection.limits.max_request_headers
        if self.http3.buffered(stream) > most or self.http3.kept > MANY * most:
            self._engine.end(H3_EXCESSIVE_LOAD, "the frame is too long (max_request_headers)")

    def _feed_capsules(self, data: bytes, fin: bool) -> None:
        if self.is_closed:
            if fin:
                # Chromium loses code and reason of our capsule when QUIC ends in the same flight.
                self._linger(GOODBYE)
            return
        try:
            closed = self._capsules.feed(data)
        except DecodeError as error:
            self._ended(0, str(error), H3_MESSAGE_ERROR)
            return
        if closed is not None:
            self._ended(closed.code, closed.reason)
        elif fin:
            self._ended(0, "")

    def _ended(self, code: int, reason: str, error: int | None = None) -> None:
        """The peer ended the session: answer with FIN and close QUIC, which browsers never do."""
        if self.is_closed:
            self._linger(0.0)
            return
        self.end(code, reason)
        if self.session is not None:
            if error is not None:
                self._reject(self.session, error)
            self.http3.end(self.session)
        self._linger(GOODBYE)

    def _linger(self, seconds: float) -> None:
        """Close QUIC after so many seconds; a departure under way is never put off."""
        connection = self.connection
        due = connection.host.now() + seconds
        if self._is_leaving and connection.deadline is not None:
            due = min(due, connection.deadline)
        self._is_leaving = True
        connection.deadline = due
        if seconds <= 0.0:
            self._engine.end(H3_NO_ERROR)
        connection.wake()

    def _is_local(self, stream: int) -> bool:
        return bool(stream & 1) != self._engine.configuration.is_client

    def _is_undecided(self, stream: int) -> bool:
        return not self._is_local(stream) and not self.http3.owns(stream)

    def _head_size(self, stream: int) -> int:
        session = self.session
        is_ours = session is not None and self._is_local(stream)
        return len(stream_head(bool(stream & 2), session)) if is_ours else 0

    def _incoming(self, code: int) -> int:
        return from_http3(code)
