"""The lasting store: API tokens, revocations and tickets in a database, and the way to the rest.

The law: nothing of SQLAlchemy leaves this module, neither values nor errors. It must not know who
asks nor why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path as File

from sqlalchemy import ColumnElement, Delete, and_, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from relay.auth.facts import StoredToken
from relay.auth.grant import Grant
from relay.auth.revocation import MAX_REVOCATIONS, Revocation, outliving
from relay.records.database import Database, next_number, require_room, rows_of
from relay.records.kept import Sealed
from relay.records.pulse import Standing
from relay.records.rows import (
    grant_text,
    read_change,
    read_grant,
    read_token_row,
    revocation_row,
    token_row,
)
from relay.records.sql_audit import SqlAudit
from relay.records.sql_kept import SqlKeys, SqlQuotas, SqlSecrets, reseal
from relay.records.store import (
    KEEP_ENDED,
    KEEP_WITHDRAWN,
    MAX_PAGE,
    MAX_TICKETS,
    MAX_TOKENS,
    Change,
)
from relay.records.tables import api_tokens, counters, revocations, tickets
from relay.records.whole import whole


class SqlRecords:
    """Records in a database. Made by `open_records`, which has brought the tables up to date."""

    def __init__(self, engine: AsyncEngine, shown: str, file: File | None) -> None:
        """``shown`` is what errors call the store, ``file`` where SQLite has it."""
        self._engine = engine
        self._database = Database(engine, shown, file)
        self._changes: Standing[list[Change]] = Standing(self._database.version)
        self._marks: Standing[Mapping[str, int]] = Standing(self._database.version)
        self.quotas = SqlQuotas(self._database)
        self.secrets = SqlSecrets(self._database)
        self.keys = SqlKeys(self._database)
        self.audit = SqlAudit(self._database)

    # -- API tokens ----------------------------------------------------------------------------

    @whole
    async def add_token(self, token: StoredToken) -> None:
        """Keep a new API token."""
        async with self._database.write() as connection:
            row = insert(api_tokens).values(token_row(token))
            await self._database.insert(connection, row, f"an API token {token.id}")
            await require_room(connection, api_tokens.c.prefix, MAX_TOKENS, "API tokens")

    async def find_token(self, prefix: str) -> StoredToken | None:
        """The API token of that prefix."""
        async with self._database.read() as connection:
            return await _token(connection, prefix)

    async def tokens(self, after: str = "", limit: int = MAX_PAGE) -> list[StoredToken]:
        """API tokens by prefix."""
        wanted = select(api_tokens).where(api_tokens.c.prefix > after)
        ordered = wanted.order_by(api_tokens.c.prefix).limit(min(limit, MAX_PAGE))
        async with self._database.read() as connection:
            return [read_token_row(dict(row)) for row in await rows_of(connection, ordered)]

    @whole
    async def revoke_token(self, prefix: str, now: float, reason: str = "") -> Revocation | None:
        """Refuse the token from now on."""
        fresh = update(api_tokens).where(
            api_tokens.c.prefix == prefix, api_tokens.c.revoked.is_(None)
        )
        async with self._database.write() as connection:
            await connection.execute(fresh.values(revoked=now))
            token = await _token(connection, prefix)
            if token is None:
                return None
            ends = outliving(token.expires)
            entry = Revocation("jti", token.id, expires=ends, reason=reason, created=now)
            return await _revoke(connection, entry, now)

    @whole
    async def mark_used(self, uses: Mapping[str, float]) -> None:
        """Note when tokens were last used."""
        if not uses:
            return
        later = or_(api_tokens.c.last_used.is_(None), api_tokens.c.last_used < bindparam("used_at"))
        statement = update(api_tokens).where(api_tokens.c.prefix == bindparam("named"), later)
        rows = [{"named": prefix, "used_at": used} for prefix, used in sorted(uses.items())]
        async with self._database.write() as connection:
            await connection.execute(statement.values(last_used=bindparam("used_at")), rows)

    # -- revocations ---------------------------------------------------------------------------

    @whole
    async def revoke(self, entry: Revocation, now: float) -> Revocation:
        """Put a revocation in force."""
        entry.require_sense()
        async with self._database.write() as connection:
            return await _put_in_force(connection, entry, now)

    @whole
    async def adopt(self, entry: Revocation, now: float) -> bool:
        """Put what was revoked elsewhere in force, once."""
        entry.require_sense()
        known = ~_is_same(entry) | (revocations.c.created >= entry.created)
        covering = select(revocations.c.id).where(_in_force(now), _covers(entry), known).limit(1)
        async with self._database.write() as connection:
            await next_number(connection, "revocations", 0)  # others wait from here on
            if (await connection.execute(covering)).first() is not None:
                return False
            await _put_in_force(connection, entry, now)
            return True

    @whole
    async def withdraw(self, id: int, now: float) -> bool:
        """Take a revocation back."""
        async with self._database.write() as connection:
            number = await next_number(connection, "revocations")
            done = await connection.execute(
                update(revocations)
                .where(revocations.c.id == id, _in_force(now))
                .values(withdrawn=True, changed=number, expires=now + KEEP_WITHDRAWN)
            )
            return done.rowcount == 1

    async def revocations(self, now: float, after: int = 0) -> list[Revocation]:
        """Revocations in force."""
        wanted = select(revocations).where(revocations.c.id > after, _in_force(now))
        async with self._database.read() as connection:
            rows = await rows_of(connection, wanted.order_by(revocations.c.id).limit(MAX_PAGE))
        return [read_change(row).entry for row in rows]

    async def changes(self, after: int) -> list[Change]:
        """Changes after that number."""
        return await self._changes.ask(after, partial(self._read_changes, after))

    async def _read_changes(self, after: int) -> list[Change]:
        wanted = select(revocations).where(revocations.c.changed > after)
        async with self._database.read() as connection:
            rows = await rows_of(connection, wanted.order_by(revocations.c.changed).limit(MAX_PAGE))
        return [read_change(row) for row in rows]

    # -- tickets -------------------------------------------------------------------------------

    @whole
    async def save_ticket(self, digest: str, grant: Grant, expires: float, now: float) -> None:
        """Keep a ticket."""
        row = {"digest": digest, "grant": grant_text(grant), "expires": expires}
        async with self._database.write() as connection:
            await self._database.insert(connection, insert(tickets).values(row), "such a ticket")
            live = tickets.c.expires > now
            await require_room(connection, tickets.c.digest, MAX_TICKETS, "tickets", live)

    @whole
    async def take_ticket(self, digest: str, now: float) -> Grant | None:
        """What a ticket stands for, once."""
        taken = delete(tickets).where(tickets.c.digest == digest)
        async with self._database.write() as connection:
            wanted = taken.returning(tickets.c.grant, tickets.c.expires)
            rows = await rows_of(connection, wanted)
        return read_grant(rows[0]["grant"]) if rows and now < rows[0]["expires"] else None

    # -- all together --------------------------------------------------------------------------

    async def marks(self) -> Mapping[str, int]:
        """Where each kind of change has got to."""
        return await self._marks.ask((), self._read_marks)

    async def _read_marks(self) -> Mapping[str, int]:
        async with self._database.read() as connection:
            found = await rows_of(connection, select(counters))
        return {row["name"]: row["value"] for row in found}

    async def reseal(self, again: Callable[[Sealed], str]) -> int:
        """Seal everything anew, in one transaction."""
        return await reseal(self._database, again)

    # -- keeping house -------------------------------------------------------------------------

    @whole
    async def forget(self, now: float) -> None:
        """Delete what has ended."""
        async with self._database.write() as connection:
            ended: list[Delete] = [
                delete(revocations).where(revocations.c.expires <= now),
                delete(tickets).where(tickets.c.expires <= now),
                delete(api_tokens).where(
                    or_(
                        api_tokens.c.expires <= now - KEEP_ENDED,
                        api_tokens.c.revoked <= now - KEEP_ENDED,
                    )
                ),
            ]
            for statement in ended:
                await connection.execute(statement)

    async def close(self) -> None:
        """Let go of the store."""
        await self._database.close()


async def _token(connection: AsyncConnection, prefix: str) -> StoredToken | None:
    rows = await rows_of(connection, select(api_tokens).where(api_tokens.c.prefix == prefix))
    return read_token_row(rows[0]) if rows else None


async def _put_in_force(connection: AsyncConnection, entry: Revocation, now: float) -> Revocation:
    """Raises `LimitExceeded`, which rolls back."""
    kept = await _revoke(connection, replace(entry, created=entry.created or now), now)
    await require_room(connection, revocations.c.id, MAX_REVOCATIONS, "revocations", _in_force(now))
    return kept


async def _revoke(connection: AsyncConnection, entry: Revocation, now: float) -> Revocation:
    """Keep an entry, or renew the same that is in force; the number of its making is its id, so
    that no id is ever given twice."""
    number = await next_number(connection, "revocations")
    wanted = select(revocations).where(_in_force(now), _is_same(entry))
    latest = wanted.order_by(revocations.c.id.desc()).limit(1)
    for row in await rows_of(connection, latest):
        kept = read_change(row).entry.renewed(entry)
        renewed = update(revocations).where(revocations.c.id == kept.id)
        said = {"created": kept.created, "reason": kept.reason, "changed": number}
        await connection.execute(renewed.values(said))
        return kept
    kept = replace(entry, id=number)
    row = revocation_row(kept) | {"changed": number}
    await connection.execute(insert(revocations).values(row))
    return kept


def _in_force(now: float) -> ColumnElement[bool]:
    unexpired = or_(revocations.c.expires.is_(None), revocations.c.expires > now)
    return ~revocations.c.withdrawn & unexpired


def _is_same(entry: Revocation) -> ColumnElement[bool]:
    """Whether `key_of` is the same, of those that are kept."""
    kept = revocations.c
    return and_(
        kept.dimension == entry.dimension,
        kept.value == entry.value,
        kept.issued_before.is_not_distinct_from(entry.issued_before),
        kept.expires.is_not_distinct_from(entry.expires),
    )


def _covers(entry: Revocation) -> ColumnElement[bool]:
    """`Revocation.covers`, of those that are kept."""
    kept = revocations.c
    return and_(
        kept.dimension == entry.dimension,
        kept.value == entry.value,
        _not_before(kept.issued_before, entry.issued_before),
        _not_before(kept.expires, entry.expires),
    )


def _not_before(column: ColumnElement[float | None], time: float | None) -> ColumnElement[bool]:
    """Whether a time is not before another, where ``None`` is the end of all time."""
    endless = column.is_(None)
    return endless if time is None else endless | (column >= time)
