"""Revocations: who may no longer come in although the credential is good.

The law: a revocation names a property of credentials (their id, subject, key, tenant, or when they
were issued) and never their text; asking costs the same with ten entries as with ten thousand; each
ends by itself. This module must not know the clock or where revocations are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from relay.auth.settings import MAX_LEEWAY
from relay.errors import BadRequest

DIMENSIONS = ("jti", "sub", "kid", "tenant", "all")
"""What a revocation may go by; ``all`` is everybody, before a time of issue."""

MAX_VALUE = 512
"""Characters of what is revoked, as of the claims."""

MAX_REASON = 512
"""Characters of why."""

MAX_REVOCATIONS = 100_000
"""Revocations in force at a time. The next one is refused."""


Key = tuple[str, str, float | None, float | None]


class Holder(NamedTuple):
    """Whoever holds a credential, as far as a revocation can tell."""

    jti: str | None = None
    """The credential's own id: a token's ``jti``, ``mq_<prefix>``, a certificate's fingerprint."""
    sub: str | None = None
    kid: str | None = None
    tenant: str | None = None
    """Whose it is: what the token says, else the first segment of the root."""
    issued: float | None = None
    """Unix seconds; ``None`` when the credential does not say."""
    parent_kids: tuple[str, ...] = ()
    """The keys of the credentials that this one was exchanged for: what strikes those, strikes
    this."""

    def called(self, dimension: str) -> tuple[str | None, ...]:
        """What a revocation that goes by ``dimension`` may name."""
        return (self.kid, *self.parent_kids) if dimension == "kid" else (getattr(self, dimension),)


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry. Times are unix seconds."""

    dimension: str
    """One of `DIMENSIONS`."""
    value: str = ""
    """Whose; empty for ``all``."""
    issued_before: float | None = None
    """Only what was issued before then, or does not say when; ``None`` = whenever."""
    expires: float | None = None
    """When the entry ends by itself; ``None`` = never."""
    reason: str = ""
    """Why, for the operator."""
    created: float = 0.0
    id: int = 0
    """Number in the store."""

    def require_sense(self) -> None:
        """Raises `BadRequest` for an entry that means nothing, or far too much."""
        if self.dimension not in DIMENSIONS:
            raise BadRequest(f"a revocation goes by {', '.join(DIMENSIONS)}")
        if self.dimension == "all":
            if self.value or self.issued_before is None:
                raise BadRequest("revoking everybody needs a time of issue, and nothing else")
        elif not 0 < len(self.value) <= MAX_VALUE:
            raise BadRequest(f"what is revoked has 1 to {MAX_VALUE} characters")
        if self.dimension == "tenant" and "/" in self.value:
            raise BadRequest("the name of a tenant has no slashes")
        if len(self.reason) > MAX_REASON:
            raise BadRequest(f"a reason has at most {MAX_REASON} characters")

    def is_active(self, now: float) -> bool:
        """Whether it is still in force."""
        return self.expires is None or now < self.expires

    def strikes(self, holder: Holder) -> bool:
        """Whether it is about this holder."""
        if self.dimension != "all" and self.value not in holder.called(self.dimension):
            return False
        return (
            self.issued_before is None
            or holder.issued is None
            or holder.issued < self.issued_before
        )

    def renewed(self, again: Revocation) -> Revocation:
        """This one after the same was said again: it stays one, and counts from the later time."""
        created = max(self.created, again.created)
        return replace(self, created=created, reason=again.reason or self.reason)

    def covers(self, other: Revocation) -> bool:
        """Whether everything ``other`` strikes is struck by this one, and for as long."""
        return (
            (self.dimension, self.value) == (other.dimension, other.value)
            and _later(self.issued_before, other.issued_before)
            and _later(self.expires, other.expires)
        )

    def __str__(self) -> str:
        named = self.dimension if self.dimension == "all" else f"{self.dimension} {self.value}"
        return named if self.issued_before is None else f"{named} issued before a time"


def key_of(entry: Revocation) -> Key:
    """What makes two entries the same, wherever they are kept."""
    return entry.dimension, entry.value, entry.issued_before, entry.expires


def outliving(end: float | None) -> float | None:
    """When a revocation may end of what has the end ``end``, so that nothing comes back: a relay
    with `auth.leeway` takes a token a while longer, and one made from it at /auth/login as well."""
    return None if end is None else end + MAX_LEEWAY


class Revocations:
    """The entries in force, by what they go by."""

    def __init__(self, entries: Iterable[Revocation] = ()) -> None:
        self._entries: dict[tuple[str, str], list[Revocation]] = {}
        self._count = 0
        for entry in entries:
            self.add(entry)

    def __len__(self) -> int:
        return self._count

    def add(self, entry: Revocation) -> None:
        """Put an entry in force. Those it covers are dropped: a later one asks no more of them. One
        that has its number now, or was renewed, is known as it is from then on."""
        key = (entry.dimension, entry.value)
        kept = self._entries.get(key, [])
        if any(each.covers(entry) and _is_enough(each.id, entry.id) for each in kept):
            return
        fresh = [each for each in kept if not entry.covers(each)]
        self._count += len(fresh) + 1 - len(kept)
        self._entries[key] = [*fresh, entry]

    def holds(self, entry: Revocation) -> bool:
        """Whether it is in force, or another that covers it."""
        kept = self._entries.get((entry.dimension, entry.value), ())
        return any(each.covers(entry) for each in kept)

    def check(self, holder: Holder, now: float) -> Revocation | None:
        """The entry that strikes ``holder`` at ``now`` (unix seconds), if there is one."""
        for dimension in DIMENSIONS[:-1]:
            for value in holder.called(dimension):
                found = self._struck(dimension, value, holder, now) if value is not None else None
                if found is not None:
                    return found
        return self._struck("all", "", holder, now)

    def _struck(self, dimension: str, value: str, holder: Holder, now: float) -> Revocation | None:
        for entry in self._entries.get((dimension, value), ()):
            if entry.is_active(now) and entry.strikes(holder):
                return entry
        return None

    def expire(self, now: float) -> None:
        """Forget what has ended."""
        kept = [each for each in self if each.is_active(now)]
        if len(kept) < self._count:
            self.replace(kept)

    def replace(self, entries: Iterable[Revocation]) -> None:
        """Put exactly these in force."""
        listed = tuple(entries)
        self._entries.clear()
        self._count = 0
        for entry in listed:
            self.add(entry)

    def __iter__(self) -> Iterator[Revocation]:
        return (entry for listed in tuple(self._entries.values()) for entry in listed)


def _is_enough(known: int, number: int) -> bool:
    """Whether what is in force under one number, if under any, need not be known under another."""
    return known != number if known else not number


def _later(one: float | None, other: float | None) -> bool:
    """Whether a time is not before another, where ``None`` is the end of all time."""
    return one is None or (other is not None and one >= other)
