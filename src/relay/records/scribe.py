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
from collections import deque
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
        self._unsaid = 0
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
        if self.waiting >= self._settings.max_queue:
            self.missed += 1
            self._unsaid += 1
        else:
            self._queue.append(self._signed(fact))
        self._came.set()

    @whole
    async def write(self, fact: Fact) -> Entry:
        """Write it now: it is in the store when this returns. Raises `StoreError`."""
        async with self._writing:
            (entry,) = self._told(await self._audit.append([self._signed(fact)]))
        return entry

    @whole
    async def flush(self) -> None:
        """Write everything that waits by now. Raises `StoreError`; nothing is lost then.

        After each batch it is the turn of whoever wants to `write`: strangers who are refused as
        fast as entries can be written must not keep the operator from revoking anything.
        """
        for _ in range(self.waiting // BATCH + 2):  # the first may be a small one, tried again
            async with self._writing:
                if not self._batch and not self._queue and not self._unsaid:
                    self._came.clear()
                    return
                await self._write_batch()

    async def _write_batch(self) -> None:
        if self._batch:
            entries = await self._audit.ensure(self._batch)
        else:
            self._batch = self._next_batch()
            entries = await self._audit.append(self._batch)
        self._batch = []
        self._told(entries)

    def _next_batch(self) -> list[Fact]:
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        if self._unsaid:
            missed = Fact(MISSED, detail=f"{self._unsaid} entries: audit.max_queue")
            batch.append(self._signed(missed))
            self._unsaid = 0
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
