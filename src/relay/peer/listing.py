"""Whose turn it is to be told of what is announced.

An announce request has a few bytes, and its first answer may have to name everything there is; a
change has as many, and may have to be told to everybody, on many streams of each. The law: all
guests together are told so much at a time that others need not wait for it, in the order in which
they asked or something changed for them, one request or a few changes of each, and relays before
them; whoever has not taken in the last answer is given no other meanwhile, and costs the others
nothing. This module must not know what is told, or how.
"""

from __future__ import annotations

from typing import Protocol

from relay.quota.pace import Pace

PER_SECOND = 65_536
"""Broadcasts that are named in first answers in a second, to all guests together: what takes about
half of a core."""

AT_ONCE = 4_096
"""Of these, how many at a time; one answer may name more, and those after it wait."""

CHANGES_PER_SECOND = 131_072
"""Changes that are told in a second, those of rights included, to all guests and on all their
streams together."""

CHANGES_AT_ONCE = 4_096
"""Of these, how many at a time: what takes about ten milliseconds."""

CHANGES_EACH = 128
"""Of these, how many of one guest before it is another's turn."""


class Asker(Protocol):
    """A guest that has asked."""

    @property
    def is_relay(self) -> bool:
        """Whether it asks for all who are behind it: strangers' requests must not cut it off."""

    @property
    def is_asking(self) -> bool:
        """Whether a request of its waits for its answer."""

    @property
    def untold(self) -> int:
        """Broadcasts that earlier answers to it have still to name."""

    def tell_next(self) -> int:
        """Answer its next request; answers how many broadcasts that names. Must not raise."""

    @property
    def is_behind(self) -> bool:
        """Whether changes wait to be told to it."""

    def tell_changes(self, limit: int) -> int:
        """Tell it about ``limit`` changes at most; answers how many. Must not raise."""


class Listings:
    """The requests of all guests, and the changes they have not been told of."""

    def __init__(self) -> None:
        self._pace = Pace(PER_SECOND)
        self._pace.burst = AT_ONCE
        self._change_pace = Pace(CHANGES_PER_SECOND)
        self._change_pace.burst = CHANGES_AT_ONCE
        self._waiting: dict[Asker, None] = {}
        self.behind: dict[Asker, None] = {}
        """Those who wait to be told of a change; read only."""

    def ask(self, asker: Asker, now: float) -> None:
        """It has asked; it is told now or in a moment. ``now`` is monotonic seconds.

        Whoever still asks calls it again now and then: it has lost its place where it has not taken
        in the last answer when its turn comes.
        """
        while asker.is_relay and asker.is_asking and asker.untold < AT_ONCE:
            self._pace.spend(now, 1 + asker.tell_next())
        self._waiting.setdefault(asker)
        self.tick(now)

    def change(self, asker: Asker) -> None:
        """Something has changed for it; it is told at the next `tick` or a later one."""
        self.behind.setdefault(asker)

    def forget(self, asker: Asker) -> None:
        """It does not want to know any more."""
        self._waiting.pop(asker, None)
        self.behind.pop(asker, None)

    def tick(self, now: float) -> None:
        """Tell whoever may be told now."""
        self.pass_on(now)
        self._answer(now)

    def pass_on(self, now: float) -> None:
        """Tell of changes whoever may be told now."""
        while self.behind and self._change_pace.wait(now) <= 0.0:
            asker = next(iter(self.behind))
            del self.behind[asker]
            self._change_pace.spend(now, 1 + asker.tell_changes(CHANGES_EACH))
            if asker.is_behind:
                self.behind.setdefault(asker)  # behind the others

    def _answer(self, now: float) -> None:
        while self._waiting and self._pace.wait(now) <= 0.0:
            asker = next(iter(self._waiting))
            del self._waiting[asker]
            if asker.is_asking and asker.untold < AT_ONCE:
                self._waiting[asker] = None  # behind the others
                self._pace.spend(now, 1 + asker.tell_next())
