"""Having other relays ask again: a word to their internal listeners when something has changed.

A push decides nothing; each relay asks about its sessions as it would have on its cadence, if there
is one. The law: a relay that cannot be told is tried again until it hears, others do not wait for
it, and many changes at once are one push. This module must not know what changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from relay.errors import ConfigError
from relay.sidecar.address import check_url
from relay.sidecar.link import Link, Unreachable

TARGET = "/sessions/revalidate"
"""Where a relay's internal listener takes the word (moq-relay, ``auth.md``, Push)."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a relay that did not hear of a change is told again; twice as many after each
further time, up to the longest."""

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
        self._changed = [asyncio.Event() for _ in relays]
        """For each relay whether something changed of which it was not told."""

    def nudge(self) -> None:
        """Something changed: all sessions of all relays are to be looked at again."""
        for changed in self._changed:
            changed.set()

    async def run(self) -> None:
        """Pass on what `nudge` is told until cancelled; lets go of the connections then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for link, changed in zip(self._links, self._changed, strict=True):
                    tasks.create_task(self._keep_told(link, changed))
        finally:
            for link in self._links:
                await link.close()

    async def push(self, query: str = "") -> int:
        """Tell every relay once, about the sessions ``query`` selects; how many heard it."""
        async with asyncio.TaskGroup() as tasks:
            told = [tasks.create_task(self._tell(link, query)) for link in self._links]
        return sum(task.result() for task in told)

    async def _keep_told(self, link: Link, changed: asyncio.Event) -> None:
        """Tell one relay of each change, for as long as it takes: until it asks again, it serves
        whom something was taken from."""
        pause: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await changed.wait()
            changed.clear()
            heard = await self._tell(link, "")
            longer = FIRST_PAUSE if pause is None else min(2 * pause, LONGEST_PAUSE)
            pause = None if heard else longer

    async def _tell(self, link: Link, query: str) -> bool:
        try:
            await link.tell(path=f"{TARGET}?{query}" if query else TARGET)
        except Unreachable as error:
            self._log("not told", relay=link.host, why=str(error))
            return False
        return True
