"""Revocations as they happen: the index that decisions look into, kept current from the store.

The law: whatever any relay on the store has revoked is in the index within `poll` seconds and is
told to whoever listens, once; while the store is silent everything known stays in force. This
module must not know sessions: listeners close them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from relay.auth.revocation import Revocation, Revocations
from relay.beat import beat
from relay.errors import RelayError
from relay.records.settled import SettledTime
from relay.records.store import MAX_PAGE, Change, Records, StoreError

RETRY_SECONDS = 0.5
"""Seconds until a store that did not answer is asked again."""

EXPIRE_SECONDS = 60.0
"""Seconds between looks for what has ended."""


class Log(Protocol):
    """Where to tell what happens."""

    def __call__(self, event: str, **facts: object) -> None:
        """One line."""


Listener = Callable[[Revocation], None]


class RevocationFeed:
    """The revocations in force, as far as this relay knows."""

    def __init__(
        self,
        records: Records,
        poll: float,
        wall: Callable[[], float],
        log: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``poll`` is seconds between looks; ``wall`` tells unix seconds, ``clock`` monotonic ones,
        by which all is measured that passes here: the other may be set."""
        self.index = Revocations()
        self.listeners: list[Listener] = []
        """Called with each entry that comes into force. They must not raise nor wait."""
        self.withdrawals: list[Callable[[Revocation, float], None]] = []
        """Called with each entry that is taken back, and when. The same holds."""
        self.settled = SettledTime(wall, clock)
        """By which it is forgotten what has ended; decisions go by the wall."""
        self.read_at: float | None = None
        """When the store last answered, monotonic seconds."""
        self._records = records
        self._poll = poll
        self._wall = wall
        self._clock = clock
        self._log = log
        self._position = 0
        self._believed: set[Revocation] = set()
        """What others said and the store does not hold yet: in force all the same."""
        self._lost: set[Revocation] = set()
        """What the store held before it was set back, and is to hold again."""
        self._reading = asyncio.Lock()
        self._expired_at = float("-inf")
        self._silent = False

    def behind(self) -> float:
        """Seconds for which the store has not answered."""
        return float("inf") if self.read_at is None else self._clock() - self.read_at

    async def refresh(self) -> None:
        """Take in what has changed. Raises `StoreError`."""
        async with self._reading:
            while changes := await self._records.changes(self._position):
                if gone := {_named(change.entry) for change in changes if change.withdrawn}:
                    self._believed = {each for each in self._believed if _named(each) not in gone}
                    await self._reload()
                for change in changes:
                    if self._is_in_force(change):
                        self.index.add(change.entry)
                self._position = changes[-1].number
                for change in changes:  # now that all are in force, however telling it goes
                    self._tell(change)
            self.read_at = self._clock()

    async def look_back(self) -> None:
        """Read everything anew where the store is not as far as it was: it was set back to an older
        state, or is another one. What is known holds, though it knows of it no more. Raises
        `StoreError`."""
        async with self._reading:
            mark = (await self._records.marks())["revocations"]
            if mark >= self._position:
                return
            await self._take_missed()
            self._position = mark
        self._tell_set_back()

    async def _take_missed(self) -> bool:
        """Take in what is in force whatever its number; whether anything is known that the store
        has lost, which holds here as what others said does."""
        known = set(self.index)
        kept = [entry async for entry in self._kept()]
        for entry in kept:
            if not self.index.holds(entry):
                self._put_in_force(entry)
        now = self.settled()
        lost = {entry for entry in known.difference(kept, self._believed) if entry.is_active(now)}
        self._believed |= lost
        self._lost |= lost
        return bool(lost)

    def _tell_set_back(self) -> None:
        detail = "what is known here holds, and is written once more"
        self._log("warning", detail=f"records were set back: {detail}")

    async def _put_back(self) -> None:
        """Have the store hold again what it has lost, or that ends with the relays that know of it,
        but for what was taken back meanwhile. Raises `StoreError`."""
        await self.refresh()
        async with self._reading:
            after = 0
            gone: set[tuple[int, str, str]] = set()
            while changes := await self._records.changes(after):
                gone |= {_named(change.entry) for change in changes if change.withdrawn}
                after = changes[-1].number
            if any(_named(entry) in gone for entry in self._lost):
                self._believed = {each for each in self._believed if _named(each) not in gone}
                await self._reload()
            self._lost &= self._believed
        while self._lost:
            entry = next(iter(self._lost))
            try:
                await self.adopt(entry)
            except StoreError:
                raise
            except RelayError as error:
                self._log("warning", detail=f"a revocation that was lost is not kept: {error}")
            self._lost.discard(entry)

    def believe(self, entry: Revocation) -> None:
        """Another relay says that somebody is revoked: in force here and now."""
        if entry.is_active(self.settled()):
            self._believed.add(entry)
            self._put_in_force(entry)

    async def adopt(self, entry: Revocation) -> None:
        """Keep what another relay has revoked, unless somebody on the store was faster. Raises as
        `Records.revoke` does."""
        async with self._reading:
            now = self.settled()
            if entry.is_active(now):
                await self._records.adopt(entry, now)
            self._believed.discard(entry)
        await self.refresh()

    async def relent(self, is_meant: Callable[[Revocation], bool]) -> None:
        """Another relay took revocations back: they end here as well. Raises `StoreError`."""
        self._believed = {entry for entry in self._believed if not is_meant(entry)}
        async with self._reading:
            async for entry in self._kept():
                if is_meant(entry):
                    await self._records.withdraw(entry.id, self.settled())
            await self._reload()
        await self.refresh()

    async def _kept(self) -> AsyncIterator[Revocation]:
        """Everything in force, page by page."""
        now, after = self.settled(), 0
        while page := await self._records.revocations(now, after):
            for each in page:
                yield each
            if len(page) < MAX_PAGE:
                break
            after = page[-1].id

    async def run(self) -> None:
        """Keep the index current, for ever."""
        while True:
            try:
                await self.refresh()
                if self._silent:
                    # It may have been set back, and have got further than it was since.
                    async with self._reading:
                        is_set_back = await self._take_missed()
                    if is_set_back:
                        self._tell_set_back()
                if self._lost:
                    await self._put_back()
            except StoreError as error:
                self._complain(error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if self._silent:
                self._silent = False
                self._log("records answer again")
            self._expire()
            await beat(self._poll)

    def _put_in_force(self, entry: Revocation) -> None:
        self.index.add(entry)
        for listener in self.listeners:
            listener(entry)

    def _is_in_force(self, change: Change) -> bool:
        return not change.withdrawn and change.entry.is_active(self.settled())

    def _tell(self, change: Change) -> None:
        if change.withdrawn:
            for withdrawal in self.withdrawals:
                withdrawal(change.entry, self._wall())
        elif self._is_in_force(change):
            for listener in self.listeners:
                listener(change.entry)

    async def _reload(self) -> None:
        """Read everything anew: what a withdrawn entry had covered must come to light again."""
        kept = [entry async for entry in self._kept()]
        self.index.replace((*kept, *self._believed))

    def _expire(self) -> None:
        if self._clock() - self._expired_at >= EXPIRE_SECONDS:
            self._expired_at, now = self._clock(), self.settled()
            self.index.expire(now)
            self._believed = {entry for entry in self._believed if entry.is_active(now)}

    def _complain(self, error: StoreError) -> None:
        if not self._silent:
            self._silent = True
            self._log("warning", detail=f"records do not answer, what is known holds: {error}")


def _named(entry: Revocation) -> tuple[int, str, str]:
    """What stays the same of an entry that is renewed or taken back."""
    return entry.id, entry.dimension, entry.value
