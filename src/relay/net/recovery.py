"""What was sent and has not been acknowledged: one record per train, not per packet.

Packets that left together, one after the other, with neighbouring bytes of one stream are one
record; an acknowledgement of all of them costs what one packet's does, and a record is cut where an
acknowledgement or a loss cuts it. The law: round-trip times, loss detection and congestion control
(RFC 9002) decide as the library's own do, packet by packet, but for how long a peer that is silent
is left alone. This module must not know sockets and must not send.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from aioquic.quic.congestion.base import K_GRANULARITY
from aioquic.quic.packet_builder import QuicDeliveryState, QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import (
    K_PERSISTENT_CONGESTION_THRESHOLD,
    QuicPacketRecovery,
    QuicPacketSpace,
)

import relay.net.growth  # noqa: F401 - its reno and cubic take the place of the library's
from relay.net.mtu import SAFE, PathMtu
from relay.net.pacing import Pacer, RttMonitor
from relay.net.reordering import Reordering
from relay.net.sender import SharedSender

Handler = tuple[Any, tuple[Any, ...]]
"""Whom to tell what became of a packet, and with what: as the library notes it."""

MOST_WAIT = 3.0
"""Seconds after which a peer that says nothing is tried again at the latest: what RFC 8085, 3.1.3,
allows on any path. RFC 9002, 6.2.1, has each wait be twice the one before, without an end: a viewer
says nothing by itself, and once its line is back it would wait for as long as that was cut."""

_MOST_PROBES = 16
"""Probes that nobody answers, as far as they are counted: each doubles the wait, which `MOST_WAIT`
bounds much earlier. A peer that is heard but acknowledges nothing has them for ever."""

_ACKED = QuicDeliveryState.ACKED
_LOST = QuicDeliveryState.LOST

_last_of = attrgetter("last")


class Train:
    """Packets ``first`` to ``last``, which left together; also what congestion control is shown."""

    __slots__ = (
        "fin",
        "first",
        "full",
        "handlers",
        "is_ack_eliciting",
        "is_foreign",
        "is_trial",
        "last",
        "sender",
        "sent_bytes",
        "sent_time",
        "start",
        "step",
        "stop",
        "ticket",
    )

    def __init__(
        self,
        first: int,
        last: int,
        sent_bytes: int,
        sent_time: float,
        full: int = 0,
        sender: SharedSender | None = None,
        start: int = 0,
        stop: int = 0,
        step: int = 0,
        fin: bool = False,
    ) -> None:
        self.first = first
        self.last = last
        self.sent_bytes = sent_bytes
        """Bytes of all its packets."""
        self.sent_time = sent_time
        self.full = full
        """Bytes of each packet but the last."""
        self.sender = sender
        """Whose bytes it carries, if any: ``start`` to ``stop``, ``step`` in each packet."""
        self.start = start
        self.stop = stop
        self.step = step
        self.fin = fin
        self.handlers: Sequence[Handler] = ()
        """Whom else to tell; only a train of one packet has any."""
        self.is_ack_eliciting = True
        self.is_foreign = False
        """Whether the library built it."""
        self.is_trial = False
        """Whether it only tries a size: that it is lost says nothing of congestion."""
        self.ticket: Any = None
        """What congestion control noted when it left."""

    @property
    def is_large(self) -> bool:
        """Whether any path of QUIC would not have to carry its packets."""
        return (self.full if self.last > self.first else self.sent_bytes) > SAFE

    @property
    def count(self) -> int:
        """Packets."""
        return self.last + 1 - self.first

    def cut(self, first: int, last: int) -> Train:
        """These packets of it, as a train of their own."""
        ahead, size = first - self.first, last + 1 - first
        sent_bytes = size * self.full
        if last == self.last:
            sent_bytes = self.sent_bytes - ahead * self.full
        start, step = self.start + ahead * self.step, self.step
        stop = self.stop if last == self.last else start + size * step
        fin = self.fin and last == self.last
        train = Train(
            first, last, sent_bytes, self.sent_time, self.full, self.sender, start, stop, step, fin
        )
        train.ticket = self.ticket
        return train

    def tell(self, delivery: QuicDeliveryState) -> None:
        """Tell everybody concerned what became of it."""
        if self.sender is not None:
            self.sender.on_data_delivery(delivery, self.start, self.stop, self.fin)
        for handler, arguments in self.handlers:
            handler(delivery, *arguments)


class Space(QuicPacketSpace):
    """The library's book of the packets that application data travels in."""

    __slots__ = (
        "ack_at",
        "ack_eliciting_in_flight",
        "expected_packet_number",
        "largest_acked_packet",
        "largest_received_packet",
        "largest_received_time",
        "loss_time",
        "received_packets",
    )


class Recovery(QuicPacketRecovery):
    """The library's recovery, with trains where application data is concerned."""

    __slots__ = (
        "_cc",
        "_largest_large",
        "_pacer",
        "_pto_count",
        "_rtt_first_sample_time",
        "_rtt_initialized",
        "_rtt_latest",
        "_rtt_min",
        "_rtt_smoothed",
        "_rtt_variance",
        "_time_of_last_sent_ack_eliciting_packet",
        "book",
        "lost_foreign",
        "max_ack_delay",
        "mtu",
        "peer_completed_address_validation",
        "reordering",
    )

    _pacer: Pacer

    def __init__(self, mtu: PathMtu, **options: Any) -> None:
        super().__init__(**options)
        self._pacer = Pacer(max_datagram_size=options["max_datagram_size"])
        if hasattr(self._cc, "_rtt_monitor"):
            self._cc._rtt_monitor = RttMonitor()
        self.book: list[Train] = []
        """Under way, in the order of their numbers. What the library sends by itself is here, too;
        its own book of the application's space stays empty."""
        self.lost_foreign = False
        """Whether something was lost that the library has to send again."""
        self.mtu = mtu
        self.reordering = Reordering()
        self._before_loss: tuple[int, int | None] = (0, None)
        """The congestion window and slow start threshold before what was lost of late."""
        self._largest_large = -1
        """Number of the latest large packet that arrived."""

    def due(self, space: QuicPacketSpace) -> float | None:
        """When a packet of the one space that is left counts as lost, or a probe is due."""
        if space.loss_time is not None:
            return space.loss_time
        if not space.ack_eliciting_in_flight and self.peer_completed_address_validation:
            return None
        if self._rtt_initialized:
            spread = max(4 * self._rtt_variance, K_GRANULARITY)
            patience = self._rtt_smoothed + spread + self.max_ack_delay
        else:
            patience = 2 * self._rtt_initial
        waited = patience * (1 << self._pto_count)
        if waited > MOST_WAIT:
            waited = max(patience, MOST_WAIT)
        return self._time_of_last_sent_ack_eliciting_packet + waited

    def enter(self, train: Train, space: QuicPacketSpace) -> None:
        """Note what leaves now."""
        self.book.append(train)
        space.ack_eliciting_in_flight += train.last + 1 - train.first
        self._time_of_last_sent_ack_eliciting_packet = train.sent_time
        self._cc.on_packet_sent(packet=train)  # type: ignore[arg-type]

    def acknowledge(
        self, space: QuicPacketSpace, first: int, last: int, delay: float, now: float
    ) -> None:
        """Take in an acknowledgement of one range, ``last`` included.

        ``delay`` is what the peer says it waited, in seconds.
        """
        if self.reordering.gone:
            self._regain(((first, last),), space, now)
        if last > space.largest_acked_packet:
            space.largest_acked_packet = last
        book = self.book
        if not book:
            return
        train = book[0]
        if first <= train.first and train.last <= last:
            # By far the most frequent: whole trains from the oldest on.
            index = 1
            while index < len(book) and book[index].last <= last:
                index += 1
            taken = book[:index]
            del book[:index]
            if book and book[0].first <= last:
                taken += self._take(first, last)
        else:
            taken = self._take(first, last)
        if taken:
            self._arrived(taken, space, last, delay, now)

    def on_ack_received(
        self, *, ack_rangeset: RangeSet, ack_delay: float, now: float, space: QuicPacketSpace
    ) -> None:
        """Take in an acknowledgement that the library read."""
        if not space.is_application_data:
            super().on_ack_received(
                ack_rangeset=ack_rangeset, ack_delay=ack_delay, now=now, space=space
            )
            return
        self.acknowledge_all(
            space, [(each.start, each.stop - 1) for each in ack_rangeset], ack_delay, now
        )

    def acknowledge_all(
        self, space: QuicPacketSpace, ranges: Sequence[tuple[int, int]], delay: float, now: float
    ) -> None:
        """Take in an acknowledgement of several ranges, in ascending order."""
        if self.reordering.gone:
            self._regain(self.reordering.touched(ranges), space, now)
        largest = ranges[-1][1]
        if largest > space.largest_acked_packet:
            space.largest_acked_packet = largest
        taken: list[Train] = []
        for first, last in ranges:
            if self.book and last >= self.book[0].first:
                taken += self._take(first, last)
        if taken:
            self._arrived(taken, space, largest, delay, now)

    def on_packet_sent(self, *, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        """Note a packet that the library built, but no mere acknowledgement: it counts nowhere, and
        a peer that never acknowledges can have any number of them."""
        if not space.is_application_data:
            super().on_packet_sent(packet=packet, space=space)
            return
        if not packet.in_flight:
            return
        number = packet.packet_number
        sent_time = packet.sent_time or 0.0  # the library has set it by now
        train = Train(number, number, packet.sent_bytes, sent_time)
        train.handlers = packet.delivery_handlers
        train.is_foreign = True
        train.is_ack_eliciting = packet.is_ack_eliciting
        self.book.append(train)
        if packet.is_ack_eliciting:
            space.ack_eliciting_in_flight += 1
            if self.handshake_confirmed:
                self._time_of_last_sent_ack_eliciting_packet = sent_time
        self._cc.on_packet_sent(packet=train)  # type: ignore[arg-type]

    def discard_space(self, space: QuicPacketSpace) -> None:
        """Forget a space whose keys are gone."""
        if space.is_application_data:
            self._cc.on_packets_expired(packets=self.book)  # type: ignore[arg-type]
            self.book.clear()
        super().discard_space(space)

    def reschedule_data(self, *, now: float, speed_up_handshake: bool = False) -> None:
        """A probe is due (RFC 9002, 6.2.4): have the oldest packet sent again with it."""
        earlier = [each for each in self.spaces if not each.is_application_data]
        if (
            speed_up_handshake
            or not self.handshake_confirmed
            or any(each.sent_packets for each in earlier)
        ):
            super().reschedule_data(now=now, speed_up_handshake=speed_up_handshake)
            return
        for index, train in enumerate(self.book):
            if train.is_ack_eliciting:
                oldest = train
                if train.last > train.first:
                    oldest = train.cut(train.first, train.first)
                    self.book[index] = train.cut(train.first + 1, train.last)
                else:
                    del self.book[index]
                space = next(each for each in self.spaces if each.is_application_data)
                self._lose([oldest], space, now)
                self._cc.on_packets_expired(packets=[oldest])  # type: ignore[list-item]
                break
        self._send_probe()

    def on_loss_detection_timeout(self, *, now: float) -> None:
        """Something is lost, or a probe is due."""
        super().on_loss_detection_timeout(now=now)
        self._pto_count = min(self._pto_count, _MOST_PROBES)

    def _take(self, first: int, last: int) -> list[Train]:
        """Strike packets off the book, cutting trains where the range ends inside them. One that
        touches none costs next to nothing, as the peer chooses how many it makes up."""
        kept: list[Train] = []
        taken: list[Train] = []
        book = self.book
        start = stop = bisect_left(book, first, key=_last_of)
        while stop < len(book) and (train := book[stop]).first <= last:
            stop += 1
            begin, end = max(first, train.first), min(last, train.last)
            if begin == train.first and end == train.last:
                taken.append(train)
                continue
            taken.append(train.cut(begin, end))
            if begin > train.first:
                kept.append(train.cut(train.first, begin - 1))
            if end < train.last:
                kept.append(train.cut(end + 1, train.last))
        book[start:stop] = kept
        return taken

    def _arrived(
        self, trains: list[Train], space: QuicPacketSpace, largest: int, delay: float, now: float
    ) -> None:
        """Tell of what arrived, and learn from it."""
        control = self._cc
        is_eliciting = False
        for train in trains:
            if train.is_ack_eliciting:
                is_eliciting = True
                space.ack_eliciting_in_flight -= train.last + 1 - train.first
            control.on_packet_acked(packet=train, now=now)  # type: ignore[arg-type]
            if (train.full if train.last > train.first else train.sent_bytes) > SAFE:  # is_large
                self._largest_large = train.last
                self.mtu.gone = 0
            if train.sender is not None:
                train.sender.arrived(train.start, train.stop, train.fin)
            if train.handlers:
                for handler, arguments in train.handlers:
                    handler(_ACKED, *arguments)
        train = trains[-1]
        if train.last == largest and is_eliciting:
            self._measure(now - train.sent_time, delay, now)
        space.loss_time = None
        if self.book and self.book[0].first <= space.largest_acked_packet:
            self._detect_loss(now=now, space=space)
        if self.peer_completed_address_validation:
            self._pto_count = 0

    def _measure(self, latest: float, delay: float, now: float) -> None:
        """A round-trip time, and the rate that follows (RFC 9002, 5.3), rounded as the library
        does."""
        shown = latest if latest > 0.001 else 0.001
        if shown < self._rtt_min:
            self._rtt_min = shown
        if delay > self.max_ack_delay:
            delay = self.max_ack_delay
        if shown > self._rtt_min + delay:
            shown -= delay
        self._rtt_latest = shown
        if self._rtt_initialized:
            change = abs(self._rtt_min - shown)
            self._rtt_variance = 3 / 4 * self._rtt_variance + 1 / 4 * change
            self._rtt_smoothed = 7 / 8 * self._rtt_smoothed + 1 / 8 * shown
        else:
            self._rtt_first_sample_time = now
            self._rtt_initialized = True
            self._rtt_variance = latest / 2
            self._rtt_smoothed = latest
        control = self._cc
        control.on_rtt_measurement(now=now, rtt=latest)
        self._pacer.update_rate(control.congestion_window, self._rtt_smoothed)

    def _detect_loss(self, *, now: float, space: QuicPacketSpace) -> None:
        if not space.is_application_data:
            super()._detect_loss(now=now, space=space)
            return
        latest = max(self._rtt_latest, self._rtt_smoothed)
        reordering = self.reordering
        late = reordering.time * (latest if self._rtt_initialized else self._rtt_initial)
        largest = space.largest_acked_packet
        space.loss_time = None
        lost: list[Train] = []
        kept: list[Train] = []
        for index, train in enumerate(self.book):
            if train.first > largest:
                kept += self.book[index:]
                break
            gone = train.last if train.sent_time <= now - late else largest - reordering.packets
            gone = min(gone, largest)
            if gone >= train.last:
                lost.append(train)
                continue
            if gone >= train.first:
                lost.append(train.cut(train.first, gone))
                train = train.cut(gone + 1, train.last)
            if train.first <= largest and (
                space.loss_time is None or space.loss_time > train.sent_time + late
            ):
                space.loss_time = train.sent_time + late
            kept.append(train)
        if not lost:
            return
        self.book[:] = kept
        self._lose(lost, space, now)
        runs = [(each.first, each.last, each.sent_time) for each in lost]
        if reordering.lost(runs, self._rtt_smoothed, now):
            self._before_loss = self._cc.congestion_window, self._cc.ssthresh
        trials = [each for each in lost if each.is_trial]
        if trials:
            self._cc.on_packets_expired(packets=trials)  # type: ignore[arg-type]
            lost = [each for each in lost if not each.is_trial]
        if lost:
            self._cc.on_packets_lost(now=now, packets=lost)  # type: ignore[arg-type]
            if self._is_persistent(lost):
                self._cc.on_persistent_congestion()
            self._pacer.update_rate(
                congestion_window=self._cc.congestion_window, smoothed_rtt=self._rtt_smoothed
            )

    def _regain(
        self, ranges: Iterable[tuple[int, int]], space: QuicPacketSpace, now: float
    ) -> None:
        """See whether something that counted as lost has arrived."""
        largest, rtt = space.largest_acked_packet, self._rtt_smoothed
        for first, last in ranges:
            if self.reordering.gone and self.reordering.arrived(first, last, largest, rtt, now):
                self.regained()

    def regained(self) -> None:
        """All that was lost of late has arrived: only another order was seen, which says nothing of
        congestion (RFC 4015, 3)."""
        control, (window, threshold) = self._cc, self._before_loss
        if window > control.congestion_window:
            control.congestion_window, control.ssthresh = window, threshold

    def _lose(self, trains: Iterable[Train], space: QuicPacketSpace, now: float) -> None:
        """Have what they carried sent again."""
        for train in trains:
            # One that others overtook says nothing of its size, nor does one that they waited for.
            if train.is_large and not train.is_trial and train.first > self._largest_large:
                self.mtu.lost(train.count, now)
            if train.is_ack_eliciting:
                space.ack_eliciting_in_flight -= train.count
            if train.is_foreign:
                self.lost_foreign = True
            train.tell(_LOST)

    def _is_persistent(self, trains: list[Train]) -> bool:
        """Whether these losses mean persistent congestion (RFC 9002, 7.6.2)."""
        if not self._rtt_initialized:
            return False
        duration = self.get_probe_timeout() * K_PERSISTENT_CONGESTION_THRESHOLD
        begun: float | None = None
        after: int | None = None
        for train in trains:
            if train.first != after:
                begun = None
            after = train.last + 1
            if train.is_ack_eliciting and train.sent_time > self._rtt_first_sample_time:
                if begun is None:
                    begun = train.sent_time
                elif train.sent_time - begun > duration:
                    return True
        return False
