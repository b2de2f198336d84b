"""Streams that are one thing from beginning to end: groups, probes, farewells.

A group's bytes are checked frame by frame as they come and passed on in the pieces in which they
came. This module must not know where groups go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Cancelled, DecodeError
from relay.session import events
from relay.session.flow import Flow, Question
from relay.wire.buffer import split_message
from relay.wire.frame import FrameScanner, are_whole
from relay.wire.messages import MAX_SEQUENCE, Goaway, Group, Probe

if TYPE_CHECKING:
    from relay.session.lite import LiteSession

MAX_HEAD = 64
"""Bytes of a group's header: three numbers, so that more is no header of any version."""


def whole_group(session: LiteSession, data: bytes) -> events.GroupArrived | None:
    """The group on a stream that came from its first byte to its last at once; ``None`` when it is
    not a plain one, and a `GroupArrival` has to say what is wrong with it."""
    size = data[1] if len(data) > 2 else MAX_HEAD
    if size >= MAX_HEAD:
        return None
    stop = 2 + size
    try:
        head = session.dialect.decode(Group, data[2:stop])
    except DecodeError:
        return None
    frames = data[stop:]
    if (
        head.subscription not in session.subscriptions
        or head.sequence > MAX_SEQUENCE
        or head.first_frame
        or not are_whole(session.layout, frames, session.settings.max_frame)
    ):
        return None
    id, sequence = head.subscription, head.sequence
    return events.GroupArrived(id, sequence, frames, None, head.has_properties)


class GroupArrival(Flow):
    """A group of one of our subscriptions."""

    __slots__ = ("head", "scanner", "unfed")

    def __init__(self, session: LiteSession, stream: int) -> None:
        # Not the flow's: it would make a buffer that is never used.
        self.session = session
        self.stream = stream
        self.heard = self.deaf = False
        self.said = True
        self.head = b""
        """What has come of a header that is not complete."""
        self.scanner: FrameScanner | None = None
        self.unfed: Group | None = None
        """The header, while nothing of the frames has come."""

    def received(self, data: bytes, fin: bool) -> None:
        """The hot way in: once the header is read, bytes pass without being copied."""
        if data and self.scanner is None and not self.deaf:
            data = self.begin(self.head + data)
        if data and self.unfed is not None:
            self.feed_first(self.unfed, data, fin)
        if data and not self.deaf:
            scanner, stream = self.scanner, self.stream
            assert scanner is not None
            assert stream is not None
            try:
                scanner.feed(data)
            except DecodeError:
                self.broken(DecodeError.code)
            else:
                self.session.emit(events.GroupReceived(stream, data))
        if fin:
            self.heard = True
            if not self.deaf:
                self.ended()
            if self.stream is not None:
                self.session.forget(self.stream)

    def begin(self, data: bytes) -> bytes:
        """The beginning of the stream: its header. Answers what of the group came with it."""
        found = split_message(data, MAX_HEAD)
        if found is None:
            self.head = data
            return b""
        body, rest = found
        group = self.session.dialect.decode(Group, body)
        if group.subscription not in self.session.subscriptions:
            self.drop(Cancelled.code)  # ended just now, or never asked for
            return b""
        if group.sequence > MAX_SEQUENCE:
            self.drop(DecodeError.code)
            return b""
        if group.first_frame:
            # We ask for whole groups only, and half a one in the cache would pass for the whole.
            self.drop(Cancelled.code)
            return b""
        self.head = b""
        self.scanner = FrameScanner(self.session.layout, self.session.settings.max_frame)
        assert self.stream is not None
        id, sequence = group.subscription, group.sequence
        self.session.emit(events.GroupOpened(self.stream, id, sequence, group.has_properties))
        if not rest:
            self.unfed = group
        return rest

    def feed_first(self, group: Group, data: bytes, fin: bool) -> None:
        """What comes after a header that came alone, as quinn often sends it, may be all of it."""
        self.unfed, session = None, self.session
        if fin and are_whole(session.layout, data, session.settings.max_frame):
            self.deaf = True  # no more is to be said of it
            id, sequence = group.subscription, group.sequence
            whole = events.GroupArrived(id, sequence, data, self.stream, group.has_properties)
            session.emit(whole)

    def ended(self) -> None:
        if self.scanner is None or not self.scanner.complete:
            self.broken(DecodeError.code)
        elif self.stream is not None:
            self.session.emit(events.GroupFinished(self.stream))

    def broken(self, code: int) -> None:
        if self.scanner is not None and self.stream is not None:
            self.session.emit(events.GroupAborted(self.stream, code))
        self.drop(code)


class ProbeAnswer(Flow):
    """The peer wants to hear how fast we can send to it: the stream itself is the question."""

    __slots__ = ()

    def __init__(self, session: LiteSession, stream: int) -> None:
        super().__init__(session, stream)
        session.emit(events.ProbeRequested(stream))

    def read(self) -> None:
        """A target rate may follow, and is only read."""
        while (body := self.buffer.message(self.session.settings.max_message)) is not None:
            self.session.dialect.decode(Probe, body)

    def ended(self) -> None:
        self.broken(0)

    def broken(self, code: int) -> None:
        if self.stream is not None:
            self.session.emit(events.StreamCancelled(self.stream))
        self.leave()

    def report(self, bitrate: int, rtt: int) -> None:
        """Say an estimate: bits per second and milliseconds, 0 = unknown."""
        self.send(self.session.dialect.encode(Probe(bitrate, rtt)))


class GoawayArrival(Question):
    """The peer says that it is about to leave."""

    __slots__ = ()

    def ask(self, stream: int, body: bytes) -> None:
        self.session.emit(events.GoawayReceived(self.session.dialect.decode(Goaway, body).uri))

    def ended(self) -> None:
        self.leave()

    def broken(self, code: int) -> None:
        self.drop(Cancelled.code)
