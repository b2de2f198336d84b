"""Naming all that is announced, to whoever asks over HTTP.

The law: a question of a few bytes holds nobody else up, however much the answer names and however
many ask: one is answered at a time, and between two pieces of it everybody has a turn. This module
must not know who asks.
"""

from __future__ import annotations

import asyncio

from relay.model.scope import Scope

AT_ONCE = 1024
"""Broadcasts that are named in one turn."""


class Directory:
    """All that is announced on one relay."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def names(self, scope: Scope) -> list[str]:
        """What a scope sees, relative to its root, in order."""
        names: list[str] = []
        async with self._turn:
            piece: list[str] = []
            for name in scope.names():
                piece.append(name)
                if len(piece) == AT_ONCE:
                    names += sorted(piece)  # makes it quick to bring all in order at the end
                    piece.clear()
                    await asyncio.sleep(0)
            names += piece
            names.sort()
        return names
