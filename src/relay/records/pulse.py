"""Whether anything was committed to a file of SQLite, which costs microseconds to ask.

What polls a store asks the same again and again, and mostly nothing has changed: a query through
SQLAlchemy and a thread takes a thousand times as long. The law: what is answered from memory is
what the store would answer. This module must not know what is stored.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path as File
from typing import Generic, TypeVar

T = TypeVar("T")

TRUSTED = 5.0
"""Seconds for which an answer stands at most: only a question tells whether the store answers."""


class Pulse:
    """A connection of its own that never writes, so that every commit is somebody else's."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._opened = 0
        self._is_closed = False

    def beat(self) -> tuple[int, int] | None:
        """What is never the same again after a commit; ``None`` where that cannot be told now.

        SQLite's ``data_version`` says so to one connection (sqlite.org/pragma.html). Nobody is
        waited for: where the file is locked, nothing is told.
        """
        if self._is_closed:
            return None
        try:
            if self._connection is None:
                self._opened += 1
                place = f"{self._file.absolute().as_uri()}?mode=rw"  # it is never made here
                self._connection = sqlite3.connect(place, 0, isolation_level=None, uri=True)
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except (sqlite3.Error, OSError, ValueError):
            self._let_go()
            return None
        return self._opened, version

    def close(self) -> None:
        """Let go of the file, for good."""
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Standing(Generic[T]):
    """The last answer to a question that is asked again and again."""

    def __init__(
        self,
        version: Callable[[], Hashable | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``version`` is another one after every commit, and ``None`` where it is not known."""
        self._version = version
        self._clock = clock
        self._known: tuple[Hashable, Hashable, T] | None = None
        self._until = 0.0

    async def ask(self, question: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """The answer: the last one where it stands, or what is read. Raises what either does."""
        now, version = self._clock(), self._version()  # of before: what is read may be newer
        known = self._known
        if known is not None and known[:2] == (version, question) and now < self._until:
            await asyncio.sleep(0)  # others have their turn, as while the store is asked
            return known[2]
        self._known = None
        answer = await read()
        if version is not None:
            self._known, self._until = (version, question, answer), now + TRUSTED
        return answer
