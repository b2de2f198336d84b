"""The one interface to what outlives the process; values go in and come out, nothing else.

The law: a method that has returned has written, so that what was acknowledged survives the power
cut; changes of revocations are numbered in the order in which they became visible. This module must
not know files, databases, or who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from relay.auth.facts import StoredToken
from relay.auth.grant import Grant
from relay.auth.revocation import Revocation
from relay.errors import RelayError

if TYPE_CHECKING:
    from relay.records.kept import Audit, Keys, Marks, Quotas, Sealed, Secrets

MAX_TOKENS = 100_000
"""API tokens of one store. The next one is refused."""

MAX_TICKETS = 100_000
"""Tickets waiting to be used. The next one is refused."""

KEEP_WITHDRAWN = 86_400.0
"""Seconds that a withdrawal is remembered, for relays that were cut off meanwhile."""

KEEP_ENDED = 30 * 86_400.0
"""Seconds that an API token is still listed after it expired or was revoked."""

MAX_PAGE = 1000
"""Rows that one call answers."""


class StoreError(RelayError):
    """The store could not be read or written; whether a write happened is not known."""

    status = 503


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a revocation."""

    number: int
    """Its place in the order of changes; each is larger than all that were visible before."""
    entry: Revocation
    withdrawn: bool = False
    """True when the revocation was taken back."""


class Records(Protocol):
    """What outlives the process. Every method may raise `StoreError`. Times are unix seconds."""

    # -- what is kept beside credentials, each by an interface of its own

    @property
    def quotas(self) -> Quotas:
        """What was said of tenants at run time."""

    @property
    def secrets(self) -> Secrets:
        """Sealed secrets."""

    @property
    def keys(self) -> Keys:
        """Signing keys."""

    @property
    def audit(self) -> Audit:
        """The audit log."""

    async def marks(self) -> Marks:
        """Where each kind of change has got to: what stands higher than before has changed."""

    async def reseal(self, again: Callable[[Sealed], str]) -> int:
        """Seal everything anew, all or nothing; how many secrets there were. Raises what ``again``
        does."""

    # -- API tokens

    async def add_token(self, token: StoredToken) -> None:
        """Keep a new API token. Raises `BadRequest` when its prefix is taken, `LimitExceeded`."""

    async def find_token(self, prefix: str) -> StoredToken | None:
        """The API token of that prefix, revoked and expired ones included."""

    async def tokens(self, after: str = "", limit: int = MAX_PAGE) -> list[StoredToken]:
        """API tokens by prefix, those after ``after``, at most ``limit`` and `MAX_PAGE`."""

    async def revoke_token(self, prefix: str, now: float, reason: str = "") -> Revocation | None:
        """Refuse the token from now on; the entry that ends its sessions on every relay of the
        store, ``None`` when there is no such token."""

    async def mark_used(self, uses: Mapping[str, float]) -> None:
        """Note when tokens were last used, by prefix. Unknown prefixes are ignored."""

    # -- revocations

    async def revoke(self, entry: Revocation, now: float) -> Revocation:
        """Put a revocation in force and answer it with its ``id``; the same in force is renewed,
        so that one withdrawal takes it back everywhere.

        Raises `BadRequest` for one without sense, `LimitExceeded`.
        """

    async def adopt(self, entry: Revocation, now: float) -> bool:
        """The same for what was revoked elsewhere; False when one that is in force covers it, and
        is not the same of an earlier time.

        Of those who hear of it together, one puts it in force.
        """

    async def withdraw(self, id: int, now: float) -> bool:
        """Take a revocation back; False when there is none of that number in force. Of relays
        ``now`` is their `SettledTime`: by a clock set forward by mistake none has ended."""

    async def revocations(self, now: float, after: int = 0) -> list[Revocation]:
        """Revocations in force by number, those after ``after``, at most `MAX_PAGE`."""

    async def changes(self, after: int) -> list[Change]:
        """Changes after that number, in order, at most `MAX_PAGE`."""

    # -- tickets

    async def save_ticket(self, digest: str, grant: Grant, expires: float, now: float) -> None:
        """Keep a ticket by its digest. Raises `LimitExceeded`."""

    async def take_ticket(self, digest: str, now: float) -> Grant | None:
        """What a ticket stands for, once: it is gone afterwards, whoever else asks."""

    # -- keeping house

    async def forget(self, now: float) -> None:
        """Delete revocations and tickets that have ended, and API tokens `KEEP_ENDED` later."""

    async def close(self) -> None:
        """Let go of the store."""
