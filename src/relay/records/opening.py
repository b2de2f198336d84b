"""How a store is opened: the right one for a URL, its tables brought up to date first.

The law: a store that cannot be opened, or was made by a newer relay or by another program, stops
whoever asked with one line, and is left as it is; of several relays that open one store at a time
one migrates and the others wait. This module must not know what is stored.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import random
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

from relay.errors import ConfigError
from relay.records.address import Address, read_address
from relay.records.memory import MemoryRecords
from relay.records.store import Records

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BUSY_SECONDS = 5.0
"""Seconds that a writer of SQLite waits for another."""

ANSWER_SECONDS = 10.0
"""Seconds that a server may take to be reached, and to answer one statement. Where it hangs, or its
machine is gone, no connection would ever end by itself."""

AGAIN = 0.05
"""Seconds at most until a store is tried again that others are about to open as well."""

CONNECTIONS = 5
"""Connections of one process to one store."""

LOADED = (
    "aiosqlite",
    "alembic.command",
    "alembic.config",
    "relay.records.database",
    "relay.records.sql",
    "sqlalchemy.dialects.sqlite.aiosqlite",
)
"""What is loaded when a store is opened; it takes longer than anything else of that."""

_LOCK = 0x6D6F7172
"""The advisory lock of PostgreSQL under which tables are migrated."""

_ENCODINGS = {"UTF8", "SQL_ASCII"}
"""Encodings of a database that can hold every text. In another one the first path of a stranger's
that it cannot hold would keep all that comes after out of the audit log."""

_OURS = {"alembic_version", "counters"}
"""Tables that every store has had since the first."""

_PRAGMAS = (
    f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}",
    # FULL: every commit is synced, so that what was acknowledged survives a power cut.
    "PRAGMA synchronous=FULL",
)


async def open_records(url: str | None, *, makes: bool = True) -> Records:
    """The store of ``records.url``; without one, what lives as long as the process.

    ``makes``: also where there is none yet. Raises `ConfigError`, one line, when it cannot be
    opened.
    """
    if url is None:
        return MemoryRecords()
    # The database code is large, and a relay without a store never needs it.
    from sqlalchemy.exc import SQLAlchemyError

    from relay.records.database import explained
    from relay.records.sql import SqlRecords

    address = read_address(url)
    engine = _engine(address)
    try:
        await _begin(engine, address, makes)
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        await engine.dispose()
        raise ConfigError(f"records.url: {address.shown}: {explained(error)}") from None
    except (TypeError, ValueError) as error:
        # The driver's answer to parameters and host names that it cannot use.
        await engine.dispose()
        hint = "; its name there is ssl" if "sslmode" in str(error) else ""
        raise ConfigError(f"records.url: {address.shown}: {explained(error)}{hint}") from None
    except BaseException:
        await engine.dispose()
        raise
    return SqlRecords(engine, address.shown, address.file)


def preload() -> None:
    """Load what opening a store takes, where processes are forked from this one to do so."""
    for name in LOADED:
        importlib.import_module(name)


async def _begin(engine: AsyncEngine, address: Address, makes: bool) -> None:
    """Connect the first time, and have the tables brought up to date.

    Of several that give a new file its journal at a time SQLite turns some away at once, however
    long they would wait: they try again.
    """
    from sqlalchemy.exc import OperationalError

    clock = asyncio.get_running_loop().time
    until = clock() + BUSY_SECONDS
    while True:
        try:
            async with engine.connect() as connection:
                await _require_store(connection, address, makes)
                await _migrate(connection, address)
            return
        except OperationalError as error:
            if "database is locked" not in str(error.orig) or clock() >= until:
                raise
        await asyncio.sleep(random.uniform(0.0, AGAIN))


def _engine(address: Address) -> AsyncEngine:
    from sqlalchemy import event
    from sqlalchemy.ext.asyncio import create_async_engine

    if address.file is not None:
        _make_private(address.file)
    try:
        engine = create_async_engine(
            address.driver,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=BUSY_SECONDS,
            **({} if address.file is not None else _manners(address)),
        )
    except ImportError:
        hint = "install the extra: pip install -e '.[postgres]'"
        raise ConfigError(f"records.url: PostgreSQL is not installed here; {hint}") from None
    except Exception:
        raise ConfigError(f"records.url: {address.shown}: not a URL of a database") from None
    if address.file is not None:
        event.listen(engine.sync_engine, "connect", _prepare)
    return engine


def _manners(address: Address) -> dict[str, Any]:
    """How a server is treated, whatever it is set to.

    The driver waits for it only so long, unless the URL says so, and leaves nothing behind in a
    connection: between us and the server there may be one who gives each transaction another
    (pgbouncer), where statements that were prepared in the last one are not, and their names are
    taken by others. Writers wait for each other; stricter isolation turns all but one away.
    """
    from sqlalchemy import make_url

    said = make_url(address.driver).query
    waits = {
        name: float(said.get(name, ANSWER_SECONDS))  # type: ignore[arg-type]
        for name in ("timeout", "command_timeout")
    }
    nameless = {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",  # until the next one
    }
    return {"connect_args": waits | nameless, "isolation_level": "READ COMMITTED"}


def _make_private(file: File) -> None:
    """The file is its owner's alone from its first byte on: it holds who may come in.

    One that is there is not opened: closing it would let go of the locks that SQLite holds on it
    for another store of this process.
    """
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if file.is_dir():
            raise ConfigError(f"records.url: {file}: {os.strerror(errno.EISDIR)}") from None
        if not os.access(file, os.R_OK | os.W_OK):
            raise ConfigError(f"records.url: {file}: {os.strerror(errno.EACCES)}") from None
    except OSError as error:
        raise ConfigError(f"records.url: {file}: {error.strerror}") from None


def _prepare(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


async def _require_store(connection: AsyncConnection, address: Address, makes: bool) -> None:
    """Raises `ConfigError` where our tables are not and may not be made, or cannot hold all texts.

    A file of SQLite is one program's; in a database others may have tables beside ours.
    """
    from sqlalchemy import inspect

    if address.file is None:
        asked = await connection.exec_driver_sql("SHOW server_encoding")
        if (encoding := asked.scalar_one()) not in _ENCODINGS:
            hint = "it has to be in UTF8 (createdb --encoding UTF8 --template template0)"
            said = f"the database is in {encoding}; {hint}"
            raise ConfigError(f"records.url: {address.shown}: {said}")
    names = await connection.run_sync(lambda plain: inspect(plain).get_table_names())
    if _OURS.issubset(names):
        return
    if names and address.file is not None:
        raise ConfigError(f"records.url: {address.shown}: another program's, it has other tables")
    if not makes:
        raise ConfigError(f"records.url: {address.shown}: there is no store; a relay makes one")


async def _migrate(connection: AsyncConnection, address: Address) -> None:
    """Take the steps that are missing, all or none of them."""
    if address.file is not None:
        await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    await connection.run_sync(_upgrade, address.shown)
    await connection.commit()


def _upgrade(connection: Connection, shown: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "relay.records:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except (CommandError, AssertionError):  # the latter where no step is named, by an empty text
        hint = "it was made by a newer relay"
        raise ConfigError(f"records.url: {shown}: its tables are not known here; {hint}") from None
