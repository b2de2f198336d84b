"""A records store for one scenario, whichever kind it is of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from relay.records.opening import open_records
from relay.records.store import Records


def run(address: str | None, scenario: Callable[[Records], Awaitable[Any]]) -> Any:
    """What the scenario answers, played in the store at ``address`` (``None``: in memory)."""

    async def opened() -> Any:
        store = await open_records(address)
        try:
            return await scenario(store)
        finally:
            await store.close()

    return asyncio.run(opened())
