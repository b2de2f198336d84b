"""Nobody waits for the collector of garbage to look through what never is any."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

from mesh import BASE

import asked
from relay.config import load
from relay.server.relay import Relay


def test_what_is_there_when_a_relay_is_ready_is_not_looked_through_again(folder: Path) -> None:
    file = folder / "relay.toml"
    file.write_text(BASE)
    seen: list[tuple[int, int]] = []

    def ready(relay: Any) -> None:
        seen.append((gc.get_freeze_count(), len(gc.get_objects())))
        relay.draining.set()

    async def main() -> None:
        await Relay(load(file, environ=asked.settings()).settings).serve(asyncio.Event(), ready)

    try:
        asyncio.run(main())
    finally:
        gc.unfreeze()
    ((kept, looked_at),) = seen
    assert kept > 10_000
    assert looked_at < kept / 10
