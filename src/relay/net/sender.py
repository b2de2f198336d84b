"""The sending half of a stream, which keeps references to what was written instead of a copy.

A relay hands the same bytes to many connections: they are cut only when a packet is filled, and
again when one was lost. The law: to the library it is the half it knows, and whoever owns the
streams hears when there is something to send (again) or nothing will be any more. This module must
not know packets.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

from aioquic.quic.packet import QuicResetStreamFrame, QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.stream import QuicStream, QuicStreamReceiver, QuicStreamSender

from relay.net.pieces import Tally
from relay.net.receiver import Receiver
from relay.wire.buffer import encode_varint

_ACKED = QuicDeliveryState.ACKED


class Owner(Protocol):
    """Who sends what the streams hold."""

    stirred: dict[int, QuicStream]
    """Streams that may have something to send, by their ids."""

    tally: Tally
    """How many pieces wait in their receiving halves."""

    def sent_whole(self, stream: QuicStream) -> None:
        """All of our half, or its reset, was acknowledged."""


class SharedSender(QuicStreamSender):
    """The library's sender, over chunks that belong to everybody.

    Offsets count from the start of the stream: acknowledged below ``_buffer_start``, sent at least
    once below ``highest_offset``, written below ``_buffer_stop``.
    """

    __slots__ = (
        "_acked",
        "_acked_fin",
        "_buffer_fin",
        "_buffer_start",
        "_buffer_stop",
        "_chunks",
        "_lost",
        "_owner",
        "_pending_eof",
        "_reset_error_code",
        "_starts",
        "_stream_id",
        "buffer_is_empty",
        "highest_offset",
        "is_finished",
        "is_orderly",
        "label",
        "reset_pending",
        "stream",
    )

    kept = 0
    """Bytes from the start on that arrive although it breaks off behind them
    (draft-ietf-quic-reliable-stream-reset, 5)."""
    _is_reset_known = False
    """Whether the peer knows that it broke off, while some of those bytes are missing."""

    def __init__(self, stream: QuicStream, owner: Owner) -> None:
        # Not the library's: it would make a buffer and two sets that are never used.
        self.buffer_is_empty = True
        self.highest_offset = 0
        self.is_finished = False
        self.reset_pending = False
        self._buffer_start = 0
        self._buffer_stop = 0
        self._buffer_fin: int | None = None
        self._acked: RangeSet | None = None  # type: ignore[assignment]
        """What arrived out of order, once something has."""
        self._acked_fin = False
        self._lost: RangeSet | None = None
        """What has to be sent again, once something has."""
        self.is_orderly = True
        """Whether nothing has to be sent again or broken off."""
        self._pending_eof = False
        self._reset_error_code: int | None = None
        self._stream_id: int = stream.stream_id or 0
        self.stream = stream
        """The stream whose half it is."""
        self._owner = owner
        self._chunks: list[bytes] = []
        self._starts: list[int] = []
        self.label = encode_varint(self._stream_id)
        """The stream's id as frames name it."""

    def write(self, data: bytes, end_stream: bool = False) -> None:
        """Append a chunk. Raises `RuntimeError` after the end or a reset, as the library does."""
        if self._buffer_fin is not None:
            raise RuntimeError("Cannot send data after FIN")
        if self._reset_error_code is not None:
            raise RuntimeError("Cannot send data after the stream was reset")
        if data:
            start = self._buffer_stop
            self._chunks.append(data)
            self._starts.append(start)
            self._buffer_stop = start + len(data)
            self.buffer_is_empty = False
        if end_stream:
            self.buffer_is_empty = False
            self._buffer_fin = self._buffer_stop
            self._pending_eof = True
        self._owner.stirred[self._stream_id] = self.stream

    def reset(self, error_code: int) -> None:
        """Break off."""
        super().reset(error_code)
        self.is_orderly = False
        self._owner.stirred[self._stream_id] = self.stream

    def get_reset_frame(self) -> QuicResetStreamFrame:
        """The frame that says so."""
        self.reset_pending = False
        return QuicResetStreamFrame(
            error_code=self._reset_error_code or 0,
            final_size=self.highest_offset,
            stream_id=self._stream_id,
        )

    def cut(self, start: int, stop: int) -> bytes:
        """The bytes between two offsets that are not acknowledged yet."""
        starts = self._starts
        index = bisect_right(starts, start) - 1 if len(starts) > 1 else 0
        at = start - starts[index]
        size = stop - start
        chunk = self._chunks[index]
        piece = chunk if not at and len(chunk) <= size else chunk[at : at + size]
        missing = size - len(piece)
        if not missing:
            return piece
        pieces = [piece]
        while missing > 0:
            index += 1
            piece = self._chunks[index]
            pieces.append(piece if len(piece) <= missing else piece[:missing])
            missing -= len(piece)
        return b"".join(pieces)

    @property
    def next_offset(self) -> int:
        """Where the next frame begins."""
        return self.highest_offset if self._lost is None else self._lost[0].start

    def get_frame(self, max_size: int, max_offset: int | None = None) -> QuicStreamFrame | None:
        """The next bytes to send, as the library wants them."""
        taken = self.take(max_size, self._buffer_stop if max_offset is None else max_offset)
        if taken is None:
            return None
        offset, data, fin = taken
        return QuicStreamFrame(data=data, offset=offset, fin=fin)

    def take(self, room: int, most: int) -> tuple[int, bytes, bool] | None:
        """The next bytes to send: at most ``room``, before offset ``most``; and whether they end.

        ``room`` is negative when not even a frame's head fits.
        """
        if room < 0:
            return None
        start, end = self.highest_offset, self._buffer_stop
        if self._lost is not None:
            again = self._lost[0]
            start = again.start
            if again.stop < self.highest_offset:
                end = again.stop
        if start == end:
            self.buffer_is_empty = True
            if self._pending_eof:
                self._pending_eof = False
                return end, b"", True
            return None
        stop = min(end, start + room, most)
        if stop <= start:
            return None
        if self._lost is not None:
            self._lost.subtract(start, stop)
            if not len(self._lost):
                self._lost = None
                self.is_orderly = self._reset_error_code is None
        if stop > self.highest_offset:
            self.highest_offset = stop
            if self._reset_error_code is not None and stop >= self.kept:
                self.reset_pending = True  # it waited for them, as it may not promise more
                self._owner.stirred[self._stream_id] = self.stream
        fin = self._buffer_fin == stop
        if fin:
            self._pending_eof = False
        if self.highest_offset == self._buffer_stop and self._lost is None:
            self.buffer_is_empty = not self._pending_eof
        if start == self._starts[-1] and stop == self._buffer_stop:
            return start, self._chunks[-1], fin
        return start, self.cut(start, stop), fin

    def take_new(self, most: int) -> tuple[int, bytes, bool]:
        """All that was never sent before offset ``most``, to be sent now; and whether it ends."""
        start = self.highest_offset
        stop = self._buffer_stop
        if stop > most:
            stop = most
        self.highest_offset = stop
        fin = self._buffer_fin == stop
        if fin:
            self._pending_eof = False
        if stop == start:
            return start, b"", fin
        if start == self._starts[-1] and stop == self._buffer_stop:
            return start, self._chunks[-1], fin
        return start, self.cut(start, stop), fin

    def arrived(self, start: int, stop: int, fin: bool) -> None:
        """Bytes were acknowledged."""
        if self._reset_error_code is not None:
            self._arrived_broken(start, stop)
            return
        if fin and not start and not self._buffer_start:
            # All of it in one frame, as a group of one small frame leaves: nothing to let go of.
            self._buffer_start = stop
        elif start != self._buffer_start or self._acked is not None:
            self._arrived_early(start, stop)
        elif stop > start:
            # What comes in order needs no book of ranges.
            self._buffer_start = stop
            if stop == self._buffer_stop:  # as `_trim`, for each frame
                self._chunks.clear()
                self._starts.clear()
            else:
                self._trim()
        if fin:
            self._acked_fin = True
        if self._acked_fin and self._buffer_start == self._buffer_fin:
            self.is_finished = True
            self._owner.sent_whole(self.stream)

    def on_data_delivery(
        self, delivery: QuicDeliveryState, start: int, stop: int, fin: bool
    ) -> None:
        """Bytes were acknowledged, or lost."""
        if delivery is _ACKED:
            self.arrived(start, stop, fin)
            return
        if self._reset_error_code is not None:
            stop, fin = min(stop, self.kept), False
        if stop > start or self._reset_error_code is None:
            self.buffer_is_empty = False
            if stop > start:
                if self._lost is None:
                    self._lost = RangeSet()
                    self.is_orderly = False
                self._lost.add(start, stop)
            if fin:
                self._pending_eof = True
            self._owner.stirred[self._stream_id] = self.stream

    def on_reset_delivery(self, delivery: QuicDeliveryState) -> None:
        """A reset was acknowledged, or lost."""
        if delivery is _ACKED and self._buffer_start < self.kept:
            self._is_reset_known = True
            return
        super().on_reset_delivery(delivery)
        if self.is_finished:
            self._owner.sent_whole(self.stream)
        else:
            self._owner.stirred[self._stream_id] = self.stream

    def drop_unsent(self) -> int:
        """After a reset: forget everything but what is kept; answers how many bytes will never
        leave."""
        start, kept = self._buffer_start, self.kept
        stop = max(self.highest_offset, kept)
        dropped = self._buffer_stop - stop
        self._buffer_stop = stop
        self._buffer_fin, self._pending_eof = None, False
        self._chunks, self._starts = (
            ([self.cut(start, kept)], [start]) if start < kept else ([], [])
        )
        if self._lost is not None and kept < stop:
            self._lost.subtract(kept, stop)
            if not len(self._lost):
                self._lost = None
        if self.highest_offset < kept:
            self.reset_pending = False  # until they left
        self.buffer_is_empty = self._lost is None and self.highest_offset >= kept
        return dropped

    def _arrived_broken(self, start: int, stop: int) -> None:
        """Bytes were acknowledged of what broke off: its end is the reset's acknowledgement, and
        that of what is kept."""
        if self._buffer_start >= self.kept:
            return
        self._arrived_early(start, stop)
        if self._is_reset_known and self._buffer_start >= self.kept:
            self.is_finished = True
            self._owner.sent_whole(self.stream)

    def _arrived_early(self, start: int, stop: int) -> None:
        """Bytes were acknowledged while others before them were not."""
        if stop <= start:
            return
        if self._acked is None:
            self._acked = RangeSet()
        self._acked.add(start, stop)
        first = self._acked[0]
        if first.start == self._buffer_start:
            self._acked.shift()
            if not len(self._acked):
                self._acked = None
            self._buffer_start = first.stop
            self._trim()

    def _trim(self) -> None:
        """Let go of chunks that are acknowledged whole."""
        if self._buffer_start == self._buffer_stop:
            self._chunks.clear()
            self._starts.clear()
            return
        starts = self._starts
        if len(starts) > 1 and starts[1] <= self._buffer_start:
            done = bisect_right(starts, self._buffer_start) - 1
            del self._chunks[:done]
            del starts[:done]


class Stream(QuicStream):
    """The library's stream, made here."""

    __slots__ = (
        "is_blocked",
        "max_stream_data_local",
        "max_stream_data_local_sent",
        "max_stream_data_remote",
        "receiver",
        "sender",
        "stream_id",
    )


class PeerStream(Stream):
    """The library's stream that only the peer sends on."""

    def __init__(self, stream_id: int, local: int, tally: Tally) -> None:
        """``local`` is the first limit in bytes of what may be received; ``tally`` counts what
        comes before its turn."""
        self.is_blocked = False
        self.max_stream_data_local = self.max_stream_data_local_sent = local
        self.max_stream_data_remote = 0
        self.stream_id = stream_id
        self.receiver = Receiver(stream_id, tally)
        self.sender = DEAF


class _Deaf(QuicStreamSender):
    """What every stream without a sending half shows: it is over, nothing is ever written to it."""

    is_orderly = False
    """Only a stop can be due on such a stream."""


DEAF = _Deaf(None, writable=False)


class SharedStream(Stream):
    """The library's stream with such a sender, and without a half that it does not have."""

    def __init__(
        self, stream_id: int, owner: Owner, local: int, remote: int, has_receiver: bool
    ) -> None:
        """``local`` and ``remote`` are the first limits in bytes of what may be received and sent;
        only two-way streams of ours have a receiver."""
        self.is_blocked = False
        self.max_stream_data_local = self.max_stream_data_local_sent = local
        self.max_stream_data_remote = remote
        self.stream_id = stream_id
        self.receiver = Receiver(stream_id, owner.tally) if has_receiver else MUTE
        self.sender = SharedSender(self, owner)


MUTE = QuicStreamReceiver(None, readable=False)
"""What every stream without a receiving half shows: it is over, nothing is ever written to it."""


class Streams(dict[int, QuicStream]):
    """The library's table of streams; every one that enters it sends by reference."""

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self._owner = owner

    def __setitem__(self, stream_id: int, stream: QuicStream) -> None:
        """Take in a stream the library just made."""
        is_deaf = stream.sender.is_finished
        stream.sender = DEAF if is_deaf else SharedSender(stream, self._owner)
        if not stream.receiver.is_finished:
            stream.receiver = Receiver(stream_id, self._owner.tally)
        super().__setitem__(stream_id, stream)
