"""What other relays on the store have changed: quotas, keys and secrets, noticed by their marks.

The law: whatever any relay on the store has changed is read again here within `poll` seconds; while
the store is silent everything known stays in force, and all is read again once it answers. This
module must not know what is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from relay.beat import beat
from relay.errors import ConfigError
from relay.records.feed import RETRY_SECONDS, Log
from relay.records.store import Records, StoreError

Reread = Callable[[], Awaitable[None]]
"""Read one kind of thing from the store and put it in force. May raise `StoreError`, and then it is
called again; `ConfigError` for what cannot be put in force, and then it is not."""


class Notices:
    """Marks as this relay last saw them."""

    def __init__(self, records: Records, poll: float, log: Log) -> None:
        """``poll`` is seconds between looks."""
        self._records = records
        self._poll = poll
        self._log = log
        self._kinds: dict[str, Reread] = {}
        self._seen: dict[str, int] = {}
        self._looking = asyncio.Lock()

    def on(self, kind: str, reread: Reread) -> None:
        """Have that called when the mark ``kind`` has changed, and at the first look."""
        self._kinds[kind] = reread
        self._seen.pop(kind, None)

    async def refresh(self) -> None:
        """Look, and read again what has changed. Raises `StoreError`."""
        async with self._looking:
            marks = await self._records.marks()
            for kind, reread in self._kinds.items():
                mark = marks.get(kind, 0)
                if self._seen.get(kind) == mark:
                    continue
                try:
                    await reread()
                except ConfigError as error:
                    self._log("warning", detail=f"{kind} of the store not obeyed: {error}")
                self._seen[kind] = mark

    async def run(self) -> None:
        """Keep looking, for ever."""
        while True:
            try:
                await self.refresh()
            except StoreError:
                # The feed of revocations says so; here everything known holds. It may answer as a
                # copy that lacks the last changes, and have got as far as it was since.
                self._seen.clear()
                await asyncio.sleep(RETRY_SECONDS)
            await beat(self._poll)
