"""The subscribe and track streams, seen from either end.

`Publication` is a subscription of the peer to something of ours, `Subscription` is ours to
something of the peer's (moq-lite, "Subscribe", "Track"). This module must not know what a track
contains, who may see it, or how groups are ordered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Cancelled, DecodeError, ProtocolViolation
from relay.session import events
from relay.session.flow import Flow, Question, Request
from relay.wire.messages import (
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeLatest,
    SubscribeOk,
    SubscribeStart,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
)

if TYPE_CHECKING:
    from relay.session.lite import LiteSession


def has_no_last_group(wish: Subscribe | SubscribeUpdate) -> bool:
    """Whether it bounds the frames of a last group that it does not name, which is a violation."""
    return wish.last_frame is not None and wish.end is None


class Publication(Flow):
    """The peer watches a track of ours."""

    __slots__ = ("asked", "id", "started")

    def __init__(self, session: LiteSession, stream: int) -> None:
        super().__init__(session, stream)
        self.asked = False
        self.started = False
        self.id = -1

    def read(self) -> None:
        limit = self.session.settings.max_message
        update: SubscribeUpdate | None = None
        while (body := self.buffer.message(limit)) is not None and not self.deaf:
            if not self.asked:
                self.ask(body)
            elif self.session.dialect.subscribe_update:
                update = self.session.dialect.decode(SubscribeUpdate, body)
            else:
                raise ProtocolViolation("this version has no subscribe update")
        if update is not None and has_no_last_group(update):
            self.gone()
            self.drop(ProtocolViolation.code)
        elif update is not None:
            # Each says all there is to say, so of those that came together the last one counts.
            self.session.emit(events.SubscribeUpdated(self.id, *update))

    def ask(self, body: bytes) -> None:
        """The request itself."""
        request = self.session.dialect.decode(Subscribe, body)
        if request.id in self.session.publications:
            raise ProtocolViolation(f"subscribe id {request.id} used twice")
        self.asked = True
        self.id = request.id
        self.session.publications[request.id] = self
        if has_no_last_group(request):
            self.refuse(ProtocolViolation.code)
            return
        self.session.emit(events.Subscribed(*request))

    def ended(self) -> None:
        if not self.asked:
            self.drop(DecodeError.code)
            return
        self.gone()
        self.leave()

    def broken(self, code: int) -> None:
        self.gone()
        self.drop(Cancelled.code)

    def gone(self) -> None:
        """The peer no longer watches."""
        if self.session.publications.pop(self.id, None) is self:
            self.session.emit(events.Unsubscribed(self.id))

    def accept(self, priority: int, latest: tuple[int, int] | None = None) -> None:
        """Say that the track is known, in the versions that say so before the first group, and
        where they tell it its ``latest`` group and how many frames that has."""
        dialect = self.session.dialect
        if latest is not None and dialect.tells_latest:
            self.send(dialect.encode(SubscribeLatest(*latest)))
        if dialect.subscribe_ack == "ok":
            self.send(dialect.encode(SubscribeOk(priority=priority)))

    def start(self, sequence: int) -> None:
        """Groups from ``sequence`` on are about to be delivered, which some versions say here."""
        if not self.started:
            self.started = True
            if self.session.dialect.subscribe_ack == "start":
                self.send(self.session.dialect.encode(SubscribeStart(sequence)))

    def complete(self, end: int) -> None:
        """No group at or above ``end`` will ever come."""
        self.session.publications.pop(self.id, None)
        if self.session.dialect.subscribe_ack == "start":
            self.send(self.session.dialect.encode(SubscribeEnd(end)))
        self.leave()

    def refuse(self, code: int) -> None:
        """Break the subscription off."""
        self.session.publications.pop(self.id, None)
        self.drop(code)


class Subscription(Request):
    """We watch a track of the peer's."""

    __slots__ = ("accepted", "asked", "end", "id", "updated")

    def __init__(self, session: LiteSession, asked: Subscribe) -> None:
        super().__init__(session)
        self.asked = asked
        self.id = asked.id
        self.accepted = False
        self.updated = False
        """What was asked has been changed since."""
        self.end: int | None = None

    def request(self) -> bytes:
        """The question."""
        return self.session.dialect.encode(self.asked)

    def read(self) -> None:
        dialect = self.session.dialect
        limit = self.session.settings.max_message
        while (message := dialect.read_reply(self.buffer, limit)) is not None:
            match message:
                case SubscribeOk():
                    self.accept(message.start)
                case SubscribeStart():
                    self.accept(message.group)
                case SubscribeEnd(group):
                    self.end = group
                case SubscribeLatest() | SubscribeDrop():
                    pass  # groups that will not come; nothing waits for a particular group

    def accept(self, start: int | None) -> None:
        """The peer serves us."""
        if not self.accepted:
            self.accepted = True
            self.session.emit(events.SubscribeAccepted(self.id, start))

    def ended(self) -> None:
        self.session.emit(events.SubscribeFinished(self.id, self.end))
        self.leave()

    def broken(self, code: int) -> None:
        self.session.subscriptions.pop(self.id, None)
        if self.updated and code == DecodeError.code:
            # `moq-net` before 0.1.4 takes an update for a mistake, though its versions have it.
            self.session.takes_updates = False
            self.session.watch(self.asked)
        else:
            self.session.emit(events.SubscribeRefused(self.id, code))
        self.drop(Cancelled.code)

    def update(self, demand: SubscribeUpdate) -> None:
        """Change the running subscription, where the version and the peer can."""
        if self.deaf:
            return
        self.asked = self.asked._replace(**demand._asdict())
        if self.stream is not None and self.session.takes_updates:
            self.updated = self.session.dialect.subscribe_update
            if self.updated:
                self.send(self.session.dialect.encode(demand))


class TrackAnswer(Question):
    """The peer asks for the properties of a track of ours."""

    __slots__ = ()

    def ask(self, stream: int, body: bytes) -> None:
        request = self.session.dialect.decode(TrackRequest, body)
        self.session.emit(events.TrackRequested(stream, *request))

    def broken(self, code: int) -> None:
        if self.asked and self.stream is not None:
            self.session.emit(events.TrackCancelled(self.stream))
        self.drop(Cancelled.code)

    def answer(self, info: TrackInfo) -> None:
        """The properties; nothing more is said on this stream."""
        self.send(self.session.dialect.encode(info))
        self.leave()


class TrackQuestion(Request):
    """We ask for the properties of a track of the peer's."""

    __slots__ = ("asked", "request_id")

    def __init__(self, session: LiteSession, request_id: int, asked: TrackRequest) -> None:
        super().__init__(session)
        self.request_id = request_id
        self.asked = asked

    def request(self) -> bytes:
        """The question."""
        return self.session.dialect.encode(self.asked)

    def read(self) -> None:
        body = self.buffer.message(self.session.settings.max_message)
        if body is None:
            return
        info = self.session.dialect.decode(TrackInfo, body)
        self.session.questions.pop(self.request_id, None)
        self.session.emit(events.TrackDescribed(self.request_id, *info))
        self.leave()

    def ended(self) -> None:
        self.broken(Cancelled.code)

    def broken(self, code: int) -> None:
        if self.session.questions.pop(self.request_id, None) is not None:
            self.session.emit(events.TrackRefused(self.request_id, code))
        self.drop(Cancelled.code)
