"""What every process of a load has in common: how it dials, and how it meets the others.

The law: all of them say the same words in the same order, and none goes on before all have said
one and the relay was looked at. It must not know which relay it dials.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import moq

KEEP_US = 30_000_000
"""Groups may be this late: the library's default skips every late one, and frames would be lost."""

STAMP = 8
"""Bytes of the sender's clock (monotonic nanoseconds) at the start of a frame."""

DIAL = 20.0
"""Seconds that a session or a subscription may take."""


async def say(word: str, **facts: object) -> None:
    """A word to who started us, with facts; goes on when everybody has said it."""
    sys.stdout.write(f"{word} {json.dumps(facts)}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


async def dial(stack: AsyncExitStack, url: str, pin: str) -> moq.Client:
    """One more session, whose two sides do not see each other. Raises `moq.Error`."""
    client = moq.Client(
        url,
        tls_fingerprints=[pin],
        websocket_enabled=False,
        reconnect=False,
        publish=moq.OriginProducer(),
        subscribe=moq.OriginProducer(),
    )
    async with asyncio.timeout(DIAL):
        await stack.enter_async_context(client)
    return client
