"""Requests in both languages: each is a two-way stream of moq-lite for the session above, and
messages of moq-transport for the peer.

The law: every such stream comes to an end on both of its halves, whoever ends it. What is said
upward is told after whoever asked for it has returned. This module must not know how messages
travel, nor what groups contain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from relay.moqt.drafts import Draft
from relay.moqt.groups import Groups
from relay.moqt.messages import Message
from relay.moqt.waits import Waits
from relay.wire.buffer import StreamBuffer
from relay.wire.lite import Dialect
from relay.wire.messages import Bidi
from relay.wire.messages import Message as Question

if TYPE_CHECKING:
    from relay.moqt.offers import Offers
    from relay.moqt.requests import Requests

MAX_PRIORITY = 255
"""The least urgent in moq-transport (-14, 7) and the most urgent in moq-lite."""


class Asker(Protocol):
    """Who has a request of ours."""

    request: int
    line: int | None
    is_moot: bool
    """Whether it is not to be put any more."""

    def answered(self, message: Message) -> None:
        """The peer says something about it."""

    def left(self) -> None:
        """It ended the stream of the request."""


class Desk(Protocol):
    """What requests ask of the interpreter."""

    draft: Draft
    dialect: Dialect
    max_message: int
    offers: Offers
    groups: Groups
    requests: Requests
    waits: Waits

    def up(self, stream: int, data: bytes, fin: bool) -> None:
        """Have the session above hear this on a stream of moq-lite's."""

    def up_reset(self, stream: int, code: int) -> None:
        """Have it hear that the stream broke off."""

    def far_bidi(self) -> int:
        """A two-way stream of moq-lite's from the peer, which has none below."""

    def far_uni(self) -> int:
        """A one-way stream of the session's that has none below, and takes nothing."""

    def replace(self, talk: Talk) -> None:
        """It is known what such a stream is for."""

    def forget(self, talk: Talk) -> None:
        """Nothing more comes or goes on it."""

    def open_line(self) -> int | None:
        """A stream for a request of ours; ``None`` without credit."""

    def say(self, message: Message, line: int | None, last: bool = False) -> None:
        """Say something on the stream of a request, or where all are told; ``last`` ends it."""

    def wake(self) -> None:
        """Have what rests go on in the next turn."""

    def hang_up(self, line: int | None) -> None:
        """Nothing more is wanted on the stream of a request."""

    def close(self, code: int, reason: str = "") -> None:
        """End the session."""


class Talk:
    """One stream of moq-lite, as the peer of the session above sees it."""

    __slots__ = ("_buffer", "desk", "has_ended", "has_told", "line", "request", "stream")

    def __init__(self, desk: Desk, stream: int, request: int = -1, line: int | None = None) -> None:
        """``request`` is its number in moq-transport, ``line`` the stream of its own it has there,
        if it has one."""
        self.desk = desk
        self.stream = stream
        self.request = request
        self.line = line
        self.has_ended = False
        """Whether the session has ended its half."""
        self.has_told = False
        """Whether the session knows that ours has ended."""
        self._buffer = StreamBuffer()

    @property
    def outlet(self) -> int | None:
        """The stream below on which it leaves what the session says here, if it does."""
        return None

    # What the session does

    def said(self, data: bytes, fin: bool) -> None:
        """It says something on the stream."""
        if data and not self.has_ended:
            self._buffer.append(data)
            self.read(self._buffer)
        if fin and not self.has_ended:
            self.has_ended = True
            self.ended()
            self.settle()

    def broke(self, code: int) -> None:
        """It breaks its half off."""
        if not self.has_ended:
            self.has_ended = True
            self.broken(code)
            self.settle()

    def stopped(self, code: int) -> None:
        """It reads ours no more."""
        self.abort(code)

    # What requests do about it

    def read(self, buffer: StreamBuffer) -> None:
        """Take what was said."""

    def ended(self) -> None:
        """All is said."""

    def broken(self, code: int) -> None:
        """It was broken off, with a number of the house's."""

    # What the peer does

    def answered(self, message: Message) -> None:
        """It says something about the request."""

    def left(self) -> None:
        """It wants no more of it, or says no more."""
        self.tell(b"", True)

    # Telling the session

    def open(self, kind: Bidi, question: Question) -> None:
        """Begin the stream: what it is for, and what is asked on it."""
        self.tell(bytes((kind,)) + self.desk.dialect.encode(question))

    def tell(self, data: bytes, fin: bool = False) -> None:
        """Say something on our half of the stream."""
        if not self.has_told:
            self.has_told = fin
            self.desk.up(self.stream, data, fin)
            self.settle()

    def abort(self, code: int) -> None:
        """Break our half off."""
        if not self.has_told:
            self.has_told = True
            self.desk.up_reset(self.stream, code)
            self.settle()

    def settle(self) -> None:
        """Forget the stream once neither half can carry more."""
        if self.has_ended and self.has_told:
            self.desk.forget(self)
