"""The store of a relay that has none: the same interface, for as long as the process lives.

The law: it answers as the lasting stores do. This module must not know files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from relay.auth.facts import StoredToken
from relay.auth.grant import Grant
from relay.auth.revocation import MAX_REVOCATIONS, Revocation, key_of, outliving
from relay.errors import BadRequest, LimitExceeded
from relay.records.kept import Marks, Sealed
from relay.records.memory_kept import (
    MemoryAudit,
    MemoryKeys,
    MemoryQuotas,
    MemorySecrets,
    Numbers,
)
from relay.records.store import (
    KEEP_ENDED,
    KEEP_WITHDRAWN,
    MAX_PAGE,
    MAX_TICKETS,
    MAX_TOKENS,
    Change,
)


class MemoryRecords:
    """Records that end with the process."""

    def __init__(self) -> None:
        self._tokens: dict[str, StoredToken] = {}
        self._changes: dict[int, Change] = {}
        """The latest change of each revocation, by the revocation's id, in order of change."""
        self._tickets: dict[str, tuple[Grant, float]] = {}
        self._number = 0
        self._numbers = Numbers()
        self.quotas = MemoryQuotas(self._numbers)
        self.keys = MemoryKeys(self._numbers)
        self.secrets = MemorySecrets(self._numbers, self.keys)
        self.audit = MemoryAudit()

    async def marks(self) -> Marks:
        """Where each kind of change has got to."""
        return {"revocations": self._number, **vars(self._numbers)}

    async def reseal(self, again: Callable[[Sealed], str]) -> int:
        """Seal everything anew."""
        return self.secrets.reseal(again)

    async def add_token(self, token: StoredToken) -> None:
        """Keep a new API token."""
        if token.prefix in self._tokens:
            raise BadRequest(f"there is an API token {token.id} already")
        if len(self._tokens) >= MAX_TOKENS:
            raise LimitExceeded(f"{MAX_TOKENS} API tokens (MAX_TOKENS)")
        self._tokens[token.prefix] = token

    async def find_token(self, prefix: str) -> StoredToken | None:
        """The API token of that prefix."""
        return self._tokens.get(prefix)

    async def tokens(self, after: str = "", limit: int = MAX_PAGE) -> list[StoredToken]:
        """API tokens by prefix."""
        later = sorted(prefix for prefix in self._tokens if prefix > after)
        return [self._tokens[prefix] for prefix in later[: min(limit, MAX_PAGE)]]

    async def revoke_token(self, prefix: str, now: float, reason: str = "") -> Revocation | None:
        """Refuse the token from now on."""
        token = self._tokens.get(prefix)
        if token is None:
            return None
        ends = outliving(token.expires)
        entry = self._revoke(Revocation("jti", token.id, expires=ends, reason=reason), now)
        if token.revoked is None:
            self._tokens[prefix] = replace(token, revoked=now)
        return entry

    async def mark_used(self, uses: Mapping[str, float]) -> None:
        """Note when tokens were last used."""
        for prefix, used in uses.items():
            token = self._tokens.get(prefix)
            if token is not None and (token.last_used is None or token.last_used < used):
                self._tokens[prefix] = replace(token, last_used=used)

    async def revoke(self, entry: Revocation, now: float) -> Revocation:
        """Put a revocation in force."""
        entry.require_sense()
        return self._revoke(entry, now, MAX_REVOCATIONS)

    def _revoke(self, entry: Revocation, now: float, most: float = math.inf) -> Revocation:
        entry = replace(entry, created=entry.created or now)
        in_force = list(self._in_force(now))
        same = next((each for each in in_force if key_of(each) == key_of(entry)), None)
        if same is None and len(in_force) >= most:
            raise LimitExceeded(f"{most} revocations (MAX_REVOCATIONS)")
        kept = same.renewed(entry) if same else replace(entry, id=self._number + 1)
        self._note(kept, withdrawn=False)
        return kept

    async def adopt(self, entry: Revocation, now: float) -> bool:
        """Put what was revoked elsewhere in force, once."""
        for each in self._in_force(now):
            is_known = key_of(each) != key_of(entry) or each.created >= entry.created
            if is_known and each.covers(entry):
                return False
        await self.revoke(entry, now)
        return True

    async def withdraw(self, id: int, now: float) -> bool:
        """Take a revocation back."""
        change = self._changes.get(id)
        if change is None or change.withdrawn or not change.entry.is_active(now):
            return False
        self._note(replace(change.entry, expires=now + KEEP_WITHDRAWN), withdrawn=True)
        return True

    def _note(self, entry: Revocation, withdrawn: bool) -> None:
        self._number += 1
        self._changes.pop(entry.id, None)
        self._changes[entry.id] = Change(self._number, entry, withdrawn)

    def _in_force(self, now: float) -> Iterator[Revocation]:
        for change in self._changes.values():
            if not change.withdrawn and change.entry.is_active(now):
                yield change.entry

    async def revocations(self, now: float, after: int = 0) -> list[Revocation]:
        """Revocations in force."""
        kept = sorted(
            (each for each in self._in_force(now) if each.id > after), key=lambda each: each.id
        )
        return kept[:MAX_PAGE]

    async def changes(self, after: int) -> list[Change]:
        """Changes after that number."""
        if self._number <= after:
            return []
        return [change for change in self._changes.values() if change.number > after][:MAX_PAGE]

    async def save_ticket(self, digest: str, grant: Grant, expires: float, now: float) -> None:
        """Keep a ticket."""
        if len(self._tickets) >= MAX_TICKETS:
            self._forget_tickets(now)
        if len(self._tickets) >= MAX_TICKETS:
            raise LimitExceeded(f"{MAX_TICKETS} tickets (MAX_TICKETS)")
        self._tickets[digest] = (grant, expires)

    async def take_ticket(self, digest: str, now: float) -> Grant | None:
        """What a ticket stands for, once."""
        grant, expires = self._tickets.pop(digest, (None, 0.0))
        return grant if now < expires else None

    async def forget(self, now: float) -> None:
        """Delete what has ended."""
        self._forget_tickets(now)
        self._changes = {
            id: change for id, change in self._changes.items() if change.entry.is_active(now)
        }
        self._tokens = {
            prefix: token
            for prefix, token in self._tokens.items()
            if now - KEEP_ENDED < min(token.expires or math.inf, token.revoked or math.inf)
        }

    def _forget_tickets(self, now: float) -> None:
        self._tickets = {digest: kept for digest, kept in self._tickets.items() if now < kept[1]}

    async def close(self) -> None:
        """Nothing to let go of."""
