"""HTTP/3 as far as WebTransport needs it: settings, requests and answers as plain values.

The library sees only streams that are HTTP/3's own, and never uses QPACK's dynamic table; of what
the static one makes of a few bytes no more is looked at than a request may be long. Its errors
close the connection; none leaves this module. It must not know sessions or who is let in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import http_sf
import pylsqpack
from aioquic.h3.connection import ErrorCode, H3Connection
from aioquic.h3.connection import ProtocolError as Http3Error
from aioquic.h3.events import DataReceived, H3Event, Headers, HeadersReceived
from aioquic.quic.events import QuicEvent, StreamDataReceived, StreamReset

from relay.net.codes import H3_CLOSED_CRITICAL_STREAM
from relay.net.engine import Engine

QPACK_MAX_TABLE_CAPACITY = 0x1
QPACK_BLOCKED_STREAMS = 0x7
ENABLE_CONNECT = 0x8
H3_DATAGRAM = 0x33
ENABLE_WEBTRANSPORT = 0x2B603742
WEBTRANSPORT_MAX_SESSIONS = 0xC671706A
WT_MAX_SESSIONS = 0x14E9CD29
"""What later drafts made of the one before."""
WT_ENABLED = 0x2C7CF000
"""What the latest ones made of that."""

EARLIER = ENABLE_WEBTRANSPORT, WEBTRANSPORT_MAX_SESSIONS, WT_MAX_SESSIONS
"""Any of these says that a peer speaks a draft before that."""

UPGRADE, LATE_UPGRADE = "webtransport", "webtransport-h3"
"""Names of the protocol in ``:protocol``; the drafts renamed it late."""

MAX_OFFERED = 64
"""Protocol identifiers read of one offer; the rest is ignored."""


@dataclass(slots=True)
class Request:
    """Headers of a request or an answer: pseudo-headers without their colon, the rest by name."""

    pseudo: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, headers: Sequence[tuple[bytes, bytes]]) -> Request:
        """Read a header list; repeated fields are joined (RFC 9110, 5.3; cookies by RFC 9114)."""
        made = cls()
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("ascii", "replace"), raw_value.decode("utf-8", "replace")
            if name.startswith(":"):
                made.pseudo[name[1:]] = value
            elif name in made.headers:
                joint = "; " if name == "cookie" else ", "
                made.headers[name] += joint + value
            else:
                made.headers[name] = value
        return made

    @property
    def is_webtransport(self) -> bool:
        """Whether this asks for a WebTransport session (draft-ietf-webtrans-http3, 3)."""
        pseudo = self.pseudo
        return pseudo.get("method") == "CONNECT" and pseudo.get("protocol") in (
            UPGRADE,
            LATE_UPGRADE,
        )

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.pseudo.get("status", "0"))


def parse_offer(text: str | None) -> tuple[str, ...]:
    """Identifiers in ``wt-available-protocols``: strings or tokens; nothing when malformed."""
    if not text:
        return ()
    try:
        members = http_sf.parse(text.encode(), tltype="list")
    except (ValueError, RecursionError):
        return ()
    if not isinstance(members, list):
        return ()
    values = [member[0] for member in members[:MAX_OFFERED] if isinstance(member, tuple)]
    return tuple(str(value) for value in values if isinstance(value, str | http_sf.Token))


def parse_agreed(text: str | None) -> str | None:
    """The identifier in ``wt-protocol``; ``None`` when there is none or it is malformed."""
    if not text:
        return None
    try:
        item = http_sf.parse(text.encode(), tltype="item")
    except ValueError:
        return None
    value = item[0] if isinstance(item, tuple) else None
    return str(value) if isinstance(value, str | http_sf.Token) else None


def write_offer(protocols: Sequence[str]) -> str:
    """``wt-available-protocols`` for a list of identifiers. Raises `ValueError` beyond ASCII."""
    return http_sf.ser(list(protocols))


class FrameTooLong(Http3Error):
    """Headers or settings are longer than a request may be, as they came or once they are read."""

    error_code = ErrorCode.H3_EXCESSIVE_LOAD

    def __init__(self) -> None:
        super().__init__("the frame is too long (max_request_headers)")


class Http3(H3Connection):
    """The HTTP/3 side of one connection."""

    def __init__(self, engine: Engine, max_headers: int) -> None:
        """``max_headers`` is what headers or settings may have in bytes."""
        super().__init__(engine, enable_webtransport=True)
        self._engine = engine
        self._max_headers = max_headers
        self.kept = 0
        """Bytes of unfinished frames of all streams."""
        self._decoder = pylsqpack.Decoder(0, 0)

    def _get_local_settings(self) -> dict[int, int]:
        # Browsers need H3_DATAGRAM and ENABLE_WEBTRANSPORT; natives read the others as well.
        return {
            QPACK_MAX_TABLE_CAPACITY: 0,
            QPACK_BLOCKED_STREAMS: 0,
            ENABLE_CONNECT: 1,
            H3_DATAGRAM: 1,
            ENABLE_WEBTRANSPORT: 1,
            WEBTRANSPORT_MAX_SESSIONS: 1,
            WT_ENABLED: 1,
        }

    @property
    def takes_sessions(self) -> bool | None:
        """Whether the peer's SETTINGS allow WebTransport; ``None`` before they came."""
        settings = self.received_settings
        if settings is None:
            return None
        return any(settings.get(each) for each in (*EARLIER, WT_ENABLED))

    @property
    def upgrade(self) -> str:
        """What a peer that takes sessions calls them in ``:protocol``."""
        settings = self.received_settings or {}
        return UPGRADE if any(settings.get(each) for each in EARLIER) else LATE_UPGRADE

    @property
    def critical(self) -> frozenset[int | None]:
        """Our control and QPACK streams, which must never end (RFC 9114, 6.2.1)."""
        return frozenset(
            (
                self._local_control_stream_id,
                self._local_encoder_stream_id,
                self._local_decoder_stream_id,
            )
        )

    def owns(self, stream: int) -> bool:
        """Whether HTTP/3 keeps state of the stream."""
        return stream in self._stream

    def handle_event(self, event: QuicEvent) -> list[H3Event]:
        """What the library makes of an event. It answers on critical streams of ours, which the
        peer may have stopped in the same flight: that ends the connection."""
        try:
            return super().handle_event(event)
        except RuntimeError:
            if not any(self._engine.is_reset(each) for each in self.critical if each is not None):
                raise
            self._engine.end(H3_CLOSED_CRITICAL_STREAM, "the peer stopped a critical stream")
            return []

    def _decode_headers(self, stream_id: int, frame_data: bytes | None) -> Headers:
        if frame_data is not None and len(frame_data) > self._max_headers:
            raise FrameTooLong
        headers = super()._decode_headers(stream_id, frame_data)
        # One byte may stand for eighty, and the library looks at each of them.
        if sum(len(name) + len(value) for name, value in headers) > self._max_headers:
            raise FrameTooLong
        return headers

    def _handle_control_frame(self, frame_type: int, frame_data: bytes) -> None:
        if len(frame_data) > self._max_headers:
            raise FrameTooLong
        super()._handle_control_frame(frame_type, frame_data)

    def feed(self, stream: int, data: bytes, fin: bool) -> list[HeadersReceived | DataReceived]:
        """Bytes of a stream of HTTP/3's."""
        self.kept -= self.buffered(stream)
        events = self.handle_event(StreamDataReceived(data=data, end_stream=fin, stream_id=stream))
        self.kept += self.buffered(stream)
        return [event for event in events if isinstance(event, HeadersReceived | DataReceived)]

    def reset(self, stream: int, code: int) -> None:
        """The peer broke off a stream of HTTP/3's."""
        self.kept -= self.buffered(stream)
        self.handle_event(StreamReset(error_code=code, stream_id=stream))
        self.kept += self.buffered(stream)

    def buffered(self, stream: int) -> int:
        """Bytes kept of an unfinished frame."""
        kept = self._stream.get(stream)
        return 0 if kept is None else len(kept.buffer)

    def headers(
        self, stream: int, headers: Sequence[tuple[str, str]], end_stream: bool = False
    ) -> None:
        """Send headers; on a stream that is over nothing happens."""
        encoded = [(name.encode("ascii"), value.encode("utf-8")) for name, value in headers]
        try:
            self.send_headers(stream, encoded, end_stream)
        except (Http3Error, ValueError, RuntimeError):
            return

    def end(self, stream: int, data: bytes = b"") -> None:
        """Send a last DATA frame; on a stream that is over nothing happens."""
        try:
            self.send_data(stream, data, True)
        except (Http3Error, ValueError, RuntimeError):
            return
