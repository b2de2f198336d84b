"""Single groups asked for by number: one question upstream per group, however many wait.

A group that a fetch brings stands in the cache like any other. This module must not know who asks
or how a source gets hold of an old group.
"""

from __future__ import annotations

from typing import Protocol

from relay.errors import LimitExceeded, RelayError
from relay.model.group import Group

MAX_FETCHES = 64
"""Groups of one track that are being fetched at a time; one more fails with `LimitExceeded`."""


class Fetcher(Protocol):
    """Who wants one group; hashed by identity. Exactly one of the calls comes."""

    def group_opened(self, group: Group) -> None:
        """The group, from its first byte; it may still be arriving."""

    def fetch_failed(self, error: RelayError) -> None:
        """It cannot be had."""


class Fetches:
    """Who waits for which group of one track."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, dict[Fetcher, None]] = {}

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, sequence: int, fetcher: Fetcher) -> bool:
        """Wait for a group; True when nobody waited for it so far. Raises `LimitExceeded`."""
        waiting = self._waiting.get(sequence)
        if waiting is not None:
            waiting[fetcher] = None
            return False
        if len(self._waiting) >= MAX_FETCHES:
            raise LimitExceeded(f"more than {MAX_FETCHES} fetches of one track")
        self._waiting[sequence] = {fetcher: None}
        return True

    def forget(self, sequence: int, fetcher: Fetcher) -> None:
        """Wait no longer. The question upstream stands until it is answered."""
        self._waiting.get(sequence, {}).pop(fetcher, None)

    def deliver(self, group: Group) -> None:
        """The group is there."""
        for fetcher in self._waiting.pop(group.sequence, ()):
            fetcher.group_opened(group)

    def fail(self, sequence: int, error: RelayError) -> None:
        """The group cannot be had."""
        for fetcher in self._waiting.pop(sequence, ()):
            fetcher.fetch_failed(error)

    def fail_all(self, error: RelayError) -> None:
        """Nothing can be had any more."""
        for sequence in tuple(self._waiting):
            self.fail(sequence, error)
