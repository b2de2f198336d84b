"""One QUIC connection of an endpoint: packets in, events up, one flush, packets out.

Nothing here waits or sends: the endpoint feeds it, asks it for packets and fires its timer. Bytes
of the same stream that came in one turn go up as one piece. This module must not know sockets,
and leaves the meaning of streams to the `Application` on top.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    ProtocolNegotiated,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from relay.net.codes import H3_INTERNAL_ERROR, NO_APPLICATION_PROTOCOL
from relay.net.engine import Engine
from relay.net.patience import PORTION
from relay.net.settings import QuicLimits
from relay.net.short_way import Departure
from relay.net.udp import Address, plain, weight
from relay.session.transport import PeerCertificate

H3 = "h3"
"""ALPN of HTTP/3."""


class Application(Protocol):
    """What runs on a connection once the protocol is agreed on. May raise: it costs itself."""

    def handshake_completed(self) -> None:
        """The peer is authenticated as far as TLS does that."""

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of a stream."""

    def stream_reset(self, stream: int, code: int) -> None:
        """The peer broke off its half of a stream; the code is QUIC's."""

    def stream_stopped(self, stream: int, code: int) -> None:
        """The peer no longer reads our half, which is reset already; the code is QUIC's."""

    def datagram_received(self, data: bytes) -> None:
        """A QUIC datagram arrived."""

    def flush(self) -> None:
        """The last moment before packets are built."""

    def overdue(self) -> None:
        """The connection's `deadline` has passed."""

    def terminated(self, code: int, is_transport: bool, reason: str) -> None:
        """The QUIC connection is over; told once."""


class Host(Protocol):
    """What a connection needs of its endpoint."""

    awake: dict[Connection, None]
    """Those that are flushed when this turn ends."""
    is_in_turn: bool
    """Whether there is a turn."""

    def now(self) -> float:
        """The loop's clock, in seconds."""

    def wake(self, connection: Connection) -> None:
        """Flush the connection in this turn, or at once when there is none."""

    def add_id(self, connection: Connection, cid: bytes) -> None:
        """Packets to this connection id belong to the connection."""

    def remove_id(self, connection: Connection, cid: bytes) -> None:
        """... and no longer do."""

    def handshake_done(self, connection: Connection) -> None:
        """The handshake is complete; the endpoint may still refuse the connection."""

    def ended(self, connection: Connection) -> None:
        """The session on it is over, though QUIC may linger."""

    def failed(self, error: Exception) -> None:
        """Something raised that should not have."""


Begin = Callable[["Connection", str], Application]
"""Makes the application of a connection for the agreed ALPN."""


class Connection:
    """One peer's QUIC connection."""

    def __init__(
        self, host: Host, engine: Engine, limits: QuicLimits, remote: Address, begin: Begin
    ) -> None:
        self.host = host
        self.engine = engine
        self.limits = limits
        self.ids: set[bytes] = set()
        """Connection ids the endpoint routes here."""
        self.deadline: float | None = None
        """When `Application.overdue` (or the end of a slow handshake) is due."""
        self.armed: float | None = None
        """When the endpoint's timer will look at this connection; the endpoint's own note."""
        self.application: Application | None = None
        self.alpn = ""
        self.certificate: PeerCertificate | None = None
        """The client certificate the peer showed, checked."""
        self.is_terminated = False
        """Whether QUIC has forgotten the connection, closing period included."""
        self.is_due = False
        """Whether the application may have something to say before packets are built."""
        self._remote = remote
        self._begin = begin
        self._is_told = False

    @property
    def remote(self) -> tuple[str, int]:
        """Address and port of the peer, as they are now."""
        return plain(self.engine.get_peer_address() or self._remote)

    def wake(self) -> None:
        """Have this connection flushed, and its application first."""
        self.is_due = True
        self.host.wake(self)

    def feed(self, datagrams: list[bytes], address: Address, now: float) -> None:
        """UDP datagrams for this connection arrived."""
        try:
            self.engine.receive(datagrams, address, now)
        except Exception as error:
            self.fail(error)

    def feed_until(
        self, until: float, datagrams: list[bytes], address: Address, now: float
    ) -> list[bytes]:
        """Datagrams arrived; answers those that are left at that time."""
        at, count = 0, len(datagrams)
        portion = max(1, PORTION // weight(max(map(len, datagrams)))) if count > 1 else 1
        while at < count and self.host.now() <= until:
            self.feed(datagrams[at : at + portion], address, now)
            at += portion
        return datagrams[at:] if at else datagrams

    def fire(self, now: float) -> bool:
        """The time of `timer` has come; False when it was put off meanwhile, by an ACK say."""
        is_due = False
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            is_due = True
            if self.application is None or not self.alpn:
                self.engine.end(0, "the handshake took too long", transport=True)
            else:
                self._guard(self.application.overdue)
        try:
            due = self.engine.deadline()
            if due is not None and now >= due:
                is_due = True
                self.engine.handle_timer(now)
        except Exception as error:
            self.fail(error)
        return is_due

    def timer(self) -> float | None:
        """When `fire` is due, ``None`` for never."""
        due = self.engine.deadline()
        if self.deadline is None or due is None:
            return due if self.deadline is None else self.deadline
        return min(due, self.deadline)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is due but, some day, the idle timeout."""
        return self.deadline is None and self.engine.is_resting

    def take_events(self) -> None:
        """Hand up everything the engine has heard."""
        engine = self.engine
        events, next_event = engine.events, engine.next_event
        if engine.heard_more or engine.wants_room or not events:
            self.is_due = True
        chunks: dict[int, list[StreamDataReceived]] = {}
        stops: list[StopSendingReceived] | None = None
        while events and (event := next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                stream = event.stream_id
                if not stream & 2:
                    self.is_due = True  # a question or an answer, which may be followed by others
                if stream in chunks:
                    chunks[stream].append(event)
                elif not chunks and (event.end_stream or not events):
                    # Nobody waits before it. As `_pass_data`, for each frame.
                    try:
                        if self.application is not None:
                            self.application.stream_received(stream, event.data, event.end_stream)
                    except Exception as error:
                        self.fail(error)
                else:
                    chunks[stream] = [event]
            elif isinstance(event, StopSendingReceived) and self._is_asked_on(event.stream_id):
                # In a packet it stands before the bytes of its stream, which may be the first.
                self.is_due = True
                stops = stops or []
                stops.append(event)
            else:
                self.is_due = True
                self._pass_chunks(chunks)
                self._pass(event)
        if chunks:
            self._pass_chunks(chunks)
        if stops is not None:
            for stop in stops:
                self._pass(stop)
        if not engine.is_settled:
            self._tell_end()

    def speak(self) -> None:
        """Give the application its last moment before packets are built, if that is due."""
        engine, application = self.engine, self.application
        if not engine.is_settled:
            self._tell_end()
        if self.is_due and application is not None:
            self.is_due = engine.wants_room = False
            try:
                application.flush()
            except Exception as error:
                self.fail(error)

    def fall_silent(self, error: Exception) -> list[Departure]:
        """No packets could be built."""
        if self._is_told:  # not even a goodbye can be: nothing is tried again
            self.host.failed(error)
            self.is_terminated = True
        else:
            self.fail(error)
        return []

    def tell_ids(self) -> None:
        """Have ids routed that were told right now: the peer's next packet may be for one."""
        events = self.engine.events
        while events and isinstance(event := events[0], ConnectionIdIssued):
            events.popleft()
            self._pass(event)

    def fail(self, error: Exception) -> None:
        """A mistake of ours or of the library: it is reported and costs this connection."""
        self.host.failed(error)
        self.engine.end(H3_INTERNAL_ERROR if self.alpn == H3 else 1, "", not self.alpn)
        self.wake()

    def _is_asked_on(self, stream: int) -> bool:
        """Whether it is a two-way stream of the peer's."""
        return not stream & 2 and (stream & 1) == self.engine.configuration.is_client

    def _pass_chunks(self, chunks: dict[int, list[StreamDataReceived]]) -> None:
        for stream, events in chunks.items():
            single = len(events) == 1
            data = events[0].data if single else b"".join(event.data for event in events)
            self._pass_data(stream, data, events[-1].end_stream)
        chunks.clear()

    def _pass_data(self, stream: int, data: bytes, fin: bool) -> None:
        if self.application is not None:
            try:
                self.application.stream_received(stream, data, fin)
            except Exception as error:
                self.fail(error)

    def _pass(self, event: QuicEvent) -> None:
        match event:
            case ConnectionIdIssued():
                self.host.add_id(self, event.connection_id)
            case ConnectionIdRetired():
                self.host.remove_id(self, event.connection_id)
            case ProtocolNegotiated():
                self._agree(event.alpn_protocol)
            case ConnectionTerminated():
                self.is_terminated = True
            case _ if self.application is not None:
                self._pass_up(self.application, event)

    def _pass_up(self, application: Application, event: QuicEvent) -> None:
        try:
            match event:
                case StreamReset():
                    self.engine.was_reset(event.stream_id)
                    application.stream_reset(event.stream_id, event.error_code)
                case StopSendingReceived():
                    self.engine.drop_unsent(event.stream_id)
                    application.stream_stopped(event.stream_id, event.error_code)
                case DatagramFrameReceived():
                    application.datagram_received(event.data)
                case HandshakeCompleted():
                    self.deadline = None
                    self.host.handshake_done(self)
                    if self.engine.is_over:
                        self.application = None  # turned away: what came along is not heard
                    else:
                        application.handshake_completed()
        except Exception as error:
            self.fail(error)

    def _agree(self, alpn: str | None) -> None:
        if alpn is None:
            self.engine.end(NO_APPLICATION_PROTOCOL, "no application protocol", transport=True)
            return
        self.alpn = alpn
        try:
            self.application = self._begin(self, alpn)
        except Exception as error:
            self.fail(error)

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self.fail(error)

    def _tell_end(self) -> None:
        end = self.engine.ending
        if end is None or self._is_told:
            return
        self._is_told = True
        self.host.ended(self)
        if self.application is not None:
            is_transport = end.frame_type is not None
            application = self.application
            self._guard(
                lambda: application.terminated(end.error_code, is_transport, end.reason_phrase)
            )
