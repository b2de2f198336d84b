"""The door: how a server's connections become visits, and how visits are answered.

Whoever stands at the door gets a `Visit` and answers it once, now or later; a visit nobody answers
is refused. Raw QUIC knocks right after its handshake, WebTransport with its CONNECT request; other
HTTP/3 requests are turned away politely. This module must not know why a visit is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import http_sf

from relay.net.codes import H3_NO_ERROR, H3_REQUEST_REJECTED
from relay.net.connection import Connection
from relay.net.http3 import Request, parse_offer
from relay.net.quic import QuicTransport
from relay.net.webtransport import WebTransport
from relay.session.transport import Knock, Receiver, Transport, Visit

Door = Callable[[Visit], None]
"""Told of every visit. Raising refuses it with 500."""

OFFER = "wt-available-protocols"
AGREED = "wt-protocol"

Headers = Sequence[tuple[str, str]]


class Answering(Transport, Protocol):
    """A transport that can let its peer in or turn it away."""

    def admit(self, receiver: Receiver, protocol: str | None) -> None:
        """Open the session."""

    def turn_away(self, status: int, headers: Headers = ()) -> None:
        """Refuse the peer."""


class OpenVisit:
    """One knock and its only answer."""

    def __init__(self, knock: Knock, transport: Answering) -> None:
        self.knock = knock
        self.transport: Transport = transport
        self.too_late: Callable[[], Headers] = lambda: ()
        self.is_answered = False
        self._answering = transport

    def accept(self, receiver: Receiver, protocol: str | None) -> None:
        """Open the session. After it was lost the receiver hears of that only.

        Raises `ValueError` for a second answer or a protocol that was not offered.
        """
        if protocol is not None and protocol not in self.knock.offered:
            raise ValueError(f"{protocol} was not offered")
        self._answer()
        self._answering.admit(receiver, protocol)

    def refuse(self, status: int, headers: Headers = ()) -> None:
        """Turn the peer away. Raises `ValueError` for a second answer."""
        self._answer()
        self._answering.turn_away(status, headers)

    def _answer(self) -> None:
        if self.is_answered:
            raise ValueError("the visit was answered before")
        self.is_answered = True


def knock_raw(transport: QuicTransport) -> Knock:
    """What raw QUIC knows before a session: the agreed protocol, the address, the TLS name."""
    connection = transport.connection
    return Knock(
        "quic",
        None,
        offered=(connection.alpn,),
        remote=connection.remote,
        authority=connection.engine.server_name,
        certificate=connection.certificate,
    )


def knock_web(connection: Connection, request: Request) -> Knock:
    """What a CONNECT request says."""
    return Knock(
        "webtransport",
        request.pseudo["path"],
        offered=parse_offer(request.headers.get(OFFER)),
        remote=connection.remote,
        authority=request.pseudo.get("authority", ""),
        headers=request.headers,
        certificate=connection.certificate,
    )


def bring(door: Door, visit: OpenVisit, failed: Callable[[Exception], None]) -> None:
    """Take a visit to the door; ``failed`` hears what it raises, which refuses the visit."""
    try:
        door(visit)
    except Exception as error:
        failed(error)
        if not visit.is_answered:
            visit.refuse(500)


def offer(door: Door, visit: OpenVisit, connection: Connection, timeout: float) -> None:
    """The same for one that came by QUIC; it has ``timeout`` seconds to be answered."""
    connection.deadline = connection.host.now() + timeout
    bring(door, visit, connection.host.failed)


class ServedWebTransport(WebTransport):
    """The server's side: it waits for one CONNECT and answers it."""

    def __init__(
        self, connection: Connection, door: Door, request_timeout: float, visit_timeout: float
    ) -> None:
        super().__init__(connection)
        self._door = door
        self._request_timeout = request_timeout
        self._visit_timeout = visit_timeout
        self._is_answered = False
        self._visit: OpenVisit | None = None

    def handshake_completed(self) -> None:
        """From now on a request is due."""
        super().handshake_completed()
        if self.session is None:
            self.connection.deadline = self.connection.host.now() + self._request_timeout

    def headers_received(self, stream: int, request: Request, fin: bool) -> None:
        """A request: the one that asks for the session, or something that we do not serve."""
        if stream == self.session:
            return
        if not request.is_webtransport:
            is_known = request.pseudo.get("method") in ("GET", "HEAD")
            self._answer(stream, 404 if is_known else 405, () if is_known else (("allow", "GET"),))
        elif not request.pseudo.get("path", "").startswith("/") or fin:
            self._answer(stream, 400)
        elif self.session is not None:
            self._answer(stream, 429)
        else:
            self.bind_session(stream)
            self._visit = OpenVisit(knock_web(self.connection, request), self)
            offer(self._door, self._visit, self.connection, self._visit_timeout)

    def admit(self, receiver: Receiver, protocol: str | None) -> None:
        """Answer 200, with the protocol as a quoted string when there is one."""
        self._is_answered = True
        if not self.is_closed and self.session is not None:
            self.connection.deadline = None
            agreed = [(AGREED, http_sf.ser(protocol))] if protocol is not None else []
            self.http3.headers(self.session, [(":status", "200"), *agreed])
            self.opened(protocol, self._engine.written(self.session))
        self.start(receiver)

    def turn_away(self, status: int, headers: Headers = ()) -> None:
        """Answer with a status, then close QUIC: browsers would leave it open."""
        self._is_answered = True
        if self.is_closed or self.session is None:
            return
        self._answer(self.session, status, headers)
        self.end(0, "refused")
        self._linger(self.connection.limits.close_timeout)

    def close(self, code: int, reason: str = "") -> None:
        """As before; but where nothing is wrong (code 0), as when the relay stops, the connection
        ends and no capsule says why. Pages of ``@moq/publish`` and ``@moq/watch`` dial again where
        `closed` was rejected, as by a relay that just went away, and after no capsule."""
        if code or self.is_closed:
            super().close(code, reason)
            return
        self.end(code, reason)
        self._engine.end(H3_NO_ERROR, reason)

    def overdue(self) -> None:
        """Nobody asked, nobody answered, or the goodbye took too long."""
        if self._visit is not None and not self._is_answered and not self.is_closed:
            self.turn_away(503, self._visit.too_late())
        elif self.is_closed:
            self._engine.end(H3_NO_ERROR)
        else:
            super().overdue()

    def _answer(self, stream: int, status: int, headers: Headers = ()) -> None:
        self.http3.headers(stream, [(":status", str(status)), *headers], end_stream=True)
        # The rest of such a request is of no use (RFC 9114, 4.1).
        if stream != self.session:
            self._engine.stop(stream, H3_NO_ERROR if status != 429 else H3_REQUEST_REJECTED)
        self.connection.wake()
