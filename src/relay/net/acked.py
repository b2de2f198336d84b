"""What an acknowledgement means for packets of the short way: many at once, not one by one.

The law: the library's books of recovery look afterwards as they would had it heard the frame.
Pieces of a stream that lie side by side are told to its sender as one. This module must not know
sockets and must not send.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aioquic import tls
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace

from relay.net.sender import SharedSender

Piece = tuple[SharedSender, int, int, bool]
"""Bytes of a stream in a packet: whose, from where, to where, and whether they end it."""

_ACKED = QuicDeliveryState.ACKED
_UNTIDY = 64
"""Ranges of an ACK frame up to which it is read here."""


class Sent:
    """A packet under way, with the members of the library's own record."""

    __slots__ = (
        "handlers",
        "in_flight",
        "is_ack_eliciting",
        "packet_number",
        "pieces",
        "sent_bytes",
        "sent_time",
    )

    epoch = tls.Epoch.ONE_RTT
    is_crypto_packet = False
    packet_type = QuicPacketType.ONE_RTT

    def __init__(
        self, number: int, size: int, now: float, pieces: list[Piece], handlers: list[Any]
    ) -> None:
        self.packet_number = number
        self.sent_bytes = size
        self.sent_time = now
        self.pieces = pieces
        self.handlers = handlers
        """Whom to tell of what is no stream data, as the library notes it."""
        self.is_ack_eliciting = self.in_flight = False

    @property
    def delivery_handlers(self) -> list[Any]:
        """Whom to tell of everything: what the library asks for when a packet is lost."""
        told = [(s.on_data_delivery, (start, stop, fin)) for s, start, stop, fin in self.pieces]
        return self.handlers + told


def read_ack(plain: bytes) -> tuple[list[tuple[int, int]], int, int] | None:
    """An ACK frame at the start of a packet (RFC 9000, 19.3); ``None`` when it is no tidy one.

    Answers the ranges in ascending order (first and last number), the encoded delay and where the
    frame ends.
    """
    at = 1
    numbers: list[int] = []
    wanted = 4
    try:
        while len(numbers) < wanted:
            first = plain[at]
            length = 1 << (first >> 6)
            if length == 1:
                numbers.append(first)
            else:
                if at + length > len(plain):
                    return None
                value = int.from_bytes(plain[at : at + length], "big")
                numbers.append(value & ((1 << (8 * length - 2)) - 1))
            at += length
            if len(numbers) == 3:
                if numbers[2] > _UNTIDY:
                    return None
                wanted += 2 * numbers[2]
    except IndexError:
        return None
    last = numbers[0]
    first = last - numbers[3]
    ranges = [(first, last)]
    for index in range(4, wanted, 2):
        last = first - numbers[index] - 2
        first = last - numbers[index + 1]
        ranges.append((first, last))
    if first < 0:
        return None
    ranges.reverse()
    return ranges, numbers[1], at


def enter(
    loss: QuicPacketRecovery, space: QuicPacketSpace, packets: list[Sent], now: float
) -> bool:
    """Book packets that leave now; answers whether any of them asks for an acknowledgement."""
    train = Sent(0, 0, now, [], [])
    eliciting = 0
    book: dict[int, Any] = space.sent_packets
    for packet in packets:
        book[packet.packet_number] = packet
        if packet.in_flight:
            eliciting += 1
            train.sent_bytes += packet.sent_bytes
    if eliciting:
        space.ack_eliciting_in_flight += eliciting
        loss._time_of_last_sent_ack_eliciting_packet = now
        loss._cc.on_packet_sent(packet=train)  # type: ignore[arg-type]
    return eliciting > 0


def acknowledge(
    loss: QuicPacketRecovery,
    space: QuicPacketSpace,
    ranges: list[tuple[int, int]],
    delay: float,
    now: float,
) -> list[SharedSender]:
    """Take in the ranges (ascending); answers the senders whose data arrived, each once or more."""
    largest = ranges[-1][1]
    if largest > space.largest_acked_packet:
        space.largest_acked_packet = largest
    packets = _take(space, ranges)
    if not packets:
        return []
    eliciting = sum(packet.is_ack_eliciting for packet in packets)
    space.ack_eliciting_in_flight -= eliciting
    _shrink(loss, packets, now)
    senders = _tell(packets)
    newest = packets[-1]
    if newest.packet_number == largest and eliciting:
        _measure(loss, now - newest.sent_time, delay, now)
    left = space.sent_packets
    if left and next(iter(left)) <= space.largest_acked_packet:
        loss._detect_loss(now=now, space=space)
    else:
        space.loss_time = None
    if loss.peer_completed_address_validation:
        loss._pto_count = 0
    return senders


def _take(space: QuicPacketSpace, ranges: list[tuple[int, int]]) -> list[Any]:
    """Strike the packets off the book, which is in the order of their numbers."""
    sent = space.sent_packets
    packets: list[Any] = []
    if not sent:
        return packets
    # What is left is at most a few below the largest acknowledged one, the rest counts as lost:
    # between these two nearly every number is under way, whatever ranges a peer makes up.
    oldest, newest = next(iter(sent)), next(reversed(sent))
    for first, last in ranges:
        for number in range(max(first, oldest), min(last, newest) + 1):
            packet = sent.pop(number, None)
            if packet is not None:
                packets.append(packet)
    return packets


def _shrink(loss: QuicPacketRecovery, packets: list[Any], now: float) -> None:
    """Tell congestion control: packets that left together count as one with Reno."""
    control = loss._cc
    if type(control) is not RenoCongestionControl:
        for packet in packets:
            if packet.in_flight:
                control.on_packet_acked(packet=packet, now=now)
        return
    train = Sent(0, 0, 0.0, [], [])
    for packet in packets:
        if not packet.in_flight:
            continue
        if packet.sent_time != train.sent_time:
            if train.sent_bytes:
                control.on_packet_acked(packet=train, now=now)  # type: ignore[arg-type]
            train.sent_bytes, train.sent_time = 0, packet.sent_time
        train.sent_bytes += packet.sent_bytes
    if train.sent_bytes:
        control.on_packet_acked(packet=train, now=now)  # type: ignore[arg-type]


def _tell(packets: Iterable[Any]) -> list[SharedSender]:
    """Tell the senders, of neighbouring pieces at once."""
    senders: list[SharedSender] = []
    sender: SharedSender | None = None
    start = stop = 0
    fin = False
    for packet in packets:
        if type(packet) is not Sent:
            for handler, arguments in packet.delivery_handlers:
                handler(_ACKED, *arguments)
            continue
        for handler, arguments in packet.handlers:
            handler(_ACKED, *arguments)
        for whose, begin, end, is_last in packet.pieces:
            if whose is sender and begin == stop and not fin:
                stop, fin = end, is_last
                continue
            if sender is not None:
                sender.on_data_delivery(_ACKED, start, stop, fin)
                senders.append(sender)
            sender, start, stop, fin = whose, begin, end, is_last
    if sender is not None:
        sender.on_data_delivery(_ACKED, start, stop, fin)
        senders.append(sender)
    return senders


def _measure(loss: QuicPacketRecovery, latest: float, delay: float, now: float) -> None:
    """A round-trip time, and the rate that follows (RFC 9002, 5.3), rounded as the library does."""
    delay = min(delay, loss.max_ack_delay)
    loss._rtt_latest = max(latest, 0.001)
    loss._rtt_min = min(loss._rtt_min, loss._rtt_latest)
    if loss._rtt_latest > loss._rtt_min + delay:
        loss._rtt_latest -= delay
    if loss._rtt_initialized:
        change = abs(loss._rtt_min - loss._rtt_latest)
        loss._rtt_variance = 3 / 4 * loss._rtt_variance + 1 / 4 * change
        loss._rtt_smoothed = 7 / 8 * loss._rtt_smoothed + 1 / 8 * loss._rtt_latest
    else:
        loss._rtt_first_sample_time = now
        loss._rtt_initialized = True
        loss._rtt_variance = latest / 2
        loss._rtt_smoothed = latest
    loss._cc.on_rtt_measurement(now=now, rtt=latest)
    loss._pacer.update_rate(
        congestion_window=loss.congestion_window, smoothed_rtt=loss._rtt_smoothed
    )
