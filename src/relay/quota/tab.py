"""What one session has running on its tenant's account.

The law: whatever was counted for a session is taken off exactly once, at the latest when it leaves.
This module must not know what a session is.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.quota.account import Account
from relay.quota.limits import Quota

STALL = 0.3
"""Seconds without a byte sent after which a session whose peer takes nothing has no share: three
rounds. A peer that has vanished is sent a little now and then, further and further apart."""

_UNLIMITED = Quota()


def _nothing() -> None:
    """Nobody is to be woken."""


class Tab:
    """One session's part of an account. ``now`` is monotonic seconds in every call."""

    __slots__ = (
        "_is_seated",
        "_round",
        "_sent",
        "_sent_at",
        "account",
        "broadcasts",
        "tracks",
        "wake",
    )

    def __init__(self, account: Account, is_seated: bool = True) -> None:
        """``is_seated`` = it counts as a session. Made by `Ledger.enter`, which has asked."""
        self.account = account
        self.broadcasts = 0
        self.tracks = 0
        self.wake: Callable[[], None] = _nothing
        """Called when there is room to send again. Must not raise."""
        self._is_seated = is_seated
        self._round = -1
        self._sent = 0
        self._sent_at = 0.0
        if is_seated:
            account.sessions += 1

    @classmethod
    def free(cls) -> Tab:
        """A tab on an account of its own without limits, where nobody keeps books."""
        return cls(Account("", _UNLIMITED, lambda *what: None))

    def close(self) -> None:
        """The session is gone. Harmless when it was closed before."""
        account = self.account
        account.publishers -= self.broadcasts > 0
        account.broadcasts -= self.broadcasts
        account.subscribers -= self.tracks > 0
        account.tracks -= self.tracks
        account.sessions -= self._is_seated
        account.waiting.discard(self)
        self.broadcasts = self.tracks = 0
        self._is_seated = False

    # -- publishing ------------------------------------------------------------------------------

    def may_announce(self, now: float, is_new: bool = True) -> bool:
        """Whether `announce` would pass now. Counts nothing."""
        account = self.account
        if is_new and account.is_full("broadcasts", account.broadcasts):
            return False
        is_first = is_new and not self.broadcasts
        if is_first and account.is_full("publishers", account.publishers):
            return False
        return account.announcing is None or account.announcing.wait(now) <= 0.0

    def needs_to_announce(self, is_new: bool) -> tuple[str, ...]:
        """The limits that `announce` asks."""
        kinds: tuple[str, ...] = ("announces_per_second",)
        if is_new:
            kinds += ("broadcasts",) if self.broadcasts else ("broadcasts", "publishers")
        return kinds

    def announce(self, now: float, is_new: bool = True) -> None:
        """One announcement, of something ``is_new`` or again. Raises `OverQuota`, and then nothing
        was counted."""
        account = self.account
        if is_new:
            account.require("broadcasts", account.broadcasts, now)
            if not self.broadcasts:
                account.require("publishers", account.publishers, now)
        if account.announcing is not None and (wait := account.announcing.take(now)) > 0.0:
            raise account.over("announces_per_second", now, wait)

    def add_broadcast(self) -> None:
        """The announcement is in force."""
        self.account.publishers += not self.broadcasts
        self.broadcasts += 1
        self.account.broadcasts += 1

    def drop_broadcast(self) -> None:
        """It is no longer."""
        if self.broadcasts:
            self.broadcasts -= 1
            self.account.broadcasts -= 1
            self.account.publishers -= not self.broadcasts

    # -- watching --------------------------------------------------------------------------------

    def needs_to_watch(self) -> tuple[str, ...]:
        """The limits that `add_track` asks."""
        return ("tracks",) if self.tracks else ("tracks", "subscribers")

    def require_track(self, now: float) -> None:
        """Raises `OverQuota` when there may be no more subscriptions. Counts nothing."""
        account = self.account
        account.require("tracks", account.tracks, now)
        if not self.tracks:
            account.require("subscribers", account.subscribers, now)

    def add_track(self, now: float) -> None:
        """One more subscription. Raises `OverQuota`, with nothing counted."""
        self.require_track(now)
        self.account.subscribers += not self.tracks
        self.tracks += 1
        self.account.tracks += 1

    def drop_track(self) -> None:
        """It is over."""
        if self.tracks:
            self.tracks -= 1
            self.account.tracks -= 1
            self.account.subscribers -= not self.tracks

    # -- sending ---------------------------------------------------------------------------------

    def room(self, now: float) -> int:
        """Bytes this session may send now. Nothing: it waits and is to ask again in a while."""
        account = self.account
        if account.outgoing is None:
            return 1 << 62
        room = account.share(self, now)
        if room <= 0:
            account.held_back(self, now)
        return room

    def sent(self, size: int, now: float) -> None:
        """Bytes of a group were handed over to be sent."""
        self._sent += size
        self._sent_at = now
        self.account.send(size, now)

    def sent_in(self, round: int) -> int:
        """Bytes sent in that round, for `Account.share`."""
        if self._round != round:
            self._round = round
            self._sent = 0
        return self._sent

    @property
    def is_held_back(self) -> bool:
        """Whether it waits to send more than it may."""
        return self in self.account.waiting

    def has_stalled(self, now: float) -> bool:
        """Whether it has sent nothing for so long that the others need not leave it its share of
        the rate, unless that is what it waits for."""
        return now - self._sent_at >= STALL

    def emptied(self) -> None:
        """Nothing waits any more for there being room."""
        self.account.waiting.discard(self)
