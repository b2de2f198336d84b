"""Tasks with an owner, for clients that need some in the background.

The job is a task group that ends with its block: members are cancelled, and what the block raised
comes out as it is, not wrapped in a group. It must not know what the tasks do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


class Crew:
    """Starts tasks that live no longer than their owner's block."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Run ``work``, which must deal with its own errors."""
        self._tasks.append(self._group.create_task(work))

    def dismiss(self) -> None:
        """Cancel everybody."""
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def crew() -> AsyncIterator[Crew]:
    """A `Crew` for the length of the block."""
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        members = Crew(group)
        try:
            yield members
        except Exception as error:
            failure = error
        finally:
            members.dismiss()
    if failure is not None:
        raise failure
