"""Frames of extensions that the library lacks: a stream breaks off behind bytes that arrive all the
same, or fewer acknowledgements are asked for.

They stand in the library's table of frames and are heard by it, one by one. This module must not
know what is sent.
"""

from __future__ import annotations

from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import Epoch

from relay.net.ackrate import ACK_FREQUENCY, IMMEDIATE_ACK
from relay.net.frames import RESET_STREAM_AT
from relay.net.incoming import Incoming
from relay.net.parameters import LEAST_ACK_DELAY

_ZERO_AND_ONE_RTT = frozenset((Epoch.ZERO_RTT, Epoch.ONE_RTT))


class Extensions(Incoming):
    """A connection that hears them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._QuicConnection__frame_handlers |= {  # type: ignore[attr-defined]
            RESET_STREAM_AT: (self._handle_reset_stream_at_frame, _ZERO_AND_ONE_RTT),
            ACK_FREQUENCY: (self._handle_ack_frequency_frame, _ZERO_AND_ONE_RTT),
            IMMEDIATE_ACK: (self._handle_immediate_ack_frame, _ZERO_AND_ONE_RTT),
        }

    def _handle_reset_stream_at_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        """RESET_STREAM_AT (draft-ietf-quic-reliable-stream-reset, 4), which the library lacks."""
        stream_id, code, size, kept = (buf.pull_uint_var() for _ in range(4))
        if kept > size:
            reason = "Reliable size is beyond final size"
            raise QuicConnectionError(QuicErrorCode.FRAME_ENCODING_ERROR, frame_type, reason)
        self._reset_frame(frame_type, stream_id, code, size, kept)
        if (stream := self._streams.get(stream_id)) is not None:
            self.stirred[stream_id] = stream  # as all that the library hears of

    def _handle_ack_frequency_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        """ACK_FREQUENCY (draft-ietf-quic-ack-frequency, 4)."""
        sequence, threshold, delay, _ = (buf.pull_uint_var() for _ in range(4))
        if delay < LEAST_ACK_DELAY:
            code, reason = QuicErrorCode.PROTOCOL_VIOLATION, "Ack delay is below what was offered"
            raise QuicConnectionError(code, frame_type, reason)
        self._ack_delay = self._acks.hear(sequence, threshold, delay)

    def _handle_immediate_ack_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        """IMMEDIATE_ACK (the same draft, 5)."""
        self._spaces[Epoch.ONE_RTT].ack_at = context.time
