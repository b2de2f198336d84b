"""Having other relays ask again: a word to their internal listeners when something has changed.

A push decides nothing; each relay asks about its sessions as it would have on its cadence. The law:
a relay that cannot be told is tried again for a while and then left to its cadence, and many
changes at once are one push. This module must not know what changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from relay.errors import ConfigError
from relay.sidecar.address import check_url
from relay.sidecar.link import Link, Unreachable

TARGET = "/sessions/revalidate"
"""Where a relay's internal listener takes the word (moq-relay, ``auth.md``, Push)."""

ATTEMPTS = 5
"""How often a relay is tried after a change; the wait doubles from `FIRST_PAUSE` on."""

FIRST_PAUSE = 1.0
"""Seconds before the second attempt."""

MAX_RELAYS = 64
"""Relays that may be told."""


class Push:
    """Tells relays to ask again. `run` it in a task of the owner's.

    ``relays`` are the addresses of their internal listeners; raises `ConfigError` for a bad one.
    """

    def __init__(self, relays: Sequence[str], log: Callable[..., None]) -> None:
        if len(relays) > MAX_RELAYS:
            raise ConfigError(f"sidecar.relays: more than {MAX_RELAYS}")
        for relay in relays:
            check_url(relay, "sidecar.relays")
        self._links = [Link(relay) for relay in relays]
        self._log = log
        self._changed = asyncio.Event()

    def nudge(self) -> None:
        """Something changed: all sessions of all relays are to be looked at again."""
        self._changed.set()

    async def run(self) -> None:
        """Pass on what `nudge` is told until cancelled; lets go of the connections then."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._insist()
        finally:
            for link in self._links:
                await link.close()

    async def push(self, query: str = "") -> int:
        """Tell every relay once, about the sessions ``query`` selects; how many heard it."""
        return len(self._links) - len(await self._tell(self._links, query))

    async def _insist(self) -> None:
        """Tell every relay, some of them again. A change in between starts from the beginning."""
        left, pause = self._links, FIRST_PAUSE
        for attempt in range(ATTEMPTS):
            left = await self._tell(left, "")
            if not left or attempt == ATTEMPTS - 1:
                return
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
                return
            except TimeoutError:
                pause *= 2

    async def _tell(self, links: list[Link], query: str) -> list[Link]:
        """Tell these relays at the same time; those that did not hear it."""
        async with asyncio.TaskGroup() as tasks:
            told = [(link, tasks.create_task(self._tell_one(link, query))) for link in links]
        return [link for link, task in told if not task.result()]

    async def _tell_one(self, link: Link, query: str) -> bool:
        try:
            await link.tell(path=f"{TARGET}?{query}" if query else TARGET)
        except Unreachable as error:
            self._log("not told", relay=link.host, why=str(error))
            return False
        return True
