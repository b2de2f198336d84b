"""Quotas, sealed secrets, signing keys and the audit log of a relay that has no store.

The law: they answer as the lasting ones do. This module must not know files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from relay.errors import BadRequest, LimitExceeded
from relay.quota import Override
from relay.quota.limits import MAX_TENANTS
from relay.records.audit import EXACT, FIRST, MAX_LIMIT, Entry, Fact, Query, linked
from relay.records.kept import (
    MAX_SECRETS,
    Sealed,
    Step,
    StoredKey,
    in_order,
    require_one_root,
    root_of,
)
from relay.records.store import MAX_PAGE

MAX_ENTRIES = 10_000
"""Audit entries kept in memory; the oldest go first."""


@dataclass
class Numbers:
    """What the marks of this store stand at."""

    quotas: int = 0
    secrets: int = 0
    keys: int = 0


@dataclass
class MemoryQuotas:
    """See `relay.records.kept.Quotas`."""

    numbers: Numbers
    said: dict[str, Override] = field(default_factory=dict)

    async def all(self) -> dict[str, Override | None]:
        """Every tenant that anything is said of."""
        return dict(self.said)

    async def put(self, tenant: str, said: Override) -> None:
        """Say something of a tenant."""
        if tenant not in self.said and len(self.said) >= MAX_TENANTS:
            raise LimitExceeded(f"{MAX_TENANTS} tenants with quotas in one store")
        self.said[tenant] = said
        self.numbers.quotas += 1

    async def drop(self, tenant: str) -> bool:
        """Unsay it."""
        self.numbers.quotas += 1
        return self.said.pop(tenant, None) is not None


@dataclass
class MemorySecrets:
    """See `relay.records.kept.Secrets`."""

    numbers: Numbers
    keys: MemoryKeys
    kept: dict[tuple[str, str, int], Sealed] = field(default_factory=dict)

    async def put(self, secret: Sealed) -> None:
        """Keep one more version."""
        place = (secret.purpose, secret.name, secret.version)
        if place in self.kept:
            raise BadRequest(f"there is version {secret.version} of {secret.name!r} already")
        if len(self.kept) >= MAX_SECRETS:
            raise LimitExceeded(f"{MAX_SECRETS} sealed secrets in one store")
        require_one_root(self.any(), secret.text)
        self.kept[place] = secret
        self.numbers.secrets += 1

    async def get(self, purpose: str, name: str) -> Sealed | None:
        """The latest version."""
        found = [each for each in await self.all(purpose) if each.name == name]
        return found[-1] if found else None

    async def all(self, purpose: str) -> list[Sealed]:
        """All versions of all names for a purpose."""
        found = (each for each in self.kept.values() if each.purpose == purpose)
        return sorted(found, key=lambda each: (each.name, each.version))

    async def sealed_under(self) -> str | None:
        """The id of the root key that is in use."""
        return root_of(self.any())

    def any(self) -> str:
        """Any text that is sealed."""
        texts = [each.text for each in self.kept.values()]
        return next(iter([*texts, *(each.sealed for each in self.keys.kept if each.sealed)]), "")

    def reseal(self, again: Callable[[Sealed], str]) -> int:
        """Seal everything anew, all or nothing."""
        texts = {place: replace(each, text=again(each)) for place, each in self.kept.items()}
        keys = [
            replace(each, sealed=again(each.secret)) if each.sealed else each
            for each in self.keys.kept
        ]
        self.kept, self.keys.kept = texts, keys
        self.numbers.secrets += 1
        self.numbers.keys += 1
        return len(texts) + sum(bool(each.sealed) for each in keys)


@dataclass
class MemoryKeys:
    """See `relay.records.kept.Keys`."""

    numbers: Numbers
    kept: list[StoredKey] = field(default_factory=list)

    async def all(self) -> list[StoredKey]:
        """All of them."""
        return list(self.kept)

    async def change(self, step: Step) -> list[StoredKey]:
        """Take a step."""
        after = in_order(step(self.kept))
        sealed = [each.sealed for each in (*self.kept, *after) if each.sealed]
        for text in sealed:
            require_one_root(sealed[0], text)
        self.kept = after
        self.numbers.keys += 1
        return list(self.kept)


class MemoryAudit:
    """See `relay.records.kept.Audit`."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._last = 0

    async def append(self, facts: Sequence[Fact]) -> list[Entry]:
        """Write them down."""
        previous = self._entries[-1].hash if self._entries else FIRST
        entries = linked(facts, self._last + 1, previous)
        self._entries.extend(entries)
        self._last += len(entries)
        return entries

    async def ensure(self, facts: Sequence[Fact]) -> list[Entry]:
        """No attempt ever fails here."""
        return await self.append(facts)

    async def entries(self, query: Query) -> list[Entry]:
        """What a query finds."""
        found = [each for each in reversed(self._entries) if _fits(each, query)]
        return found[: min(query.limit, MAX_LIMIT)]

    async def outermost(self) -> list[Entry]:
        """Those with the least and the greatest number."""
        return [self._entries[0], self._entries[-1]] if self._entries else []

    async def after(self, number: int, limit: int) -> list[Entry]:
        """The entries after that number."""
        return [each for each in self._entries if each.number > number][: min(limit, MAX_PAGE)]

    async def length(self) -> int:
        """The number of the last entry that was ever written."""
        return self._last

    async def prune(self, before: float, fact: Fact) -> int:
        """Delete what is older, and say so."""
        since, now = round(before * 1_000_000), round(fact.at * 1_000_000)
        begins = takewhile(lambda each: not since <= each.at <= now, self._entries)
        older = [each.number for each in begins if each.at < since]
        if not older:
            return 0
        await self.append([replace(fact, target=str(older[-1]))])
        count = older[-1] - self._entries[0].number + 1
        for _ in range(count):
            self._entries.popleft()
        return count


def _fits(entry: Entry, query: Query) -> bool:
    at = entry.at / 1_000_000
    return (
        (query.since is None or at >= query.since)
        and (query.until is None or at < query.until)
        and (query.before is None or entry.number < query.before)
        and all(getattr(query, name) in ("", getattr(entry, name)) for name in EXACT)
        and (
            not query.action
            or entry.action == query.action
            or entry.action.startswith(f"{query.action}.")
        )
        and _hits(entry.target, query.target)
    )


def _hits(target: str, wanted: str) -> bool:
    if wanted.endswith("*"):
        return target.startswith(wanted[:-1])
    return not wanted or target == wanted
