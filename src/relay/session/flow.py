"""One stream of a conversation: bytes in, until both halves have ended.

A flow is forgotten only when neither side can say anything more on its stream, so that late bytes
never look like a new stream. This module must not know what any particular stream is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Cancelled, DecodeError, ProtocolViolation
from relay.session.events import LimitHit
from relay.wire.buffer import StreamBuffer

if TYPE_CHECKING:
    from relay.session.lite import LiteSession


def turn_away(session: LiteSession, limit: str) -> None:
    """What the peer has begun goes beyond a limit of the session's, and nobody handles it."""
    hit = LimitHit(f"session.{limit}", getattr(session.settings, limit))
    if hit not in session.limits_hit:
        session.limits_hit.add(hit)
        session.emit(hit)


class Flow:
    """A stream with an incoming half. Subclasses read in `read` and react in `ended`/`broken`."""

    __slots__ = ("buffer", "deaf", "heard", "said", "session", "stream")

    def __init__(self, session: LiteSession, stream: int | None = None) -> None:
        self.session = session
        self.stream = stream
        self.buffer = StreamBuffer()
        self.heard = False
        """The peer's half has ended."""
        self.said = False
        """Our half has ended (or never was)."""
        self.deaf = False
        """Whatever still comes is ignored."""

    def received(self, data: bytes, fin: bool) -> None:
        """The next bytes of the stream. Raises `ProtocolViolation` for the session to close on."""
        if not self.deaf and data:
            self.buffer.append(data)
            self.read()
        if fin:
            self.heard = True
            if not self.deaf:
                self.ended()
            self.settle()

    def reset(self, code: int) -> None:
        """The peer broke off its half."""
        self.heard = True
        if not self.deaf:
            self.broken(code)
        self.settle()

    def stopped(self, code: int) -> None:
        """The peer no longer reads our half, which the transport has reset already."""
        self.said = True
        if not self.deaf:
            self.broken(code)
        self.settle()

    def read(self) -> None:
        """Take what `buffer` holds."""

    def ended(self) -> None:
        """The peer's half is complete."""

    def broken(self, code: int) -> None:
        """Either half was broken off by the peer."""

    def send(self, data: bytes, fin: bool = False) -> None:
        """Say something on our half."""
        if not self.said and self.stream is not None:
            self.said = fin
            self.session.transport.send(self.stream, data, fin)
            if fin:
                self.settle()

    def drop(self, code: int) -> None:
        """Break off both halves and ignore whatever still comes."""
        self.deaf = True
        if self.stream is None:
            self.session.withdraw(self)
            return
        if not self.said:
            self.said = True
            self.session.break_off(self.stream, code)
        if not self.heard:
            self.session.turn_down(self.stream, code)
        self.settle()

    def leave(self) -> None:
        """End our half in good order and ignore whatever still comes."""
        self.deaf = True
        if self.stream is None:
            self.session.withdraw(self)
        self.send(b"", True)

    def settle(self) -> None:
        """Forget the stream once neither half can carry anything more."""
        if self.heard and self.said and self.stream is not None:
            self.session.forget(self.stream)


class Request(Flow):
    """A stream of ours on which we ask for something; what the peer answers comes on its half."""

    __slots__ = ()

    def stopped(self, code: int) -> None:
        """The peer reads no more of our half, which is no answer: its own says what becomes of it,
        and may come later, although it was said before."""
        self.said = True
        self.settle()

    def leave(self) -> None:
        """No more of the answer is wanted; where our half cannot say so the other does."""
        if self.said and not self.heard:
            self.drop(Cancelled.code)
        else:
            super().leave()


class Question(Flow):
    """A stream of the peer's whose incoming half is a single message."""

    __slots__ = ("asked",)

    def __init__(self, session: LiteSession, stream: int) -> None:
        super().__init__(session, stream)
        self.asked = False

    def read(self) -> None:
        """Take the message once it is complete; a second one is a violation."""
        body = self.buffer.message(self.session.settings.max_message)
        if body is None or self.stream is None:
            return
        if self.asked:
            raise ProtocolViolation("more than one message on a stream for one")
        self.asked = True
        self.ask(self.stream, body)

    def ended(self) -> None:
        """Half a question has no answer."""
        if not self.asked:
            self.drop(DecodeError.code)

    def ask(self, stream: int, body: bytes) -> None:
        """What it says."""
        raise NotImplementedError
