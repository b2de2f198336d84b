"""What is kept beside credentials: quotas, sealed secrets, signing keys, and how each is asked for.

The law: a secret crosses these interfaces sealed and never otherwise; whatever changes grows a mark
that other relays on the store can see. This module must not know files, databases, or how a secret
is sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay.auth.lifecycle import SigningKey
from relay.errors import LimitExceeded, RelayError
from relay.quota import Override
from relay.records.audit import Entry, Fact, Query

MAX_SECRETS = 10_000
"""Sealed secrets of one store, all versions. The next one is refused."""

MAX_KEYS = 256
"""Signing keys of one store, retired ones included until they are forgotten."""

SIGNING = "signing"
"""The purpose that signing keys are sealed for."""


class OtherRoot(RelayError):
    """The store's secrets are sealed under another root key than this one."""

    status = 409


@dataclass(frozen=True, slots=True)
class Sealed:
    """One version of one secret, as it is kept."""

    purpose: str
    """What it is for: a secret sealed for one purpose opens for no other."""
    name: str
    version: int
    """From 1."""
    text: str = field(repr=False)
    """What `Seal.seal` answered; it begins with the id of the root key."""
    created: float = 0.0
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key with its private half sealed."""

    key: SigningKey
    sealed: str = field(repr=False)
    """The private JWK; empty once the key has retired."""

    @property
    def secret(self) -> Sealed:
        """The sealed half as a secret of its own."""
        return Sealed(SIGNING, self.key.kid, 1, self.sealed, self.key.created)


class Quotas(Protocol):
    """What was said of tenants at run time. Every method may raise `StoreError`."""

    async def all(self) -> dict[str, Override | None]:
        """Every tenant that anything is said of; ``None`` where that cannot be read."""

    async def put(self, tenant: str, said: Override) -> None:
        """Say something of a tenant, instead of what was said. Raises `LimitExceeded`."""

    async def drop(self, tenant: str) -> bool:
        """Unsay it; False when nothing was said."""


class Secrets(Protocol):
    """Sealed secrets by purpose, name and version. Every method may raise `StoreError`."""

    async def put(self, secret: Sealed) -> None:
        """Keep one more version.

        Raises `BadRequest` when there is that version already, `LimitExceeded`, `OtherRoot`.
        """

    async def get(self, purpose: str, name: str) -> Sealed | None:
        """The latest version."""

    async def all(self, purpose: str) -> list[Sealed]:
        """All versions of all names for a purpose, by name and version."""

    async def sealed_under(self) -> str | None:
        """The id of the root key under which anything is sealed, signing keys included; ``None``
        when nothing is."""


Step = Callable[[Sequence[StoredKey]], Sequence[StoredKey]]
"""What becomes of the signing keys: all there are, to all there shall be. Must be pure; it may be
called where nobody else can change them, and more than once."""


class Keys(Protocol):
    """Signing keys. Every method may raise `StoreError`."""

    async def all(self) -> list[StoredKey]:
        """All of them, the oldest first."""

    async def change(self, step: Step) -> list[StoredKey]:
        """Take a step while nobody else can; what there is afterwards, the oldest first. Raises
        `OtherRoot`, `LimitExceeded`, and whatever ``step`` does."""


class Audit(Protocol):
    """The audit log, one chain of entries. Every method may raise `StoreError`."""

    async def append(self, facts: Sequence[Fact]) -> list[Entry]:
        """Write them down, in this order, all or none."""

    async def ensure(self, facts: Sequence[Fact]) -> list[Entry]:
        """Write them down as `append` does, unless an attempt that failed has done so."""

    async def entries(self, query: Query) -> list[Entry]:
        """What a query finds, the latest first."""

    async def outermost(self) -> list[Entry]:
        """Those with the least and the greatest number, whatever stands in them."""

    async def after(self, number: int, limit: int) -> list[Entry]:
        """The entries after that number, in order, whatever stands in them."""

    async def length(self) -> int:
        """The number of the last entry that was ever written."""

    async def prune(self, before: float, fact: Fact) -> int:
        """Delete the oldest of what is older than ``before`` (unix seconds), as many as are quickly
        deleted, and write ``fact`` about it, whose time is now; how many entries went, none when
        all have. One whose time is neither too old nor yet to come stays, and so does whatever was
        written after it: the clock of one relay may have been wrong."""


Marks = Mapping[str, int]
"""Where each kind of change has got to: ``revocations``, ``quotas``, ``keys``, ``secrets``; what a
store counts beside them, such as its audit entries, is none of the readers' business."""


def in_order(keys: Iterable[StoredKey]) -> list[StoredKey]:
    """The oldest first, those of the same age by name. Raises `LimitExceeded` for too many."""
    ordered = sorted(keys, key=lambda each: (each.key.created, each.key.kid))
    if len(ordered) > MAX_KEYS:
        raise LimitExceeded(f"{MAX_KEYS} signing keys in one store: retired ones go after 30 days")
    return ordered


def root_of(text: str) -> str | None:
    """The id of the root key under which ``text`` is sealed; ``None`` for nothing."""
    return text.partition(":")[0] or None


def require_one_root(present: str, text: str) -> None:
    """Raises `OtherRoot` unless both are sealed under the same root key, or nothing is yet.

    It is asked inside the transaction that writes, so that a relay that was left with an old root
    key after a rewrap cannot add what nobody could open.
    """
    if present and root_of(present) != root_of(text):
        raise OtherRoot(
            f"the store is sealed under the root key {root_of(present)}, not {root_of(text)}"
        )
