"""Stream error codes of WebTransport, and the HTTP/3 and QUIC codes this room uses itself.

An application's 32-bit code travels inside HTTP/3's code space, spread over a range that skips the
reserved code points (draft-ietf-webtrans-http3, section on resetting streams). Codes of a peer that
lie outside the range mean nothing and read as 0. This module must not know streams.
"""

from __future__ import annotations

from collections.abc import Iterable

from relay.errors import Refused, RelayError

FIRST = 0x52E4A40FA8DB
"""HTTP/3 code of application code 0."""

LAST = 0x52E5AC983162
"""HTTP/3 code of application code 2**32 - 1."""

H3_NO_ERROR = 0x100
H3_INTERNAL_ERROR = 0x102
H3_STREAM_CREATION_ERROR = 0x103
H3_CLOSED_CRITICAL_STREAM = 0x104
H3_EXCESSIVE_LOAD = 0x107
H3_ID_ERROR = 0x108
H3_REQUEST_REJECTED = 0x10B
H3_MESSAGE_ERROR = 0x10E
BUFFERED_STREAM_REJECTED = 0x3994BD84
"""A stream came before its session and could not be kept."""
SESSION_GONE = 0x170D7B68
"""A stream belongs to a session that is over, or never was."""
CONNECTION_REFUSED = 0x2
"""QUIC (RFC 9000, 20.1): the server takes no more connections."""
TLS_ALERT = 0x100
"""QUIC error of TLS alert 0 (RFC 9001, 4.8); the others follow by their numbers."""
BAD_CERTIFICATE = TLS_ALERT + 42
NO_APPLICATION_PROTOCOL = TLS_ALERT + 120
CERTIFICATE_ALERTS = frozenset(TLS_ALERT + alert for alert in (42, 43, 44, 45, 46, 48))
"""What is wrong with a certificate: bad, unsupported, revoked, expired, unknown, or signed by an
unknown authority (RFC 8446, 6.2)."""


def to_http3(code: int) -> int:
    """The HTTP/3 code of an application code; only its low 32 bits travel."""
    code &= 0xFFFFFFFF
    return FIRST + code + code // 0x1E


def from_http3(code: int) -> int:
    """The application code inside an HTTP/3 code, 0 when there is none."""
    return unmap(code) or 0


def unmap(code: int) -> int | None:
    """The application code inside an HTTP/3 code; ``None`` off the range or on a reserved point."""
    if not FIRST <= code <= LAST or (code - 0x21) % 0x1F == 0:
        return None
    shifted = code - FIRST
    return shifted - shifted // 0x1F


def turned_away(status: int, headers: Iterable[tuple[str, str]]) -> tuple[int, str]:
    """Code and reason that a session is closed with that is refused, where HTTP would say a status
    and headers: 401 and 403 are the peer's fault, everything else ours."""
    said = "".join(f", {name}: {value}" for name, value in headers)
    code = (Refused if status in (401, 403) else RelayError).session_code
    return code, f"refused ({status}{said})"
