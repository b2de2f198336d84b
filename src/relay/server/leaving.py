"""How a relay stops: nobody comes in any more, all are told to go, and who stays is shown out.

The law: everybody is told once, and is given the time that the settings say, or a moment where
there is none. This module must not know what is said to anybody, nor how.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from relay.errors import RelayError, Unavailable
from relay.peer.refusing import STOPPING
from relay.server.colleagues import PATIENCE

if TYPE_CHECKING:
    from relay.server.relay import Relay

GOODBYE = 0.5
"""Seconds between GOAWAY and the end of the sessions when the relay stops at once."""

LOOK = 0.1
"""Seconds between looks at whether everybody has left a relay that is about to stop."""


class Leaving(RelayError):
    """Nothing is wrong; the relay is about to stop."""

    code = 0
    session_code = 0


class Farewell:
    """One relay's."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._is_told = False

    async def drain(self, hurry: asyncio.Event) -> None:
        """Let nobody in, send everybody elsewhere, and give them ``server.drain`` seconds to go.

        Relays need not go, they have been told that no way leads on from here; but what they have
        through us is passed on until they have it another way. ``hurry`` ends the waiting. As long
        as anybody is with another worker this one stays, too, to turn away who comes: there is but
        one port.
        """
        relay = self._relay
        grace = relay.settings.server.drain
        self._tell()
        relay.log.info("draining", sessions=relay.door.visitors, seconds=grace)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while not hurry.is_set() and await self._is_needed():  # noqa: ASYNC110
                    await asyncio.sleep(LOOK)
        relay.log.info("drained", sessions=relay.door.visitors)

    async def end(self) -> None:
        """Show everybody out; who has not been told yet is told a moment before."""
        relay = self._relay
        if not self._is_told:
            self._tell()
            if relay.door.guests:
                await asyncio.sleep(GOODBYE)
        relay.press.close()
        relay.door.empty(Leaving(STOPPING))

    def _tell(self) -> None:
        self._is_told = True
        relay = self._relay
        relay.cluster.drain()
        relay.door.close(relay.settings.server.goaway, relay.cluster.near)

    async def _is_needed(self) -> bool:
        """Whether anybody who is waited for is here, or with a worker that answers."""
        relay = self._relay
        if relay.door.staying:
            return True
        for index in relay.colleagues.others:
            with contextlib.suppress(Unavailable):  # it has left already
                if await relay.colleagues.ask(index, "staying", patience=PATIENCE):
                    return True
        return False
