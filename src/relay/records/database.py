"""Transactions of the lasting store, one SQLite file or PostgreSQL, through SQLAlchemy.

The law: a write is one transaction that begins with a write, so that it never has to upgrade a
lock, and it is on disk when it is left; numbers of one counter become visible in their order. This
module must not know the tables' meaning.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path as File
from typing import Any

from sqlalchemy import ColumnElement, Insert, func, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from relay.errors import BadRequest, LimitExceeded
from relay.records.pulse import FilePulse, Pulse, ServerPulse, Version
from relay.records.store import StoreError
from relay.records.tables import counters

_BESIDE = ("-wal", "-shm")
"""What SQLite has beside an open file, made by whoever uses it first and gone with the last."""

_WHICH = "which"
"""What a connection has open of those."""

_NO_TEXT = "22021"
"""What PostgreSQL says of it: character_not_in_repertoire."""


_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "text"),
}
"""By what a column holds: what is found in it, and what that is called."""


_FAILURES = (SQLAlchemyError, OSError, TimeoutError, OverflowError, MemoryError)
"""What a driver raises; `OverflowError` of a number that SQLite cannot hold, one after one that it
can, and `MemoryError` where SQLite has none."""


class _Misplaced(Exception):
    """A value that is none of its column's, which SQLite keeps like any other."""


class Database:
    """An engine whose tables are up to date."""

    def __init__(self, engine: AsyncEngine, shown: str, file: File | None) -> None:
        """``shown`` is what errors call the store, ``file`` where SQLite has it."""
        self._engine = engine
        self._shown = shown
        self._file = file
        self._beside = None if file is None else [f"{file}{end}" for end in _BESIDE]
        self._which = which(file)
        self._pulse: Pulse = ServerPulse(engine) if file is None else FilePulse(file)
        self._pulse_has: dict[Any, Any] = {}

    async def version(self) -> Version:
        """What is another one after every commit of anybody's, where that is known.

        Raises `StoreError` as `read` does where the file is gone, or there is no answer in time.
        """
        self._require_file()
        try:
            version = await self._pulse.beat()
        except TimeoutError as error:
            raise StoreError(f"{self._shown}: {explained(error)}") from None
        if version is None:
            self._pulse_has.clear()  # it opens the file anew
        else:
            self._require_beside(self._pulse_has)
        return version

    async def close(self) -> None:
        """Let go of the store."""
        await self._pulse.close()
        await self._engine.dispose()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed, and so on disk, when it is left without an error.

        Raises `BadRequest` for a text that can never be written, such as one with a NUL.
        """
        self._require_file()
        try:
            async with self._engine.begin() as connection:
                self._require_beside(connection.info)
                yield connection
        except _FAILURES as error:
            if getattr(getattr(error, "orig", None), "sqlstate", "") == _NO_TEXT:
                raise BadRequest("a text that the store cannot hold") from None
            raise StoreError(f"{self._shown}: {explained(error)}") from None
        except _Misplaced as error:
            raise StoreError(f"{self._shown}: {error}") from None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read with."""
        self._require_file()
        try:
            async with self._engine.connect() as connection:
                self._require_beside(connection.info)
                yield connection
        except _FAILURES as error:
            raise StoreError(f"{self._shown}: {explained(error)}") from None
        except _Misplaced as error:
            raise StoreError(f"{self._shown}: {error}") from None

    def _require_file(self) -> None:
        """Raises `StoreError` when the file is gone or is another one: what is written to the one
        that is open is nowhere any more, and what others write is not seen."""
        if which(self._file) != self._which:
            raise StoreError(f"{self._shown}: the file was deleted or replaced; restart to open it")

    def _require_beside(self, known: dict[Any, Any]) -> None:
        """Raises `StoreError` when what stands beside the file is no longer what this connection,
        about which that much is ``known``, has open: it holds what was written last, and stays for
        as long as anybody has it open."""
        beside = self._beside and tuple(map(which, self._beside))
        if beside and None not in beside and _WHICH not in known:
            known[_WHICH] = beside
        if known.get(_WHICH, beside) != beside:
            hint = "was deleted or replaced; restart to open it"
            raise StoreError(f"{self._shown}: its {' or '.join(_BESIDE)} {hint}")

    async def insert(self, connection: AsyncConnection, row: Insert, named: str) -> None:
        """One more row. Raises `BadRequest` when there is ``named`` already."""
        try:
            await connection.execute(row)
        except IntegrityError:
            raise BadRequest(f"there is {named} already") from None


def which(file: File | str | None) -> tuple[int, int] | None:
    """What tells a file from every other; ``None`` where there is none."""
    if file is None:
        return None
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def explained(error: BaseException) -> str:
    """What a driver said, in one line without statements and their values."""
    is_silent = isinstance(error, TimeoutError) and not str(error)
    if is_silent or isinstance(error, NoneFree):
        return "no answer in time"
    if isinstance(error, MemoryError):
        return "no memory"
    said = str(getattr(error, "orig", None) or error) or type(error).__name__
    return said.strip().splitlines()[0][:200] if said.strip() else type(error).__name__


async def rows_as_written(connection: AsyncConnection, statement: Any) -> list[Mapping[str, Any]]:
    """The rows that a statement finds, whatever stands in them."""
    found = await connection.execute(statement)
    return [dict(row) for row in found.mappings()]


async def rows_of(connection: AsyncConnection, statement: Any) -> list[Mapping[str, Any]]:
    """The same with values of the columns' types. Within a transaction of `Database` another one,
    which somebody wrote by hand, ends in `StoreError`."""
    rows = await rows_as_written(connection, statement)
    for column in statement.exported_columns:
        kinds, called = _KINDS.get(column.type.python_type, ((object,), ""))
        for row in rows:
            value = row[column.name]
            is_endless = isinstance(value, float) and not math.isfinite(value)
            if value is not None and (is_endless or not isinstance(value, kinds)):
                where = f"table {column.table.name}, column {column.name}{_row(column.table, row)}"
                said = f"{value}" if is_endless else type(value).__name__
                raise _Misplaced(f"{where}: {called} was expected, not {said}")
    return rows


def _row(table: Any, row: Mapping[str, Any]) -> str:
    """Which row it is, as far as is known."""
    keys = [column.name for column in table.primary_key if column.name in row]
    return "".join(f", {name} {row[name]!r}" for name in keys)


async def next_number(connection: AsyncConnection, counter: str, count: int = 1) -> int:
    """The next number of a counter, the last of ``count`` of them; nobody else gets one until this
    transaction has ended."""
    grown = update(counters).where(counters.c.name == counter)
    taken = await connection.execute(
        grown.values(value=counters.c.value + count).returning(counters.c.value)
    )
    number = taken.scalar_one()
    if not isinstance(number, int):  # by hand, or beyond what SQLite holds
        where = f"table counters, column value, name {counter!r}"
        raise _Misplaced(f"{where}: a whole number was expected, with room for more")
    return number


async def require_room(
    connection: AsyncConnection,
    column: Any,
    most: int,
    what: str,
    counted: ColumnElement[bool] | None = None,
) -> None:
    """Raises `LimitExceeded`, which rolls back, when there are more than ``most`` rows."""
    count = select(func.count(column))
    count = count if counted is None else count.where(counted)
    if (await connection.execute(count)).scalar_one() > most:
        raise LimitExceeded(f"{most} {what} in one store")
