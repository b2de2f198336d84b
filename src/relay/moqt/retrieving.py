"""The session asks for one group by its number: a FETCH of ours, and what comes on its stream.

The law: of a group either all is passed on, or it breaks off; so one that may still grow does. This
module must not know how messages travel.
"""

from __future__ import annotations

from relay.errors import Cancelled, DecodeError, Dropped, LimitExceeded, NotFound
from relay.moqt import codes
from relay.moqt import messages as wire
from relay.moqt.messages import Location, Message
from relay.moqt.naming import is_short, namespace_of
from relay.moqt.objects import FetchedInward
from relay.moqt.talk import MAX_PRIORITY, Desk, Talk
from relay.wire.buffer import StreamBuffer
from relay.wire.messages import Fetch

MAX_EARLY = 262_144
"""Bytes of a group kept that come before the answer, which says what its timestamps count. More:
the fetch is given up."""

ALL_EARLY = 16 * MAX_EARLY
"""The same of all fetches of one session together."""


class Retrieving(Talk):
    """One such group."""

    __slots__ = ("_asked", "_early", "_has_ended", "_inlet", "_inward", "is_moot")

    def __init__(self, desk: Desk, stream: int) -> None:
        super().__init__(desk, stream)
        self._asked: Fetch | None = None
        self._inlet: int | None = None
        """The stream of the objects."""
        self._inward: FetchedInward | None = None
        """How they are read, once that is known."""
        self._early = bytearray()
        """What came of them before that."""
        self._has_ended = False
        """Whether that is all."""
        self.is_moot = False

    def read(self, buffer: StreamBuffer) -> None:
        desk = self.desk
        body = buffer.message(desk.max_message)
        if body is None or self._asked is not None:
            return
        asked = self._asked = desk.dialect.decode(Fetch, body)
        if is_short(namespace_of(asked.broadcast), asked.track.encode()):
            desk.requests.ask(self, self._question)
        else:
            self.abort(NotFound.code)

    def _question(self, request: int) -> Message:
        asked = self._asked
        assert asked is not None
        self.desk.groups.retrievals[request] = self
        return wire.Fetch(
            request,
            namespace=namespace_of(asked.broadcast),
            track=asked.track.encode(),
            start=Location(asked.group, 0),
            end=Location(asked.group, 0),
            priority=MAX_PRIORITY - asked.priority,
            order=wire.ASCENDING,
        )

    def answered(self, message: Message) -> None:
        match message:
            case wire.FetchOk() if self._inward is None and self._asked is not None:
                if message.end.object and not message.ends_track:
                    # It ends at what is the latest so far: more of the group may be to come.
                    self._give_up(NotFound.code)
                    return
                stamps = self.desk.groups.stamps(message.timescale)
                self._inward = FetchedInward(self.desk.draft, self._asked.group, stamps)
                self._pass_on(self._take_early(), self._has_ended)
            case wire.RequestError(code=code):
                numbers = self.desk.draft.fetched
                is_none = code in (numbers.out_of_range, numbers.nothing)
                self._give_up(NotFound.code if is_none else codes.refused(code))

    def left(self) -> None:
        if self._inward is None:  # an answer that was none
            self._give_up(Dropped.code)

    # The stream of the objects

    def begun(self, inlet: int) -> None:
        """It is there."""
        self._inlet = inlet

    def came(self, data: bytes, fin: bool) -> None:
        """The next bytes on it."""
        if self.has_told:
            return
        if self._inward is not None:
            self._pass_on(data, fin)
            return
        groups = self.desk.groups
        self._early += data
        groups.early += len(data)
        self._has_ended = fin
        if len(self._early) > MAX_EARLY or groups.early > ALL_EARLY:
            self._give_up(LimitExceeded.code)

    def broke_off(self, code: int) -> None:
        """It did, with a number of the house's."""
        self._inlet = None
        self._give_up(code)

    def _pass_on(self, data: bytes, fin: bool) -> None:
        inward = self._inward
        assert inward is not None
        try:
            frames = inward.feed(data)
        except DecodeError as error:
            self._give_up(error.code)
            return
        if inward.is_partial or (fin and not inward.count):
            self._give_up(NotFound.code)
        elif fin and not inward.is_whole:
            self._give_up(DecodeError.code)
        elif frames or fin:
            if fin:
                self._inlet = None
            self.tell(frames, fin)

    def _give_up(self, code: int) -> None:
        self._let_go()
        self.abort(code)

    def _take_early(self) -> bytes:
        early, self._early = bytes(self._early), bytearray()
        self.desk.groups.early -= len(early)
        return early

    def _let_go(self) -> None:
        self._take_early()
        inlet, self._inlet = self._inlet, None
        if inlet is not None:
            self.desk.groups.break_off(inlet)

    # The session

    def ended(self) -> None:
        self.is_moot = True
        self._let_go()
        if self.line is not None:
            self.desk.hang_up(self.line)
        elif self.request >= 0 and not self.has_told:
            self.desk.say(wire.FetchCancel(self.request), None)
        self.abort(Cancelled.code)

    def broken(self, code: int) -> None:
        self.ended()
