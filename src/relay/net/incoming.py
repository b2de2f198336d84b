"""What comes in on a settled connection, read without the library's general machinery.

Packets of the one path that there is, under the keys in use, whose frames are those of every day:
acknowledgements, stream data and limits. The library's books are kept as it keeps them; a frame
that is not of every day is given to it, and so is a packet that cannot be opened here. The law:
what is heard is what the library would have heard. This module must not know what streams carry,
nor what will be sent.
"""

from __future__ import annotations

from typing import Any

from aioquic.quic.connection import (
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.events import QuicEvent, StreamDataReceived
from aioquic.quic.packet import QuicErrorCode, QuicStreamFrame
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketSpace
from aioquic.quic.stream import FinalSizeError, QuicStream, StreamFinishedError
from aioquic.tls import CipherSuite, Direction, Epoch

from relay.net.ack import read_ack
from relay.net.keys import Keys
from relay.net.recovery import Recovery
from relay.net.sender import Streams
from relay.net.udp import Address
from relay.net.varint import decode

_ONE_RTT = Epoch.ONE_RTT

_PADDING, _PING, _ACK = 0x00, 0x01, 0x02
_STREAM, _STREAM_LAST = 0x08, 0x0F
_MAX_DATA, _MAX_STREAM_DATA, _MAX_STREAMS_BIDI, _MAX_STREAMS_UNI = 0x10, 0x11, 0x12, 0x13
"""Frame types (RFC 9000, 19) of every day."""

_MAX_STREAM_COUNT = 1 << 60
_MAX_OFFSET = (1 << 62) - 1


class Heard(QuicEvent):
    """The next bytes of a stream, as long as they come packet by packet with nothing between."""

    __slots__ = ("chunks", "end_stream", "stream_id")

    def __init__(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.chunks = [data]
        self.end_stream = end_stream


class _Odd(Exception):
    """A frame that the library should see."""


class Incoming(QuicConnection):
    """A connection that reads everyday packets itself."""

    _loss: Recovery

    def __init__(self, *, speedups: bool, **options: Any) -> None:
        """``speedups``: as in `relay.net.settings.QuicLimits`."""
        super().__init__(**options)
        self._streams = Streams(self)
        self._keys = Keys(speedups)
        self._heard: Heard | None = None
        """The last event, while more bytes may be added to it."""
        self.has_news = True
        """Whether it has to be flushed: more was heard than that all has arrived."""
        self.wants_streams = self.wants_room = False
        """Whether somebody was refused a stream, or room for bytes, and has got none since."""
        self._is_long_due = True
        """Whether the library has something to say."""
        self.is_settled = False
        """Whether there is nothing to be done but what is done every day, on the path ``_home``."""
        self._home: Address = ()
        self._alive_at = 0.0
        """When the idle timeout last began to run, if later than the library knows."""
        self._space = QuicPacketSpace()
        """The application's, once it is settled."""

    def next_event(self) -> QuicEvent | None:
        """What was heard, in order; ``None`` when that is all."""
        event = super().next_event()
        if type(event) is not Heard:
            return event
        self._heard = None
        chunks = event.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return StreamDataReceived(data, event.end_stream, event.stream_id)

    def _settle(self) -> None:
        """After the library had its turn: see whether everyday packets may be read here."""
        self.is_settled = (
            self._handshake_confirmed
            and self._state is QuicConnectionState.CONNECTED
            and not self._close_pending
            and self._quic_logger is None
            and all(
                each.is_validated and not each.remote_challenges for each in self._network_paths
            )
        )
        if self.is_settled:
            self._home = self._network_paths[0].addr
            self._space = self._spaces[_ONE_RTT]
            self._crypto = self._cryptos[_ONE_RTT]
            self._keys.follow(self._crypto)

    def _update_traffic_key(
        self, direction: Direction, epoch: Epoch, cipher_suite: CipherSuite, secret: bytes
    ) -> None:
        super()._update_traffic_key(direction, epoch, cipher_suite, secret)
        if epoch is _ONE_RTT:
            is_sending = direction is Direction.ENCRYPT
            pair = self._cryptos[_ONE_RTT]
            self._keys.begin(pair.send if is_sending else pair.recv, is_sending)

    def _open(self, data: bytes, now: float) -> bool:
        """Read a 1-RTT packet; False, and nothing else, when the library should."""
        space, keys = self._space, self._keys
        opened = keys.opener.open(
            data, 1 + len(self.host_cid), keys.phase, space.expected_packet_number
        )
        if opened is None:
            return False
        number, first, plain = opened
        if number <= space.largest_received_packet and number in space.received_packets:
            return False
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        if number > self._spin_highest_pn:
            self._spin_bit = bool(first & 0x20) is not self._is_client
            self._spin_highest_pn = number
        try:
            eliciting = self._hear(plain, now)
        except QuicConnectionError as error:
            self.close(error.error_code, error.frame_type, error.reason_phrase)
            return True
        if self._state is QuicConnectionState.CONNECTED and not self._close_pending:
            self._note(number, eliciting, now)
        return True

    def _note(self, number: int, eliciting: bool, now: float) -> None:
        """A packet was heard: it will be acknowledged."""
        space = self._space
        self._alive_at = now
        self._ack_eliciting_sent_since_receipt = False
        if number > space.largest_received_packet:
            space.largest_received_packet = number
            space.largest_received_time = now
        ranges: list[range] = space.ack_queue._RangeSet__ranges  # type: ignore[attr-defined]
        if ranges and ranges[-1].stop == number:
            ranges[-1] = range(ranges[-1].start, number + 1)
        else:
            space.ack_queue.add(number)
            if len(ranges) > MAX_ACK_RANGES:
                space.ack_queue.shift()
        space.received_packets.add(number)
        if eliciting and space.ack_at is None:
            space.ack_at = now + self._ack_delay

    def _hear(self, plain: bytes, now: float) -> bool:
        """All frames of a packet; answers whether it asks for an acknowledgement."""
        at, end = 0, len(plain)
        eliciting = False
        try:
            while at < end:
                kind = plain[at]
                if kind == _ACK:
                    at = self._ack_frame_in(plain, at, now)
                elif _STREAM <= kind <= _STREAM_LAST:
                    eliciting = self.has_news = True
                    at = self._stream_frame(kind, plain, at + 1)
                elif kind == _PADDING:
                    at += 1
                    while at < end and not plain[at]:
                        at += 1
                elif kind == _PING:
                    eliciting = True
                    at += 1
                elif _MAX_DATA <= kind <= _MAX_STREAMS_UNI:
                    eliciting = True
                    at = self._limit_frame(kind, plain, at + 1)
                else:
                    raise _Odd
        except _Odd:
            return self._library_hears(plain, at, now) or eliciting
        return eliciting

    def _library_hears(self, plain: bytes, at: int, now: float) -> bool:
        """The rest of a packet is not of every day."""
        self.has_news = self._is_long_due = True
        self._heard = None
        path = self._network_paths[0]
        context = QuicReceiveContext(_ONE_RTT, self.host_cid, path, None, now, None)
        try:
            return self._payload_received(context, plain[at:])[0]
        finally:
            self._settle()

    def _ack_frame_in(self, plain: bytes, at: int, now: float) -> int:
        """Packets arrived (RFC 9000, 19.3); answers where the frame ends."""
        frame = read_ack(plain, at)
        if frame is None:
            raise _Odd
        ranges, delay, at = frame
        loss = self._loss
        loss.peer_completed_address_validation = True
        waited = (delay << self._remote_ack_delay_exponent) / 1000000
        if len(ranges) == 1:
            loss.acknowledge(self._space, ranges[0][0], ranges[0][1], waited, now)
        else:
            loss.acknowledge_all(self._space, ranges[::-1], waited, now)
        if loss.lost_foreign:
            loss.lost_foreign = False
            self._is_long_due = True
        return at

    def _stream_frame(self, kind: int, plain: bytes, at: int) -> int:
        """A STREAM frame (RFC 9000, 19.8), judged in the library's order; answers where it ends."""
        stream_id, at = _number(plain, at)
        offset = 0
        if kind & 4:
            offset, at = _number(plain, at)
        stop = len(plain)
        if kind & 2:
            length, at = _number(plain, at)
            stop = at + length
            if stop > len(plain):
                raise _Odd
        data = plain[at:stop]
        if offset + len(data) > _MAX_OFFSET:
            raise _Odd
        self._assert_stream_can_receive(kind, stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            try:
                stream = self._get_or_create_stream(kind, stream_id)
            except StreamFinishedError:
                return stop
            self._look_at_limits()
        self._stream_bytes(kind, stream, offset, data)
        return stop

    def _stream_bytes(self, kind: int, stream: QuicStream, offset: int, data: bytes) -> None:
        """Take bytes of a stream in, as far as the limits allow."""
        end = offset + len(data)
        receiver = stream.receiver
        used = self._local_max_data.used
        if end > receiver.highest_offset:
            used += end - receiver.highest_offset
        if end > stream.max_stream_data_local or used > self._local_max_data.value:
            which = "stream" if end > stream.max_stream_data_local else "connection"
            raise QuicConnectionError(
                QuicErrorCode.FLOW_CONTROL_ERROR, kind, f"Over {which} data limit"
            )
        is_last = bool(kind & 1)
        if (
            offset == receiver._buffer_start
            and offset == receiver.highest_offset
            and data
            and receiver._final_size is None
            and not receiver.is_finished
        ):
            # The next bytes, and nothing came before its turn: nothing to be put together.
            receiver._buffer_start = receiver.highest_offset = end
            if is_last:
                receiver._final_size = end
                receiver.is_finished = True
            heard = self._heard
            if heard is not None and heard.stream_id == stream.stream_id:
                heard.chunks.append(data)
                heard.end_stream = is_last
            else:
                heard = self._heard = Heard(stream.stream_id or 0, data, is_last)
                self._events.append(heard)
        else:
            try:
                event = receiver.handle_frame(QuicStreamFrame(data, is_last, offset))
            except FinalSizeError as error:
                raise QuicConnectionError(
                    QuicErrorCode.FINAL_SIZE_ERROR, kind, str(error)
                ) from error
            if event is not None:
                self._events.append(event)
                self._heard = None
        self._local_max_data.used = used
        if receiver.is_finished:
            if stream.sender.is_finished:
                self._discard(stream)
        elif end * 2 > stream.max_stream_data_local:
            self._is_long_due = True

    def _limit_frame(self, kind: int, plain: bytes, at: int) -> int:
        """MAX_DATA, MAX_STREAM_DATA or MAX_STREAMS (RFC 9000, 19.9 to 19.11)."""
        self.has_news = True  # something may have waited for it
        value, at = _number(plain, at)
        if kind == _MAX_DATA:
            if value > self._remote_max_data:
                self._remote_max_data = value
        elif kind == _MAX_STREAM_DATA:
            stream = self._streams.get(value)
            if stream is None:
                raise _Odd
            limit, at = _number(plain, at)
            self._assert_stream_can_send(kind, value)
            if limit > stream.max_stream_data_remote:
                stream.max_stream_data_remote = limit
        elif value > _MAX_STREAM_COUNT:
            raise _Odd
        elif kind == _MAX_STREAMS_UNI:
            if value > self._remote_max_streams_uni:
                self._remote_max_streams_uni = value
                self._unblock_streams(is_unidirectional=True)
        elif value > self._remote_max_streams_bidi:
            self._remote_max_streams_bidi = value
            self._unblock_streams(is_unidirectional=False)
        return at

    # What the sending side does

    def stirred(self, stream: QuicStream) -> None:
        """A stream may have something to send."""
        raise NotImplementedError

    def sent_whole(self, stream: QuicStream) -> None:
        """All of our half of a stream has arrived."""
        raise NotImplementedError

    def _discard(self, stream: QuicStream) -> None:
        """Forget a stream that is over."""
        raise NotImplementedError

    def _look_at_limits(self) -> None:
        """See whether the peer has to be granted more."""
        raise NotImplementedError


def _number(plain: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends. Raises `_Odd` when it is cut off."""
    found = decode(plain, at)
    if found is None:
        raise _Odd
    return found
