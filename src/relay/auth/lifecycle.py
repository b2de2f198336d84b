"""The life of a signing key: next, active, retiring, retired; and what a rotation does to all.

The law: a key is shown to verifiers before it signs and until the last token it signed has ended;
at any time exactly one signs. This module must not know the clock, where keys are kept, or their
private halves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from relay.errors import BadRequest

State = Literal["next", "active", "retiring", "retired"]

SHOWN: tuple[State, ...] = ("next", "active", "retiring")
"""States in which a key vouches for tokens, and is published."""

KEEP_RETIRED = 30 * 86_400.0
"""Seconds that a retired key is still listed, without its private half."""

MAX_GRACE = 365 * 86_400.0
"""Longest grace in seconds."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of the relay's own. Times are unix seconds."""

    kid: str
    algorithm: str
    public: dict[str, Any] = field(repr=False)
    """The public JWK."""
    state: State
    created: float
    activated: float | None = None
    """When it began to sign."""
    ends: float | None = None
    """When it retires, or has retired; ``None`` = nobody knows yet."""
    compromised: bool = False

    def at(self, now: float) -> SigningKey:
        """The key as it is now: what was to retire by now has."""
        if self.state == "retiring" and self.ends is not None and self.ends <= now:
            return replace(self, state="retired")
        return self

    def is_shown(self, now: float) -> bool:
        """Whether it vouches for tokens now."""
        return self.at(now).state in SHOWN

    def is_forgotten(self, now: float) -> bool:
        """Whether nobody needs to know of it any more."""
        if self.ends is None or self.at(now).state != "retired":
            return False
        return self.ends + KEEP_RETIRED <= now


def signer(keys: Iterable[SigningKey]) -> SigningKey | None:
    """The one that signs."""
    return next((key for key in keys if key.state == "active"), None)


def begun(keys: Sequence[SigningKey], fresh: Sequence[SigningKey], now: float) -> list[SigningKey]:
    """The keys, with ``fresh`` ones where there is none to sign or none to follow it."""
    spare = list(fresh)
    kept = list(keys)
    if signer(kept) is None:
        kept = _promoted(kept, now)
    if signer(kept) is None and spare:
        kept.append(replace(spare.pop(0), state="active", activated=now))
    if not any(key.state == "next" for key in kept) and spare:
        kept.append(replace(spare.pop(0), state="next"))
    return kept


def rotated(
    keys: Sequence[SigningKey],
    fresh: SigningKey,
    now: float,
    grace: float,
    compromised: bool,
    kid: str | None = None,
) -> list[SigningKey]:
    """The keys after a rotation: the next one signs, ``fresh`` is the next one.

    The one that signed vouches for ``grace`` seconds more; ``compromised`` has it retire at once,
    and where ``kid`` names another, that one: whoever strikes a key may not be the first to rotate.
    Raises `BadRequest` when there is nothing to rotate, or the grace makes no sense.
    """
    if not 0.0 <= grace <= MAX_GRACE:
        raise BadRequest(f"a grace is 0 to {MAX_GRACE:.0f} seconds")
    kept = [key.at(now) for key in keys]
    signs = signer(kept)
    old = signs if kid is None else next((key for key in kept if key.kid == kid), None)
    if old is None:
        raise BadRequest("there is no signing key yet: the relay makes one when it starts")
    if compromised:
        ends = old.ends if old.state == "retired" else now
        gone = replace(old, state="retired", ends=ends, compromised=True)
    elif old is signs:
        gone = replace(old, state="retiring", ends=now + grace)
    else:
        raise BadRequest(f"the key {old.kid} does not sign: somebody else rotated")
    kept = [gone if key.kid == old.kid else key for key in kept if not key.is_forgotten(now)]
    return begun(kept, [fresh], now)


def _promoted(keys: Sequence[SigningKey], now: float) -> list[SigningKey]:
    """The keys, the oldest next one active."""
    kept = list(keys)
    for index, key in enumerate(kept):
        if key.state == "next":
            kept[index] = replace(key, state="active", activated=now)
            break
    return kept
