"""The sending half of a stream, which keeps references to what was written instead of a copy.

A relay hands the same bytes to many connections: they are cut only when a packet is filled, and
again when one was lost. The law: to the library it is the half it knows, and whoever owns the
streams hears when there is something to send (again) or nothing will be any more. This module must
not know packets.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

from aioquic.buffer import encode_uint_var
from aioquic.quic.packet import QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.stream import QuicStream, QuicStreamSender


class Owner(Protocol):
    """Who sends what the streams hold."""

    def stirred(self, stream: QuicStream) -> None:
        """The stream may have something to send, or may be over."""


class SharedSender(QuicStreamSender):
    """The library's sender, over chunks that belong to everybody."""

    def __init__(self, stream: QuicStream, owner: Owner, writable: bool) -> None:
        super().__init__(stream.stream_id, writable)
        self.stream = stream
        """The stream whose half it is."""
        self._owner = owner
        self._chunks: list[bytes] = []
        self._starts: list[int] = []
        self.label = encode_uint_var(stream.stream_id or 0)
        """The stream's id as frames name it."""

    def write(self, data: bytes, end_stream: bool = False) -> None:
        """Append a chunk. Raises `RuntimeError` after the end or a reset, as the library does."""
        # Whoever sees the end must not append, and the copy is what is left out.
        super().write(b"", end_stream)
        if size := len(data):
            self.buffer_is_empty = False
            start = self._buffer_stop
            self._chunks.append(data)
            self._starts.append(start)
            self._pending.add(start, start + size)
            self._buffer_stop = start + size
            if end_stream:
                self._buffer_fin = self._buffer_stop
        self._owner.stirred(self.stream)

    def reset(self, error_code: int) -> None:
        """Break off."""
        super().reset(error_code)
        self._owner.stirred(self.stream)

    def cut(self, start: int, stop: int) -> bytes:
        """The bytes between two offsets that are not acknowledged yet."""
        starts = self._starts
        index = bisect_right(starts, start) - 1
        at = start - starts[index]
        piece = self._chunks[index][at : at + stop - start]
        if len(piece) == stop - start:
            return piece
        pieces, missing = [piece], stop - start - len(piece)
        while missing:
            index += 1
            pieces.append(self._chunks[index][:missing])
            missing -= len(pieces[-1])
        return b"".join(pieces)

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
        assert self._reset_error_code is None, "nothing is sent after a reset"
        if room < 0:
            return None
        ranges: list[range] = self._pending._RangeSet__ranges  # type: ignore[attr-defined]
        if not ranges:
            if self._pending_eof:
                self._pending_eof = False
                return self._buffer_fin or 0, b"", True
            self.buffer_is_empty = True
            return None
        start, end = ranges[0].start, ranges[0].stop
        stop = min(end, start + room, most)
        if stop <= start:
            return None
        if stop == end:
            del ranges[0]
        else:
            ranges[0] = range(stop, end)
        if stop > self.highest_offset:
            self.highest_offset = stop
        fin = self._buffer_fin == stop
        if fin:
            self._pending_eof = False
        return start, self.cut(start, stop), fin

    def take_run(self, size: int, count: int, most: int) -> tuple[int, list[bytes]]:
        """At most ``count`` pieces of exactly ``size`` bytes before offset ``most``, to be sent.

        They are in the middle of the stream (neither its first byte nor its last, and offsets of
        four bytes), all others are left to `take`. Answers where they begin, too.
        """
        ranges: list[range] = self._pending._RangeSet__ranges  # type: ignore[attr-defined]
        if not ranges or not (start := ranges[0].start) or ranges[0].stop >= 1 << 30:
            return 0, []
        end = ranges[0].stop
        count = min(count, (min(end - 1, most) - start) // size)
        if count <= 0:
            return 0, []
        stop = start + count * size
        ranges[0] = range(stop, end)
        if stop > self.highest_offset:
            self.highest_offset = stop
        data = self.cut(start, stop)
        return start, [data[at : at + size] for at in range(0, count * size, size)]

    def on_data_delivery(
        self, delivery: QuicDeliveryState, start: int, stop: int, fin: bool
    ) -> None:
        """Bytes were acknowledged, or lost."""
        was_at = self._buffer_start
        if (
            delivery is QuicDeliveryState.ACKED
            and start == was_at
            and not fin
            and self._reset_error_code is None
            and not len(self._acked)
        ):
            # What comes in order needs no book of ranges.
            self._buffer_start = stop
            starts = self._starts
            if stop == self._buffer_stop or (len(starts) > 1 and starts[1] <= stop):
                self._trim()
            if stop == self._buffer_fin and self._acked_fin:
                self.is_finished = True
                self._owner.stirred(self.stream)
            return
        super().on_data_delivery(delivery, start, stop, fin)
        if self._buffer_start != was_at:
            self._trim()
        if self.is_finished or delivery is not QuicDeliveryState.ACKED:
            self._owner.stirred(self.stream)

    def on_reset_delivery(self, delivery: QuicDeliveryState) -> None:
        """A reset was acknowledged, or lost."""
        super().on_reset_delivery(delivery)
        self._owner.stirred(self.stream)

    def drop_unsent(self) -> int:
        """After a reset: forget everything; answers how many bytes had never left."""
        dropped = self._buffer_stop - self.highest_offset
        self._buffer_stop = self.highest_offset
        self._chunks.clear()
        self._starts.clear()
        self._pending = RangeSet()
        return dropped

    def _trim(self) -> None:
        """Let go of chunks that are acknowledged whole."""
        done = bisect_right(self._starts, self._buffer_start)
        if self._buffer_start == self._buffer_stop:
            done += 1
        if done > 1:
            del self._chunks[: done - 1]
            del self._starts[: done - 1]


class Streams(dict[int, QuicStream]):
    """The library's table of streams; every one that enters it sends by reference."""

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self._owner = owner

    def __setitem__(self, stream_id: int, stream: QuicStream) -> None:
        """Take in a stream the library just made."""
        stream.sender = SharedSender(stream, self._owner, not stream.sender.is_finished)
        super().__setitem__(stream_id, stream)
