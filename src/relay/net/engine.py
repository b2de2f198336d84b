"""A thin shell around the QUIC library: what it does not count, it counts, and nothing raises.

It keeps the number of bytes that were handed over and have not left (in constant time), opens
streams only with the peer's credit, bounds the datagram queue, and lets the receive window slide
with what was delivered instead of doubling it for ever. The library's private fields are touched
here and below, nowhere else; it must not know HTTP/3 or who sits above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    QuicConnectionError,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.stream import QuicStreamReceiver
from aioquic.tls import Context
from cryptography import x509

from relay.net import parameters
from relay.net.capsule import clip
from relay.net.gate import CID_LENGTH, VERSIONS
from relay.net.hello import server_name
from relay.net.lean import drop_callbacks
from relay.net.mtu import SAFE
from relay.net.receiver import Receiver
from relay.net.resets import LEAST, TOKEN
from relay.net.sender import SharedSender, SharedStream
from relay.net.settings import QuicLimits
from relay.net.short_way import Departure, ShortWay
from relay.net.shown import allow_p521, show
from relay.net.steer import WHOLE, Share
from relay.net.steps import chosen
from relay.net.tls import Pair, fingerprint

MAX_CLOSE_REASON = 512
"""Bytes of a reason in CONNECTION_CLOSE, so that it fits every packet."""

MAX_TLS_MESSAGE = 1 << 16
"""Bytes of one TLS message, a chain of certificates say, that may be kept until all is there."""

_SPARE = 8
"""One-way streams that are left to what is more urgent."""

_IDS = 4
"""Connection ids that either side keeps (RFC 9000, 5.1.1): one in use, and enough for a peer whose
address changes some times within a round trip. The library's 8 are a tenth of a handshake."""

_DATAGRAM_OVERHEAD = 16 + 3 + 3
"""AEAD tag; flags and packet number; frame type and length, without the peer's connection id."""


def configure(limits: QuicLimits, is_client: bool, alpn: Sequence[str]) -> QuicConfiguration:
    """What the QUIC library is told for every connection."""
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=list(alpn),
        congestion_control_algorithm=limits.congestion_control,
        connection_id_length=CID_LENGTH,
        idle_timeout=limits.idle_timeout,
        max_data=limits.max_data,
        max_stream_data=limits.max_stream_data,
        max_datagram_size=SAFE,
        max_datagram_frame_size=65536,
        supported_versions=list(VERSIONS),
    )


class Engine(ShortWay):
    """One QUIC connection, without a socket and without a clock."""

    def __new__(cls, _: object, limits: QuicLimits, *others: object, **more: object) -> Any:
        """One that takes its everyday steps in C, where that is wanted and was built."""
        return super().__new__(chosen(cls, limits))

    def __init__(
        self,
        configuration: QuicConfiguration,
        limits: QuicLimits,
        original_cid: bytes | None = None,
        retry_cid: bytes | None = None,
        share: Share = WHOLE,
        token_of: Callable[[bytes], bytes] | None = None,
        pair_for: Callable[[str], Pair] | None = None,
    ) -> None:
        """``token_of`` makes the reset token of a connection id (RFC 9000, 10.3), ``pair_for`` says
        what a server shows to whoever asks for that name; without it: the configuration's."""
        super().__init__(
            short_way=limits.short_way,
            speedups=limits.speedups,
            max_datagram_size=limits.max_datagram_size,
            configuration=configuration,
            original_destination_connection_id=original_cid,
            retry_source_connection_id=retry_cid,
        )
        self._share = share
        first = self._host_cids[0]
        first.cid = self.host_cid = self._local_initial_source_connection_id = share.mark(first.cid)
        self._token_of, self._pair_for = token_of, pair_for
        if token_of is not None:
            first.stateless_reset_token = token_of(first.cid)
        self._limits = limits
        self._window = limits.max_data
        self._grant_at = self._window // 2
        """Bytes delivered from which on the receive window is worth moving."""
        self._most = limits.max_unsent // 2
        """Most that may be handed over, however wide the path: more may end the session."""
        self._handed = self._dropped = 0
        self._hears_of_heads = False
        """Whether a stream can break off behind a head that the peer gets all the same."""
        self.server_name = ""
        """The name the client asked for in TLS (RFC 6066, 3); empty when there was none."""
        # Set before the first packet: transport parameters are written from these.
        self._local_active_connection_id_limit = _IDS
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            limit.value = limit.sent = limits.max_streams
        self._streams_granted = limits.max_streams
        """How many of each kind the peer may have open at a time."""

    # What is known of the connection

    @property
    def unsent(self) -> int:
        """Stream bytes handed over that have not left for the first time."""
        return self._handed - self._dropped - self._remote_max_data_used

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits to leave and nothing is under way."""
        return not self.unsent and not self._loss.bytes_in_flight

    @property
    def ending(self) -> ConnectionTerminated | None:
        """Why the connection is over or about to be, whoever ended it."""
        return self._close_event

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._close_event is not None or not (
            self._state is QuicConnectionState.CONNECTED
            or self._state is QuicConnectionState.FIRSTFLIGHT
        )

    @property
    def is_untouched(self) -> bool:
        """Whether no packet could be read yet: what came was garbage."""
        return self._state is QuicConnectionState.FIRSTFLIGHT and self._close_event is None

    @property
    def peer_fingerprint(self) -> str:
        """Hex SHA-256 of the server's certificate, empty before it came."""
        certificate = self.tls._peer_certificate
        return fingerprint(certificate) if certificate is not None else ""

    @property
    def peer_chain(self) -> tuple[x509.Certificate, ...]:
        """The certificates the peer showed, leaf first; none when it showed none."""
        leaf = self.tls._peer_certificate
        return (leaf, *self.tls._peer_certificate_chain) if leaf is not None else ()

    @property
    def rtt(self) -> float:
        """Smoothed round-trip time in seconds, 0.0 while unknown."""
        return self._loss._rtt_smoothed if self._loss._rtt_initialized else 0.0

    @property
    def datagram_limit(self) -> int:
        """Bytes of the largest datagram that fits a packet and the peer takes, else 0."""
        peer = self._remote_max_datagram_frame_size
        if not peer:
            return 0
        room = self._max_datagram_size - _DATAGRAM_OVERHEAD - len(self._peer_cid.cid)
        return max(0, min(room, peer - 3))

    def bandwidth(self) -> int:
        """What the path carries, or the congestion window per round trip, in bits per second; 0
        while unknown."""
        if self._rated is not None:
            return int(self._rated.bandwidth * 8)
        rtt = self.rtt
        return int(self._loss.congestion_window * 8 / rtt) if rtt else 0

    def capacity(self, stream_id: int | None = None) -> int:
        """Bytes that would leave soon: of the connection, or of one stream."""
        if self._close_event is not None or self._state is not QuicConnectionState.CONNECTED:
            return 0
        used, window = self._remote_max_data_used, self._loss._cc.congestion_window
        window = window if window < self._most else self._most
        credit = self._remote_max_data - used
        room = (window if window < credit else credit) - self._handed + self._dropped + used
        if room <= 0:
            self.wants_room = True
        if stream_id is not None:
            stream = self._streams.get(stream_id)
            if stream is None:
                return 0
            room = min(room, stream.max_stream_data_remote - stream.sender._buffer_stop)
        return room if room > 0 else 0

    def is_ample(self, room: int) -> bool:
        """Whether `capacity` is at least ``room``, and the peer grants a good many more streams."""
        spare = self._remote_max_streams_uni - (self._local_next_stream_id_uni >> 2)
        return spare > _SPARE and self.capacity() >= room

    def is_acknowledged(self, stream_id: int, offset: int) -> bool:
        """Whether the peer has all bytes of our half of a stream before ``offset``."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender._buffer_start >= offset

    def oldest_under_way(self) -> int | None:
        """The lowest one-way stream of ours that has ended, was not broken off, and has not arrived
        whole."""
        for stream_id, stream in self._streams.items():  # ours are in order
            sender = stream.sender
            if (
                stream_id & 2
                and (stream_id & 1) != self._is_client
                and sender._buffer_fin is not None
                and sender._reset_error_code is None
            ):
                return stream_id
        return None

    def written(self, stream_id: int) -> int:
        """Bytes handed over on a stream so far."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop

    def is_receiving(self, stream_id: int) -> bool:
        """Whether the peer's half of the stream may still bring something."""
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.receiver.is_finished

    def is_reset(self, stream_id: int) -> bool:
        """Whether our half of the stream broke off: we did so, or the peer asked for it."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.sender._reset_error_code is not None

    # What it is asked to do

    def open_stream(self, uni: bool, head: bytes = b"", fin: bool = False) -> int | None:
        """A new stream that begins with ``head`` (and ends there), or ``None`` without credit: the
        library would queue it instead."""
        if not self.is_settled and self.is_over:
            return None
        if uni:
            stream_id, most = self._local_next_stream_id_uni, self._remote_max_streams_uni
        else:
            stream_id, most = self._local_next_stream_id_bidi, self._remote_max_streams_bidi
        if stream_id >> 2 >= most:
            return None
        stream = self._made(stream_id, uni)
        dict.__setitem__(self._streams, stream_id, stream)
        if head or fin:
            stream.sender.write(head, fin)
            self._handed += len(head)
        return stream_id

    def _made(self, stream_id: int, uni: bool) -> SharedStream:
        """A stream of ours, as the library would make it."""
        if uni:
            self._local_next_stream_id_uni = stream_id + 4
            return SharedStream(stream_id, self, 0, self._remote_max_stream_data_uni, False)
        self._local_next_stream_id_bidi = stream_id + 4
        local, remote = (
            self._local_max_stream_data_bidi_local,
            self._remote_max_stream_data_bidi_remote,
        )
        return SharedStream(stream_id, self, local, remote, True)

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        """Append to a stream. Raises what the library raises; `send` does not."""
        super().send_stream_data(stream_id, data, end_stream)
        self._handed += len(data)

    def send(self, stream_id: int, data: bytes, fin: bool) -> int:
        """Append to an open stream; on one that is reset, finished or unknown nothing happens.

        Answers what `unsent` says then.
        """
        stream = self._streams.get(stream_id)
        if stream is not None and (self.is_settled or not self.is_over):
            sender = stream.sender
            has_ended = sender.is_finished or sender._buffer_fin is not None
            if not has_ended and sender._reset_error_code is None:
                sender.write(data, fin)
                self._handed += len(data)
        return self._handed - self._dropped - self._remote_max_data_used

    def offer(self, stream_id: int, data: bytes, room: int) -> bool:
        """Append to an open stream where `capacity` is at least ``room``: both in one."""
        stream = self._streams.get(stream_id)
        if stream is None or not self.is_settled:
            return False
        sender: Any = stream.sender
        used, window = self._remote_max_data_used, self._loss._cc.congestion_window
        window = window if window < self._most else self._most
        credit = self._remote_max_data - used
        left = (window if window < credit else credit) - self._handed + self._dropped + used
        if left < room or stream.max_stream_data_remote - sender._buffer_stop < room:
            return False
        if sender._buffer_fin is not None or sender._reset_error_code is not None:
            return False
        if data:  # as `SharedSender.write` does: here it is for each frame and viewer
            stop = sender._buffer_stop
            sender._chunks.append(data)
            sender._starts.append(stop)
            sender._buffer_stop = stop + len(data)
            sender.buffer_is_empty = False
            self.stirred[stream_id] = stream
            self._handed += len(data)
        return True

    def reset(self, stream_id: int, code: int, head: int = 0) -> None:
        """Break off our half; its unsent bytes are forgotten at once, but for the first ``head``
        where the peer can be told that they arrive all the same."""
        if self.is_over or stream_id not in self._streams or not self._stream_can_send(stream_id):
            return
        sender = self._streams[stream_id].sender
        if self._hears_of_heads and sender._reset_error_code is None:
            assert isinstance(sender, SharedSender)
            sender.kept = head
        self.reset_stream(stream_id, code)
        self.drop_unsent(stream_id)

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the peer to break off its half, unless it has ended already."""
        stream = self._streams.get(stream_id)
        if self.is_over or stream is None or stream.receiver.is_finished:
            return
        self.stop_stream(stream_id, code)

    def drop_unsent(self, stream_id: int) -> None:
        """Forget what a reset stream will never send (RFC 9000, 3.5: also after STOP_SENDING)."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.sender._reset_error_code is None:
            return
        assert isinstance(stream.sender, SharedSender)
        self._dropped += stream.sender.drop_unsent()

    def widen(self, streams: int) -> None:
        """Let the peer have so many streams of each kind open at a time, if that is more."""
        more = streams - self._streams_granted
        if more > 0:
            self._streams_granted = streams
            self._local_max_streams_bidi.value += more
            self._local_max_streams_uni.value += more
            self._is_long_due = self.has_news = True

    def send_datagram(self, data: bytes) -> bool:
        """Queue a datagram; False when it is too big, or the queue is full, or all is over."""
        limit = self.datagram_limit
        if self.is_over or not limit or len(data) > limit:
            return False
        if len(self._datagrams_pending) >= self._limits.max_datagram_queue:
            return False
        self.send_datagram_frame(data)
        return True

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes of stream data handed over, and delivered to us."""
        return self._handed, self._delivered

    def end(self, code: int, reason: str = "", transport: bool = False) -> None:
        """Close with an application's code, or with one of QUIC's own."""
        text = clip(reason, MAX_CLOSE_REASON).decode()
        self.close(error_code=code, frame_type=0 if transport else None, reason_phrase=text)

    # What is done with packets

    def hear_reset(self, data: bytes, now: float) -> bool:
        """Whether a packet proves that the peer knows nothing of the connection any more, which is
        over then (RFC 9000, 10.3.1)."""
        proof = data[-TOKEN:]
        known = self._peer_cid, *self._peer_cid_available
        given = [each.stateless_reset_token or b"" for each in known]
        if self.is_over or len(data) < LEAST or not any([compare_digest(proof, t) for t in given]):
            return False
        self._close_event = ConnectionTerminated(
            QuicErrorCode.NO_ERROR, QuicFrameType.PADDING, "the peer knows nothing of it any more"
        )
        self._close_begin(is_initiator=False, now=now)
        self.is_settled = False
        return True

    def _depart_long(self, now: float) -> list[Departure]:
        # One that no longer fits (the peer changed its connection id) would block all others.
        pending = self._datagrams_pending
        while pending and len(pending[0]) > self.datagram_limit:
            pending.popleft()
        return super()._depart_long(now)

    def was_reset(self, stream_id: int) -> None:
        """The news that a stream was reset are told: what it will never bring is not under way."""
        if (stream := self._streams.get(stream_id)) is not None:
            self._give_back(stream.receiver)

    def _give_back(self, receiver: QuicStreamReceiver) -> None:
        self._delivered += receiver.highest_offset - receiver._buffer_start
        assert isinstance(receiver, Receiver)
        receiver.let_go()
        if self._delivered >= self._grant_at:
            self._is_long_due = True

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        self._remote_active_connection_id_limit = min(self._remote_active_connection_id_limit, _IDS)
        told = parameters.read(data)
        if (least := parameters.number(told, parameters.MIN_ACK_DELAY)) is not None:
            self._ack_rate.offered(least)
        heads = [told.get(kind) for kind in parameters.RESETS_AT]
        if any(heads):
            code, reason = QuicErrorCode.TRANSPORT_PARAMETER_ERROR, "reset_stream_at has no value"
            raise QuicConnectionError(code, QuicFrameType.CRYPTO, reason)
        self._hears_of_heads = any(value is not None for value in heads)
        # The library checks this one, and keeps it to itself as well.
        if (most := parameters.number(told, parameters.MAX_UDP_PAYLOAD_SIZE)) is not None:
            self._mtu.lower_ceiling(most)

    def _serialize_transport_parameters(self) -> bytes:
        return super()._serialize_transport_parameters() + parameters.OURS

    def _handle_padding_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        # A client's first packet is padding for the most part, which the library looks at byte by
        # byte. It steps over what is left.
        at = buf.tell()
        rest = buf.data_slice(at, buf.capacity)
        buf.seek(at + len(rest) - len(rest.lstrip(b"\0")))
        super()._handle_padding_frame(context, frame_type, buf)

    def _handle_crypto_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        super()._handle_crypto_frame(context, frame_type, buf)
        # The library waits for the rest of a message whatever its length, up to 16 MiB, and copies
        # what it has with each piece.
        if len(self.tls._receive_buffer) > MAX_TLS_MESSAGE:
            code, reason = QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, "the TLS message is too long"
            raise QuicConnectionError(code, frame_type, reason)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        for stream in self._crypto_streams.values():
            stream.receiver = Receiver(None, self.tally)
        if self._quic_logger is None:
            drop_callbacks(self._cryptos.values())
        allow_p521(self.tls)
        if not self._is_client:
            # Only asked for where authorities are configured; showing none is allowed.
            self.tls._request_client_certificate = self._configuration.cadata is not None
            # The library reads the name and keeps it to itself.
            self.tls._server_handle_hello = self._read_hello  # type: ignore[method-assign]

    def _read_hello(self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer) -> None:
        self.server_name = server_name(input_buf.data_slice(input_buf.tell(), input_buf.capacity))
        if self._pair_for is not None:
            show(self.tls, self._pair_for(self.server_name))
        Context._server_handle_hello(self.tls, input_buf, initial_buf, handshake_buf)

    def _replenish_connection_ids(self) -> None:
        known = len(self._host_cids)
        super()._replenish_connection_ids()
        for fresh in self._host_cids[known:]:  # they have been told to nobody yet
            fresh.cid = self._share.mark(fresh.cid)
            if self._token_of is not None:
                fresh.stateless_reset_token = self._token_of(fresh.cid)

    def _limits_due(self) -> bool:
        return self._delivered >= self._grant_at or super()._limits_due()

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: object) -> None:
        # The library doubles the window whenever half of it is used, so gaps in many streams
        # could hold any amount of memory. It is shown an unused window and ours slides instead.
        limit = self._local_max_data
        if self._delivered >= self._grant_at:
            limit.value = self._delivered + self._window
            self._grant_at = self._delivered + self._window // 2
        used, limit.used = limit.used, 0
        try:
            super()._write_connection_limits(builder, space)  # type: ignore[arg-type]
        finally:
            limit.used = used
