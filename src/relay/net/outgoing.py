"""What goes out on a settled connection: trains of packets, built without the library's machinery.

Bytes of one stream fill packets that are sealed, entered and sent as one train; what several
streams have, resets, stops and acknowledgements share packets. Sizes are tried here, too. The law:
nothing leaves that congestion control, pacing or the peer's limits would not let the library send.
This module must not know when to send, nor what streams carry.
"""

from __future__ import annotations

from math import ceil
from typing import Any, cast

from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.stream import QuicStream, QuicStreamReceiver

from relay.net.ackrate import AckRate
from relay.net.byrate import kind_of
from relay.net.delivery import Delivery
from relay.net.extensions import Extensions
from relay.net.frames import RESET_STREAM, RESET_STREAM_AT, STOP_SENDING, ack
from relay.net.growth import Used
from relay.net.mtu import PathMtu
from relay.net.recovery import Handler, Train
from relay.net.sender import SharedSender
from relay.net.udp import Datagrams, joined
from relay.wire.buffer import encode_varints

_TAG = 16
_FIRST = 0x41
"""First byte of a packet with a number of two bytes (RFC 9000, 17.3.1), without spin and phase."""

_KINDS = (b"\x0a", b"\x0b", b"\x0e", b"\x0f")
"""STREAM frames with a length: without and with an end, then the same with an offset."""

_TO_END = b"\x0c"
"""A STREAM frame with an offset that reaches to the end of the packet."""

_LEAST = 64
"""Bytes of a packet below which no stream data is begun."""

_PING = b"\x01"
_RESET_SIZE = 1 + 4 * 8
"""Bytes of the longest RESET_STREAM_AT frame."""

_STOP_SIZE = 1 + 2 * 8
"""Bytes of the longest STOP_SENDING frame."""

_ACK_SIZE = 256
"""Bytes of an ACK frame; the oldest ranges that do not fit are left out (RFC 9000, 13.2.3)."""

_KNOWN_EVERY = 8
"""Packets of which one asks that it be known which acknowledgements arrived (13.2.4)."""

_OFTEN, _SELDOM = 0.1, 1.0
"""Seconds between two looks at what may be asked of the path and the peer."""

_IN_VAIN = 50
"""Looks in a row that found nothing, from which on there are few: while the window grows each that
comes late costs acknowledgements."""

_KEY_LIFE = 1 << 22
"""Packets sealed under one key: half of what AES-GCM allows (RFC 9001, 6.6)."""

_FAR = 1 << 30
"""Offsets from here on take more than four bytes."""


class Outgoing(Extensions):
    """A connection that builds everyday packets itself."""

    def __init__(self, *, is_short: bool, max_datagram_size: int, **options: Any) -> None:
        """Packets of up to ``max_datagram_size`` bytes are tried."""
        super().__init__(**options)
        self.stirred = {}  # in the order of their turns
        self._mtu = PathMtu(max_datagram_size)
        self._ack_rate = AckRate()
        self._overhead = 0
        """Bytes of a packet that are no frames: first byte, connection id, number and tag."""
        self._extras_at, self._in_vain = 0.0, 0
        self._renew_at = _KEY_LIFE
        """Packet number from which on other keys are wanted."""
        algorithm = self._configuration.congestion_control_algorithm
        kind: Any = kind_of(algorithm, is_short)
        if kind is not type(self._loss):
            self._loss = kind(
                **({"mtu": self._mtu} if is_short else {}),
                congestion_control_algorithm=algorithm,
                initial_rtt=self._configuration.initial_rtt,
                max_datagram_size=self._max_datagram_size,
                peer_completed_address_validation=not self._is_client,
                quic_logger=self._quic_logger,
                send_probe=self._send_probe,
                logger=self._logger,
            )
        control: Any = self._loss._cc
        self._rated: Delivery | None = control if isinstance(control, Delivery) else None
        """Congestion control that wants to know when there is nothing more to send."""

    def _settle(self) -> None:
        super()._settle()
        self._overhead = 3 + len(self._peer_cid.cid) + _TAG

    def _send_short(self, now: float, ack_due: bool) -> list[Datagrams]:
        """Build packets of stream data, and of an acknowledgement that is due."""
        self._streams_queue.clear()
        pacer = self._loss._pacer
        paced = pacer.packet_time
        if paced is not None and now > pacer.evaluation_time:  # as `Pacer.update_bucket`
            time = pacer.bucket_time + now - pacer.evaluation_time
            pacer.bucket_time = time if time < pacer.bucket_max else pacer.bucket_max
            pacer.evaluation_time = now
        packets: list[Datagrams] = []
        if ack_due and not self.stirred and len(self._unsaid) == 1:
            # Nothing else to say, and no gaps: most that a publisher hears.
            return [self._sealed(self._ack_frame(now))]
        while ack_due or self.stirred:
            if paced is not None and pacer.bucket_time <= 0 and not ack_due:
                self._pacing_at = now + paced
                break
            if ack_due or not self._send_run(now, packets):
                if not self._send_mixed(now, ack_due, packets):
                    break
                ack_due = False
        return packets if len(packets) < 2 else joined(packets)

    def _enter(self, train: Train) -> None:
        """Note a train that leaves, and that it will be answered."""
        self._loss.enter(train, self._space)
        if not self._ack_eliciting_sent_since_receipt:
            self._alive_at = train.sent_time
            self._ack_eliciting_sent_since_receipt = True

    def _send_run(self, now: float, packets: list[Datagrams]) -> bool:
        """Send new bytes of the stream whose turn it is: all of them when it is the only one, else
        as many as fill packets. False, and nothing is done, when it is not that simple."""
        is_alone = len(self.stirred) == 1
        stream_id, stream = next(iter(self.stirred.items()))
        sender: Any = stream.sender
        start, stop = sender.highest_offset, sender._buffer_stop
        if not sender.is_orderly or stream.is_blocked or stop >= _FAR:
            return False
        if start == stop and not sender._pending_eof:
            sender.buffer_is_empty = True
            del self.stirred[stream_id]
            return True
        limit, label = self._max_datagram_size, sender.label
        step = limit - self._overhead - 5 - len(label)  # kind and offset
        if stop - start < step and not is_alone:
            return False  # what several have shares packets
        loss = self._loss
        control, pacer = loss._cc, loss._pacer
        count = (control.congestion_window - control.bytes_in_flight) // limit
        paced = pacer.packet_time
        if paced is not None:
            allowed = ceil(pacer.bucket_time / paced)
            count = count if count < allowed else allowed
        credit = self._remote_max_data - self._remote_max_data_used
        room = count * step
        most = start + (room if room < credit else credit)
        if most > stream.max_stream_data_remote:
            most = stream.max_stream_data_remote
        if not is_alone:
            most = start + (min(most, stop) - start) // step * step
        if count <= 0 or (most <= start and (start < stop or not is_alone)):
            return False  # less than a packet may still fit
        start, data, fin = sender.take_new(most)
        size = len(data)
        self._remote_max_data_used += size
        number, head = self._packet_number, _TO_END + label
        first = _FIRST | self._spin_bit << 5 | self._keys.phase << 2
        run = self._keys.sealer.seal_run(
            data, step, head, start, fin, first, self._peer_cid.cid, number
        )
        packets.append((run, limit))
        count = -(-size // step) or 1  # an end without bytes is a packet, too
        self._packet_number = number + count
        last, sent_bytes = number + count - 1, size + count * (limit - step)
        train = Train(number, last, sent_bytes, now, limit, sender, start, start + size, step, fin)
        loss.enter(train, self._space)  # and the rest as `_enter`, for each frame and viewer
        if not self._ack_eliciting_sent_since_receipt:
            self._alive_at, self._ack_eliciting_sent_since_receipt = now, True
        if sender.highest_offset == stop:
            sender.buffer_is_empty = True
            del self.stirred[stream_id]
        if paced is not None:
            left = pacer.bucket_time - (sent_bytes * pacer.byte_time or paced * count)
            pacer.bucket_time = left if left > pacer.least else pacer.least
        return True

    def _send_mixed(self, now: float, ack_due: bool, packets: list[Datagrams]) -> bool:
        """Send a packet of whatever there is: an acknowledgement, resets, stops, bytes of several
        streams or to be sent again. Answers whether more may follow."""
        control, space, number = self._loss._cc, self._space, self._packet_number
        room = min(self._max_datagram_size, control.congestion_window - control.bytes_in_flight)
        frames: list[bytes] = []
        eliciting = False
        if ack_due:
            frames.append(self._ack_frame(now))
            # Now and then the peer has to say that it knows of the gaps: they are forgotten then.
            if len(space.ack_queue) > 1 and number % _KNOWN_EVERY == 0 and room > _ACK_SIZE * 2:
                frames.append(_PING)
                eliciting = True
            if not (eliciting or self.stirred):
                # Nobody acknowledges this, and nothing hangs on its arrival.
                packets.append(self._sealed(b"".join(frames)))
                return False
        train = Train(number, number, 0, now)
        filled = self._fill(room - self._overhead - sum(map(len, frames)), frames, train)
        if not frames:
            return False
        packet = self._sealed(b"".join(frames))
        packets.append(packet)
        if not (eliciting or filled):
            return False
        if ack_due:
            known = self._on_ack_delivery, (space, space.largest_received_packet)
            train.handlers = [*train.handlers, known]
        train.sent_bytes = train.full = packet[1]
        self._enter(train)
        return filled

    def _sealed(self, payload: bytes) -> Datagrams:
        """A packet of this payload: protected, numbered, and counted by the pacer."""
        number = self._packet_number
        self._packet_number = number + 1
        first = _FIRST | self._spin_bit << 5 | self._keys.phase << 2
        packet = self._keys.sealer.seal(payload, first, self._peer_cid.cid, number)
        pacer = self._loss._pacer
        if pacer.packet_time is not None:
            left = pacer.bucket_time - (len(packet) * pacer.byte_time or pacer.packet_time)
            pacer.bucket_time = left if left > pacer.least else pacer.least
        return packet, len(packet)

    def _ack_frame(self, now: float) -> bytes:
        space = self._space
        received = space.largest_received_time
        delay = int((now - (received or now)) * 1000000) >> self._local_ack_delay_exponent
        space.ack_at = None
        return ack(self._unsaid, delay, _ACK_SIZE)

    def _fill(self, room: int, frames: list[bytes], train: Train) -> bool:
        """Add frames of streams whose turn it is; answers whether there are any."""
        before = len(frames)
        handlers: list[Handler] = []
        again: dict[int, QuicStream] = {}
        stirred = self.stirred
        while stirred and room >= _LEAST:
            stream_id = next(iter(stirred))
            stream = stirred.pop(stream_id)
            if stream_id not in self._streams:
                continue
            sender: Any = stream.sender
            room -= self._fill_from(stream, room, frames, train, handlers)
            if not (stream.is_blocked or sender.buffer_is_empty):
                again[stream_id] = stream  # also when the peer's limits are in the way
        stirred.update(again)
        train.handlers = handlers
        return len(frames) > before

    def _fill_from(
        self,
        stream: QuicStream,
        room: int,
        frames: list[bytes],
        train: Train,
        handlers: list[Handler],
    ) -> int:
        """Add frames of one stream; answers their size."""
        before, sender = room, cast(SharedSender, stream.sender)
        if stream.receiver.stop_pending:
            frame = _stop_frame(stream.receiver)
            frames.append(frame)
            handlers.append((self._stopped, (stream,)))
            room -= len(frame)
        if sender.reset_pending:
            frame = _reset_frame(sender)
            frames.append(frame)
            handlers.append((sender.on_reset_delivery, ()))
            room -= len(frame)
        if not (stream.is_blocked or sender.buffer_is_empty):
            room -= self._stream_frame_out(stream, sender, room, frames, train, handlers)
        return before - room

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

    def _write_reset_stream_frame(self, builder: QuicPacketBuilder, stream: QuicStream) -> None:
        sender: Any = stream.sender
        if not sender.kept:
            super()._write_reset_stream_frame(builder, stream)
            return
        # Where there is no room it raises, and the reset is still to be sent.
        buf = builder.start_frame(RESET_STREAM_AT, _RESET_SIZE, sender.on_reset_delivery)
        buf.push_bytes(_reset_frame(sender)[1:])

    def _write_stop_sending_frame(self, builder: QuicPacketBuilder, stream: QuicStream) -> None:
        # Of its own nobody would hear that it was lost, and the library is not shown every stream.
        buf = builder.start_frame(STOP_SENDING, _STOP_SIZE, self._stopped, (stream,))
        buf.push_bytes(_stop_frame(stream.receiver)[1:])

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        """Ask the peer to stop."""
        super().stop_stream(stream_id, error_code)
        self._stop(self._streams[stream_id])

    def _stop(self, stream: QuicStream) -> None:
        sender: Any = stream.sender
        sender.is_orderly = False
        self.stirred[stream.stream_id] = stream  # type: ignore[index]

    def _stopped(self, delivery: QuicDeliveryState, stream: QuicStream) -> None:
        """A stop was acknowledged, or lost."""
        stream.receiver.on_stop_sending_delivery(delivery)
        if stream.receiver.stop_pending and stream.stream_id in self._streams:
            self._stop(stream)

    def _resize(self) -> None:
        """Packets may be larger, or have to be smaller, from now on."""
        size = self._max_datagram_size = self._mtu.size
        self._loss._pacer._max_datagram_size = size
        self._loss._cc._max_datagram_size = size  # type: ignore[attr-defined]

    def _extras(self, now: float) -> list[bytes]:
        """Now and then: packets that try a larger size, or ask for fewer acknowledgements; and
        before a key is worn out, another one."""
        if self._packet_number >= self._renew_at:
            self._renew_at = self._packet_number + _KEY_LIFE
            self.request_key_update()
            # It has to arrive, and not on a mere acknowledgement: nobody repeats a lost one, and
            # all that comes under the old keys is lost.
            self.send_ping(0)
        extras: list[bytes] = []
        control = self._loss._cc
        if (size := self._mtu.wish(now)) is not None and self._has_room(size):
            self._mtu.under_way = size
            padding = bytes(size - self._overhead - len(_PING))  # RFC 9000, 14.4
            extras.append(self._extra(_PING + padding, (self._tried, (size,)), now, True))
        window = control.congestion_window
        if isinstance(control, Used) and control.is_ample:
            window *= 2
        count = self._ack_rate.wish(window, self._max_datagram_size)
        if count is not None and self._has_room(_LEAST):
            frame = self._ack_rate.ask(count)
            self._loss.max_ack_delay = max(self._loss.max_ack_delay, self._ack_rate.patience)
            extras.append(self._extra(frame, (self._asked, (count,)), now, False))
        self._in_vain = self._in_vain + 1 if size is None and count is None else 0
        self._extras_at = now + (_OFTEN if self._in_vain < _IN_VAIN else _SELDOM)
        return extras

    def _look_again(self) -> None:
        """There may be something to ask soon."""
        self._extras_at, self._in_vain = 0.0, 0

    def _has_room(self, size: int) -> bool:
        control = self._loss._cc
        return control.congestion_window - control.bytes_in_flight >= size

    def _extra(self, plain: bytes, handler: Handler, now: float, is_trial: bool) -> bytes:
        """A packet of its own."""
        number = self._packet_number
        train = Train(number, number, len(plain) + self._overhead, now)
        train.is_trial = is_trial
        train.handlers = [handler]
        self._enter(train)
        return self._sealed(plain)[0]

    def _asked(self, delivery: QuicDeliveryState, count: int) -> None:
        """What became of the question for fewer acknowledgements."""
        if delivery is not QuicDeliveryState.ACKED and self._ack_rate.asked == count:
            self._ack_rate.lost()
            self._look_again()

    def _tried(self, delivery: QuicDeliveryState, size: int) -> None:
        """What became of such a packet."""
        if delivery is QuicDeliveryState.ACKED:
            self._mtu.try_arrived(size)
            self._resize()
        else:
            self._mtu.try_lost(size)
            self._look_again()


def _reset_frame(sender: SharedSender) -> bytes:
    frame = sender.get_reset_frame()
    parts = [frame.stream_id or 0, frame.error_code, frame.final_size]
    kept = [sender.kept] if sender.kept else []
    kind = RESET_STREAM_AT if kept else RESET_STREAM
    return encode_varints((kind, *parts, *kept))


def _stop_frame(receiver: QuicStreamReceiver) -> bytes:
    frame = receiver.get_stop_frame()
    return b"\x05" + encode_varints((frame.stream_id or 0, frame.error_code))
