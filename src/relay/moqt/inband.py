"""Peers whose first words say which protocol they speak: over WebTransport, clients of draft 14 may
name none with their request, as those of the oldest moq-lite.

The law: until it is known nothing of what they say is passed on; then everything is, to the session
as it came or by an interpreter. This module must not know what either makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay.errors import ProtocolViolation
from relay.moqt.drafts import DRAFT_14
from relay.moqt.interpreter import Interpreter
from relay.session.transport import Receiver, Transport, is_uni
from relay.wire.buffer import StreamBuffer
from relay.wire.messages import Bidi
from relay.wire.setup import decode_client_setup
from relay.wire.version import by_code

MAX_SETUP = 65_536
"""Bytes that are read until it is known. More are the session's to refuse."""

MAX_CAME = 1_024
"""Pieces of streams in which they come, ends and resets too."""


class Undecided:
    """One such peer."""

    def __init__(self, below: Transport, interpreter: Callable[[], Interpreter]) -> None:
        """``interpreter`` makes the one that it may need."""
        self.above: Receiver | None = None
        self._lower = below
        """Whom the session speaks to."""
        self._upper: Receiver | None = None
        """Who hears the peer, once that is known."""
        self._interpreter = interpreter
        self._came: list[tuple[str, tuple[Any, ...]]] = []
        self._size = 0
        self._first: int | None = None
        """The first two-way stream, on which it is said."""
        self._said = StreamBuffer()

    def __getattr__(self, name: str) -> Any:
        """What the session asks of its transport: the connection answers, or the interpreter."""
        return getattr(self._lower, name)

    # What comes from below (`relay.session.transport.Receiver`)

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of a stream."""
        if self._upper is not None:
            self._upper.stream_received(stream, data, fin)
            return
        self._came.append(("stream_received", (stream, data, fin)))
        self._size += len(data)
        if self._first is None and not is_uni(stream):
            self._first = stream
        if stream == self._first:
            self._said.append(data)
            self._read(fin)
        self._bound()

    def stream_reset(self, stream: int, code: int) -> None:
        """The peer broke off its half of a stream."""
        self._pass("stream_reset", stream, code)

    def stream_stopped(self, stream: int, code: int) -> None:
        """The peer no longer reads our half of one."""
        self._pass("stream_stopped", stream, code)

    def datagram_received(self, data: bytes) -> None:
        """A datagram; so early nobody waits for one."""
        if self._upper is not None:
            self._upper.datagram_received(data)

    def flush(self) -> None:
        """As below."""
        upper = self._upper or self.above
        if upper is not None:
            upper.flush()

    def connection_lost(self, code: int, reason: str) -> None:
        """The end."""
        self._came.clear()
        upper = self._upper or self.above
        if upper is not None:
            upper.connection_lost(code, reason)

    def _pass(self, name: str, *arguments: Any) -> None:
        if self._upper is None:
            self._came.append((name, arguments))
            self._bound()
        else:
            getattr(self._upper, name)(*arguments)

    def _bound(self) -> None:
        """What came without its being known what the peer speaks is enough."""
        is_full = self._size > MAX_SETUP or len(self._came) > MAX_CAME
        if self._upper is None and is_full:
            self._decide()

    def _read(self, fin: bool) -> None:
        """Look for CLIENT_SETUP in what came (moq-transport-14, 9.3)."""
        kind = self._said.peek_varint()
        if kind is None and not fin:
            return
        if kind != Bidi.CLIENT_SETUP:
            self._decide()
            return
        try:
            found = self._said.typed_message16(MAX_SETUP)
            if found is not None:
                self._decide(decode_client_setup(found[1]).versions)
            elif fin:
                self._decide()
        except ProtocolViolation:
            self._decide()  # the session says what is wrong with it

    def _decide(self, versions: tuple[int, ...] = ()) -> None:
        """It is known what the peer speaks, as far as it said that."""
        if DRAFT_14.version in versions and not any(map(by_code, versions)):
            self._lower = self._upper = interpreter = self._interpreter()
            interpreter.above = self.above
        else:
            self._upper = self.above
        came, self._came = self._came, []
        for name, arguments in came:
            self._pass(name, *arguments)
