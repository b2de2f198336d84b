"""The asking side of a session: raw QUIC and WebTransport as a client speaks them.

Each settles one future, with the transport once there is a session or with the reason why there
is none, and is an ordinary transport from then on. This module must not know addresses, sockets or
how long anybody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult

from relay.errors import SessionLost
from relay.net.codes import (
    BAD_CERTIFICATE,
    CERTIFICATE_ALERTS,
    CONNECTION_REFUSED,
    H3_NO_ERROR,
    NO_APPLICATION_PROTOCOL,
    TLS_ALERT,
)
from relay.net.connection import Connection
from relay.net.http3 import Request, parse_agreed, write_offer
from relay.net.quic import QuicTransport
from relay.net.visit import AGREED, OFFER
from relay.net.webtransport import WebTransport

REFUSAL_ID = "x-request-id"
"""Where a refusal carries the id under which the other side's log knows it."""

MAX_ID = 64
"""Letters of it that are told."""

Outcome = asyncio.Future[QuicTransport]
"""The session, or `SessionLost`."""


def asked_for(target: SplitResult) -> str:
    """Path and query as sent."""
    return (target.path or "/") + (f"?{target.query}" if target.query else "")


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked for, and whom to believe."""

    target: SplitResult
    protocols: tuple[str, ...]
    pins: frozenset[str]

    def authority(self) -> str:
        """Host and port as sent, without credentials."""
        return self.target.netloc.rpartition("@")[2]

    def is_trusted(self, connection: Connection) -> bool:
        """Compare the certificate with the pins; the connection ends if it is none of them."""
        if not self.pins or connection.engine.peer_fingerprint in self.pins:
            return True
        connection.engine.end(
            BAD_CERTIFICATE, "the certificate is none of those pinned", transport=True
        )
        return False


def settle(outcome: Outcome, result: QuicTransport | SessionLost) -> None:
    """Say how it went; only the first word counts."""
    if outcome.done():
        return
    if isinstance(result, SessionLost):
        outcome.set_exception(result)
    else:
        outcome.set_result(result)


def _words(code: int, is_transport: bool, reason: str) -> SessionLost:
    """Why there was no session, for a person to read."""
    if is_transport and code == NO_APPLICATION_PROTOCOL:
        return SessionLost("the server speaks none of our protocols")
    if is_transport and code in CERTIFICATE_ALERTS:
        what = reason or f"TLS alert {code - TLS_ALERT}"
        return SessionLost(f"the certificate is not accepted: {what}")
    if is_transport and code == CONNECTION_REFUSED:
        return SessionLost(reason or "the server takes no more connections")
    return SessionLost(reason or f"the connection was closed with code {code:#x}", code)


def refusal(status: int, headers: Mapping[str, str]) -> str:
    """The same where HTTP says a status."""
    id = headers.get(REFUSAL_ID, "")[:MAX_ID]
    return f"refused with status {status}" + (f" (id {id}; the relay's log says why)" if id else "")


class Waiting:
    """Before the protocol is agreed on: only the end matters."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def handshake_completed(self) -> None:
        """Cannot be: the protocol is agreed on before."""

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """Nothing arrives so early."""

    def stream_reset(self, stream: int, code: int) -> None:
        """Nothing arrives so early."""

    def stream_stopped(self, stream: int, code: int) -> None:
        """Nothing arrives so early."""

    def datagram_received(self, data: bytes) -> None:
        """Nothing arrives so early."""

    def flush(self) -> None:
        """Nobody has anything to say."""

    def overdue(self) -> None:
        """Time is kept by who dials."""

    def terminated(self, code: int, is_transport: bool, reason: str) -> None:
        """There will be no session."""
        settle(self._outcome, _words(code, is_transport, reason))


class DialledQuic(QuicTransport):
    """Raw QUIC: the handshake is the session."""

    def __init__(self, connection: Connection, terms: Terms, outcome: Outcome) -> None:
        super().__init__(connection, lambda transport: settle(outcome, transport))
        self._terms = terms
        self._outcome = outcome

    def handshake_completed(self) -> None:
        """There is a session if the server is whom we meant."""
        if self._terms.is_trusted(self.connection):
            super().handshake_completed()

    def terminated(self, code: int, is_transport: bool, reason: str) -> None:
        """No session, or the end of it."""
        settle(self._outcome, _words(code, is_transport, reason))
        super().terminated(code, is_transport, reason)


class DialledWeb(WebTransport):
    """The client's side of WebTransport: it asks once the server's settings allow it."""

    def __init__(self, connection: Connection, terms: Terms, outcome: Outcome) -> None:
        super().__init__(connection)
        self._terms = terms
        self._outcome = outcome
        self._is_trusted = False

    def handshake_completed(self) -> None:
        """Nothing is said to a server that is not whom we meant."""
        self._is_trusted = self._terms.is_trusted(self.connection)
        if self._is_trusted:
            super().handshake_completed()
            self._ask()

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """Any stream; the server's settings are awaited on one of them."""
        super().stream_received(stream, data, fin)
        self._ask()

    def headers_received(self, stream: int, request: Request, fin: bool) -> None:
        """The answer to our request."""
        if stream != self.session or self.is_open or 100 <= request.status < 200:
            return
        if not 200 <= request.status < 300:
            self._fail(refusal(request.status, request.headers), request.status)
            return
        agreed = parse_agreed(request.headers.get(AGREED))
        if agreed is not None and agreed not in self._terms.protocols:
            self._fail(f"the server chose {agreed}, which was not offered")
            return
        self.opened(agreed)
        settle(self._outcome, self)

    def terminated(self, code: int, is_transport: bool, reason: str) -> None:
        """No session, or the end of it."""
        settle(self._outcome, _words(code, is_transport, reason))
        super().terminated(code, is_transport, reason)

    def overdue(self) -> None:
        """Our goodbye took long enough."""
        self._engine.end(H3_NO_ERROR)

    def _ask(self) -> None:
        if self.session is not None or not self._is_trusted or self._engine.is_over:
            return
        if self.http3.takes_sessions is None:
            return
        if not self.http3.takes_sessions:
            self._fail("the server does not speak WebTransport")
            return
        stream = self._engine.open_stream(False)
        if stream is None:
            return
        self.bind_session(stream)
        terms = self._terms
        offer = [(OFFER, write_offer(terms.protocols))] if terms.protocols else []
        self.http3.headers(
            stream,
            [
                (":method", "CONNECT"),
                (":scheme", "https"),
                (":authority", terms.authority()),
                (":path", asked_for(terms.target)),
                (":protocol", self.http3.upgrade),
                ("sec-webtransport-http3-draft02", "1"),
                *offer,
            ],
        )
        self.connection.wake()

    def _fail(self, reason: str, status: int = 0) -> None:
        settle(self._outcome, SessionLost(reason, 0, status))
        self.end(0, reason)
        self._engine.end(H3_NO_ERROR)
