"""What the session asks of the peer: tracks, and what it publishes. This module must not know how
messages travel.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.errors import Dropped, NotFound, ProtocolViolation, Unroutable
from relay.moqt import codes
from relay.moqt import messages as wire
from relay.moqt.messages import Message, Namespace
from relay.moqt.naming import is_short, namespace_of, path_of
from relay.moqt.offers import Push
from relay.moqt.retrieving import Retrieving
from relay.moqt.talk import MAX_PRIORITY, Desk, Talk
from relay.wire.buffer import StreamBuffer
from relay.wire.messages import (
    Announce,
    AnnounceOk,
    AnnounceRequest,
    Bidi,
    Goaway,
    Subscribe,
    SubscribeEnd,
    SubscribeOk,
)


class Listening(Talk):
    """The session wants to know what the peer publishes below a prefix."""

    __slots__ = ("prefix",)

    prefix: Namespace | None

    def __init__(self, desk: Desk, stream: int) -> None:
        super().__init__(desk, stream)
        self.prefix = None

    def read(self, buffer: StreamBuffer) -> None:
        desk = self.desk
        body = buffer.message(desk.max_message)
        if body is not None and self.prefix is None:
            self.prefix = namespace_of(desk.dialect.decode(AnnounceRequest, body).prefix)
            self.tell(desk.dialect.encode(AnnounceOk(0, 0)))
            desk.offers.listen(self)

    def there(self, namespace: Namespace, is_there: bool) -> None:
        """A broadcast of the peer's came or went."""
        assert self.prefix is not None
        suffix = path_of(namespace[len(self.prefix) :])
        if suffix is not None:
            self.tell(self.desk.dialect.encode(Announce(is_there, suffix)))

    def ended(self) -> None:
        self.desk.offers.deafen(self)
        self.tell(b"", True)

    def broken(self, code: int) -> None:
        self.desk.offers.deafen(self)
        self.abort(code)


class Watching(Talk):
    """The session watches a track of the peer's."""

    __slots__ = ("alias", "asked", "id", "is_accepted", "is_expected", "is_moot", "push")

    def __init__(self, desk: Desk, stream: int) -> None:
        super().__init__(desk, stream)
        self.asked: Subscribe | None = None
        self.is_expected = False
        """Whether groups may come before the answer that says whose they are."""
        self.id = -1
        """The subscription's number in moq-lite."""
        self.alias: int | None = None
        """What the peer calls its track, once that is told."""
        self.push: Push | None = None
        """What it is served from, where the peer sends the track without being asked."""
        self.is_accepted = False
        self.is_moot = False

    def read(self, buffer: StreamBuffer) -> None:
        desk = self.desk
        while (body := buffer.message(desk.max_message)) is not None:
            if self.asked is None:  # for what it asks for beyond that there are no words
                asked = self.asked = desk.dialect.decode(Subscribe, body)
                self.id = asked.id
                named = namespace_of(asked.broadcast), asked.track.encode()
                self.push = desk.offers.push_of(*named)
                if not is_short(*named):
                    self.abort(NotFound.code)
                elif self.push is not None:
                    self.push.watching = self
                    desk.requests.forward(self.push)
                    self._accept(self.push.alias, None, 0)
                else:
                    self.expect(True)
                    desk.requests.ask(self, self._question)

    def _question(self, request: int) -> Message:
        assert self.asked is not None
        return wire.Subscribe(
            request,
            namespace_of(self.asked.broadcast),
            self.asked.track.encode(),
            MAX_PRIORITY - self.asked.priority,
            filter=wire.UNFILTERED,
        )

    def answered(self, message: Message) -> None:
        match message:
            case wire.SubscribeOk() if not (self.is_accepted or self.has_told):
                self._accept(message.alias, message.largest, message.timescale)
            case wire.RequestError(code=code):
                self.abort(self._refused(code))
            case wire.PublishDone(code=code):
                self.is_over(code)

    def _refused(self, code: int) -> int:
        """The house's number for why it is not served. That a track is not there which was never
        promised means that nobody publishes it."""
        number = codes.refused(code)
        assert self.asked is not None
        is_promised = self.desk.offers.is_answered_for(namespace_of(self.asked.broadcast))
        return Unroutable.code if number == NotFound.code and not is_promised else number

    def is_over(self, code: int) -> None:
        """The peer sends no more of the track."""
        self.desk.groups.merges.ended(self.id)
        end = self.desk.groups.ends.get(self.id)
        if code not in codes.FINE:
            self.abort(Dropped.code)
            return
        if end is not None:
            self.tell(self.desk.dialect.encode(SubscribeEnd(end)))
        self.left()

    def _accept(self, alias: int, largest: wire.Location | None, timescale: int) -> None:
        """It is served, beginning with the group of the largest object so far."""
        desk, asked = self.desk, self.asked
        assert asked is not None
        if not desk.groups.known(alias, self.id, timescale):
            desk.close(ProtocolViolation.session_code, f"two tracks have the alias {alias}")
            return
        self.is_accepted = True
        self.alias = alias
        self.expect(False)
        start = largest.group if largest is not None else None
        self.tell(desk.dialect.encode(SubscribeOk(asked.priority, start=start)))

    def left(self) -> None:
        if self.is_accepted:
            super().left()
        else:
            self.abort(Dropped.code)  # an answer that was none

    def expect(self, is_so: bool) -> None:
        """Its alias is to come, or not any more."""
        if self.is_expected is not is_so:
            self.is_expected = is_so
            self.desk.groups.expect(1 if is_so else -1)

    def ended(self) -> None:
        self.is_moot = not self.has_told
        if self.push is not None and not self.has_told:
            self.push.watching = None
        if self.line is not None:
            self.desk.hang_up(self.line)
        elif self.request >= 0 and not self.has_told:
            self.desk.say(wire.Unsubscribe(self.request), None)
        self.tell(b"", True)

    def broken(self, code: int) -> None:
        self.ended()


class Farewell(Talk):
    """The session is about to leave."""

    __slots__ = ()

    def read(self, buffer: StreamBuffer) -> None:
        body = buffer.message(self.desk.max_message)
        if body is not None:
            uri = self.desk.dialect.decode(Goaway, body).uri
            self.desk.say(wire.Goaway(uri), None)

    def ended(self) -> None:
        self.tell(b"", True)

    def broken(self, code: int) -> None:
        self.abort(code)


class Sounding(Talk):
    """A question of ours to the session, whose answer comes once it has begun: by then it has said
    what it wants to hear of."""

    __slots__ = ()

    def begin(self, prefix: str) -> None:
        """Ask it what there is below ``prefix``, which is as good as any other."""
        self.open(Bidi.ANNOUNCE, AnnounceRequest(prefix))

    def read(self, buffer: StreamBuffer) -> None:
        if not self.desk.offers.has_begun:
            self.desk.offers.begun()
            self.tell(b"", True)

    def broken(self, code: int) -> None:
        self.desk.offers.begun()


class Opening(Talk):
    """A stream of the session's whose purpose comes with its first byte."""

    __slots__ = ()

    def said(self, data: bytes, fin: bool) -> None:
        talk = OPENED[data[0]](self.desk, self.stream)
        self.desk.replace(talk)
        talk.said(data[1:], fin)


OPENED: dict[int, Callable[[Desk, int], Talk]] = {
    Bidi.ANNOUNCE: Listening,
    Bidi.SUBSCRIBE: Watching,
    Bidi.FETCH: Retrieving,
    Bidi.GOAWAY: Farewell,
}
"""What the session opens towards the peer, as far as its dialect has it."""
