"""Who writes the audit log: facts in by plain call, entries in the store a moment later.

The law: nobody who notes a fact waits or fails, and it is written once, whatever becomes of the
store meanwhile; what an operator does is written before anybody is told that it is done; when too
much waits, what is missing is counted and the log says so itself. This module must not know what
facts mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

from relay.records.audit import PRUNED, Entry, Fact
from relay.records.feed import RETRY_SECONDS, Log
from relay.records.kept import Audit
from relay.records.settings import AuditSettings
from relay.records.store import StoreError
from relay.records.whole import whole

BATCH = 100
"""Entries written in one transaction; making more at a time would hold up the loop."""

PRUNE_SECONDS = 3600.0
"""Seconds between deletions of what is too old."""

STRANGERS = "audit.max_strangers"
STRANGERS_AT_ONCE = 1_000
"""Entries about strangers that are written however fast they come."""

STRANGERS_TOLD = 60.0
"""Seconds between entries that say how many of them are missing."""

MISSED = "audit.missed"
"""The action of an entry that says how many are missing."""

Listener = Callable[[Entry], None]


class Scribe:
    """The audit log's writer of one relay, or of one command."""

    def __init__(
        self,
        audit: Audit,
        settings: AuditSettings,
        node: str,
        wall: Callable[[], float],
        log: Log,
        clock: Callable[[], float] = time.monotonic,
        settled: Callable[[], float] | None = None,
    ) -> None:
        """``node`` names this relay; ``wall`` tells unix seconds, ``clock`` monotonic ones, and
        ``settled`` those by which entries grow old: the wall's, if there is no other."""
        self.listeners: list[Listener] = []
        """Called with each entry that was written here. They must not raise nor wait."""
        self.written = 0
        self.missed = 0
        """Facts for which there was no room, since the start."""
        self._audit = audit
        self._settings = settings
        self._node = node
        self._wall = wall
        self._settled = settled or wall
        self._log = log
        self._queue: deque[Fact] = deque()
        self._unsaid: Counter[str] = Counter()
        """How many are missing and why, while no entry says so."""
        self._strangers = float(STRANGERS_AT_ONCE)
        """Entries about them for which there is room now."""
        self._strangers_at = self._told_at = clock()
        self._batch: list[Fact] = []
        """What is being written. After an attempt that failed nobody knows whether it was."""
        self._came = asyncio.Event()
        self._writing = asyncio.Lock()
        self._silent = False
        self._clock = clock
        self._pruned_at = clock()

    @property
    def waiting(self) -> int:
        """Facts that are not written yet."""
        return len(self._queue) + len(self._batch)

    def note(self, fact: Fact) -> None:
        """Have it written soon."""
        why = self._has_no_room(fact)
        if why:
            self.missed += 1
            self._unsaid[why] += 1
        else:
            self._queue.append(self._signed(fact))
        if not why or self._due(False):
            self._came.set()

    def _has_no_room(self, fact: Fact) -> str:
        """The setting by which it is left out, if it is."""
        if self.waiting >= self._settings.max_queue:
            return "audit.max_queue"
        most, now = self._settings.max_strangers, self._clock()
        if not most or not fact.is_anybodys:
            return ""
        gone, self._strangers_at = now - self._strangers_at, now
        self._strangers = min(self._strangers + gone * most, STRANGERS_AT_ONCE)
        if self._strangers < 1:
            return STRANGERS
        self._strangers -= 1
        return ""

    @whole
    async def write(self, fact: Fact) -> Entry:
        """Write it now: it is in the store when this returns. Raises `StoreError`."""
        async with self._writing:
            (entry,) = self._told(await self._audit.append([self._signed(fact)]))
        return entry

    @whole
    async def flush(self, is_last: bool = False) -> None:
        """Write everything that waits by now. Raises `StoreError`; nothing is lost then. The
        ``is_last`` time how many strangers are missing is said as well, whenever that was last.

        After each batch it is the turn of whoever wants to `write`: strangers who are refused as
        fast as entries can be written must not keep the operator from revoking anything.
        """
        for _ in range(self.waiting // BATCH + 2):  # the first may be a small one, tried again
            async with self._writing:
                if not self._batch and not self._queue and not self._due(is_last):
                    self._came.clear()
                    return
                await self._write_batch(is_last)

    def _due(self, is_last: bool) -> list[str]:
        """Why entries are missing, as far as that is to be said now."""
        are_told = is_last or self._clock() - self._told_at >= STRANGERS_TOLD
        return [why for why in self._unsaid if why != STRANGERS or are_told]

    async def _write_batch(self, is_last: bool) -> None:
        if self._batch:
            entries = await self._audit.ensure(self._batch)
        else:
            self._batch = self._next_batch(is_last)
            entries = await self._audit.append(self._batch)
        self._batch = []
        self._told(entries)

    def _next_batch(self, is_last: bool) -> list[Fact]:
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        for why in self._due(is_last):
            count = self._unsaid.pop(why)
            batch.append(self._signed(Fact(MISSED, detail=f"{count} entries: {why}")))
            if why == STRANGERS:
                self._told_at = self._clock()
        return batch

    async def run(self) -> None:
        """Write what comes, and delete what is too old, for ever. Whoever calls owns the task."""
        while True:
            with contextlib.suppress(TimeoutError):  # where nothing comes entries grow old as well
                async with asyncio.timeout(PRUNE_SECONDS):
                    await self._came.wait()
            await asyncio.sleep(self._settings.flush)
            try:
                await self.flush()
                await self.prune()
            except StoreError as error:
                if not self._silent:
                    self._log("warning", detail=f"audit log not written, it waits: {error}")
                self._silent = True
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if self._silent:
                    self._log("audit log written again")
                self._silent = False

    async def prune(self) -> None:
        """Now and then delete what is too old. Raises `StoreError`."""
        now = self._clock()
        if self._settings.keep_days and now - self._pruned_at >= PRUNE_SECONDS:
            self._pruned_at = now
            before = self._settled() - self._settings.keep_days * 86_400.0
            days = f"older than audit.keep_days ({self._settings.keep_days})"
            count = 1
            while count:  # others write in between
                async with self._writing:
                    fact = self._signed(Fact(PRUNED, detail=days))
                    count = await self._audit.prune(before, fact)

    def _signed(self, fact: Fact) -> Fact:
        return replace(fact, at=fact.at or self._wall(), node=self._node)

    def _told(self, entries: list[Entry]) -> list[Entry]:
        self.written += len(entries)
        for entry in entries:
            for listener in self.listeners:
                listener(entry)
        return entries
