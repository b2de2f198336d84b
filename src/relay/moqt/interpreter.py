"""An interpreter between a peer that speaks moq-transport and a session that speaks moq-lite.

To the connection below it is the receiver, to the session above the transport: groups pass on the
streams they came on, with other heads, and requests are `relay.moqt.talk`. The law: nothing is
decided here but what the other language has no words for. This module must not know rights, shared
state, sockets or time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from relay.errors import Cancelled, LimitExceeded, ProtocolViolation
from relay.moqt import messages as wire
from relay.moqt.asking import Opening, Watching
from relay.moqt.drafts import Draft
from relay.moqt.groups import Groups
from relay.moqt.messages import Message
from relay.moqt.naming import with_token
from relay.moqt.offers import Offers
from relay.moqt.requests import Requests
from relay.moqt.retrieving import Retrieving
from relay.moqt.talk import Talk
from relay.moqt.waits import Waits
from relay.session.settings import SessionSettings
from relay.session.transport import Receiver, Transport, is_uni
from relay.wire.buffer import StreamBuffer
from relay.wire.codes import REGISTERED
from relay.wire.lite import Dialect
from relay.wire.messages import Bidi, Goaway, Uni
from relay.wire.setup import ClientSetup, Setup, encode_client_setup, encode_setup
from relay.wire.unread import Unread
from relay.wire.version import INTERPRETED_CODE

MANY_REQUESTS = (1 << 32) - 1
"""Requests we grant at once: how many may be in use at a time is the session's business."""

_FAR = 1 << 62
"""From here on streams of moq-lite are counted that have none below: beyond all that QUIC has
(RFC 9000, 2.1)."""


class Interpreter:
    """One peer's."""

    def __init__(
        self,
        below: Transport,
        draft: Draft,
        dialect: Dialect,
        settings: SessionSettings,
        waits: Waits,
        denied: Callable[[str, str], None],
        is_inband: bool,
    ) -> None:
        """``dialect`` is what the session above speaks, which it agrees to ``is_inband``;
        ``denied`` hears what the peer may not publish, and why."""
        self.below = below
        self.draft = draft
        self.dialect = dialect
        self.max_message = settings.max_message
        self.offers = Offers(self, settings.max_announces, denied)
        self.waits = waits
        self.requests = Requests(self)
        up = self.up, self.up_reset
        self.groups = Groups(below, draft, dialect, *up, waits.now, self._far_group)
        self.above: Receiver | None = None
        self._upward: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._count = _FAR >> 2
        self._is_closed = False
        self._has_setup = False
        """Whether the peer has introduced itself."""
        self._is_leaving = False
        """Whether it has said that it is about to leave."""
        self._is_inband = is_inband
        self._setup: int | None = _FAR if is_inband else None
        """The stream of moq-lite's on which the session introduces itself."""
        self._control: int | None = None
        """Where we say what belongs to no stream of a request."""
        self._heard_control: int | None = None
        """Where the peer does."""
        self._buffers: dict[int, StreamBuffer] = {}
        """Streams of messages."""
        self._unread = Unread()
        self._heard_out: set[int] = set()
        """Those of requests of which the peer has said all, and still wants the answers."""
        self._talks: dict[int, Talk] = {}
        """Requests by their streams of moq-lite."""

    # What the session above may ask (`relay.session.transport.Transport`)

    @property
    def rtt(self) -> float:
        """As below."""
        return self.below.rtt

    def open_uni(self, head: bytes = b"", fin: bool = False) -> int | None:
        """A stream for a group; the first is the session's for SETUP."""
        if self._setup is None:
            self._setup = self._far(uni=True)
            return self._setup
        return self.groups.open(head, fin)

    def open_bidi(self) -> int | None:
        """A stream for a request: the peer's credit counts when it is put."""
        stream = self._far()
        self._talks[stream] = Opening(self, stream)
        return stream

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        """Say something on a stream of moq-lite's."""
        if stream < _FAR:
            self.groups.send(stream, data, fin)
        elif stream == self._setup:
            self._introduce()
        elif (talk := self._talks.get(stream)) is not None:
            talk.said(data, fin)

    def capacity(self, stream: int | None = None) -> int:
        """As below; of requests, that of the connection, or of where the answer leaves."""
        if stream is not None and stream >= _FAR:
            if is_uni(stream):
                return 0  # a group that nobody gets
            talk = self._talks.get(stream)
            stream = None if talk is None else talk.outlet
        return self.below.capacity(stream)

    def is_ample(self, room: int) -> bool:
        """As below."""
        return self.below.is_ample(room)

    def offer(self, stream: int, data: bytes, room: int) -> bool:
        """As below."""
        if self.capacity(stream) < room:
            return False
        self.send(stream, data)
        return True

    def reset(self, stream: int, code: int) -> None:
        """Break off our half of a stream, with a number of the house's."""
        if stream < _FAR:
            self.groups.gone(stream)
            self.below.reset(stream, REGISTERED.say(code))
        elif (talk := self._talks.get(stream)) is not None:
            talk.broke(code)

    def stop(self, stream: int, code: int) -> None:
        """Have the peer break off its half of one."""
        if stream < _FAR:
            self.below.stop(stream, REGISTERED.say(code))
        elif (talk := self._talks.get(stream)) is not None:
            talk.stopped(code)
        else:
            self.groups.merges.unwanted(stream)

    def send_datagram(self, data: bytes) -> bool:
        """There are none."""
        return False

    def bandwidth(self) -> int:
        """As below."""
        return self.below.bandwidth()

    def is_quiet(self) -> bool:
        """As below."""
        return self.below.is_quiet()

    def oldest_under_way(self) -> int | None:
        """As below."""
        return self.below.oldest_under_way()

    def traffic(self) -> tuple[int, int]:
        """As below."""
        return self.below.traffic()

    def widen(self, streams: int) -> None:
        """As below."""
        self.below.widen(streams)

    def ping(self) -> None:
        """As below."""
        self.below.ping()

    def wake(self) -> None:
        """As below."""
        self.below.wake()

    def close(self, code: int, reason: str = "") -> None:
        """End the session."""
        self._is_closed = True
        self.below.close(code, reason)

    # What comes from below (`relay.session.transport.Receiver`)

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of a stream."""
        if self._is_closed or not (data or fin):
            return
        try:
            if stream in self._buffers or self._is_of_messages(stream, data):
                self._read(stream, data, fin)
            else:
                self.groups.received(stream, data, fin)
        except ProtocolViolation as error:
            self.close(error.session_code, str(error))
        except ValueError as error:  # from draft 17 on numbers are larger than moq-lite has
            self.close(ProtocolViolation.session_code, str(error))
        self._tell()

    def stream_reset(self, stream: int, code: int) -> None:
        """The peer broke off its half of a stream, which may be all that ever came of it."""
        if stream in self._buffers:
            self._line_ended(stream, True)
        elif not is_uni(stream):
            self.below.reset(stream, REGISTERED.say(Cancelled.code))
        else:
            self.groups.broken(stream, code)
        self._tell()

    def stream_stopped(self, stream: int, code: int) -> None:
        """The peer no longer reads our half of one."""
        if stream in self._buffers:
            self.requests.line_stopped(stream)
        elif stream == self._control:
            self._control = None  # whoever leaves wants nothing more
        elif not self.requests.outlet_stopped(stream):
            self.groups.gone(stream)
            self._upward.append(("stream_stopped", (stream, REGISTERED.hear(code))))
        self._tell()

    def datagram_received(self, data: bytes) -> None:
        """A datagram arrived."""
        if not self._is_closed:
            self.groups.datagram(data)
            self._tell()

    def flush(self) -> None:
        """As above; what was asked meanwhile is answered."""
        self.requests.put()
        self._tell()
        if self.above is not None:
            self.above.flush()
        self._tell()

    def connection_lost(self, code: int, reason: str) -> None:
        """The end."""
        self._is_closed = True
        self._upward.clear()
        self.requests.lost()
        if self.above is not None:
            self.above.connection_lost(code, reason)

    # Streams of messages

    def _is_of_messages(self, stream: int, data: bytes) -> bool:
        """Whether a stream is one, and not a group's, of which any bytes may come next."""
        if not is_uni(stream):
            return True
        return not self.groups.is_coming(stream) and self.draft.begins_setup(data)

    def _read(self, stream: int, data: bytes, fin: bool) -> None:
        buffer = self._buffers.setdefault(stream, StreamBuffer())
        buffer.append(data)
        while not self._is_closed:
            message = self.draft.read(buffer, self.max_message)
            if message is None:
                break
            self._hear(stream, message)
            self._tell()
        try:
            self._unread.note(stream, len(buffer) if stream in self._buffers else 0)
        except LimitExceeded as error:
            self.close(error.session_code, str(error))
        if fin:
            self._line_ended(stream)

    def _hear(self, stream: int, message: Message) -> None:
        if isinstance(message, wire.ClientSetup):
            self._meet(stream, message)
            return
        line = None if stream == self._heard_control else stream
        if isinstance(message, wire.Goaway):
            self._goaway(message)
        else:
            self.requests.hear(message, line)

    def _line_ended(self, stream: int, is_broken: bool = False) -> None:
        """The peer says nothing more on a stream of messages."""
        if self.draft.half_closes and not is_broken and self.requests.goes_on(stream):
            self._heard_out.add(stream)
            return
        self._heard_out.discard(stream)
        self._buffers.pop(stream, None)
        self._unread.forget(stream)
        if stream == self._heard_control:
            # Where each side has its own, peers that leave end theirs first.
            if not self.draft.request_streams:
                self.close(ProtocolViolation.session_code, "the control stream ended")
        else:
            self.requests.line_ended(stream, is_broken)

    # SETUP

    def _introduce(self) -> None:
        """The session has said who it is, which is said in our words with the first of the peer's,
        or at once where each side has a stream for it."""
        if self.draft.request_streams and self._control is None:
            self._control = self.below.open_uni(self.draft.encode(wire.ServerSetup()))

    def _meet(self, stream: int, setup: wire.ClientSetup) -> None:
        if self._has_setup:
            raise ProtocolViolation("a second SETUP")
        self._has_setup = True
        self._heard_control = stream
        if not self.draft.request_streams:
            if setup.versions and self.draft.version not in setup.versions:
                raise ProtocolViolation(f"{self.draft.name} is not among the versions offered")
            self._control = stream
            self.say(wire.ServerSetup(self.draft.version, MANY_REQUESTS), None)
        self.requests.grant(setup.max_request)
        path = with_token(setup.path, setup.tokens)
        if self._is_inband:
            said = encode_client_setup(ClientSetup((INTERPRETED_CODE,), path))
            self.up(self._far(ours=False), said, False)
        else:
            said = bytes((Uni.SETUP,)) + encode_setup(Setup(path=path))
            self.up(self._far(ours=False, uni=True), said, True)

    def _goaway(self, message: wire.Goaway) -> None:
        if self._is_leaving:
            return  # each costs its sender six bytes, and the house a line in the log
        self._is_leaving = True
        said = bytes((Bidi.GOAWAY,)) + self.dialect.encode(Goaway(message.uri))
        talk = Talk(self, self._far(ours=False))
        self._talks[talk.stream] = talk
        talk.tell(said, True)

    # What requests ask (`relay.moqt.talk.Desk`)

    def up(self, stream: int, data: bytes, fin: bool) -> None:
        """Have the session hear this."""
        self._upward.append(("stream_received", (stream, data, fin)))
        self.below.wake()

    def up_reset(self, stream: int, code: int) -> None:
        """Have it hear that a stream broke off."""
        self._upward.append(("stream_reset", (stream, code)))
        self.below.wake()

    def _tell(self) -> None:
        while self._upward and self.above is not None:
            name, arguments = self._upward.popleft()
            getattr(self.above, name)(*arguments)

    def replace(self, talk: Talk) -> None:
        """It is known what a stream of moq-lite's is for."""
        self._talks[talk.stream] = talk

    def forget(self, talk: Talk) -> None:
        """Nothing more comes or goes on one."""
        self._talks.pop(talk.stream, None)
        self.requests.forget(talk)
        if isinstance(talk, Watching | Retrieving):
            self.requests.release(talk)
        if isinstance(talk, Retrieving):
            self.groups.retrievals.pop(talk.request, None)
        if isinstance(talk, Watching):
            talk.expect(False)
            self.groups.ends.pop(talk.id, None)
            if talk.alias is not None and talk.is_moot:
                self.groups.forget(talk.alias)
            elif talk.alias is not None:
                self.groups.ended(talk.alias)

    def open_line(self) -> int | None:
        """A stream for a request of ours; ``None`` without credit."""
        line = self.below.open_bidi()
        if line is not None:
            self._buffers[line] = StreamBuffer()
        return line

    def say(self, message: Message, line: int | None, last: bool = False) -> None:
        """Say something on the stream of a request, or where all are told."""
        said = self.draft.encode(message)
        if line is not None:
            self.below.send(line, said, last)
            if last and line in self._heard_out:
                self._line_ended(line)
        elif self._control is not None:
            self.below.send(self._control, said)

    def hang_up(self, line: int | None) -> None:
        """Nothing more is wanted on the stream of a request."""
        if line is not None:
            self.below.send(line, b"", True)
            if line in self._heard_out:
                self._line_ended(line)
            elif line in self._buffers:
                self.below.stop(line, REGISTERED.say(Cancelled.code))

    def far_uni(self) -> int:
        """A one-way stream of the session's that has none below, and takes nothing."""
        return self._far(uni=True)

    def far_bidi(self) -> int:
        """A two-way stream of moq-lite's from the peer that has none below."""
        return self._far(ours=False)

    def _far_group(self) -> int:
        """A one-way stream of moq-lite's from the peer that has none below."""
        return self._far(ours=False, uni=True)

    def _far(self, ours: bool = True, uni: bool = False) -> int:
        """The next stream of moq-lite's that has none below; the session is the server's."""
        self._count += 1
        return self._count << 2 | uni << 1 | ours
