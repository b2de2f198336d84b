"""The fetch stream, seen from either end.

`FetchAnswer` is the peer's question for one group of ours, `FetchQuestion` is ours for one of the
peer's (moq-lite, "Fetch"). This module must not know who wants a group, or where it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Cancelled, DecodeError, NotFound, ProtocolViolation
from relay.session import events
from relay.session.flow import Question, Request
from relay.wire.frame import FrameScanner
from relay.wire.messages import MAX_SEQUENCE, Fetch

if TYPE_CHECKING:
    from relay.session.lite import LiteSession


class FetchAnswer(Question):
    """The peer wants one group; its request half stays open until it has it."""

    __slots__ = ()

    def ask(self, stream: int, body: bytes) -> None:
        request = self.session.dialect.decode(Fetch, body)
        if request.last_frame is not None and request.last_frame < request.first_frame:
            self.drop(ProtocolViolation.code)
            return
        if request.group > MAX_SEQUENCE:  # once it is cached viewers would be told what follows it
            self.drop(NotFound.code)
            return
        self.session.emit(events.FetchRequested(stream, *request))

    def broken(self, code: int) -> None:
        if self.asked and self.stream is not None:
            self.session.emit(events.StreamCancelled(self.stream))
        self.drop(code)


class FetchQuestion(Request):
    """We want one group of the peer's: its frames come back on the same stream, without a header.

    Our half stays open until then, since some peers take its end for a change of mind.
    """

    __slots__ = ("asked", "has_properties", "request_id", "scanner")

    def __init__(self, session: LiteSession, request_id: int, asked: Fetch) -> None:
        super().__init__(session)
        self.request_id = request_id
        self.asked = asked
        self.scanner = FrameScanner(session.layout, session.settings.max_frame)
        self.has_properties = None if session.dialect.tells_properties else False
        """Of the objects; ``None`` until that is told."""

    def request(self) -> bytes:
        """The question."""
        return self.session.dialect.encode(self.asked)

    def read(self) -> None:
        data = self.buffer.take()
        if self.has_properties is None:
            self.has_properties, data = data[:1] != b"\0", data[1:]
        try:
            self.scanner.feed(data)
        except DecodeError:
            self.broken(DecodeError.code)
            return
        self.session.emit(events.FetchReceived(self.request_id, data, self.has_properties))

    def ended(self) -> None:
        if not self.scanner.complete:
            self.broken(DecodeError.code)
        elif self.session.fetches.pop(self.request_id, None) is not None:
            self.session.emit(events.FetchFinished(self.request_id))
            self.leave()

    def broken(self, code: int) -> None:
        if self.session.fetches.pop(self.request_id, None) is not None:
            self.session.emit(events.FetchRefused(self.request_id, code))
        self.drop(Cancelled.code)
