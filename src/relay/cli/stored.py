"""What the records store knows about one request: its API token, and who is revoked.

The law: the store is read and never used up: a ticket is not looked up, since looking spends it,
and a store that is not there is not made. This module must not know what a decision does with it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from relay.auth.facts import NO_FACTS, Facts
from relay.auth.keys import KeySet
from relay.auth.needs import needs
from relay.auth.request import Request
from relay.cli.store import is_there, silent
from relay.config.shape import Settings
from relay.errors import ConfigError
from relay.records.address import read_address
from relay.records.feed import RevocationFeed
from relay.records.opening import open_records
from relay.records.signing import vouching
from relay.records.store import StoreError

TICKET = "the ticket was not looked up: looking spends it"


def stored(settings: Settings, request: Request) -> tuple[Facts, tuple[str, ...]]:
    """The facts for ``request``, and what could not be found out, one line each. Blocks."""
    url = settings.records.url
    troubles = (TICKET,) if needs(request, settings.auth).ticket is not None else ()
    if url is None:
        return NO_FACTS, troubles
    file = read_address(url).file
    try:
        if file is not None and not is_there(file):
            return NO_FACTS, (*troubles, f"records.url: there is no file {file} yet")
        return asyncio.run(_read(settings, request)), troubles
    except (ConfigError, StoreError, TimeoutError) as error:
        return NO_FACTS, (*troubles, str(error) or "records.url: no answer in time")


def own_keys(settings: Settings) -> tuple[KeySet, tuple[str, ...]]:
    """The keys of ``[issuer]`` as the store has them, and what is wrong with them. Blocks."""
    url = settings.records.url
    if url is None or not settings.issuer.enabled:
        return KeySet(), ()
    file = read_address(url).file
    try:
        if file is not None and not is_there(file):
            return KeySet(), ()
        return asyncio.run(_own_keys(settings)), ()
    except (ConfigError, StoreError, TimeoutError) as error:
        return KeySet(), (str(error) or "records.url: no answer in time",)


async def _own_keys(settings: Settings) -> KeySet:
    records = await open_records(settings.records.url, makes=False)
    try:
        async with asyncio.timeout(settings.records.timeout):
            keys = vouching(await records.keys.all(), time.time())
    finally:
        await records.close()
    auth = settings.auth
    return keys.expecting(settings.issuer.name or auth.issuer, auth.audience)


async def _read(settings: Settings, request: Request) -> Facts:
    wanted = needs(request, settings.auth)
    records = await open_records(settings.records.url, makes=False)
    try:
        async with asyncio.timeout(settings.records.timeout):
            feed = RevocationFeed(records, settings.records.poll, time.time, silent)
            await feed.refresh()
            facts = Facts(feed.index.check)
            if wanted.token_prefix is not None:
                facts = replace(facts, stored=await records.find_token(wanted.token_prefix))
            return facts
    finally:
        await records.close()
