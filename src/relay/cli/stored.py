"""What the records store knows: about one request, of its own keys, of its API tokens.

The law: the store is read and never used up: a ticket is not looked up, since looking spends it,
and a store that is not there is not made. This module must not know what a decision does with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from relay.auth.explain import UNSPENT
from relay.auth.facts import NO_FACTS, Facts, StoredToken
from relay.auth.keys import KeySet
from relay.auth.needs import needs
from relay.auth.request import Request
from relay.auth.revocation import Holder, Revocations
from relay.cli.store import all_tokens, is_there, silent
from relay.config.shape import Settings
from relay.errors import ConfigError
from relay.records.address import read_address
from relay.records.feed import RevocationFeed
from relay.records.opening import open_records
from relay.records.signing import vouching
from relay.records.store import Records, StoreError

T = TypeVar("T")
Tokens = tuple[StoredToken, ...]


def stored(settings: Settings, request: Request) -> tuple[Facts, tuple[str, ...]]:
    """The facts for ``request``, and what could not be found out, one line each. Blocks."""
    wanted = needs(request, settings.auth)
    unasked = (UNSPENT,) if wanted.ticket is not None else ()

    async def ask(settings: Settings, records: Records) -> Facts:
        feed = await _feed(settings, records)
        facts = Facts(feed.index.check)
        if wanted.token_prefix is not None:
            facts = replace(facts, stored=await records.find_token(wanted.token_prefix))
        return facts

    def lost(why: str) -> Facts:
        return NO_FACTS if wanted.token_prefix is None else Facts(unavailable=why)

    absent = "records.url: there is no file {file} yet"
    facts, troubles = _asked(settings, ask, NO_FACTS, absent, lost)
    return facts, (*unasked, *troubles)


def own_keys(settings: Settings) -> tuple[KeySet, tuple[str, ...]]:
    """The keys of ``[issuer]`` as the store has them, and what is wrong with them. Blocks."""
    if not settings.issuer.enabled:
        return KeySet(), ()
    return _asked(settings, _own_keys, KeySet())


def good_tokens(settings: Settings) -> tuple[tuple[Tokens, Revocations], tuple[str, ...]]:
    """The API tokens that are neither revoked nor expired, what is revoked now, and why that is not
    known. Blocks."""
    return _asked(settings, _good_tokens, ((), Revocations()))


def _asked(
    settings: Settings,
    ask: Callable[[Settings, Records], Awaitable[T]],
    nothing: T,
    absent: str = "",
    lost: Callable[[str], T] | None = None,
) -> tuple[T, tuple[str, ...]]:
    """What the store answers within its time; ``nothing`` where there is none, or with a reason.

    ``absent`` is what is said of a ``{file}`` that is not there; ``lost`` makes of the reason what
    counts in place of ``nothing`` where the store is there and does not answer.
    """
    url = settings.records.url
    if url is None:
        return nothing, ()
    file = read_address(url).file

    async def run() -> T:
        records = await open_records(url, makes=False)
        try:
            async with asyncio.timeout(settings.records.timeout):
                return await ask(settings, records)
        finally:
            await records.close()

    try:
        if file is not None and not is_there(file):
            return nothing, (absent.format(file=file),) if absent else ()
        return asyncio.run(run()), ()
    except (ConfigError, StoreError, TimeoutError) as error:
        why = str(error) or "records.url: no answer in time"
        return nothing if lost is None else lost(why), (why,)


async def _own_keys(settings: Settings, records: Records) -> KeySet:
    keys = vouching(await records.keys.all(), time.time())
    auth = settings.auth
    return keys.expecting(settings.issuer.name or auth.issuer, auth.audience)


async def _good_tokens(settings: Settings, records: Records) -> tuple[Tokens, Revocations]:
    struck, now = (await _feed(settings, records)).index, time.time()
    return tuple(each for each in await all_tokens(records) if _is_good(each, struck, now)), struck


async def _feed(settings: Settings, records: Records) -> RevocationFeed:
    """Who is revoked now."""
    feed = RevocationFeed(records, settings.records.poll, time.time, silent)
    await feed.refresh()
    return feed


def _is_good(token: StoredToken, struck: Revocations, now: float) -> bool:
    holder = Holder(token.id, token.name, tenant=token.root.first, issued=token.created)
    ended = token.revoked is not None or (token.expires is not None and token.expires <= now)
    return not ended and struck.check(holder, now) is None
