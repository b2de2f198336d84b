"""What an operator does to the store: each thing is in the audit log before it is done.

The law: an entry that says what somebody is about to do is on disk first, and a second one follows
when it could not be done, so that nothing ever happens that the log does not know. This module must
not know HTTP, nor who may be an operator.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from relay.auth.facts import StoredToken
from relay.auth.revocation import Revocation
from relay.errors import BadRequest, NotFound, RelayError
from relay.quota import Override
from relay.quota.limits import wrong_tenant
from relay.records.audit import Fact, Walk
from relay.records.scribe import Scribe
from relay.records.store import MAX_PAGE, Records


async def _nothing() -> None:
    """Nobody here has anything to take in."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Who does something."""

    name: str
    """Such as ``admin``, or a user of this machine."""
    address: str = ""
    """From where."""


class Office:
    """Everything that changes the store by an operator's will. Every method may raise `StoreError`,
    and then it is not known whether it was done."""

    def __init__(
        self,
        records: Records,
        scribe: Scribe,
        wall: Callable[[], float],
        done: Callable[[], Awaitable[None]] = _nothing,
        settled: Callable[[], float] | None = None,
    ) -> None:
        """``done`` is called after each change, to put it in force here at once; by ``settled``,
        where there is such a time, it is known what has ended."""
        self.records = records
        self.scribe = scribe
        self.wall = wall
        self._done = done
        self._settled = settled or wall

    @asynccontextmanager
    async def doing(
        self,
        who: Operator,
        action: str,
        target: str,
        *,
        detail: str = "",
        kid: str = "",
        jti: str = "",
        tenant: str = "",
        id: str = "",
    ) -> AsyncIterator[None]:
        """Write down that ``who`` does something, then let it be done, then put it in force.

        ``id`` is what somebody is told whom it is done to.
        """
        fact = Fact(action, who.name, target, who.address, kid, jti, detail=detail)
        fact = replace(fact, tenant=tenant, id=id)
        await self.scribe.write(fact)
        try:
            yield
        except RelayError as error:
            await self.scribe.write(
                replace(fact, action=f"{action}.failed", detail=type(error).__name__)
            )
            raise
        await self._done()

    # -- quotas --------------------------------------------------------------------------------

    async def set_quota(self, who: Operator, tenant: str, said: Override) -> None:
        """Say something of a tenant, instead of what was said. Raises `BadRequest`,
        `LimitExceeded`."""
        if why := wrong_tenant(tenant):
            raise BadRequest(why)
        detail = json.dumps(said.model_dump(exclude_none=True))
        async with self.doing(who, "quota.set", tenant, detail=detail, tenant=tenant):
            await self.records.quotas.put(tenant, said)

    async def clear_quota(self, who: Operator, tenant: str) -> bool:
        """Unsay it: the tenant is as the file says; False when nothing was said."""
        async with self.doing(who, "quota.clear", tenant, tenant=tenant):
            return await self.records.quotas.drop(tenant)

    # -- credentials ---------------------------------------------------------------------------

    async def create_token(self, who: Operator, token: StoredToken) -> None:
        """Keep a new API token. Raises `BadRequest`, `LimitExceeded`."""
        self._require_future(token.expires)
        detail = json.dumps(
            {
                "name": token.name,
                "root": token.root,
                "publish": token.publish,
                "subscribe": token.subscribe,
                "decrypt": token.decrypt,
                "expires": token.expires,
            }
        )
        said = {"detail": detail, "tenant": token.root.first or ""}
        async with self.doing(who, "token.create", token.id, jti=token.id, **said):
            await self.records.add_token(token)

    async def revoke_token(self, who: Operator, prefix: str, reason: str) -> Revocation:
        """Refuse an API token and end its sessions. Raises `NotFound`."""
        named, found = f"mq_{prefix}", await self.records.find_token(prefix)
        said = {"detail": reason, "tenant": (found.root.first if found else None) or ""}
        async with self.doing(who, "token.revoke", named, jti=named, **said):
            revoked = await self.records.revoke_token(prefix, self.wall(), reason)
            if revoked is None:
                raise NotFound("there is no such API token")
        return revoked

    async def revoke(self, who: Operator, entry: Revocation) -> Revocation:
        """Put a revocation in force. Raises `BadRequest`, `LimitExceeded`."""
        entry.require_sense()
        self._require_future(entry.expires)
        tenant = entry.value if entry.dimension == "tenant" else ""
        said = {"detail": entry.reason, "tenant": tenant}
        async with self.doing(who, "revocation.add", str(entry), **said):
            return await self.records.revoke(entry, self.wall())

    async def withdraw(self, who: Operator, id: int) -> None:
        """Take a revocation back. Raises `NotFound`."""
        async with self.doing(who, "revocation.withdraw", f"{id}"):
            if not await self.records.withdraw(id, self._settled()):
                raise NotFound(f"no revocation {id} is in force")

    def _require_future(self, expires: float | None) -> None:
        """Whoever says 3600 means an hour, and would get what ended in 1970: a revocation that
        strikes nobody. Raises `BadRequest`."""
        if expires is not None and expires <= self.wall():
            raise BadRequest("it would have ended already: expires is a moment, in unix seconds")

    # -- the log itself ------------------------------------------------------------------------

    async def verify(self) -> Walk:
        """Walk the whole chain; entries that come meanwhile are not looked at."""
        walk = Walk()
        audit = self.records.audit
        # Beyond its ends nobody walks, but a query finds what somebody put there. They are read
        # before the length, which has counted all that was written by then.
        outermost = await audit.outermost()
        length = await audit.length()
        walk.bound(outermost, length)
        number = 0
        while number < length and walk.broken is None:
            page = await audit.after(number, MAX_PAGE)
            for entry in page:
                if entry.number <= length:
                    walk.see(entry)
            if not page:
                break
            number = page[-1].number
        walk.end(length)
        return walk
