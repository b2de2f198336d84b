"""A group of which nothing but its header has come.

Peers often send that ahead, and a group that is whole a moment later costs each viewer less than
one that is opened first. It is opened all the same before another of its track comes or anybody
asks for some, and at the next tick, so that it has its place and its age. This module must not know
who watches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Cancelled, RelayError
from relay.model.group import Encoding, Group

if TYPE_CHECKING:
    from relay.peer.source import Feed


class Awaited:
    """Stands for the group among those that arrive, until it is opened."""

    __slots__ = ("_encoding", "_feed", "_sequence", "_stream")

    def __init__(self, feed: Feed, stream: int, sequence: int, encoding: Encoding) -> None:
        """``encoding`` is how it will be written."""
        self._feed = feed
        self._stream = stream
        self._sequence = sequence
        self._encoding = encoding

    def write(self, chunk: bytes, now: float) -> bool:
        """The first bytes; False when nobody wants the group."""
        group = self._opened(now)
        if group is None:
            return False
        self._feed.hold(self._stream, group)
        return group.write(chunk, now)

    def finish(self, now: float) -> None:
        """The group is empty."""
        if (group := self._opened(now)) is not None:
            group.finish(now)

    def abort(self, error: RelayError) -> None:
        """It breaks off before anybody has heard of it."""

    def settle(self) -> None:
        """Open it with nothing in it. Harmless when it is open, or over."""
        feed, stream = self._feed, self._stream
        if feed.groups.get(stream) is not self:
            return
        if (group := self._opened(feed.host.clock())) is not None:
            feed.hold(stream, group)
        else:
            feed.drop_group(stream)
            feed.host.session.stop(stream, Cancelled.code)

    def _opened(self, now: float) -> Group | None:
        feed = self._feed
        feed.groups.pop(self._stream, None)  # the track is not to open it once more
        return feed.track.open_group(self._sequence, self._encoding, now, feed.source)
