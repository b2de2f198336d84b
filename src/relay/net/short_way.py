"""The short way: what a relay does all day, without the library's general machinery.

Stream data out, resets and acknowledgements leave, and packets of a settled path come in, with the
library's own books kept as it keeps them: the same sent packets, streams, congestion window and
pacing. So the library can take over at any packet, and does for everything else: handshake, other
paths, key updates, connection ids, limits, closing. The law: nothing leaves here that the library
would not have sent. This module must not know what streams carry.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from math import ceil
from typing import Any

import aioquic
from aioquic import tls
from aioquic._buffer import Buffer
from aioquic._crypto import CryptoError
from aioquic.buffer import encode_uint_var
from aioquic.quic.connection import (
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
)
from aioquic.quic.packet import decode_packet_number, push_ack_frame
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStream

from relay.net.acked import Piece, Sent, acknowledge, enter, read_ack
from relay.net.seal import seal
from relay.net.sender import SharedSender, Streams
from relay.net.udp import Address

CHECKED = frozenset(("1.7.2",))
"""Versions of the library this was compared with; with any other one it stays off."""

_log = logging.getLogger("relay.net")

_ONE_RTT = tls.Epoch.ONE_RTT
_TAG = 16
_KINDS = (b"\x0a", b"\x0b", b"\x0e", b"\x0f")
"""STREAM frames with a length: without and with an end, then the same with an offset."""

_ACK = 0x02
_LEAST = 64
"""Bytes of a packet below which no stream data is begun."""

_CALM = frozenset((0x00, 0x01, 0x02, 0x03, *range(0x08, 0x14)))
"""Frames after which the library has nothing to say by itself: PADDING, PING, ACK, STREAM and the
peer's limits (RFC 9000, 19)."""


@cache
def _tell_unchecked(version: str) -> None:
    """Say once that the short way is off."""
    _log.warning("short way off: aioquic %s was not checked", version)


class ShortWay(QuicConnection):
    """A connection that goes the short way where it can."""

    def __init__(self, *, short_way: bool, **options: Any) -> None:
        super().__init__(**options)
        self._streams = Streams(self)
        self._stirred: dict[int, QuicStream] = {}
        """Streams that may have something to send or may be over, in the order of their turns."""
        self._is_short = short_way and aioquic.__version__ in CHECKED
        if short_way and not self._is_short:
            _tell_unchecked(aioquic.__version__)
        self._is_long_due = True
        self.has_news = True
        """Whether it has to be flushed: more was heard than that all has arrived."""
        self._loss._on_packets_lost = self._packets_lost  # type: ignore[method-assign]

    def stirred(self, stream: QuicStream) -> None:
        """A stream may have something to send, or may be over."""
        assert stream.stream_id is not None
        self._stirred[stream.stream_id] = stream

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        """Ask the peer to stop; the library sends that."""
        self._is_long_due = True
        super().stop_stream(stream_id, error_code)

    # Out

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Datagrams that may leave now."""
        datagrams: list[tuple[bytes, Address]] = []
        self.has_news = False
        if self._is_short and not self._needs_library(now):
            datagrams = self._send_short(now)
            if not self._limits_due():
                return datagrams
        self._streams_queue = self._in_turn()
        datagrams += super().datagrams_to_send(now)
        self._is_long_due = self._is_unsettled()
        self._stirred = {
            stream_id: stream
            for stream_id, stream in self._stirred.items()
            if stream_id in self._streams and self._wants(stream)
        }
        return datagrams

    def _packets_lost(self, *, packets: Iterable[Any], **options: Any) -> None:
        """Packets were lost: what the library sent itself, it has to send again itself."""
        packets = list(packets)
        if any(not isinstance(packet, Sent) for packet in packets):
            self._is_long_due = True
        QuicPacketRecovery._on_packets_lost(self._loss, packets=packets, **options)

    def _in_turn(self) -> list[QuicStream]:
        """All streams, those that have something to do in the order of their turns."""
        rest = [s for i, s in self._streams.items() if i not in self._stirred]
        return [s for i, s in self._stirred.items() if i in self._streams] + rest

    def _wants(self, stream: QuicStream) -> bool:
        sender = stream.sender
        return sender.reset_pending or not sender.buffer_is_empty or stream.is_finished

    def _needs_library(self, now: float) -> bool:
        """Whether anything but stream data, resets and acknowledgements has to leave."""
        if (
            self._is_long_due
            or not self._handshake_confirmed
            or self._state is not QuicConnectionState.CONNECTED
            or self._close_pending
            or self._probe_pending
            or self._ping_pending
            or self._datagrams_pending
            or self._retire_connection_ids
            or self._streams_blocked_pending
            or self._quic_logger is not None
            or len(self._network_paths) != 1
            or not self._network_paths[0].is_validated
            or self._network_paths[0].remote_challenges
            or self._cryptos[_ONE_RTT]._update_key_requested
            or not self._crypto_streams[_ONE_RTT].sender.buffer_is_empty
        ):
            return True
        space = self._spaces[_ONE_RTT]
        # Several ranges may have to be acknowledged with a PING along.
        return (
            space.ack_at is not None and space.ack_at <= now and len(space.ack_queue) > 1
        ) or self._limits_due()

    def _limits_due(self) -> bool:
        """Whether the peer has to be told of a new limit of the connection."""
        data = self._local_max_data
        return data.value != data.sent or data.used * 2 > data.value or self._streams_due()

    def _streams_due(self) -> bool:
        """Whether the peer has few enough streams left to be granted more (RFC 9000, 4.6)."""
        uni, bidi = self._local_max_streams_uni, self._local_max_streams_bidi
        return (
            uni.sent - uni.used < uni.value - uni.sent
            or bidi.sent - bidi.used < bidi.value - bidi.sent
        )

    def _is_unsettled(self) -> bool:
        """Whether the library has not said all it had to: asked after each of its turns."""
        return (
            self._handshake_done_pending
            or any(not each.was_sent for each in self._host_cids)
            or any(
                stream.receiver.stop_pending
                or stream.max_stream_data_local != stream.max_stream_data_local_sent
                for stream in self._streams.values()
            )
        )

    def _send_short(self, now: float) -> list[tuple[bytes, Address]]:
        path = self._network_paths[0]
        space = self._spaces[_ONE_RTT]
        self._streams_queue.clear()
        self._pacing_at = None
        ack_due = space.ack_at is not None and space.ack_at <= now
        if not self._stirred and not ack_due:
            return []
        loss = self._loss
        pacer = loss._pacer
        paced = pacer.packet_time
        if paced is not None:
            pacer.update_bucket(now=now)
        room = loss.congestion_window - loss.bytes_in_flight
        overhead = 3 + len(self._peer_cid.cid) + _TAG
        plain: list[bytes] = []
        packets: list[Sent] = []
        if not ack_due and len(self._stirred) == 1:
            most = room // self._max_datagram_size
            if paced is not None:
                most = min(most, ceil(pacer.bucket_time / paced))
            packets = self._run(most, self._max_datagram_size - overhead, plain, now)
            room -= len(packets) * self._max_datagram_size
            if paced is not None:
                pacer.bucket_time = max(0.0, pacer.bucket_time - paced * len(packets))
        while True:
            if paced is not None and pacer.bucket_time <= 0 and not ack_due:
                self._pacing_at = now + paced
                break
            frames, handlers = self._acknowledge(space, now) if ack_due else ([], [])
            ack_due = False
            size = sum(map(len, frames))
            limit = min(self._max_datagram_size, room) - overhead - size
            pieces: list[Piece] = []
            eliciting = self._fill(limit, frames, pieces, handlers)
            if not frames:
                break
            payload = b"".join(frames)
            plain.append(payload)
            sent = len(payload) + overhead
            packet = Sent(self._packet_number + len(plain) - 1, sent, now, pieces, handlers)
            packet.is_ack_eliciting = packet.in_flight = eliciting
            packets.append(packet)
            if paced is not None:
                pacer.bucket_time = max(0.0, pacer.bucket_time - paced)
            if not eliciting:
                break
            room -= sent
        if enter(loss, space, packets, now) and not self._ack_eliciting_sent_since_receipt:
            self._close_at = now + self._idle_timeout()
            self._ack_eliciting_sent_since_receipt = True
        return self._seal(plain, path)

    def _run(self, most: int, limit: int, plain: list[bytes], now: float) -> list[Sent]:
        """Full packets of the only stream that has something to send, all but its last bytes."""
        stream = next(iter(self._stirred.values()))
        sender: Any = stream.sender
        if stream.is_finished or stream.is_blocked or sender._reset_error_code is not None:
            return []
        size = limit - 7 - len(sender.label)
        credit = sender.highest_offset + self._remote_max_data - self._remote_max_data_used
        highest = sender.highest_offset
        start, pieces = sender.take_run(size, most, min(credit, stream.max_stream_data_remote))
        self._remote_max_data_used += sender.highest_offset - highest
        head = _KINDS[2] + sender.label
        number = self._packet_number + len(plain)
        sent = limit + 3 + len(self._peer_cid.cid) + _TAG
        packets = []
        for data in pieces:
            numbers = (start | 1 << 31) << 16 | size | 0x4000
            plain.append(b"".join((head, numbers.to_bytes(6, "big"), data)))
            packet = Sent(number, sent, now, [(sender, start, start + size, False)], [])
            packet.is_ack_eliciting = packet.in_flight = True
            packets.append(packet)
            number += 1
            start += size
        return packets

    def _acknowledge(self, space: QuicPacketSpace, now: float) -> tuple[list[bytes], list[Any]]:
        received = space.largest_received_time
        delay = int((now - (received or now)) * 1000000) >> self._local_ack_delay_exponent
        buf = Buffer(capacity=64)
        buf.push_uint_var(0x02)
        push_ack_frame(buf, space.ack_queue, delay, 63)
        space.ack_at = None
        handler = (self._on_ack_delivery, (space, space.largest_received_packet))
        return [buf.data], [handler]

    def _fill(
        self, room: int, frames: list[bytes], pieces: list[Piece], handlers: list[Any]
    ) -> bool:
        """Add frames of streams whose turn it is; answers whether there are any."""
        before = len(frames)
        served: list[int] = []
        blocked: list[int] = []
        stirred = self._stirred
        while stirred and room >= _LEAST:
            stream_id = next(iter(stirred))
            stream = stirred[stream_id]
            sender = stream.sender
            if stream.is_finished:
                self._discard(stream)
                continue
            if sender.reset_pending:
                frame = _reset_frame(sender)  # type: ignore[arg-type]
                frames.append(frame)
                handlers.append((sender.on_reset_delivery, ()))
                room -= len(frame)
                del stirred[stream_id]
                continue
            if stream.is_blocked or sender.buffer_is_empty:
                del stirred[stream_id]
                continue
            wrote = self._stream_frame(stream, sender, room, frames, pieces)
            room -= wrote
            if not wrote:
                # Nothing pending, or the peer's limits: it stays in line in the second case.
                del stirred[stream_id]
                if not sender.buffer_is_empty:
                    blocked.append(stream_id)
                continue
            if not len(sender._pending) and not sender._pending_eof:
                sender.buffer_is_empty = True
                del stirred[stream_id]
            else:
                del stirred[stream_id]
                served.append(stream_id)
        for stream_id in (*served, *blocked):
            if stream_id in self._streams:
                stirred[stream_id] = self._streams[stream_id]
        return len(frames) > before

    def _stream_frame(
        self,
        stream: QuicStream,
        sender: Any,
        room: int,
        frames: list[bytes],
        pieces: list[Piece],
    ) -> int:
        highest = sender.highest_offset
        most = min(
            highest + self._remote_max_data - self._remote_max_data_used,
            stream.max_stream_data_remote,
        )
        label = sender.label
        # Kind, offset (never longer than that of the last byte) and length.
        head_size = (7 if sender._buffer_stop < 1 << 30 else 11) + len(label)
        taken = sender.take(room - head_size, most)
        if taken is None:
            return 0
        offset, data, fin = taken
        size = len(data)
        if not offset:
            head = _KINDS[fin] + label + (size | 0x4000).to_bytes(2, "big")
        elif offset < 1 << 30:
            numbers = (offset | 1 << 31) << 16 | size | 0x4000
            head = _KINDS[fin + 2] + label + numbers.to_bytes(6, "big")
        else:
            numbers = (offset | 3 << 62) << 16 | size | 0x4000
            head = _KINDS[fin + 2] + label + numbers.to_bytes(10, "big")
        frames.append(head)
        frames.append(data)
        pieces.append((sender, offset, offset + size, fin))
        self._remote_max_data_used += sender.highest_offset - highest
        return len(head) + size

    def _discard(self, stream: QuicStream) -> None:
        """Forget a stream that is over, and let the peer open another one."""
        stream_id = stream.stream_id
        assert stream_id is not None
        self._stirred.pop(stream_id, None)
        if self._streams.pop(stream_id, None) is not None and (stream_id & 1) == self._is_client:
            self._stream_limit(stream_id).value += 1

    def _seal(self, plain: list[bytes], path: QuicNetworkPath) -> list[tuple[bytes, Address]]:
        """Protect a train of packets."""
        if not plain:
            return []
        crypto, number = self._cryptos[_ONE_RTT], self._packet_number
        first = 0x41 | (self._spin_bit << 5) | (crypto.key_phase << 2)
        sealed = seal(crypto.send, plain, first, self._peer_cid.cid, number)
        self._packet_number = number + len(plain)
        path.bytes_sent += sum(map(len, sealed))
        address = path.addr
        return [(datagram, address) for datagram in sealed]

    # In

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """A datagram came."""
        if not (self._is_short and self._is_settled(data, addr) and self._open(data, now)):
            super().receive_datagram(data, addr, now)
            self._is_long_due = self.has_news = True

    def _is_settled(self, data: bytes, addr: Address) -> bool:
        return (
            self._handshake_confirmed
            and self._state is QuicConnectionState.CONNECTED
            and not self._close_pending
            and self._quic_logger is None
            and data[0] & 0xC0 == 0x40
            and len(self._network_paths) == 1
            and self._network_paths[0].is_validated
            and self._network_paths[0].addr == addr
            and data.startswith(self.host_cid, 1)
        )

    def _open(self, data: bytes, now: float) -> bool:
        """Read a 1-RTT packet; False, and nothing else, when it is not one for the short way."""
        at = 1 + len(self.host_cid)
        context = self._cryptos[_ONE_RTT].recv
        if len(data) < at + 20 or context.aead is None or context.hp is None:
            return False
        mask = context.hp._mask(data[at + 4 : at + 20])
        first = data[0] ^ (mask[0] & 0x1F)
        if (first >> 2) & 1 != context.key_phase or first & 0x18:
            return False
        length = (first & 3) + 1
        hidden = int.from_bytes(data[at : at + length], "big")
        truncated = hidden ^ int.from_bytes(mask[1 : 1 + length], "big")
        space = self._spaces[_ONE_RTT]
        number = decode_packet_number(truncated, length * 8, space.expected_packet_number)
        header = b"".join((bytes((first,)), data[1:at], truncated.to_bytes(length, "big")))
        try:
            plain = context.aead.decrypt(data[at + length :], header, number)
        except CryptoError:
            return False
        if not plain or plain[0] not in _CALM or number in space.received_packets:
            return False
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        if number > self._spin_highest_pn:
            spin = bool(first & 0x20)
            self._spin_bit = not spin if self._is_client else spin
            self._spin_highest_pn = number
        self._hear(plain, number, space, now)
        return True

    def _hear(self, plain: bytes, number: int, space: QuicPacketSpace, now: float) -> None:
        eliciting = False
        if plain[0] == _ACK and (frame := read_ack(plain)) is not None:
            ranges, delay, end = frame
            self._acked(ranges, delay, space, now)
            plain = plain[end:]
        if plain.strip(b"\0"):
            self.has_news = True
            path = self._network_paths[0]
            context = QuicReceiveContext(_ONE_RTT, self.host_cid, path, None, now, None)
            try:
                eliciting, _ = self._payload_received(context, plain)
            except QuicConnectionError as error:
                self.close(error.error_code, error.frame_type, error.reason_phrase)
        if self._state is not QuicConnectionState.CONNECTED or self._close_pending:
            return
        self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False
        if number > space.largest_received_packet:
            space.largest_received_packet = number
            space.largest_received_time = now
        space.ack_queue.add(number)
        space.received_packets.add(number)
        if len(space.ack_queue) > MAX_ACK_RANGES:
            space.ack_queue.shift()
        if eliciting and space.ack_at is None:
            space.ack_at = now + self._ack_delay

    def _acked(
        self, ranges: list[tuple[int, int]], delay: int, space: QuicPacketSpace, now: float
    ) -> None:
        """Packets arrived: streams that are over are forgotten at once."""
        loss = self._loss
        loss.peer_completed_address_validation = True
        took = (delay << self._remote_ack_delay_exponent) / 1000000
        for sender in acknowledge(loss, space, ranges, took, now):
            stream = sender.stream
            if sender.is_finished and stream.is_finished:
                self._discard(stream)
            elif not stream.stream_id & 2:  # type: ignore[operator]
                self.has_news = True  # somebody may wait for an answer to have arrived
        if self._stirred or self._is_long_due or self._probe_pending:
            self.has_news = True

    def _handle_stream_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        at = buf.tell()
        super()._handle_stream_frame(context, frame_type, buf)
        buf_end = buf.tell()
        buf.seek(at)
        stream = self._streams.get(buf.pull_uint_var())
        buf.seek(buf_end)
        if stream is not None:
            if stream.is_finished:
                self.stirred(stream)
            elif stream.receiver.highest_offset * 2 > stream.max_stream_data_local:
                self._is_long_due = True


def _reset_frame(sender: SharedSender) -> bytes:
    frame = sender.get_reset_frame()
    parts = (frame.stream_id, frame.error_code, frame.final_size)
    return b"\x04" + b"".join(map(encode_uint_var, parts))
