"""What was looked up before a decision: the outside world as values and pure look-ups.

The law: whoever can wait gathers facts first and the decision then asks nobody; a fact that is
missing never helps a guest. This module must not know where facts come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from relay.auth.certificate import Certificate
from relay.auth.credentials import Derivation, derive
from relay.auth.grant import Grant
from relay.auth.revocation import Holder, Revocation
from relay.path import ROOT, Path


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A long-lived API token as it is kept. Times are unix seconds, prefixes below ``root``."""

    prefix: str
    """Names the token; stands in it in clear."""
    digest: str = field(repr=False)
    """`secret_digest` of its secret."""
    name: str
    """What the operator calls it; the subject of its grants."""
    root: Path = ROOT
    publish: tuple[Path, ...] = ()
    subscribe: tuple[Path, ...] = ()
    decrypt: tuple[str, ...] = ()
    """Cipher keys whose fields its bearer reads in the clear."""
    expires: float | None = None
    """From when on it is refused; ``None`` = never."""
    created: float = 0.0
    last_used: float | None = None
    """A little late, since uses are written together."""
    revoked: float | None = None
    """When it was revoked."""

    @property
    def id(self) -> str:
        """What its grants carry as ``jti``, by which it may be revoked."""
        return f"mq_{self.prefix}"


def nothing_revoked(holder: Holder, now: float) -> Revocation | None:
    """No revocation at all."""
    return None


@dataclass(frozen=True, slots=True)
class Facts:
    """What `decide` may know beside the request, the keys and the settings."""

    revoked: Callable[[Holder, float], Revocation | None] = nothing_revoked
    """Who is revoked at a time: `Revocations.check`. Must not wait."""
    stored: StoredToken | None = None
    """The API token of the prefix that the request names."""
    certificate: Certificate | None = None
    """The client certificate of the connection, its chain checked."""
    ticket: Grant | None = None
    """What the ticket of the request stands for; it was spent by looking."""
    derive: Callable[[Derivation], bytes] = derive
    """PBKDF2. The default does it on the spot, which takes long: look results up instead."""
    unavailable: str = ""
    """What could not be looked up although the request needs it, in words for the operator."""
    silence: str = ""
    """Why a key that is not there may be good all the same, in words for the operator."""


NO_FACTS = Facts()
"""Nobody looked anything up."""
