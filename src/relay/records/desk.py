"""The desk beside the door: it gathers what a decision must know, before the decision is made.

The law: only what the request's credential needs is looked up, within a time and a number that the
settings name; what cannot be had is said in the facts, so that the decision refuses. This module
must not know sessions or HTTP, and it decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from relay.auth.certificate import Certificate
from relay.auth.credentials import (
    Derivation,
    KeyHash,
    derivation,
    derive,
    make_ticket,
    secret_digest,
)
from relay.auth.facts import Facts
from relay.auth.grant import Grant
from relay.auth.needs import Needs, needs
from relay.auth.request import Request
from relay.auth.settings import AuthSettings
from relay.errors import BadRequest, LimitExceeded
from relay.records.derivations import Derivations
from relay.records.feed import Log, RevocationFeed
from relay.records.notices import Notices
from relay.records.office import Office
from relay.records.scribe import Scribe
from relay.records.settings import AuditSettings, RecordsSettings
from relay.records.store import Records, StoreError

USES_SECONDS = 30.0
"""Seconds between writes of when API tokens were last used, all of them together."""

FORGET_SECONDS = 300.0
"""Seconds between deletions of what has ended."""


ALONE_SECONDS = 1.0
"""Seconds between looks into a store that only this process has, where what is written is taken in
with the writing."""


class Ticket(NamedTuple):
    """A one-time ticket that was handed out."""

    text: str
    """For ``?ticket=``; secret until it is used."""
    expires: float
    """Unix seconds."""


class Desk:
    """Everything that stands beside the door and remembers."""

    def __init__(
        self,
        records: Records,
        auth: AuthSettings,
        log: Log,
        settings: RecordsSettings | None = None,
        wall: Callable[[], float] = time.time,
        audit: AuditSettings | None = None,
        node: str = "",
    ) -> None:
        """``wall`` tells unix seconds, ``node`` names this relay to the audit log. `refresh` before
        the first guest comes."""
        self.records = records
        self.auth = auth
        """Replaced when the settings change."""
        self.settings = settings or RecordsSettings()
        poll = ALONE_SECONDS if self.settings.url is None else self.settings.poll
        self.feed = RevocationFeed(records, poll, wall, log)
        self.notices = Notices(records, poll, log)
        self.notices.on("revocations", self.feed.look_back)
        kept = audit or AuditSettings()
        settled = self.feed.settled
        self.scribe = Scribe(records.audit, kept, node, wall, log, settled=settled)
        self.office = Office(records, self.scribe, wall, self.refresh, settled)
        """Where operators change what is in the store."""
        self._log = log
        self._wall = wall
        self._derivations = Derivations(self.settings.max_derivations, time.monotonic)
        self._waiting = 0
        self._uses: dict[str, float] = {}

    # -- facts ---------------------------------------------------------------------------------

    def facts_at_once(
        self, request: Request, certificate: Certificate | None = None
    ) -> Facts | None:
        """The facts when nothing has to be waited for, as with a JWT; else ``None``."""
        wanted = needs(request, self.auth)
        if wanted.token_prefix is not None or wanted.ticket is not None:
            return None
        if wanted.derivation is None:
            return self._facts(certificate)
        known = self._derivations.known(wanted.derivation)
        if known is None:
            return None
        return self._with_derived(self._facts(certificate), wanted.derivation, known)

    async def facts(self, request: Request, certificate: Certificate | None = None) -> Facts:
        """The facts for one decision. Never raises: what failed is said in ``unavailable``."""
        facts = self._facts(certificate)
        wanted = needs(request, self.auth)
        if wanted == Needs(wanted.jwt, wanted.kid, wanted.parents):
            return facts
        if facts.unavailable:  # which refuses everybody: no ticket is spent on that
            return facts
        if self._waiting >= self.settings.max_lookups:
            return replace(facts, unavailable="too many guests wait (records.max_lookups)")
        self._waiting += 1
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._looked_up(wanted, facts)
        except TimeoutError:
            return replace(facts, unavailable="no answer in time (records.timeout)")
        except (StoreError, LimitExceeded) as error:
            return replace(facts, unavailable=str(error))
        finally:
            self._waiting -= 1

    def _facts(self, certificate: Certificate | None) -> Facts:
        unavailable = ""
        if self.settings.max_stale is not None and self.feed.behind() > self.settings.max_stale:
            unavailable = "who is revoked has not been known for longer than records.max_stale"
        return Facts(self.feed.index.check, certificate=certificate, unavailable=unavailable)

    async def _looked_up(self, wanted: Needs, facts: Facts) -> Facts:
        if wanted.token_prefix is not None:
            stored = await self.records.find_token(wanted.token_prefix)
            return replace(facts, stored=stored)
        if wanted.ticket is not None:
            digest = secret_digest(wanted.ticket)
            return replace(facts, ticket=await self.records.take_ticket(digest, self._wall()))
        if wanted.derivation is not None:
            derived = await self._derivations.ask(wanted.derivation, self._is_right)
            return self._with_derived(facts, wanted.derivation, derived)
        return facts

    def _is_right(self, derived: bytes) -> bool:
        return any(key.hash.equals(derived) for key in self.auth.api_keys.values())

    def _with_derived(self, facts: Facts, work: Derivation, derived: bytes) -> Facts:
        def look_up(asked: Derivation) -> bytes:
            return derived if asked == work else derive(asked)

        return replace(facts, derive=look_up)

    # -- after a decision ----------------------------------------------------------------------

    async def matches(self, bearer: str, hash: KeyHash) -> bool:
        """Whether ``bearer`` is the key of ``hash``; found out in a thread.

        Raises `LimitExceeded` when too many are being found out.
        """
        work = derivation(bearer, (hash,))
        return work is not None and hash.equals(await self._derivations.ask(work, hash.equals))

    def admitted(self, grant: Grant) -> None:
        """Somebody came in: an API token was used. Costs nothing; it is written later."""
        if grant.credential == "token" and grant.jti is not None:
            self._uses[grant.jti.removeprefix("mq_")] = self._wall()

    async def make_ticket(self, grant: Grant) -> Ticket:
        """A ticket for what ``grant`` allows, once and soon.

        Raises `BadRequest` when nobody vouched for the grant, `LimitExceeded`, `StoreError`.
        """
        if grant.anonymous:
            raise BadRequest("a ticket stands for a credential, and there is none")
        now = self._wall()
        kept = replace(grant, exchanged=now)
        expires = self._ticket_ends(kept, now)
        text = make_ticket()
        await self.records.save_ticket(secret_digest(text), kept, expires, now)
        return Ticket(text, expires)

    async def give_back(self, request: Request, facts: Facts) -> None:
        """Keep the ticket of a request again for the rest of its time: it was spent by looking, and
        nobody came in on it. Only for whoever spent it, and once. Never raises."""
        ticket, grant, now = needs(request, self.auth).ticket, facts.ticket, self._wall()
        if ticket is None or grant is None or grant.exchanged is None:
            return
        expires = self._ticket_ends(grant, grant.exchanged)
        if now >= expires:
            return
        with contextlib.suppress(TimeoutError, StoreError, LimitExceeded):  # it stays spent
            async with asyncio.timeout(self.settings.timeout):
                await self.records.save_ticket(secret_digest(ticket), grant, expires, now)

    def _ticket_ends(self, grant: Grant, made: float) -> float:
        expires = made + self.settings.ticket_seconds
        return expires if grant.expires is None else min(expires, grant.expires)

    async def refresh(self) -> None:
        """Take in what has changed in the store. Raises `StoreError`."""
        await self.feed.refresh()
        await self.notices.refresh()

    # -- living --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep revocations current and the store tidy, for ever. Whoever calls owns the task."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.feed.run())
            tasks.create_task(self.notices.run())
            tasks.create_task(self.scribe.run())
            tasks.create_task(self._keep_house())

    async def close(self) -> None:
        """Write what is not written yet, and let go of the store."""
        self._derivations.close()
        try:
            await self.scribe.flush(is_last=True)
            await self.write_uses()
        except StoreError as error:
            self._log("warning", detail=f"audit log or last uses not written: {error}")
        finally:
            await self.records.close()

    async def write_uses(self) -> None:
        """Write when API tokens were last used. Raises `StoreError`; nothing is lost then."""
        uses, self._uses = self._uses, {}
        try:
            await self.records.mark_used(uses)
        except BaseException:
            self._uses = uses | self._uses
            raise

    async def _keep_house(self) -> None:
        forgotten = time.monotonic()
        while True:
            await asyncio.sleep(USES_SECONDS)
            try:
                await self.write_uses()
                if time.monotonic() - forgotten >= FORGET_SECONDS:
                    forgotten = time.monotonic()
                    await self.records.forget(self.feed.settled())
            except StoreError as error:
                self._log("warning", detail=f"records not tidied: {error}")
