"""The peer asks how far a track goes. This module must not know how messages travel."""

from __future__ import annotations

from relay.moqt import codes
from relay.moqt import messages as wire
from relay.moqt.messages import Location
from relay.moqt.talk import Desk, Talk
from relay.wire.buffer import StreamBuffer
from relay.wire.messages import Bidi, Subscribe, SubscribeLatest, SubscribeOk


class Looking(Talk):
    """A request for which the session's latest group has to be known: a subscription, refused to
    whoever may not have one, of which no group is sent."""

    __slots__ = ("_latest", "path", "patience", "track")

    to: type[object]

    def __init__(
        self, desk: Desk, stream: int, request: int, line: int | None, path: str, track: str
    ) -> None:
        """The number of the request is that of the subscription."""
        super().__init__(desk, stream, request, line)
        self.path = path
        self.track = track
        self.patience = 0
        """Milliseconds to wait for a publisher."""
        self._latest: Location | None = None

    def begin(self) -> None:
        """Ask the session."""
        # The latest group and no other: who wants nothing late is told what that is.
        asked = Subscribe(self.request, self.path, self.track, 0, patience=self.patience)
        self.desk.groups.looks[self.request] = self._group_opened
        self.open(Bidi.SUBSCRIBE, asked)

    def read(self, buffer: StreamBuffer) -> None:
        desk = self.desk
        while (reply := desk.dialect.read_reply(buffer, desk.max_message)) is not None:
            if isinstance(reply, SubscribeLatest):
                self._latest = last_object(reply.group, reply.frames)
            elif isinstance(reply, SubscribeOk):
                self.accepted(self._latest)

    def _group_opened(self, sequence: int, frames: int) -> int:
        """A group would be sent, as many frames of it at once: on a stream that takes nothing."""
        if self._latest is None:
            self._latest = last_object(sequence, frames)
            self.accepted(self._latest)
        return self.desk.far_uni()

    def accepted(self, latest: Location | None) -> None:
        """The track is there, with this object as its largest so far; again once there is one."""

    def refuse(self, code: int, words: str) -> None:
        """Answer that it cannot be."""
        error = wire.RequestError(self.request, self.to, code, words)
        self.desk.say(error, self.line, last=True)
        self.close()

    def broken(self, code: int) -> None:
        self.refuse(*codes.refusal(code, self.desk.draft.missing))

    def close(self) -> None:
        """Nothing more is wanted of the session."""
        self.tell(b"", True)


class Stating(Looking):
    """TRACK_STATUS: what is known of a track now (draft-18, 10.14)."""

    __slots__ = ("_is_answered",)

    to = wire.TrackStatus

    def __init__(
        self, desk: Desk, stream: int, request: int, line: int | None, path: str, track: str
    ) -> None:
        super().__init__(desk, stream, request, line, path, track)
        self._is_answered = False

    def accepted(self, latest: Location | None) -> None:
        if not self._is_answered:
            self._is_answered = True
            self.desk.say(wire.RequestOk(self.request, self.to, latest), self.line, last=True)
            self.close()

    def left(self) -> None:
        self._is_answered = True
        super().left()

    def broken(self, code: int) -> None:
        if not self._is_answered:
            self._is_answered = True
            super().broken(code)

    def ended(self) -> None:
        self.accepted(self._latest)


def last_object(group: int, frames: int) -> Location:
    """The last object of so many; a group that is there has one, or will have."""
    return Location(group, max(frames, 1) - 1)
