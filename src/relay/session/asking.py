"""Streams of ours: each is opened when the peer grants credit, in the order they were wanted.

The law: what is said first on a stream is asked for when it is there, since it may change until
then; what waits is bounded. This module must not know what is asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.errors import LimitExceeded
from relay.session.flow import Flow
from relay.wire.messages import Bidi

if TYPE_CHECKING:
    from relay.session.lite import LiteSession


class Asking:
    """What one conversation asks on streams of its own."""

    def __init__(self, session: LiteSession, flows: dict[int, Flow]) -> None:
        """A flow stands among ``flows`` once it has its stream."""
        self.waiting: OrderedDict[Flow, tuple[Callable[[], bytes], Bidi | None]] = OrderedDict()
        self._session = session
        self._flows = flows
        self._is_over = False

    def ask(self, flow: Flow, say: Callable[[], bytes], kind: Bidi | None = None) -> None:
        """Open a stream for ``flow``, now or later; ``say`` answers what it begins with."""
        if self._is_over:
            return
        stream = None if self.waiting else self._session.transport.open_bidi()
        if stream is not None:
            self._begin(flow, stream, say, kind)
        elif len(self.waiting) < self._session.settings.max_pending:
            self.waiting[flow] = say, kind
        else:
            flow.broken(LimitExceeded.code)
            self._session.transport.wake()  # which is heard of at the next flush

    def go_on(self) -> None:
        """Open the streams that waited, as far as the peer grants it by now."""
        while self.waiting:
            stream = self._session.transport.open_bidi()
            if stream is None:
                break
            flow, (say, kind) = next(iter(self.waiting.items()))
            self._begin(flow, stream, say, kind)
            self.waiting.pop(flow, None)

    def withdraw(self, flow: Flow) -> None:
        """It is not wanted any more; nothing where it has its stream, or never waited."""
        self.waiting.pop(flow, None)

    def end(self) -> None:
        """Nothing is asked any more."""
        self._is_over = True
        self.waiting.clear()

    def _begin(self, flow: Flow, stream: int, say: Callable[[], bytes], kind: Bidi | None) -> None:
        flow.stream = stream
        self._flows[stream] = flow
        flow.send((b"" if kind is None else bytes([kind])) + say())
