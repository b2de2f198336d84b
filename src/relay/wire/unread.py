"""Messages that are left half said: how much of them is kept.

The law: each may be as long as ``max_message``, and stay unfinished for as long as its session
lives, but not all of them at once. This module must not know what messages say.
"""

from __future__ import annotations

from relay.errors import LimitExceeded

MAX_UNREAD = 4_194_304
"""Bytes of messages that are not complete, of all streams of a session together. More: it is
closed. Each may be as long as ``max_message``, and be left half said for as long as it lives."""


class Unread:
    """Those of one session, by stream."""

    __slots__ = ("_sizes", "_total")

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._total = 0

    def note(self, stream: int, size: int) -> None:
        """So many bytes are kept now. Raises `LimitExceeded` where all of them are too many."""
        self._total += size - self._sizes.pop(stream, 0)
        if size:
            self._sizes[stream] = size
        if self._total > MAX_UNREAD:
            raise LimitExceeded(f"more than {MAX_UNREAD} bytes of unfinished messages")

    def forget(self, stream: int) -> None:
        """Nothing is kept any more."""
        self._total -= self._sizes.pop(stream, 0)
