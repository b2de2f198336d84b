"""The store a command works on: named by a flag, the environment or a file, beside running relays.

The law: what a command changes is in the audit log, in the name of this machine's user. This module
must not know what is changed.
"""

from __future__ import annotations

import asyncio
import functools
import getpass
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path as File
from typing import Any, TypeVar

import click

from relay.auth.facts import StoredToken
from relay.cli.options import of_group
from relay.config import Settings, load
from relay.config.names import variable
from relay.errors import ConfigError
from relay.records.address import read_address
from relay.records.office import Office, Operator
from relay.records.opening import open_records
from relay.records.scribe import Scribe
from relay.records.sealing import Seal, require_seal
from relay.records.settings import AuditSettings
from relay.records.store import MAX_PAGE, Records

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def store_options(group: Callable[[], None]) -> Callable[..., None]:
    """Add the options that name the store, for all commands of a group."""

    @click.option("--config", type=click.Path(path_type=File), help="Settings that name the store.")
    @click.option("--url", metavar="URL", help="The store: sqlite:///relay.db or postgresql://…")
    @click.pass_context
    @functools.wraps(group)
    def told(ctx: click.Context, config: File | None, url: str | None) -> None:
        ctx.obj = (config, url)

    return told


def operator() -> Operator:
    """Whoever runs this command."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return Operator(f"cli:{user}")


async def all_tokens(store: Records) -> list[StoredToken]:
    """The API tokens of a store, page by page. Raises `StoreError`."""
    found: list[StoredToken] = []
    while page := await store.tokens(found[-1].prefix if found else ""):
        found += page
        if len(page) < MAX_PAGE:
            break
    return found


def with_store(work: Callable[[Records], Awaitable[T]], *, makes: bool = False) -> T:
    """Do something with the store of the settings; ``makes``: also where there is none yet.

    Raises `ConfigError` when there is none, so that a name that was misspelt is not taken for an
    empty store: nobody would be revoked, and an audit log without entries has no gap.
    """
    url = _url()
    try:
        file = read_address(url).file
    except ConfigError as error:
        raise ConfigError(f"records.url: {error}") from None
    if file is not None and not is_there(file):
        if not makes:
            raise ConfigError(f"records.url: {file}: there is no store; a relay makes one")
        click.echo(f"relay: {file}: a new store, there was none", err=True)

    async def run() -> T:
        store = await open_records(url, makes=makes)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def is_there(file: File) -> bool:
    """Whether there is such a file. Raises `ConfigError` where one may not even look."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(f"records.url: {file}: {error.strerror}") from None
    return True


def with_office(work: Callable[[Office], Awaitable[T]], *, makes: bool = False) -> T:
    """Do something to the store that the audit log should know, as `with_store` does it."""

    async def run(store: Records) -> T:
        node = f"{socket.gethostname()} (command)"
        scribe = Scribe(store.audit, AuditSettings(), node, time.time, silent)
        return await work(Office(store, scribe, time.time))

    return with_store(run, makes=makes)


async def seal_of(store: Records) -> Seal:
    """The root key of the environment. Raises `ConfigError` unless it is that of the store."""
    under = await store.secrets.sealed_under()
    seal = require_seal(Seal.read(os.environ), under, "the store's keys are sealed under it")
    assert seal is not None
    return seal


def settings() -> Settings:
    """The settings of ``--config``; without it those of the environment alone."""
    config, _ = _chosen()
    return load(config).settings if config is not None else Settings()


def _chosen() -> tuple[File | None, str | None]:
    """The file and the store that the group was told."""
    config, url = of_group() or (None, None)
    return config, url


def _url() -> str:
    """The store: the flag's, else the environment's, else the file's."""
    config, url = _chosen()
    named = url or os.environ.get(variable("records.url"))
    if not named and config is not None:
        named = load(config).settings.records.url
    if not named:
        raise ConfigError("records.url: not set; name the store with --url or --config")
    return named


def silent(event: str, **facts: Any) -> None:
    """A log that nobody reads."""
