"""What has gone through one broadcast at this relay, counted when a group is over.

The law: nothing is counted per chunk or per reader, so that counting costs nothing where bytes
move. This module must not know who asks.
"""

from __future__ import annotations


class Traffic:
    """Counters of one broadcast; none ever falls."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "groups_in",
        "groups_out",
        "subscriptions",
        "subscriptions_closed",
    )

    def __init__(self) -> None:
        self.groups_in = 0
        """Groups that came in and are over, complete or not."""
        self.bytes_in = 0
        """Their bytes, with what frames are wrapped in."""
        self.groups_out = 0
        """The same of groups that were sent to viewers, each time."""
        self.bytes_out = 0
        self.subscriptions = 0
        """Subscriptions that sessions began."""
        self.subscriptions_closed = 0

    def came(self, size: int) -> None:
        """A group that came in is over."""
        self.groups_in += 1
        self.bytes_in += size

    def went(self, size: int) -> None:
        """A group has left for one viewer, whole or in part."""
        self.groups_out += 1
        self.bytes_out += size
