"""The short way: what a relay does all day, without the library's general machinery.

Stream data out, resets and acknowledgements leave, with the library's own books kept as it keeps
them: the same streams, congestion window and pacing. So the library can take over at any packet,
and does for everything else: handshake, other paths, key updates, connection ids, limits, closing.
The law: nothing leaves here that the library's peer would not accept from it. This module must not
know what streams carry.
"""

from __future__ import annotations

import logging
from functools import cache
from itertools import groupby
from math import ceil
from typing import Any

import aioquic
from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.buffer import encode_uint_var
from aioquic.quic.packet import push_ack_frame
from aioquic.quic.stream import QuicStream

from relay.net.incoming import Incoming
from relay.net.recovery import Handler, Recovery, Train
from relay.net.seal import seal
from relay.net.sender import SharedSender
from relay.net.udp import Address

CHECKED = frozenset(("1.7.2",))
"""Versions of the library this was compared with; with any other one it stays off."""

_log = logging.getLogger("relay.net")

_ONE_RTT = tls.Epoch.ONE_RTT
_TAG = 16
_KINDS = (b"\x0a", b"\x0b", b"\x0e", b"\x0f")
"""STREAM frames with a length: without and with an end, then the same with an offset."""

_TO_END, _TO_END_LAST = b"\x0c", b"\x0d"
"""STREAM frames with an offset that reach to the end of the packet; the second ends the stream."""

_LEAST = 64
"""Bytes of a packet below which no stream data is begun."""

_PING = b"\x01"
_ACK_SIZE = 256
"""Bytes of an ACK frame; the oldest ranges that do not fit are left out (RFC 9000, 13.2.3)."""

_KNOWN_EVERY = 8
"""Packets of which one asks that it be known which acknowledgements arrived (13.2.4)."""

_FAR = 1 << 30
"""Offsets from here on take more than four bytes."""

Departure = tuple[list[bytes], Address]
"""Datagrams, and where they go."""


@cache
def _tell_unchecked(version: str) -> None:
    """Say once that the short way is off."""
    _log.warning("short way off: aioquic %s was not checked", version)


class ShortWay(Incoming):
    """A connection that goes the short way where it can."""

    def __init__(self, *, short_way: bool, **options: Any) -> None:
        super().__init__(**options)
        self._stirred: dict[int, QuicStream] = {}
        """Streams that may have something to send, in the order of their turns."""
        self._is_short = short_way and aioquic.__version__ in CHECKED
        if short_way and not self._is_short:
            _tell_unchecked(aioquic.__version__)
        if self._is_short:
            self._loss = Recovery(
                congestion_control_algorithm=self._configuration.congestion_control_algorithm,
                initial_rtt=self._configuration.initial_rtt,
                max_datagram_size=self._max_datagram_size,
                peer_completed_address_validation=not self._is_client,
                quic_logger=self._quic_logger,
                send_probe=self._send_probe,
                logger=self._logger,
            )

    # What makes the library speak

    def close(self, *arguments: Any, **options: Any) -> None:
        """End the connection."""
        super().close(*arguments, **options)
        self._is_long_due = self.has_news = True
        self._is_settled = False

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        """Ask the peer to stop."""
        self._is_long_due = True
        super().stop_stream(stream_id, error_code)

    def send_ping(self, uid: int) -> None:
        """Ask for a sign of life."""
        self._is_long_due = True
        super().send_ping(uid)

    def send_datagram_frame(self, data: bytes) -> None:
        """Send unreliably."""
        self._is_long_due = True
        super().send_datagram_frame(data)

    def request_key_update(self) -> None:
        """Change keys."""
        self._is_long_due = True
        super().request_key_update()

    def change_connection_id(self) -> None:
        """Use another id of the peer's."""
        self._is_long_due = True
        super().change_connection_id()

    # Streams

    def stirred(self, stream: QuicStream) -> None:
        """A stream may have something to send."""
        self._stirred[stream.stream_id] = stream  # type: ignore[index]

    def sent_whole(self, stream: QuicStream) -> None:
        """All of our half of a stream, or its reset, has arrived."""
        if stream.receiver.is_finished:
            self._discard(stream)

    def _discard(self, stream: QuicStream) -> None:
        """Forget a stream that is over, and let the peer open another one (RFC 9000, 4.6)."""
        stream_id = stream.stream_id
        assert stream_id is not None
        self._stirred.pop(stream_id, None)
        if self._streams.pop(stream_id, None) is not None and (stream_id & 1) == self._is_client:
            self._stream_limit(stream_id).value += 1
            self._look_at_limits()

    def _look_at_limits(self) -> None:
        """See whether the peer has to be granted more."""
        if self._limits_due():
            self._is_long_due = True

    def _limits_due(self) -> bool:
        """Whether the peer has few enough bytes or streams left to be granted more."""
        data, uni, bidi = (
            self._local_max_data,
            self._local_max_streams_uni,
            self._local_max_streams_bidi,
        )
        return (
            data.value != data.sent
            or uni.sent - uni.used < uni.value - uni.sent
            or bidi.sent - bidi.used < bidi.value - bidi.sent
        )

    # In

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """A datagram came."""
        if (
            self._is_settled
            and data[0] & 0xC0 == 0x40
            and addr == self._home
            and data.startswith(self.host_cid, 1)
            and self._open(data, now)
        ):
            if self._stirred or self._is_long_due or self.wants_streams or self.wants_room:
                self.has_news = True
            return
        self._catch_up()
        super().receive_datagram(data, addr, now)
        self._is_long_due = self.has_news = True
        if self._is_short:
            self._settle()

    # Time

    @property
    def is_impatient(self) -> bool:
        """Whether `deadline` may be nearer than a round trip, or the library has to be asked."""
        return (
            not self._is_settled or self._pacing_at is not None or self._space.loss_time is not None
        )

    @property
    def is_resting(self) -> bool:
        """Whether nothing is under way and nothing is to be acknowledged."""
        space = self._space
        return self._is_settled and not space.ack_eliciting_in_flight and space.ack_at is None

    def is_late(self, now: float, soon: float) -> bool:
        """Whether something is due, or an acknowledgement is within ``soon`` seconds (it is made
        due then: an earlier one does no harm, a late one may be taken for a loss)."""
        space = self._space
        if space.ack_at is not None and space.ack_at <= now + soon:
            space.ack_at = now
            return True
        due = self.deadline()
        return due is not None and due <= now

    def deadline(self) -> float | None:
        """When `handle_timer` wants to be called, ``None`` for never. It may be too early."""
        at = self._close_at
        if at is None or not self._is_settled:
            return self.get_timer() if at is not None else None
        waiting = self._space.ack_at
        if waiting is not None and waiting < at:
            at = waiting
        if self._pacing_at is not None and self._pacing_at < at:
            at = self._pacing_at
        lost = self._loss.get_loss_detection_time(amplification_limited=False)
        return lost if lost is not None and lost < at else at

    def handle_timer(self, now: float) -> None:
        """A time has come."""
        self._catch_up()
        if self._is_settled:
            self._loss_at = self._loss.get_loss_detection_time(amplification_limited=False)
        super().handle_timer(now)
        if self._is_settled:
            self._settle()
            if self._loss.lost_foreign or self._probe_pending or not self._is_settled:
                self._loss.lost_foreign = False
                self._is_long_due = True

    def _catch_up(self) -> None:
        """Let the library know since when nothing was heard."""
        if self._is_settled and self._alive_at:
            self._close_at = max(self._close_at or 0.0, self._alive_at + self._idle_timeout())
            self._alive_at = 0.0

    # Out

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Datagrams that may leave now, each with its address."""
        return [
            (datagram, address)
            for datagrams, address in self.departures(now)
            for datagram in datagrams
        ]

    def departures(self, now: float) -> list[Departure]:
        """Datagrams that may leave now."""
        self.has_news = False
        departures: list[Departure] = []
        if self._is_settled and not self._is_long_due:
            ack_at = self._space.ack_at
            ack_due = ack_at is not None and ack_at <= now
            self._pacing_at = None
            if (self._stirred or ack_due) and (datagrams := self._send_short(now, ack_due)):
                departures.append((datagrams, self._home))
            if not self._is_long_due:
                return departures
        self._streams_queue = self._in_turn()
        self._catch_up()
        packets = super().datagrams_to_send(now)
        departures += [
            ([data for data, _ in group], address)
            for address, group in groupby(packets, key=lambda packet: packet[1])
        ]
        self._stirred = {
            stream_id: stream
            for stream_id, stream in self._stirred.items()
            if stream_id in self._streams and self._wants(stream)
        }
        if self._is_short:
            self._settle()
            self._is_long_due = not self._is_settled or self._is_unsaid()
        return departures

    def _in_turn(self) -> list[QuicStream]:
        """All streams, those that have something to do in the order of their turns."""
        rest = [s for i, s in self._streams.items() if i not in self._stirred]
        return [s for i, s in self._stirred.items() if i in self._streams] + rest

    def _wants(self, stream: QuicStream) -> bool:
        sender = stream.sender
        return sender.reset_pending or not sender.buffer_is_empty

    def _is_unsaid(self) -> bool:
        """Whether the library has not said all it had to: asked after each of its turns."""
        return bool(
            self._handshake_done_pending
            or self._probe_pending
            or self._ping_pending
            or self._datagrams_pending
            or self._retire_connection_ids
            or self._streams_blocked_pending
            or self._network_paths[0].remote_challenges
            or self._crypto._update_key_requested
            or not self._crypto_streams[_ONE_RTT].sender.buffer_is_empty
            or self._limits_due()
            or any(not each.was_sent for each in self._host_cids)
            or any(
                stream.receiver.stop_pending
                or stream.max_stream_data_local != stream.max_stream_data_local_sent
                for stream in self._streams.values()
            )
        )

    def _send_short(self, now: float, ack_due: bool) -> list[bytes]:
        """Build packets of stream data, and of an acknowledgement that is due."""
        self._streams_queue.clear()
        pacer = self._loss._pacer
        paced = pacer.packet_time
        if paced is not None:
            pacer.update_bucket(now=now)
        plain: list[bytes] = []
        while ack_due or self._stirred:
            if paced is not None and pacer.bucket_time <= 0 and not ack_due:
                self._pacing_at = now + paced
                break
            if ack_due or not self._send_run(now, plain):
                if not self._send_mixed(now, ack_due, plain):
                    break
                ack_due = False
        if not plain:
            return []
        crypto, number = self._crypto, self._packet_number
        first = 0x41 | (self._spin_bit << 5) | (crypto.key_phase << 2)
        sealed = seal(crypto.send, plain, first, self._peer_cid.cid, number)
        self._packet_number = number + len(plain)
        return sealed

    def _enter(self, train: Train) -> None:
        """Note a train that leaves, and that it will be answered."""
        self._loss.enter(train, self._space)
        if not self._ack_eliciting_sent_since_receipt:
            self._alive_at = train.sent_time
            self._ack_eliciting_sent_since_receipt = True

    def _send_run(self, now: float, plain: list[bytes]) -> bool:
        """Send new bytes of the stream whose turn it is: all of them when it is the only one, else
        as many as fill packets. False, and nothing is done, when it is not that simple."""
        stream_id, stream = next(iter(self._stirred.items()))
        sender: Any = stream.sender
        start, stop = sender.highest_offset, sender._buffer_stop
        if not sender.is_orderly or stream.is_blocked or stop >= _FAR:
            return False
        if start == stop and not sender._pending_eof:
            sender.buffer_is_empty = True
            del self._stirred[stream_id]
            return True
        limit, label = self._max_datagram_size, sender.label
        step = limit - len(self._peer_cid.cid) - len(label) - 8 - _TAG
        loss = self._loss
        control, pacer = loss._cc, loss._pacer
        count = (control.congestion_window - control.bytes_in_flight) // limit
        paced = pacer.packet_time
        if paced is not None:
            count = min(count, ceil(pacer.bucket_time / paced))
        credit = self._remote_max_data - self._remote_max_data_used
        most = min(start + min(count * step, credit), stream.max_stream_data_remote)
        if len(self._stirred) > 1:
            most = start + (min(most, stop) - start) // step * step
        if count <= 0 or (most <= start and (start < stop or len(self._stirred) > 1)):
            return False  # less than a packet may still fit
        start, data, fin = sender.take_new(most)
        size = len(data)
        self._remote_max_data_used += size
        mark = start | 1 << 31
        if size <= step:
            count = 1
            kind = _TO_END_LAST if fin else _TO_END
            plain.append(b"".join((kind, label, mark.to_bytes(4, "big"), data)))
        else:
            head = _TO_END + label
            packets = [
                b"".join((head, (mark + at).to_bytes(4, "big"), data[at : at + step]))
                for at in range(0, size, step)
            ]
            if fin:
                packets[-1] = _TO_END_LAST + packets[-1][1:]
            count = len(packets)
            plain += packets
        number = self._packet_number + len(plain)
        train = Train(number - count, number - 1, size + count * (limit - step), now)
        train.sender, train.step, train.full = sender, step, limit
        train.start, train.stop, train.fin = start, start + size, fin
        self._enter(train)
        if sender.highest_offset == stop:
            sender.buffer_is_empty = True
            del self._stirred[stream_id]
        if paced is not None:
            left = pacer.bucket_time - paced * count
            pacer.bucket_time = left if left > 0.0 else 0.0
        return True

    def _send_mixed(self, now: float, ack_due: bool, plain: list[bytes]) -> bool:
        """Send a packet of whatever there is: an acknowledgement, resets, bytes of several streams
        or to be sent again. Answers whether more may follow."""
        loss, pacer, space = self._loss, self._loss._pacer, self._space
        overhead = 3 + len(self._peer_cid.cid) + _TAG
        number = self._packet_number + len(plain)
        train = Train(number, number, 0, now)
        room = min(self._max_datagram_size, loss.congestion_window - loss.bytes_in_flight)
        frames: list[bytes] = []
        eliciting = False
        if ack_due:
            frames.append(self._ack_frame(now))
            # Now and then the peer has to say that it knows of the gaps: they are forgotten then.
            if len(space.ack_queue) > 1 and number % _KNOWN_EVERY == 0 and room > _ACK_SIZE * 2:
                frames.append(_PING)
                eliciting = True
        filled = self._fill(room - overhead - sum(map(len, frames)), frames, train)
        if not frames:
            return False
        payload = b"".join(frames)
        plain.append(payload)
        if pacer.packet_time is not None:
            pacer.bucket_time = max(0.0, pacer.bucket_time - pacer.packet_time)
        if not (eliciting or filled):
            # Nobody acknowledges this, and nothing hangs on its arrival.
            return False
        if ack_due:
            known = self._on_ack_delivery, (space, space.largest_received_packet)
            train.handlers = [*train.handlers, known]
        train.sent_bytes = train.full = len(payload) + overhead
        self._enter(train)
        return filled

    def _ack_frame(self, now: float) -> bytes:
        space = self._space
        received = space.largest_received_time
        delay = int((now - (received or now)) * 1000000) >> self._local_ack_delay_exponent
        buf = Buffer(capacity=_ACK_SIZE)
        buf.push_uint_var(0x02)
        push_ack_frame(buf, space.ack_queue, delay, _ACK_SIZE - 1)
        space.ack_at = None
        return buf.data

    def _fill(self, room: int, frames: list[bytes], train: Train) -> bool:
        """Add frames of streams whose turn it is; answers whether there are any."""
        before = len(frames)
        handlers: list[Handler] = []
        again: dict[int, QuicStream] = {}
        stirred = self._stirred
        while stirred and room >= _LEAST:
            stream_id = next(iter(stirred))
            stream = stirred.pop(stream_id)
            if stream_id not in self._streams:
                continue
            sender: Any = stream.sender
            if sender.reset_pending:
                frame = _reset_frame(sender)
                frames.append(frame)
                handlers.append((sender.on_reset_delivery, ()))
                room -= len(frame)
                continue
            if stream.is_blocked or sender.buffer_is_empty:
                continue
            wrote = self._stream_frame_out(stream, sender, room, frames, train, handlers)
            room -= wrote
            if sender.has_more:
                again[stream_id] = stream  # also when the peer's limits are in the way
            else:
                sender.buffer_is_empty = True
        stirred.update(again)
        train.handlers = handlers
        return len(frames) > before

    def _stream_frame_out(
        self,
        stream: QuicStream,
        sender: SharedSender,
        room: int,
        frames: list[bytes],
        train: Train,
        handlers: list[Handler],
    ) -> int:
        """Add a frame of a stream's next bytes; answers its size, 0 when nothing may leave."""
        highest = sender.highest_offset
        most = min(
            highest + self._remote_max_data - self._remote_max_data_used,
            stream.max_stream_data_remote,
        )
        label = sender.label
        # Kind, offset (never longer than that of the last byte) and length.
        head_size = (7 if sender._buffer_stop < _FAR else 11) + len(label)
        taken = sender.take(room - head_size, most)
        if taken is None:
            return 0
        offset, data, fin = taken
        size = len(data)
        if not offset:
            head = _KINDS[fin] + label + (size | 0x4000).to_bytes(2, "big")
        elif offset < _FAR:
            numbers = (offset | 1 << 31) << 16 | size | 0x4000
            head = _KINDS[fin + 2] + label + numbers.to_bytes(6, "big")
        else:
            numbers = (offset | 3 << 62) << 16 | size | 0x4000
            head = _KINDS[fin + 2] + label + numbers.to_bytes(10, "big")
        frames.append(head)
        frames.append(data)
        if train.sender is None:
            train.sender = sender
            train.start, train.stop, train.fin = offset, offset + size, fin
        else:
            handlers.append((sender.on_data_delivery, (offset, offset + size, fin)))
        self._remote_max_data_used += sender.highest_offset - highest
        return len(head) + size


def _reset_frame(sender: SharedSender) -> bytes:
    frame = sender.get_reset_frame()
    parts = (frame.stream_id, frame.error_code, frame.final_size)
    return b"\x04" + b"".join(map(encode_uint_var, parts))
