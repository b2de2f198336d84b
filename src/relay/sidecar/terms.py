"""What an authorization server grants a session: patterns, an end, and when to ask again.

The wire form is moq-auth 0.2's Grant. The law: terms that grant nothing, that have ended, or that
ask to be renewed without an end of their own admit nobody; what they say and our grants cannot
express is left out or refused by name, never widened. This module must not know HTTP or the clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from relay.auth.claims import is_tenant
from relay.auth.grant import Grant
from relay.errors import BadRequest
from relay.path import MAX_LENGTH, Path
from relay.sidecar import members as read
from relay.sidecar.members import Members
from relay.sidecar.pattern import to_patterns, to_prefixes

MAX_TIER = 256
"""Characters of a tier."""


class Fault(ValueError):
    """Terms nobody can be admitted on; ``code`` is one word for it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Granted(NamedTuple):
    """Terms as a grant of ours."""

    grant: Grant
    unsaid: tuple[str, ...]
    """Patterns left out since prefixes cannot express them; worth a warning."""


@dataclass(frozen=True, slots=True)
class Terms:
    """One server's answer. Nothing about it has been checked but the types of its members."""

    publish: tuple[str, ...] = ()
    """Patterns, relative to the root."""
    subscribe: tuple[str, ...] = ()
    """Patterns, relative to the root."""
    root: str | None = None
    """Stands in for the dialled path; ``None`` keeps it."""
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Paths that are read from elsewhere. Not built here: terms with mounts are refused."""
    expires: int | None = None
    """Unix seconds at which the session ends."""
    revalidate: int | None = None
    """Seconds until the server wants to be asked again."""
    tier: str | None = None
    """A label for accounts; means nothing here."""
    peer: bool = False
    """The guest is another relay."""
    tenant: str | None = None
    """Whose quotas count, where that is not who the root belongs to. Between our own: upstream's
    relays know no tenants, and leave it unread."""

    def dump(self) -> dict[str, Any]:
        """The JSON members, without absent ones, in the order upstream writes them."""
        told = {
            "publish": list(self.publish),
            "subscribe": list(self.subscribe),
            "root": self.root,
            "mounts": dict(self.mounts),
            "expires": self.expires,
            "revalidate": self.revalidate,
            "tier": self.tier,
            "peer": self.peer,
            "tenant": self.tenant,
        }
        return {
            name: value
            for name, value in told.items()
            if value is not None and value is not False and value != [] and value != {}
        }

    def check(self, now: float) -> None:
        """Raises `Fault` unless somebody may be admitted on these terms at ``now``."""
        if not (self.publish or self.subscribe):
            raise Fault("nothing_granted", "the terms grant nothing")
        if self.revalidate is not None and self.expires is None:
            raise Fault("unbounded", "the terms are to be renewed and have no end (expires)")
        if self.revalidate is not None and self.revalidate <= 0:
            raise Fault("no_cadence", "the terms are to be renewed all the time")
        if self.expires is not None and self.expires <= now:
            raise Fault("ended", "the terms have ended already")

    def granted(self, dialled: Path) -> Granted:
        """Our grant for whoever dialled ``dialled``. Raises `Fault` when it cannot be expressed."""
        if self.mounts:
            names = ", ".join(repr(name[:80]) for name in sorted(self.mounts)[:4])
            raise Fault("mounts", f"the terms have mounts ({names}), which are not built")
        try:
            root = dialled if self.root is None else Path(self.root)
            publish, subscribe = to_prefixes(self.publish), to_prefixes(self.subscribe)
            for prefix in (*publish.prefixes, *subscribe.prefixes):
                root.join(prefix)
        except (BadRequest, ValueError) as error:
            raise Fault("bad_terms", f"the terms hold {error}") from None
        unsaid = publish.unsaid + subscribe.unsaid
        if not (publish.prefixes or subscribe.prefixes):
            text = f"only subtrees (p/**) can be granted here, not {_named(unsaid)}"
            raise Fault("unsupported_pattern", text)
        if self.tenant is not None and not is_tenant(self.tenant):
            raise Fault("bad_tenant", "the terms name a tenant that none can be called")
        home = root.first
        grant = Grant(
            root=root,
            publish=publish.prefixes,
            subscribe=subscribe.prefixes,
            expires=self.expires,
            cluster=self.peer,
            tenant=home if self.tenant is None or self.peer else self.tenant,
            home=home,
            credential="server",
        )
        return Granted(grant, unsaid)


def read_terms(members: Members) -> Terms:
    """Read an answer. Raises `ValueError`, one sentence, when a member is of a wrong type."""
    mounts = read.maybe_object(members, "mounts") or {}
    if not all(isinstance(value, str) for value in mounts.values()):
        raise ValueError("mounts is not an object of strings")
    if len(mounts) > read.MAX_LIST:
        raise ValueError(f"mounts has more than {read.MAX_LIST} entries")
    return Terms(
        publish=read.texts(members, "publish", MAX_LENGTH),
        subscribe=read.texts(members, "subscribe", MAX_LENGTH),
        root=read.maybe_text(members, "root", MAX_LENGTH),
        mounts=mounts,
        expires=read.maybe_whole(members, "expires"),
        revalidate=read.maybe_whole(members, "revalidate"),
        tier=read.maybe_text(members, "tier", MAX_TIER),
        peer=read.flag(members, "peer"),
        tenant=read.maybe_text(members, "tenant"),
    )


class Offered(NamedTuple):
    """A grant of ours as terms."""

    terms: Terms
    unsaid: tuple[str, ...]
    """Prefixes left out since no pattern can say them; worth a warning."""


def offer(
    grant: Grant, now: float, bound: int | None, revalidate: int | None, tier: str | None
) -> Offered:
    """The terms that say ``grant``, for a relay whose session has just been decided on.

    ``bound`` is how many seconds a grant without an end lasts. Raises `Fault` (``ended`` for a
    grant in its last second, ``inexpressible`` when no pattern can say what it allows).
    """
    publish, left = to_patterns(grant.publish)
    subscribe, more = to_patterns(grant.subscribe)
    unsaid = (*left, *more)
    if not (publish or subscribe):
        raise Fault("inexpressible", f"no pattern can say {_named(unsaid)}: it has a * in it")
    end = grant.expires
    expires = None if end is None or math.isinf(end) else int(end)
    if expires is None and bound is not None:
        expires = int(now) + bound
    terms = Terms(
        publish=tuple(publish),
        subscribe=tuple(subscribe),
        expires=expires,
        revalidate=revalidate if expires is not None else None,
        tier=tier,
        peer=grant.cluster,
        tenant=grant.tenant if grant.tenant != grant.root.first else None,
    )
    terms.check(now)
    return Offered(terms, unsaid)


def _named(patterns: tuple[str, ...]) -> str:
    shown = ", ".join(repr(pattern[:80]) for pattern in patterns[:4])
    return shown + (" …" if len(patterns) > 4 else "")
