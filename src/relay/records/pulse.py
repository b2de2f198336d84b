"""Whether anything was committed to a store, which costs little to ask.

What polls a store asks the same again and again, and mostly nothing has changed: a query through
SQLAlchemy takes a millisecond of CPU, and one of SQLite a thread besides. The law: what is answered
from memory is what the store would answer. This module must not know what is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

TRUSTED = 5.0
"""Seconds for which an answer stands at most: only a question tells whether the store answers."""

Version = tuple[int, Hashable] | None
"""What is never the same again after a commit of anybody's; ``None`` where that is not known."""


_SEEN = "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_current_snapshot()::text END"
"""What a PostgreSQL is asked. A standby does not name those that are in progress, so that nothing
changes when one of them is committed."""


class Pulse(Protocol):
    """Who tells the version: by a connection of its own that never writes."""

    async def beat(self) -> Version:
        """The version now. Raises `TimeoutError` where the store would not answer either."""

    async def close(self) -> None:
        """Let go of the store, for good."""


class FilePulse:
    """That of a file of SQLite: ``data_version`` (sqlite.org/pragma.html), in microseconds. Nobody
    is waited for: where the file is locked, nothing is told."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._opened = 0
        self._is_closed = False

    async def beat(self) -> Version:
        """See `Pulse`."""
        if self._is_closed:
            return None
        try:
            if self._connection is None:
                self._opened += 1
                place = f"{self._file.absolute().as_uri()}?mode=rw"  # it is never made here
                self._connection = sqlite3.connect(place, timeout=0, isolation_level=None, uri=True)
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except (sqlite3.Error, OSError, ValueError):
            self._let_go()
            return None
        return self._opened, version

    async def close(self) -> None:
        """See `Pulse`."""
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ServerPulse:
    """That of a PostgreSQL: which transactions are seen (``pg_current_snapshot``, 9.27 of its
    manual). Where the same are, the same is read."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: Any = None
        self._asking = asyncio.Lock()
        self._opened = 0
        self._is_closed = False

    async def beat(self) -> Version:
        """See `Pulse`."""
        async with self._asking:
            if self._is_closed:
                return None
            seen = None
            try:
                if self._connection is None:
                    self._connection = await self._open()
                seen = await self._connection.fetchval(_SEEN)
            except TimeoutError:
                raise
            except Exception:  # of the driver's many kinds; what is asked then says what is wrong
                return None
            finally:
                if seen is None or self._is_closed:
                    self._let_go()  # also who was cancelled: the next one would wait for that
            return (self._opened, seen) if seen else None

    async def _open(self) -> Any:
        """A connection as all others have it, which they do without. One that was left behind from
        before the server was restarted fails once."""
        held = await self._engine.raw_connection()
        connection = held.driver_connection
        held.detach()
        self._opened += 1
        return connection

    async def close(self) -> None:
        """See `Pulse`. Nobody is waited for who is asking, as long as a server may take."""
        self._is_closed = True
        if self._connection is not None:
            with contextlib.suppress(Exception):
                await self._connection.close(timeout=1.0)
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


class Standing(Generic[T]):
    """The last answer to a question that is asked again and again."""

    def __init__(
        self,
        version: Callable[[], Awaitable[Version]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._version = version
        self._clock = clock
        self._known: tuple[Version, Hashable, T] | None = None
        self._until = 0.0

    async def ask(self, question: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """The answer: the last one where it stands, or what is read. Raises what either does."""
        now, version = self._clock(), await self._version()  # of before: what is read may be newer
        known = self._known
        if known is not None and known[:2] == (version, question) and now < self._until:
            await asyncio.sleep(0)  # others have their turn, as while the store is asked
            return known[2]
        self._known = None
        answer = await read()
        if version is not None:
            self._known, self._until = (version, question, answer), now + TRUSTED
        return answer
