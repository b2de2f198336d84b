"""Quotas, sealed secrets and signing keys in a database.

The law: whatever changes takes the number of its counter first, so that whoever changes the same
thing waits and whoever looks sees a new mark only with what it stands for. This module must not
know how a secret is sealed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from relay.auth.lifecycle import SigningKey
from relay.errors import ConfigError
from relay.quota import Override
from relay.quota.limits import MAX_TENANTS
from relay.records.database import Database, next_number, require_room, rows_of
from relay.records.kept import (
    MAX_SECRETS,
    Sealed,
    Step,
    StoredKey,
    in_order,
    require_one_root,
    root_of,
)
from relay.records.tables import quotas, secrets, signing_keys
from relay.records.whole import whole

_LIMITS = frozenset(Override.model_fields)


class SqlQuotas:
    """See `relay.records.kept.Quotas`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[str, Override | None]:
        """Every tenant that anything is said of."""
        async with self._database.read() as connection:
            rows = await rows_of(connection, select(quotas).limit(MAX_TENANTS))
        return {row["tenant"]: _read_quota(row["said"]) for row in rows}

    @whole
    async def put(self, tenant: str, said: Override) -> None:
        """Say something of a tenant."""
        text = said.model_dump_json(exclude_none=True)
        async with self._database.write() as connection:
            await next_number(connection, "quotas")
            await connection.execute(delete(quotas).where(quotas.c.tenant == tenant))
            await connection.execute(insert(quotas).values(tenant=tenant, said=text))
            await require_room(connection, quotas.c.tenant, MAX_TENANTS, "tenants with quotas")

    @whole
    async def drop(self, tenant: str) -> bool:
        """Unsay it."""
        async with self._database.write() as connection:
            await next_number(connection, "quotas")
            done = await connection.execute(delete(quotas).where(quotas.c.tenant == tenant))
            return done.rowcount == 1


class SqlSecrets:
    """See `relay.records.kept.Secrets`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @whole
    async def put(self, secret: Sealed) -> None:
        """Keep one more version."""
        named = f"version {secret.version} of {secret.name!r}"
        async with self._database.write() as connection:
            await _lock(connection)
            require_one_root(await _any_sealed(connection), secret.text)
            row = insert(secrets).values(asdict(secret))
            await self._database.insert(connection, row, named)
            await require_room(connection, secrets.c.name, MAX_SECRETS, "sealed secrets")

    async def get(self, purpose: str, name: str) -> Sealed | None:
        """The latest version."""
        wanted = select(secrets).where(secrets.c.purpose == purpose, secrets.c.name == name)
        async with self._database.read() as connection:
            latest = wanted.order_by(secrets.c.version.desc()).limit(1)
            rows = await rows_of(connection, latest)
        return Sealed(**rows[0]) if rows else None

    async def all(self, purpose: str) -> list[Sealed]:
        """All versions of all names for a purpose."""
        wanted = select(secrets).where(secrets.c.purpose == purpose)
        async with self._database.read() as connection:
            rows = await rows_of(connection, wanted.limit(MAX_SECRETS))
        return sorted((Sealed(**row) for row in rows), key=lambda each: (each.name, each.version))

    async def sealed_under(self) -> str | None:
        """The id of the root key that is in use."""
        async with self._database.read() as connection:
            return root_of(await _any_sealed(connection))


class SqlKeys:
    """See `relay.records.kept.Keys`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[StoredKey]:
        """All of them."""
        async with self._database.read() as connection:
            return await _keys(connection)

    @whole
    async def change(self, step: Step) -> list[StoredKey]:
        """Take a step while nobody else can."""
        async with self._database.write() as connection:
            await _lock(connection)
            before = await _keys(connection)
            after = in_order(step(before))
            sealed = [each.sealed for each in after if each.sealed]
            present = await _any_sealed(connection)
            for text in sealed:
                require_one_root(present or sealed[0], text)
            if after != before:
                await connection.execute(delete(signing_keys))
                for each in after:
                    await connection.execute(insert(signing_keys).values(_key_row(each)))
            return after


@whole
async def reseal(database: Database, again: Callable[[Sealed], str]) -> int:
    """Seal everything anew, all or nothing; how many secrets there were."""
    async with database.write() as connection:
        await _lock(connection)
        found = [Sealed(**row) for row in await rows_of(connection, select(secrets))]
        for each in found:
            one = (
                secrets.c.purpose == each.purpose,
                secrets.c.name == each.name,
                secrets.c.version == each.version,
            )
            await connection.execute(update(secrets).where(*one).values(text=again(each)))
        keys = [key for key in await _keys(connection) if key.sealed]
        for key in keys:
            mine = signing_keys.c.kid == key.key.kid
            statement = update(signing_keys).where(mine).values(sealed=again(key.secret))
            await connection.execute(statement)
        return len(found) + len(keys)


async def _lock(connection: AsyncConnection) -> None:
    """Nobody else changes anything sealed until this transaction has ended."""
    await next_number(connection, "keys")
    await next_number(connection, "secrets")


async def _any_sealed(connection: AsyncConnection) -> str:
    """Any text that is sealed; empty when there is none."""
    rows = await rows_of(connection, select(secrets.c.text).limit(1))
    if not rows:
        filled = select(signing_keys.c.sealed).where(signing_keys.c.sealed != "")
        rows = await rows_of(connection, filled.limit(1))
    return str(next(iter(rows[0].values()))) if rows else ""


def _read_quota(said: str) -> Override | None:
    """Limits that a later relay on the store knows and this one does not are passed over."""
    try:
        members = {name: value for name, value in json.loads(said).items() if name in _LIMITS}
        return Override.model_validate(members)
    except (ValueError, AttributeError, RecursionError):
        return None


async def _keys(connection: AsyncConnection) -> list[StoredKey]:
    return in_order(_read_key(row) for row in await rows_of(connection, select(signing_keys)))


def _key_row(stored: StoredKey) -> dict[str, Any]:
    members = asdict(stored.key)
    return members | {"public": json.dumps(stored.key.public), "sealed": stored.sealed}


def _read_key(row: Mapping[str, Any]) -> StoredKey:
    members = dict(row)
    sealed = members.pop("sealed")
    try:
        public = json.loads(members["public"])
        if not isinstance(public, dict):
            raise TypeError("no JWK")
        return StoredKey(SigningKey(**members | {"public": public}), sealed)
    except (TypeError, ValueError):
        raise ConfigError(f"the signing key {row['kid']} in the store cannot be read") from None
