"""When a session ends that a token was good for."""

from __future__ import annotations

import asyncio
import json
import time

from pace import within
from relay.auth.compact import split
from relay.client import Client


async def ends_with(client: Client, token: str) -> None:
    """Wait until a session is over: not before its token is, and within a second of that."""
    end = json.loads(split(token).payload)["exp"]
    while (now := time.time()) < end:
        assert not client.lost.done(), f"{end - now} s early"
        await asyncio.sleep(0.01)
    await within(1.2, client.lost.done)
