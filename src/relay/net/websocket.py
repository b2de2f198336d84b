"""Sessions over WebSocket, for those to whom UDP or WebTransport is closed (RFC 6455; ASGI).

The subprotocol says how streams are framed and, where it has a part for that, which version of MoQ
is spoken (draft-lcurley-qmux-websocket): ``qmux-01.moq-lite-05``, or ``qmux-01`` alone, which
leaves it to the in-band handshake. Whoever asks is a visit like any other. This module must not
know who is let in, nor which library reads the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple

from relay.errors import ProtocolViolation
from relay.net.gate import Gate
from relay.net.http3 import MAX_OFFERED, Request
from relay.net.qmux import QmuxTransport
from relay.net.qmux_frames import LEGACY, WIRES, Wire
from relay.net.settings import ListenSettings
from relay.net.turns import Turns, Use
from relay.net.udp import plain
from relay.net.visit import Door, Headers, OpenVisit, bring
from relay.session.transport import Knock, Receiver
from relay.wire.version import IDENTIFIERS, INBAND

MAX_MESSAGE = 4 << 20
"""Bytes of one message. Longer ones end the connection; only those who speak what there was before
QMux send any beyond a record."""

NORMAL = 1000
"""Why a connection is closed whose session is over: the session has said more (RFC 6455, 7.4.1)."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Offer(NamedTuple):
    """One way to speak."""

    wire: Wire
    subprotocol: str | None
    """What is said to have been chosen; ``None`` where nothing was offered."""


class Answer(NamedTuple):
    """What becomes of a caller: a way to speak, or a status."""

    offer: Offer | None
    status: int = 101
    headers: Headers = ()


def read_offers(subprotocols: Sequence[str]) -> dict[str, Offer]:
    """Ways to speak by the version of MoQ that is spoken then, in the caller's order."""
    if not subprotocols:
        return {INBAND: Offer(LEGACY, None)}
    offers: dict[str, Offer] = {}
    for text in subprotocols[:MAX_OFFERED]:
        name, dot, version = text.partition(".")
        wire = next((wire for wire in WIRES if wire.name == name), None)
        if wire is not None and (wire.has_credit or not dot):
            offers.setdefault(version if dot else INBAND, Offer(wire, text))
    return offers


class Caller(QmuxTransport):
    """A session that somebody asks for; it says how it was answered."""

    def __init__(
        self,
        settings: ListenSettings,
        failed: Callable[[Exception], None],
        offers: dict[str, Offer],
    ) -> None:
        super().__init__(False, settings.limits, failed)
        self.answer: asyncio.Future[Answer] = self._loop.create_future()
        self._offers = offers

    def admit(self, receiver: Receiver, protocol: str | None) -> None:
        """Let it in, in the version that was chosen."""
        offer = self._offers[protocol or INBAND]
        self._settle(Answer(offer))
        if not self.is_closed:
            self.begin(offer.wire)
        self.start(receiver)

    def turn_away(self, status: int, headers: Headers = ()) -> None:
        """Refuse it."""
        self._settle(Answer(None, status, headers))
        self.lost("refused")

    def _settle(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class WebSockets:
    """An ASGI application for scopes of the type ``websocket``."""

    def __init__(
        self,
        door: Door,
        settings: ListenSettings,
        failed: Callable[[Exception], None],
        gate: Gate,
    ) -> None:
        """``failed`` hears of errors nobody foresaw; ``gate`` counts who is inside, by whichever
        way."""
        self._door = door
        self._settings = settings
        self._failed = failed
        self._gate = gate
        self._turns = Turns()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One connection, from its request to its end."""
        address = scope["client"] or ("", 0)
        if not self._gate.has_room(address):
            await _deny(send, 503)
            return
        self._gate.enter(address)
        self._gate.pass_through()
        try:
            await self._serve(scope, receive, send)
        finally:
            self._gate.leave(address, True)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        offers = read_offers(scope["subprotocols"])
        caller = Caller(self._settings, self._failed, offers)
        visit = OpenVisit(_knock(scope, offers), caller)
        try:
            answer = await self._decided(visit, caller, receive)
            if answer is None:
                return
            if answer.offer is None:
                await _deny(send, answer.status, answer.headers)
                return
            await send({"type": "websocket.accept", "subprotocol": answer.offer.subprotocol})
            await self._carry(caller, receive, send)
        finally:
            caller.lost("the connection is gone")

    async def _decided(self, visit: OpenVisit, caller: Caller, receive: Receive) -> Answer | None:
        """What the door says, and 503 where it says nothing in time; ``None`` when the caller has
        left by then."""
        await receive()  # websocket.connect
        target = visit.knock.target or ""
        if not target.startswith("/"):
            return Answer(None, 400)
        if len(target) > self._settings.limits.max_request_headers:
            return Answer(None, 414)
        bring(self._door, visit, self._failed)
        leaving = asyncio.ensure_future(receive())
        try:
            await asyncio.wait(
                (caller.answer, leaving),
                timeout=self._settings.visit_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if leaving.done():
                return None
            if not caller.answer.done():
                caller.turn_away(503, visit.too_late())
            return caller.answer.result()
        finally:
            leaving.cancel()

    async def _carry(self, caller: Caller, receive: Receive, send: Send) -> None:
        """Messages both ways until the connection is closed; under an ended session that is the
        caller's to do for a while."""
        linger = self._settings.limits.close_timeout
        writing = asyncio.ensure_future(_write(caller, send, linger))
        use = Use()
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                if (body := message.get("bytes")) is None:
                    caller.close(ProtocolViolation.session_code, "a message of text")
                await self._turns.through(caller.hear(body or b""), use)
        finally:
            writing.cancel()


def _knock(scope: Message, offers: dict[str, Offer]) -> Knock:
    """What the request says. Where nothing that is offered is known here, what was offered."""
    query = scope["query_string"].decode("latin-1")
    headers = Request.of(scope["headers"]).headers
    return Knock(
        "websocket",
        scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
        offered=tuple(offers or map(_strange, scope["subprotocols"][:MAX_OFFERED])),
        remote=plain(scope["client"] or ("", 0)),
        authority=headers.get("host", ""),
        headers=headers,
    )


def _strange(subprotocol: str) -> str:
    """How a subprotocol that is not known is called; a version alone does not say how streams are
    framed."""
    return f"{subprotocol} without qmux" if subprotocol in IDENTIFIERS else subprotocol


async def _deny(send: Send, status: int, headers: Headers = ()) -> None:
    """Answer with a status in place of a connection (ASGI's Websocket Denial Response)."""
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
    await send({"type": "websocket.http.response.start", "status": status, "headers": raw})
    await send({"type": "websocket.http.response.body", "body": b""})


async def _write(caller: Caller, send: Send, linger: float) -> None:
    """What the session says, and that it is over; whoever has left hears nothing."""
    with contextlib.suppress(OSError):
        await caller.write(lambda message: send({"type": "websocket.send", "bytes": message}))
        # moq-rs forgets why the session ended when the connection does in the same moment.
        await asyncio.sleep(linger)
        await send({"type": "websocket.close", "code": NORMAL})
