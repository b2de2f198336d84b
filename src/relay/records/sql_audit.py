"""The audit log in a database.

The law: whoever appends holds the counter until the batch is written, so that there is one chain
and no gap in it. This module must not know what entries are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from relay.records.audit import EXACT, FIRST, MAX_LIMIT, Entry, Fact, Query, linked
from relay.records.database import Database, next_number, rows_as_written, rows_of
from relay.records.store import MAX_PAGE
from relay.records.tables import audit, counters
from relay.records.whole import whole

SECOND = 1_000_000
"""Microseconds."""


PRUNED_AT_ONCE = 10_000
"""Entries that one transaction deletes: whoever appends meanwhile waits for it."""

_LAST_FIRST = audit.c.number.desc()
_COUNTER = select(counters).where(counters.c.name == "audit")


class SqlAudit:
    """See `relay.records.kept.Audit`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @whole
    async def append(self, facts: Sequence[Fact]) -> list[Entry]:
        """Write them down."""
        if not facts:
            return []
        async with self._database.write() as connection:
            return await _append(connection, facts)

    @whole
    async def ensure(self, facts: Sequence[Fact]) -> list[Entry]:
        """Write them down, unless they are."""
        async with self._database.write() as connection:
            # Whoever still writes them holds the counter: it is known afterwards.
            await next_number(connection, "audit", 0)
            return await _found(connection, facts) or await _append(connection, facts)

    async def entries(self, query: Query) -> list[Entry]:
        """What a query finds."""
        wanted = _wanted(query).order_by(_LAST_FIRST).limit(min(query.limit, MAX_LIMIT))
        async with self._database.read() as connection:
            return [Entry(**row) for row in await rows_of(connection, wanted)]

    async def outermost(self) -> list[Entry]:
        """Those with the least and the greatest number."""
        ends = [select(audit).order_by(each).limit(1) for each in (audit.c.number, _LAST_FIRST)]
        async with self._database.read() as connection:
            found = [await rows_as_written(connection, wanted) for wanted in ends]
        return [Entry(**row) for rows in found for row in rows]

    async def after(self, number: int, limit: int) -> list[Entry]:
        """The entries after that number."""
        later = select(audit).where(audit.c.number > number).order_by(audit.c.number)
        async with self._database.read() as connection:
            rows = await rows_as_written(connection, later.limit(min(limit, MAX_PAGE)))
        return [Entry(**row) for row in rows]

    async def length(self) -> int:
        """The number of the last entry that was ever written."""
        async with self._database.read() as connection:
            rows = await rows_of(connection, _COUNTER)
        return int(rows[0]["value"]) if rows else 0

    @whole
    async def prune(self, before: float, fact: Fact) -> int:
        """Delete the oldest of what is older, and say so."""
        since = round(before * SECOND)
        is_young = (audit.c.at + 0).between(since, round(fact.at * SECOND))  # walked, not looked up
        young = select(audit.c.number).where(is_young).order_by(audit.c.number).limit(1)
        older = select(func.min(audit.c.number), func.max(audit.c.number))
        # A number that somebody wrote as text is greater than any.
        older = older.where(audit.c.at < since, audit.c.number <= await self.length())
        async with self._database.read() as connection:
            kept = (await connection.execute(young)).scalar_one_or_none()
            if kept is not None:
                older = older.where(audit.c.number < kept)
            first, through = (await connection.execute(older)).one()
        if through is None:
            return 0
        last = min(through, first + PRUNED_AT_ONCE - 1)
        async with self._database.write() as connection:
            await _append(connection, [replace(fact, target=str(last))])
            gone = await connection.execute(delete(audit).where(audit.c.number <= last))
        return gone.rowcount


async def _append(connection: AsyncConnection, facts: Sequence[Fact]) -> list[Entry]:
    last = await next_number(connection, "audit", len(facts))
    first = last - len(facts) + 1
    entries = linked(facts, first, await _hash(connection, first - 1))
    await connection.execute(insert(audit), [entry.row() for entry in entries])
    return entries


async def _found(connection: AsyncConnection, facts: Sequence[Fact]) -> list[Entry]:
    """The entries of just these facts, which were written together; none where they were not."""
    first = Entry.of(facts[0], 0, FIRST)
    alike = [audit.c[name] == getattr(first, name) for name in ("at", "node", "action", "id")]
    begin = select(func.min(audit.c.number)).where(*alike).scalar_subquery()
    wanted = select(audit).where(audit.c.number >= begin).order_by(audit.c.number)
    rows = await rows_as_written(connection, wanted.limit(len(facts)))
    entries = [Entry(**row) for row in rows]
    if not entries or entries != linked(facts, entries[0].number, entries[0].previous):
        return []
    return entries


async def _hash(connection: AsyncConnection, number: int) -> str:
    found = await connection.execute(select(audit.c.hash).where(audit.c.number == number))
    return str(found.scalar_one_or_none() or FIRST)


def _begins(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Letter for letter: to SQLite's LIKE ``/Plant`` begins as ``/plant`` does."""
    return func.substr(column, 1, func.length(text)) == text


def _wanted(query: Query) -> Select[Any]:
    wanted = select(audit)
    if query.since is not None:
        wanted = wanted.where(audit.c.at >= round(query.since * SECOND))
    if query.until is not None:
        wanted = wanted.where(audit.c.at < round(query.until * SECOND))
    if query.before is not None:
        wanted = wanted.where(audit.c.number < query.before)
    for name in EXACT:
        if text := getattr(query, name):
            wanted = wanted.where(audit.c[name] == text)
    if query.action:
        begins = _begins(audit.c.action, f"{query.action}.")
        wanted = wanted.where(or_(audit.c.action == query.action, begins))
    if query.target.endswith("*"):
        wanted = wanted.where(_begins(audit.c.target, query.target[:-1]))
    elif query.target:
        wanted = wanted.where(audit.c.target == query.target)
    return wanted
