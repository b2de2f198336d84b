"""The short way: what a relay does all day, without the library's general machinery.

What comes in and goes out on a settled connection is read and built by the two modules below this
one, with the library's own books kept as it keeps them: the same streams, congestion window and
pacing. So the library can take over at any packet, and does for everything else: handshake, other
paths, key updates, connection ids, limits, closing. This module decides whose turn it is; it must
not know what streams carry.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any

import aioquic
from aioquic import tls
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStream, QuicStreamReceiver

from relay.net.incoming import few_left
from relay.net.lean import share_handlers
from relay.net.mtu import SAFE
from relay.net.outgoing import Outgoing
from relay.net.protection import Sealer, makers
from relay.net.sender import DEAF
from relay.net.settings import QuicLimits
from relay.net.udp import Address, joined

CHECKED = frozenset(("1.7.2",))
"""Versions of the library this was compared with; with any other one it stays off."""

_log = logging.getLogger("relay.net")

_ONE_RTT = tls.Epoch.ONE_RTT

_MOST_BEYOND = 8 * SAFE
"""Bytes that leave beyond the congestion window at most because the peer's address changed: it may
change with every packet of a peer that acknowledges none."""

Departure = tuple[bytes, int, Address]
"""A train of datagrams, the size of each, and where they go."""


def packets_by(limits: QuicLimits) -> str:
    """Who seals and opens everyday packets under these limits: `c`, `python` or the `library`."""
    if not limits.short_way or aioquic.__version__ not in CHECKED:
        return "library"
    return "python" if makers(limits.speedups)[0] is Sealer else "c"


@cache
def _tell_unchecked(version: str) -> None:
    """Say once that the short way is off."""
    told = "quic.short_way is off, which costs CPU: made for aioquic %s, and %s is installed"
    _log.warning(told, ", ".join(sorted(CHECKED)), version)


@cache
def _tell_slow() -> None:
    """Say once that packets could be sealed for less."""
    _log.info("packets are sealed in Python: relay.net.speedups was not built, or cannot be used")


class ShortWay(Outgoing):
    """A connection that goes the short way where it can."""

    def __init__(self, *, short_way: bool, speedups: bool, **options: Any) -> None:
        self._is_short = short_way and aioquic.__version__ in CHECKED
        super().__init__(is_short=self._is_short, speedups=speedups, **options)
        if aioquic.__version__ in CHECKED:
            share_handlers(self)
        if short_way and not self._is_short:
            _tell_unchecked(aioquic.__version__)
        elif short_way and speedups and makers(speedups)[0] is Sealer:
            _tell_slow()

    # What makes the library speak

    def close(self, *arguments: Any, **options: Any) -> None:
        """End the connection."""
        super().close(*arguments, **options)
        self._is_long_due = self.has_news = True
        self.is_settled = False

    def send_ping(self, uid: int) -> None:
        """Ask for a sign of life."""
        self._is_long_due = True
        super().send_ping(uid)

    def _on_ping_delivery(self, delivery: QuicDeliveryState, uids: Sequence[int]) -> None:
        """That one has arrived nobody asks for; while all is silent it would wait to be heard."""
        if delivery is not QuicDeliveryState.ACKED:
            super()._on_ping_delivery(delivery, uids)

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

    def sent_whole(self, stream: QuicStream) -> None:
        """All of our half of a stream, or its reset, has arrived."""
        if stream.receiver.is_finished:
            self._discard(stream)

    def _discard(self, stream: QuicStream) -> None:
        """Forget a stream that is over, and let the peer open another one (RFC 9000, 4.6)."""
        stream_id, receiver = stream.stream_id, stream.receiver
        assert stream_id is not None
        # It may be over before the news of its reset is taken, which finds it no more then.
        if receiver._buffer_start < receiver.highest_offset:
            self._give_back(receiver)
        self.stirred.pop(stream_id, None)
        stream.sender = DEAF  # which knows no stream: nothing is left for the garbage collector
        if self._streams.pop(stream_id, None) is not None and (stream_id & 1) == self._is_client:
            limit = self._local_max_streams_uni if stream_id & 2 else self._local_max_streams_bidi
            limit.value += 1
            if few_left(limit):
                self._is_long_due = True

    def _give_back(self, receiver: QuicStreamReceiver) -> None:
        """Count what a reset stream will never bring as delivered, once."""
        raise NotImplementedError

    def _look_at_limits(self) -> None:
        """See whether the peer has to be granted more."""
        if self._limits_due():
            self._is_long_due = True

    def _limits_due(self) -> bool:
        """Whether the peer has few enough bytes or streams left to be granted more."""
        data = self._local_max_data
        return (
            data.value != data.sent
            or few_left(self._local_max_streams_uni)
            or few_left(self._local_max_streams_bidi)
        )

    # In

    def receive(self, datagrams: list[bytes], addr: Address, now: float) -> None:
        """Datagrams came, one after the other."""
        at = 0
        while at < len(datagrams):
            read = 0
            if self.is_settled and addr == self._home:
                read = self._read(datagrams, at, now)
            if not read:
                self._receive_long(datagrams[at], addr, now)
            at += read or 1
        if self.stirred or self._is_long_due or self.wants_room:
            self.has_news = True

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """A datagram came."""
        self.receive([data], addr, now)

    def _receive_long(self, data: bytes, addr: Address, now: float) -> None:
        """Let the library hear a datagram."""
        home = self._network_paths[:1]
        if home and home[0].addr != addr and not (self._is_client or self._handshake_complete):
            # Addresses are stable for so long (RFC 9000, 9). To the library the handshake proves
            # any that somebody writes on its packets.
            return
        self._catch_up()
        self._heard = None
        alive_until = self._close_at
        super().receive_datagram(data, addr, now)
        self._is_long_due = self.has_news = self.heard_more = True
        if self._loss._pto_count and self._close_at != alive_until and self._handshake_confirmed:
            self._ask_again(now)
        if home and home[0] is not self._network_paths[0]:
            # What went to the old address is lost, and may fill the congestion window: whether the
            # peer is at the new one (RFC 9000, 9.3) is not to wait for a probe that was put off.
            loss = self._loss
            if loss.bytes_in_flight < loss.congestion_window + _MOST_BEYOND:
                self._probe_pending = True
            loss._pto_count = 0
            # Nor is what packets may be like there (14.2): a challenge that is too large for the
            # new path never arrives, and the library goes back to where nobody is.
            self._mtu.begin()
            self._look_again()
            if self._mtu.size != self._max_datagram_size:
                self._resize()
        if self._is_short:
            self._settle()

    # Time

    @property
    def is_impatient(self) -> bool:
        """Whether `deadline` may be nearer than a probe timeout, or the library has to be asked."""
        space = self._space
        return (
            not self.is_settled
            or self._pacing_at is not None
            or space.ack_at is not None
            or space.loss_time is not None
        )

    @property
    def is_resting(self) -> bool:
        """Whether nothing is under way."""
        return self.is_settled and not self._space.ack_eliciting_in_flight

    def is_fresh(self, now: float) -> bool:
        """Whether packets left, or with nothing under way came, so short a time ago that nothing is
        due: said for less than `deadline` costs."""
        space, loss, at = self._space, self._loss, self._close_at
        lately = loss._time_of_last_sent_ack_eliciting_packet
        if not space.ack_eliciting_in_flight and self._alive_at > lately:
            lately = self._alive_at
        return (
            now < lately + loss.max_ack_delay  # no probe timeout is shorter (RFC 9002, 6.2.1)
            and self.is_settled
            and self._pacing_at is None
            and space.ack_at is None
            and space.loss_time is None
            and at is not None
            and now < at
        )

    def deadline(self) -> float | None:
        """When `handle_timer` wants to be called, ``None`` for never. It may be too early."""
        at = self._close_at
        if at is None or not self.is_settled:
            return self.get_timer() if at is not None else None
        waiting = self._space.ack_at
        if waiting is not None and waiting < at:
            at = waiting
        if self._pacing_at is not None and self._pacing_at < at:
            at = self._pacing_at
        lost = self._loss.due(self._space)
        return lost if lost is not None and lost < at else at

    def handle_timer(self, now: float) -> None:
        """A time has come."""
        self._catch_up()
        if self.is_settled:
            lost = self._loss.due(self._space)
            if now < (self._close_at or 0.0) and (lost is None or now < lost):
                return  # an acknowledgement or pacing, which the next departures see to
            self._loss_at = lost
        super().handle_timer(now)
        if self.is_settled:
            self._settle()
            if self._loss.lost_foreign or self._probe_pending or not self.is_settled:
                self._loss.lost_foreign = False
                self._is_long_due = True

    def _catch_up(self) -> None:
        """Let the library know since when nothing was heard."""
        if self.is_settled and self._alive_at:
            self._close_at = max(self._close_at or 0.0, self._alive_at + self._idle_timeout())
            self._alive_at = 0.0

    # Out

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Datagrams that may leave now, each with its address."""
        return [
            (data[at : at + size], address)
            for data, size, address in self.departures(now)
            for at in range(0, len(data), size)
        ]

    def departures(self, now: float) -> list[Departure]:
        """Datagrams that may leave now."""
        self.has_news = self.heard_more = False
        departures: list[Departure] = []
        if self._mtu.size != self._max_datagram_size and self.is_settled:
            self._resize()  # a probe that the library sends has to fit as well
        if self.is_settled and not self._is_long_due:
            ack_at = self._space.ack_at
            ack_due = ack_at is not None and (ack_at <= now or self._owed >= self._acks.every)
            self._pacing_at = None
            if now >= self._extras_at:
                departures += [(extra, len(extra), self._home) for extra in self._extras(now)]
            if self.stirred or ack_due:
                for data, size in self._send_short(now, ack_due):
                    departures.append((data, size, self._home))
            if not self._is_long_due:
                if self._rated is not None and not self.stirred:
                    self._rated.starved()
                return departures
        departures += self._depart_long(now)
        if self._rated is not None and not self.stirred:
            self._rated.starved()
        return departures

    def _depart_long(self, now: float) -> list[Departure]:
        """Let the library say what it has to."""
        if not self._network_paths:
            return []
        self._streams_queue = self._in_turn()
        self._catch_up()
        packets = self._library_speaks(now)
        departures = [
            (data, size, address)
            for address, group in groupby(packets, key=lambda packet: packet[1])
            for data, size in joined((packet, len(packet)) for packet, _ in group)
        ]
        # In the library's order: who was served has its next turn after the others.
        self.stirred = {
            stream_id: stream
            for stream in self._streams_queue
            if (stream_id := stream.stream_id) in self.stirred
            and stream_id in self._streams
            and self._wants(stream)
        }
        if self._is_short:
            self._settle()
            self._is_long_due = not self.is_settled or self._is_unsaid()
            if self.is_settled and now >= self._extras_at:
                departures += [(extra, len(extra), self._home) for extra in self._extras(now)]
        return departures

    def _library_speaks(self, now: float) -> list[tuple[bytes, Address]]:
        """All that the library sends. It asks every stream that it finds, of which few have
        anything to say."""
        if not self._is_short:
            return super().datagrams_to_send(now)
        streams = self._streams
        asked = {stream.stream_id or 0: stream for stream in self._streams_queue}
        self._streams = asked.copy()
        try:
            return super().datagrams_to_send(now)
        finally:
            for stream_id in asked.keys() - self._streams.keys():
                del streams[stream_id]  # it is over
            self._streams = streams

    def _in_turn(self) -> list[QuicStream]:
        """The streams that have something to do in the order of their turns; then all others, to a
        library of which nobody knows what it does with them.

        Resets and stops come first: where a packet has no room left for one the library builds no
        more of them, and whatever fills packets would be before it again.
        """
        turns = [s for i, s in self.stirred.items() if i in self._streams]
        turns.sort(key=lambda s: not (s.sender.reset_pending or s.receiver.stop_pending))
        if not self._is_short:
            turns += [s for i, s in self._streams.items() if i not in self.stirred]
        return turns

    def _wants(self, stream: QuicStream) -> bool:
        sender, receiver = stream.sender, stream.receiver
        return (
            receiver.stop_pending
            or sender.reset_pending
            or not sender.buffer_is_empty
            or self._is_due(stream)
        )

    def _is_due(self, stream: QuicStream) -> bool:
        """Whether only the library does what is due: grant the peer more, or forget it."""
        granted = stream.max_stream_data_local
        return (
            stream.is_finished  # the library's pacer let it forget nothing
            or granted != stream.max_stream_data_local_sent
            or stream.receiver.highest_offset * 2 > granted > 0
        )

    def _get_or_create_stream(self, frame_type: int, stream_id: int) -> QuicStream:
        """The library hears something about a stream."""
        stream = super()._get_or_create_stream(frame_type, stream_id)
        self.stirred[stream_id] = stream
        return stream

    def _on_max_stream_data_delivery(self, delivery: QuicDeliveryState, stream: QuicStream) -> None:
        """A grant has arrived, or has to be repeated."""
        super()._on_max_stream_data_delivery(delivery, stream)
        if self._is_due(stream) and stream.stream_id in self._streams:
            self.stirred[stream.stream_id] = stream

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
            or any(s.receiver.stop_pending or self._is_due(s) for s in self.stirred.values())
        )
