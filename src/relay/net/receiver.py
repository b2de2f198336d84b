"""The receiving half of a stream, which keeps what comes early in pieces.

Most streams come in order, and nothing is kept for them. The law: to the library it is the half it
knows, and what is handed up is what the library would hand up. This module must not know packets.
"""

from __future__ import annotations

from dataclasses import dataclass

from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.events import StreamDataReceived, StreamReset
from aioquic.quic.packet import QuicErrorCode, QuicStreamFrame
from aioquic.quic.stream import FinalSizeError, QuicStreamReceiver

from relay.net.frames import RESET_STREAM_AT
from relay.net.pieces import Pieces, Tally


@dataclass
class Remainder(StreamDataReceived):
    """The last bytes of a stream that breaks off behind them, with ``code``."""

    code: int


class Heard(StreamDataReceived):
    """The next bytes of a stream, as long as they come packet by packet with nothing between.

    ``data`` are the first of them until all are told.
    """

    __slots__ = ("chunks", "data", "end_stream", "stream_id")

    def __init__(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        # Not the library's: it is one call more for each.
        self.stream_id = stream_id
        self.data = data
        self.end_stream = end_stream
        self.chunks: list[bytes] | None = None
        """All of them, once there are several."""

    def add(self, data: bytes, end_stream: bool) -> None:
        """More came."""
        if self.chunks is None:
            self.chunks = [self.data]
        self.chunks.append(data)
        self.end_stream = end_stream


class Receiver(QuicStreamReceiver):
    """The library's receiving half, which keeps what comes early in pieces."""

    __slots__ = ("_buffer_start", "_final_size", "highest_offset", "is_finished", "stop_pending")

    _broken: tuple[int, int] | None = None
    """The code with which it breaks off, and behind which offset, once bytes before that have still
    to come."""

    def __init__(self, stream_id: int | None, tally: Tally) -> None:
        """``tally`` counts the pieces of all streams of the connection."""
        # Not the library's: it would make a buffer and a set of ranges.
        self.highest_offset = 0
        self.is_finished = False
        self.stop_pending = False
        self._buffer_start = 0
        self._final_size: int | None = None
        self._stream_id = stream_id
        self._stop_error_code: int | None = None
        self._early: Pieces | None = None
        """What came before its turn, once something has."""
        self._tally = tally

    def handle_frame(self, frame: QuicStreamFrame) -> StreamDataReceived | None:
        """Take in a frame (RFC 9000, 2.2): what may be handed up now. Raises `FinalSizeError`."""
        offset, data, due = frame.offset, frame.data, self._buffer_start
        stop = offset + len(data)
        known = self._final_size
        if known is not None and stop > known:
            raise FinalSizeError("Data received beyond final size")
        if frame.fin:
            if known is not None and stop != known:
                raise FinalSizeError("Cannot change final size")
            if stop < self.highest_offset:
                raise FinalSizeError("Data received beyond final size")
            self._final_size = stop
        self.highest_offset = max(self.highest_offset, stop)
        if self.is_finished:
            return None
        fresh = data[due - offset :] if offset < due else data
        if self._early is None and (offset <= due or not fresh):
            ready = fresh
        else:
            if self._early is None:
                self._early = Pieces(self._tally)
            self._early.add(max(offset, due), fresh)
            ready = self._early.take(due)
            if not len(self._early):
                self._early = None
        self._buffer_start += len(ready)
        if self._broken is not None and self._buffer_start >= self._broken[1]:
            self.is_finished = True
            return Remainder(ready, False, self._stream_id or 0, self._broken[0])
        self.is_finished = self._buffer_start == self._final_size
        if not (ready or self.is_finished):
            return None
        return StreamDataReceived(ready, self.is_finished, self._stream_id or 0)

    def handle_reset(
        self, *, final_size: int, error_code: int = 0, reliable_size: int = 0
    ) -> StreamReset | None:
        """The peer breaks off: the news of it, unless that waits for the first ``reliable_size``
        bytes. Raises `FinalSizeError`, and `QuicConnectionError` for another code than before."""
        broken = self._broken
        if broken is not None and broken[0] != error_code:
            reason, kind = "Cannot change error code", RESET_STREAM_AT
            raise QuicConnectionError(QuicErrorCode.STREAM_STATE_ERROR, kind, reason)
        event = super().handle_reset(final_size=final_size, error_code=error_code)
        if event is None:
            return None
        if broken is not None:
            reliable_size = min(reliable_size, broken[1])  # a larger one was overtaken
        if reliable_size > self._buffer_start:
            self._broken = error_code, reliable_size
            self.is_finished = False
            return None
        return event

    def let_go(self) -> None:
        """Nothing that came will be handed up any more."""
        self._buffer_start = self.highest_offset
        if self._early is not None:
            self._early.clear()
            self._early = None
