"""What comes in on a settled connection, read without the library's general machinery.

Packets of the one path that there is, under the keys in use, whose frames are those of every day:
acknowledgements, stream data, breaking off and limits. The library's books are kept as it keeps
them; a frame that is not of every day is given to it, and so is a packet that cannot be opened
here. The law: what is heard is what the library would have heard. This module must not know what
streams carry, nor what will be sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic.connection import (
    Limit,
    QuicConnectionError,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
)
from aioquic.quic.events import QuicEvent, StopSendingReceived, StreamDataReceived, StreamReset
from aioquic.quic.packet import QuicErrorCode, QuicStreamFrame
from aioquic.quic.recovery import MAX_ACK_RANGES
from aioquic.quic.stream import FinalSizeError, QuicStream, StreamFinishedError
from aioquic.tls import CipherSuite, Direction, Epoch

from relay.net.ackrate import Asked
from relay.net.books import Books
from relay.net.frames import (
    ACK,
    MAX_DATA,
    MAX_STREAM_DATA,
    MAX_STREAMS_UNI,
    RESET_STREAM,
    STOP_SENDING,
    STREAM,
)
from relay.net.keys import Keys
from relay.net.pieces import Tally
from relay.net.protection import Opened
from relay.net.receiver import Heard, Receiver, Remainder
from relay.net.recovery import Recovery, Space
from relay.net.sender import PeerStream, Streams
from relay.net.udp import Address
from relay.net.window import Window

_ASK_AGAIN = 0.5
"""Seconds between two probes of a path, at least, that leave because the peer was heard."""

FAR = 1 << 62
"""More bytes than any connection may carry (RFC 9000, 4.1)."""

_ONE_RTT = Epoch.ONE_RTT


def few_left(limit: Limit) -> bool:
    """Whether the peer has few enough streams left to be granted more."""
    return limit.sent - limit.used < limit.value - limit.sent


def _too_much(kind: int, stream: QuicStream, end: int) -> QuicConnectionError:
    """The peer sends more than it was granted (RFC 9000, 4.1)."""
    which = "stream" if end > stream.max_stream_data_local else "connection"
    return QuicConnectionError(QuicErrorCode.FLOW_CONTROL_ERROR, kind, f"Over {which} data limit")


def _wrong_size(kind: int, error: FinalSizeError) -> QuicConnectionError:
    """The peer contradicts itself on where a stream ends (RFC 9000, 4.5)."""
    return QuicConnectionError(QuicErrorCode.FINAL_SIZE_ERROR, kind, str(error))


class Incoming(Books):
    """A connection that reads everyday packets itself."""

    _loss: Recovery
    stirred: dict[int, QuicStream]
    """What the sending side has: streams that may have something to send, by their ids."""

    def __init__(self, *, speedups: bool, **options: Any) -> None:
        """``speedups``: as in `relay.net.settings.QuicLimits`."""
        super().__init__(**options)
        self._acks = Asked(self._ack_delay)
        self._streams = Streams(self)
        self.tally = Tally()
        self._keys = Keys(speedups)
        self._heard: Heard | None = None
        """The last event, while more bytes may be added to it."""
        self.events = self._events
        """What was heard, for `next_event`."""
        self._delivered, self._grant_at = 0, FAR
        """Bytes that were told, and from how many on the receive window is worth moving."""
        self.has_news = True
        """Whether it has to be flushed: more was heard than that all has arrived."""
        self.heard_more = True
        """Whether that is more than bytes of streams: a limit was raised, or the library heard."""
        self.wants_room = False
        """Whether somebody was refused room for bytes and has not been asked since."""
        self._is_long_due = True
        """Whether the library has something to say."""
        self._own_uni, self._peer_uni = (2, 3) if self._is_client else (3, 2)
        """What ends the numbers of streams that only we send on, and of those that only the peer
        does (RFC 9000, 2.1)."""
        self.is_settled = False
        """Whether there is nothing to be done but what is done every day, on the path ``_home``."""
        self._home: Address = ()
        self._alive_at = 0.0
        """When the idle timeout last began to run, if later than the library knows."""
        self._owed = 0
        """Packets that wait for their acknowledgement, where one is on its way."""
        self._space = Space()
        """The application's, once it is settled."""
        self._numbers = Window(self._space.received_packets)
        """The numbers that came there."""
        self._unsaid: list[range] = []
        """Those that are to be acknowledged, in ascending order: the library's own."""

    def next_event(self) -> QuicEvent | None:
        """What was heard, in order; ``None`` when that is all. Bytes that are told are under way no
        longer: the receive window slides."""
        if not self.events:
            return None
        event = self.events.popleft()
        if not isinstance(event, StreamDataReceived):
            return event
        if type(event) is Heard:
            self._heard = None
            event.data = event.data if event.chunks is None else b"".join(event.chunks)
        elif type(event) is Remainder:
            self.events.appendleft(StreamReset(event.code, event.stream_id))
        self._delivered += len(event.data)
        if self._delivered >= self._grant_at:
            self._is_long_due = True
        return event

    def _settle(self) -> None:
        """After the library had its turn: see whether everyday packets may be read here."""
        self.is_settled = (
            self._handshake_confirmed
            and self._state is QuicConnectionState.CONNECTED
            and not self._close_pending
            and self._quic_logger is None
            and self._network_paths[0].is_validated
            and not self._network_paths[0].remote_challenges
            and not any(self._is_probing(each) for each in self._network_paths[1:])
        )
        if self.is_settled:
            self._home = self._network_paths[0].addr
            self._unsaid = self._space.ack_queue._RangeSet__ranges  # type: ignore[attr-defined]
            self._crypto = self._cryptos[_ONE_RTT]
            self._keys.follow(self._crypto)
            if self._numbers is not self._space.received_packets:
                self._numbers = self._space.received_packets = Window(self._space.received_packets)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self._space = self._spaces[_ONE_RTT] = Space(is_application_data=True)
        self._loss.spaces = list(self._spaces.values())

    def _is_probing(self, path: QuicNetworkPath) -> bool:
        """Whether the library has something to say on a path that is not the one in use. One that
        nobody answers on stays in its book, and so does one without an id for it."""
        is_unsaid = path.remote_challenges or not (path.is_validated or path.local_challenge_sent)
        return bool(is_unsaid and (path.peer_cid is not None or self._peer_cid_available))

    def _update_traffic_key(
        self, direction: Direction, epoch: Epoch, cipher_suite: CipherSuite, secret: bytes
    ) -> None:
        super()._update_traffic_key(direction, epoch, cipher_suite, secret)
        if epoch is _ONE_RTT:
            is_sending = direction is Direction.ENCRYPT
            pair = self._cryptos[_ONE_RTT]
            self._keys.begin(pair.send if is_sending else pair.recv, is_sending)

    def _read(self, datagrams: list[bytes], start: int, now: float) -> int:
        """Read 1-RTT packets, from ``datagrams[start]`` on; answers how many, before the first that
        the library should."""
        space, keys = self._space, self._keys
        found = keys.opener.open(
            datagrams,
            start,
            self.host_cid,
            keys.phase,
            space.expected_packet_number,
            space.largest_received_packet + 1,
        )
        read = 0
        for one in found:
            number = one[1]
            read += one[0]
            if number <= space.largest_received_packet and number in space.received_packets:
                continue  # it came before (RFC 9000, 12.3)
            self._take_in(one, now)
            if not self.is_settled:
                break
        return read

    def _take_in(self, one: Opened, now: float) -> None:
        """Hear what is in packets that were opened."""
        space = self._space
        count, number, first, frames, rest = one
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        if number > self._spin_highest_pn:
            self._spin_bit = bool(first & 0x20) is not self._is_client
            self._spin_highest_pn = number
        eliciting = False
        try:
            for frame in frames:
                kind = frame[0]
                if kind == ACK:
                    self._hear_ack(frame[1], frame[2], now)
                    continue
                eliciting = True
                if kind >= MAX_DATA:
                    self._limit_frame(*frame)
                elif kind >= STREAM:
                    self._stream_frame(*frame)
                elif kind == RESET_STREAM:
                    self._reset_frame(*frame)
                elif kind == STOP_SENDING:
                    self._stop_frame(*frame)
            if rest:
                eliciting = self._library_hears(rest, now) or eliciting
        except QuicConnectionError as error:
            self._refuse(error)
            return
        self._came(count, number, eliciting, now)

    def _hear_ack(self, said: Sequence[tuple[int, int]], waited: int, now: float) -> None:
        """Packets arrived (RFC 9000, 19.3): ranges of numbers, the greatest first."""
        self._believe(ACK, said[0][1])
        loss = self._loss
        loss.peer_completed_address_validation = True
        delay = (waited << self._remote_ack_delay_exponent) / 1000000
        if len(said) == 1:
            loss.acknowledge(self._space, said[0][0], said[0][1], delay, now)
        else:
            loss.acknowledge_all(self._space, said[::-1], delay, now)
        if loss.lost_foreign:
            loss.lost_foreign = False
            self._is_long_due = True

    def _believe(self, kind: int, largest: int) -> None:
        """Nothing arrives that was not sent (RFC 9000, 13.1), but it would open the window."""
        if largest >= self._packet_number:
            reason = "Packets were acknowledged that were never sent"
            raise QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, kind, reason)

    def _handle_ack_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        super()._handle_ack_frame(context, frame_type, buf)
        self._believe(frame_type, self._spaces[context.epoch].largest_acked_packet)

    def _refuse(self, error: QuicConnectionError) -> None:
        """The peer broke a rule, which ends the connection."""
        self.close(error.error_code, error.frame_type, error.reason_phrase)

    def _came(self, count: int, number: int, eliciting: bool, now: float) -> None:
        """Packets were heard, the last of which has this number."""
        space = self._space
        if self._state is QuicConnectionState.CONNECTED and not self._close_pending:
            self._alive_at = now
            if self._loss._pto_count:
                self._ask_again(now)
            self._ack_eliciting_sent_since_receipt = False
            ranges, begun = self._unsaid, number + 1 - count
            if ranges and ranges[-1].stop == begun > space.largest_received_packet:
                # The next ones: by far the most frequent.
                ranges[-1] = range(ranges[-1].start, number + 1)
                space.largest_received_packet = number
                space.largest_received_time = now
                self._numbers.add_next(begun, number + 1)
            else:
                count = self._note(range(begun, number + 1), now)
            if eliciting:
                if space.ack_at is None:
                    space.ack_at = now + self._ack_delay
                    self._owed = 0
                self._owed += count

    def _ask_again(self, now: float) -> None:
        """The peer is heard, and for long nothing of ours was acknowledged. The path may carry
        again: the next probe, put off twice as long as the one before (RFC 9002, 6.2.1), would come
        as late after a break as the break was long."""
        loss = self._loss
        asked = loss._time_of_last_sent_ack_eliciting_packet
        if now >= asked + max(_ASK_AGAIN, loss.get_probe_timeout()):
            loss.reschedule_data(now=now)
            self._is_long_due = self.has_news = True

    def _note(self, numbers: range, now: float) -> int:
        """Packets came out of their turn: they will be acknowledged, too. Answers for how many they
        count."""
        space = self._space
        for number in numbers:
            if number > space.largest_received_packet:
                space.largest_received_packet = number
                space.largest_received_time = now
            space.ack_queue.add(number)
            if len(space.ack_queue) > MAX_ACK_RANGES:
                space.ack_queue.shift()
            space.received_packets.add(number)
        return len(numbers) * self._acks.strays

    def _library_hears(self, rest: bytes, now: float) -> bool:
        """The rest of a packet is not of every day."""
        self.has_news = self.heard_more = self._is_long_due = True
        self._heard = None
        path = self._network_paths[0]
        context = QuicReceiveContext(_ONE_RTT, self.host_cid, path, None, now, None)
        try:
            return self._payload_received(context, rest)[0]
        finally:
            self._settle()

    def _stream_frame(self, kind: int, stream_id: int, offset: int, data: bytes) -> None:
        """A STREAM frame (RFC 9000, 19.8), judged in the library's order."""
        self.has_news = True
        stream = self._streams.get(stream_id)
        if stream is None or stream_id & 3 == self._own_uni:
            if kind & 1 and not offset and self._whole_stream(stream_id, data):
                return
            stream = self._new_stream(kind, stream_id)
            if stream is None:
                return
        receiver, end = stream.receiver, offset + len(data)
        used = self._local_max_data.used
        if end > receiver.highest_offset:
            used += end - receiver.highest_offset
        if end > stream.max_stream_data_local or used > self._local_max_data.value:
            raise _too_much(kind, stream, end)
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
                heard.add(data, is_last)
            else:
                heard = self._heard = Heard(stream.stream_id or 0, data, is_last)
                self._events.append(heard)
        else:
            try:
                event = receiver.handle_frame(QuicStreamFrame(data, is_last, offset))
            except FinalSizeError as error:
                raise _wrong_size(kind, error) from error
            if event is not None:
                self._events.append(event)
                self._heard = None
        self._local_max_data.used = used
        if receiver.is_finished:
            if stream.sender.is_finished:
                self._discard(stream)
        elif end * 2 > stream.max_stream_data_local:
            self.stirred[stream_id] = stream
            self._is_long_due = True

    def _reset_frame(self, kind: int, stream_id: int, code: int, size: int, kept: int = 0) -> None:
        """RESET_STREAM (RFC 9000, 19.4), judged as above; ``kept`` bytes arrive all the same."""
        self.has_news = True
        self._heard = None
        self._assert_stream_can_receive(kind, stream_id)
        stream = self._streams.get(stream_id) or self._known(kind, stream_id)
        if stream is None:
            return
        receiver = stream.receiver
        assert isinstance(receiver, Receiver)
        used = self._local_max_data.used + max(0, size - receiver.highest_offset)
        if size > stream.max_stream_data_local or used > self._local_max_data.value:
            raise _too_much(kind, stream, size)
        try:
            event = receiver.handle_reset(error_code=code, final_size=size, reliable_size=kept)
        except FinalSizeError as error:
            raise _wrong_size(kind, error) from error
        if event is not None:
            self._events.append(event)
        self._local_max_data.used = used
        if receiver.is_finished and stream.sender.is_finished:
            self._discard(stream)

    def _stop_frame(self, kind: int, stream_id: int, code: int) -> None:
        """STOP_SENDING (RFC 9000, 19.5), which is answered with a reset (3.5)."""
        self.has_news = True
        self._heard = None
        self._assert_stream_can_send(kind, stream_id)
        stream = self._streams.get(stream_id) or self._known(kind, stream_id)
        if stream is not None:
            stream.sender.reset(code)
            self._events.append(StopSendingReceived(error_code=code, stream_id=stream_id))

    def _whole_stream(self, stream_id: int, data: bytes) -> bool:
        """Hear the peer's next one-way stream, all of which came in one frame: it is over at once,
        so that none has to be made. False, and nothing is done, when it is not that simple."""
        limit, credit = self._local_max_streams_uni, self._local_max_data
        used = credit.used + len(data)
        if (
            stream_id != (limit.used << 2 | self._peer_uni)
            or limit.used >= limit.value
            or not 0 < len(data) <= self._local_max_stream_data_uni
            or used > credit.value
        ):
            return False
        credit.used = used
        limit.used += 1
        limit.value += 1
        if few_left(limit):
            self._is_long_due = True
        self._heard = None  # nothing can be added to it
        self._events.append(Heard(stream_id, data, True))
        return True

    def _new_stream(self, kind: int, stream_id: int) -> QuicStream | None:
        """A stream that we have not, or cannot receive on; ``None`` when it is over."""
        limit, index = self._local_max_streams_uni, stream_id >> 2
        if stream_id & 3 == self._peer_uni and limit.used <= index < limit.value:
            # As the library would make it, and all that the peer must have opened before it.
            for each in range(limit.used << 2 | self._peer_uni, stream_id + 4, 4):
                new = PeerStream(each, self._local_max_stream_data_uni, self.tally)
                dict.__setitem__(self._streams, each, new)
            limit.used = index + 1
            if few_left(limit):
                self._is_long_due = True
            return new
        self._assert_stream_can_receive(kind, stream_id)
        return self._known(kind, stream_id)

    def _known(self, kind: int, stream_id: int) -> QuicStream | None:
        """A stream, as the library finds it or makes it; ``None`` when it is over."""
        try:
            stream = super()._get_or_create_stream(kind, stream_id)
        except StreamFinishedError:
            return None
        self._look_at_limits()
        return stream

    def _limit_frame(self, kind: int, value: int, limit: int = 0) -> None:
        """MAX_DATA, MAX_STREAM_DATA or MAX_STREAMS (RFC 9000, 19.9 to 19.11)."""
        self.has_news = self.heard_more = True  # something may have waited for it
        if kind == MAX_DATA:
            if value > self._remote_max_data:
                self._remote_max_data = value
        elif kind == MAX_STREAM_DATA:
            self._assert_stream_can_send(kind, value)
            stream = self._streams.get(value) or self._known(kind, value)
            if stream is not None and limit > stream.max_stream_data_remote:
                stream.max_stream_data_remote = limit
        elif kind == MAX_STREAMS_UNI:
            if value > self._remote_max_streams_uni:
                self._remote_max_streams_uni = value
                self._unblock_streams(is_unidirectional=True)
        elif value > self._remote_max_streams_bidi:
            self._remote_max_streams_bidi = value
            self._unblock_streams(is_unidirectional=False)

    # What the sending side does

    def sent_whole(self, stream: QuicStream) -> None:
        """All of our half of a stream has arrived."""
        raise NotImplementedError

    def _discard(self, stream: QuicStream) -> None:
        """Forget a stream that is over."""
        raise NotImplementedError

    def _look_at_limits(self) -> None:
        """See whether the peer has to be granted more."""
        raise NotImplementedError
