"""Whose turn it is to be told of all that is announced.

An announce request has a few bytes, and its first answer may have to name everything there is. The
law: all guests together are told so much at a time that others need not wait for it, in the order
in which they asked, one request of each; whoever has not taken in the last answer is told nothing
more meanwhile. This module must not know what is told, or how.
"""

from __future__ import annotations

from typing import Protocol

from relay.quota.pace import Pace

PER_SECOND = 65_536
"""Broadcasts that are named in first answers in a second, to all guests together: what takes about
half of a core."""

AT_ONCE = 4_096
"""Of these, how many at a time; one answer may name more, and those after it wait."""


class Asker(Protocol):
    """A guest that has asked."""

    @property
    def is_asking(self) -> bool:
        """Whether a request of its waits for its answer."""

    @property
    def untold(self) -> int:
        """Broadcasts that earlier answers to it have still to name."""

    def tell_next(self) -> int:
        """Answer its next request; answers how many broadcasts that names. Must not raise."""


class Listings:
    """The requests of all guests."""

    def __init__(self) -> None:
        self._pace = Pace(PER_SECOND)
        self._pace.burst = AT_ONCE
        self._waiting: dict[Asker, None] = {}

    def ask(self, asker: Asker, now: float) -> None:
        """It has asked; it is told now or in a moment. ``now`` is monotonic seconds."""
        self._waiting.setdefault(asker)
        self.tick(now)

    def forget(self, asker: Asker) -> None:
        """It does not want to know any more."""
        self._waiting.pop(asker, None)

    def tick(self, now: float) -> None:
        """Tell whoever may be told now."""
        has_told = True
        while has_told:
            has_told = False
            for asker in tuple(self._waiting):
                if self._pace.wait(now) > 0.0:
                    return
                if not asker.is_asking:
                    self.forget(asker)
                elif asker.untold < AT_ONCE:
                    has_told = True
                    self.forget(asker)
                    self._waiting[asker] = None  # behind the others
                    self._pace.spend(now, 1 + asker.tell_next())
