"""What the peer asks for: tracks, and what exists.

This module must not know how messages travel.
"""

from __future__ import annotations

from typing import Protocol

from relay.errors import Cancelled
from relay.moqt import codes
from relay.moqt import messages as wire
from relay.moqt.looking import last_object
from relay.moqt.messages import Location, Message, Namespace
from relay.moqt.naming import is_short, namespace_of
from relay.moqt.spans import Span
from relay.moqt.talk import MAX_PRIORITY, Desk, Talk
from relay.wire.buffer import StreamBuffer
from relay.wire.messages import (
    MAX_SEQUENCE,
    Announce,
    AnnounceRequest,
    Bidi,
    Subscribe,
    SubscribeLatest,
    SubscribeOk,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
)

MAX_LATENCY = 1_000
"""Milliseconds by which a group may be late. Publishers that speak moq-lite leave out what is
later, with 0 most of what comes at once. But from -06 on they begin with whatever is younger: who
names no group wants the latest, not all that is kept."""


MAX_PATIENCE = 1 << 32
"""Milliseconds that are as good as any more: from draft 17 on numbers are larger than moq-lite has.
"""


class Described(Protocol):
    """Who wants to know what the timestamps of a track count."""

    def described(self, timescale: int) -> None:
        """So many units a second, 0 where it is not known."""


class Describing(Talk):
    """What the timestamps of a track count that the peer watches."""

    __slots__ = ("_is_answered", "_serving")

    def __init__(self, desk: Desk, stream: int, serving: Described) -> None:
        super().__init__(desk, stream)
        self._serving = serving
        self._is_answered = False

    def begin(self, path: str, track: str) -> None:
        """Ask the session."""
        self.open(Bidi.TRACK, TrackRequest(path, track))

    def read(self, buffer: StreamBuffer) -> None:
        body = buffer.message(self.desk.max_message)
        if body is not None:
            self._answer(self.desk.dialect.decode(TrackInfo, body).timescale)

    def ended(self) -> None:
        self.tell(b"", True)

    def broken(self, code: int) -> None:
        self._answer(0)

    def _answer(self, timescale: int) -> None:
        if not self._is_answered:
            self._is_answered = True
            self._serving.described(timescale)


class Serving(Talk):
    """The peer watches a track."""

    __slots__ = ("_is_accepted", "_is_answered", "_latest", "_question", "_wish")

    def __init__(
        self,
        desk: Desk,
        stream: int,
        line: int | None,
        asked: wire.Subscribe,
        path: str,
        track: str,
    ) -> None:
        """The number of the request is that of the subscription, and the track's alias."""
        super().__init__(desk, stream, asked.request, line)
        is_absolute = asked.filter in (wire.ABSOLUTE_START, wire.ABSOLUTE_RANGE)
        self._wish = SubscribeUpdate(
            MAX_PRIORITY - asked.priority,
            ordered=asked.order == wire.ASCENDING,
            max_latency=_latency(asked.timeout),
            start=asked.start.group if is_absolute and asked.start is not None else None,
            end=_bounded(asked.end) if is_absolute else None,
            is_paused=not asked.forward,
        )
        patience = min(asked.patience, MAX_PATIENCE)
        self._question = Subscribe(asked.request, path, track, *self._wish, patience=patience)
        self._is_accepted = False
        """Whether the session serves it."""
        self._latest: Location | None = None
        """The largest object by then, where it is known."""
        self._is_answered = False
        """Whether the peer knows."""

    @property
    def name(self) -> tuple[str, str]:
        """The broadcast's and the track's."""
        return self._question.broadcast, self._question.track

    @property
    def patience(self) -> int:
        """Milliseconds that the peer waits for a publisher, 0 once there is one."""
        return 0 if self._is_accepted else self._question.patience

    @property
    def is_paused(self) -> bool:
        """Whether the peer wants nothing sent for now."""
        return self._wish.is_paused

    def begin(self) -> None:
        """Ask the session for it."""
        first, last = self._wish.start, self._wish.end
        if self.desk.draft.ends_with_last and first is not None and last is not None:
            self.desk.groups.spans[self.request] = Span(first, last, self.left)
        self.open(Bidi.SUBSCRIBE, self._question)

    def answered(self, message: Message) -> None:
        if isinstance(message, wire.SubscribeUpdate):
            wish, priority = self._wish, message.priority
            if priority is not None:
                wish = wish._replace(priority=MAX_PRIORITY - priority)
            if message.forward is not None:
                if wish.is_paused:  # what joins it joins where it goes on
                    self.desk.groups.first.pop(self.request, None)
                wish = wish._replace(is_paused=not message.forward)
            if message.timeout is not None:
                wish = wish._replace(max_latency=_latency(message.timeout))
            if message.start is not None:
                wish = wish._replace(end=_bounded(message.end))
            self._wish = wish
            self.tell(self.desk.dialect.encode(self._wish))
            if (span := self.desk.groups.spans.get(self.request)) is not None:
                span.last = wish.end
                span.check()

    def read(self, buffer: StreamBuffer) -> None:
        desk = self.desk
        while (reply := desk.dialect.read_reply(buffer, desk.max_message)) is not None:
            if isinstance(reply, SubscribeLatest):
                self._latest = last_object(reply.group, reply.frames)
            elif isinstance(reply, SubscribeOk) and not self._is_accepted:
                self._is_accepted = True
                if desk.draft.timestamps:
                    describing = Describing(desk, desk.far_bidi(), self)
                    desk.replace(describing)
                    describing.begin(self._question.broadcast, self._question.track)
                else:
                    self.described(0)

    def described(self, timescale: int) -> None:
        """It is known what the timestamps count, 0 where it is not."""
        if not self._is_answered:
            self._is_answered = True
            number, latest = self.request, self._latest
            ok = wire.SubscribeOk(number, number, timescale=timescale, largest=latest)
            self.desk.say(ok, self.line)

    def ended(self) -> None:
        if not self._is_accepted:
            self.broken(Cancelled.code)  # the peer did not wait for it
            return
        number = codes.SUBSCRIPTION_ENDED if self.has_told else codes.TRACK_ENDED
        self._done(number, "")

    def broken(self, code: int) -> None:
        if self._is_accepted:
            self._done(*codes.end(code))
            return
        self._is_answered = True
        number, words = codes.refusal(code, self.desk.draft.missing)
        error = wire.RequestError(self.request, wire.Subscribe, number, words)
        self.desk.say(error, self.line, last=True)

    def _done(self, number: int, words: str) -> None:
        self.described(0)
        groups = self.desk.groups.begun.pop(self.request, 0)
        done = wire.PublishDone(self.request, number, groups, words)
        self.desk.say(done, self.line, last=True)


def _bounded(end: int | None) -> int | None:
    """A last group, ``None`` for one that is as good as none."""
    return end if end is not None and end <= MAX_SEQUENCE else None


def _latency(timeout: int) -> int:
    return min(timeout or MAX_LATENCY, MAX_LATENCY)


class Telling(Talk):
    """The peer wants to know what exists below a prefix."""

    __slots__ = ("_is_greeted", "_told", "prefix")

    def __init__(
        self, desk: Desk, stream: int, request: int, line: int | None, prefix: Namespace
    ) -> None:
        super().__init__(desk, stream, request, line)
        self._is_greeted = False
        self.prefix = prefix
        self._told: dict[Namespace, Told] = {}
        """What it was told of in requests of ours, where it is told so."""

    def begin(self, prefix: str) -> None:
        """Ask the session."""
        self.open(Bidi.ANNOUNCE, AnnounceRequest(prefix))

    def read(self, buffer: StreamBuffer) -> None:
        desk = self.desk
        if not self._is_greeted:
            if buffer.message(desk.max_message) is None:
                return
            self._is_greeted = True
            desk.say(wire.RequestOk(self.request, wire.SubscribeNamespace), self.line)
        while (line := desk.dialect.read_announce(buffer, desk.max_message)) is not None:
            if isinstance(line, Announce):
                self._announce(line.active, namespace_of(line.suffix))

    def _announce(self, is_there: bool, suffix: Namespace) -> None:
        desk = self.desk
        if self.has_told or not is_short((*self.prefix, *suffix)):
            return  # nobody listens any more, or would not hear more
        if desk.draft.namespace_streams:
            word = wire.NamespaceFound(suffix) if is_there else wire.NamespaceGone(suffix)
            desk.say(word, self.line)
        elif is_there:
            whole = (*self.prefix, *suffix)
            told = self._told[suffix] = Told(whole)
            desk.requests.ask(told, lambda request: wire.PublishNamespace(request, whole))
        elif suffix in self._told:
            self._told.pop(suffix).take_back(desk)

    def left(self) -> None:
        for told in self._told.values():
            told.take_back(self.desk)
        self._told.clear()
        super().left()

    def ended(self) -> None:
        if not self._is_greeted:
            self.broken(Cancelled.code)
        elif self.line is not None:
            self.desk.hang_up(self.line)

    def broken(self, code: int) -> None:
        if self._is_greeted:
            self.desk.hang_up(self.line)
            return
        number, words = codes.refusal(code, self.desk.draft.missing)
        error = wire.RequestError(self.request, wire.SubscribeNamespace, number, words)
        self.desk.say(error, self.line, last=True)


class Told:
    """A broadcast the peer is told of in a request of ours (PUBLISH_NAMESPACE)."""

    __slots__ = ("_namespace", "is_moot", "line", "request")

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.request = -1
        self.line: int | None = None
        self.is_moot = False

    def take_back(self, desk: Desk) -> None:
        """It is gone, or no longer wanted."""
        self.is_moot = True
        if self.request >= 0:
            desk.say(wire.PublishNamespaceDone(self.request, self._namespace), self.line)
            desk.requests.release(self)

    def answered(self, message: Message) -> None:
        """Whether it pleases the peer makes no difference."""

    def left(self) -> None:
        """As before."""
