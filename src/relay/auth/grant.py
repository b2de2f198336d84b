"""What a guest may do, seen from where it stands: the only form in which rights move in the house.

The law: a grant is rebased once, at the door, to the path of its connection, and nothing it allows
lies outside that path; prefixes end on segment borders. This module must not know tokens, keys, the
clock, or who asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from relay.auth.revocation import Holder
from relay.path import ROOT, Path, covering


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes. True in a condition."""

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and why. False in a condition."""

    reason: str
    """A sentence for the log, never for the stranger."""

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights of one connection; prefixes are relative to ``root``, ``""`` is all below it."""

    root: Path
    """Path of the connection; what the guest calls ``x`` is ``root/x`` in the house."""
    publish: tuple[Path, ...] = ()
    """Prefixes below which the guest may publish; none lies under another."""
    subscribe: tuple[Path, ...] = ()
    """Prefixes below which the guest may subscribe; none lies under another."""
    expires: float | None = None
    """Unix seconds at which the session must have ended (leeway included); ``None`` = never."""
    subject: str | None = None
    """The token's ``sub``: whom it was made for."""
    kid: str | None = None
    """The key that vouched for it; ``None`` for guests without a token or keys without a name."""
    jti: str | None = None
    """The token's own id, by which it may be revoked."""
    anonymous: bool = False
    """True when nobody vouched: the rights are those of the public."""
    cluster: bool = False
    """True when the token says that the guest is another relay."""
    tenant: str | None = None
    """What the token says, else `home`: whose quotas count, and who is revoked with the others."""
    home: str | None = None
    """First segment of the credential's root, else of the connection's; ``None`` at the very top.
    """
    issued: float | None = None
    """Unix seconds at which the credential was issued; ``None`` when it does not say."""
    credential: str = "jwt"
    """What the rights are founded on: a `Kind`, or ``public``."""

    decrypt: tuple[str, ...] = ()
    """Cipher keys whose fields are decrypted when the guest reads over HTTP; default none."""
    parent_kids: tuple[str, ...] = ()
    """The keys that vouched for the credentials that this one was exchanged for."""
    issuer: str | None = None
    """Who calls somebody `subject`, and the token `jti`, where the source of its key is bound to an
    issuer: others may mean somebody else by it."""
    exchanged: float | None = None
    """Unix seconds at which a ticket was made of it; ``None`` = it is none of a ticket's."""
    beside: Holder | None = None
    """Whose client certificate was shown on the way; it may be what the rights are founded on."""

    @property
    def holder(self) -> Holder:
        """The guest as a revocation sees it."""
        return Holder(self.jti, self.subject, self.kid, self.tenant, self.issued, self.parent_kids)

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Whom a revocation may strike to end this; nobody where nobody vouched."""
        if self.anonymous:
            return ()
        return (self.holder,) if self.beside is None else (self.holder, self.beside)

    @property
    def payer(self) -> str | None:
        """For whom all it publishes is cached; ``None`` = for whoever each path belongs to."""
        return None if self.tenant == self.home else self.tenant

    def may_publish(self, path: str) -> Allowed | Denied:
        """Whether the guest may publish the broadcast ``path`` (relative to ``root``).

        Raises `BadRequest` when ``path`` is too long to be one.
        """
        return _covered(Path(path), self.publish, "publish")

    def may_subscribe(self, path: str) -> Allowed | Denied:
        """Whether the guest may subscribe to the broadcast ``path`` (relative to ``root``).

        Raises `BadRequest` when ``path`` is too long to be one.
        """
        return _covered(Path(path), self.subscribe, "subscribe")


def rebase(root: Path, prefixes: Iterable[Path], path: Path) -> tuple[Path, ...]:
    """``prefixes`` of ``root`` as seen from ``path``: what of them lies there, narrowed to it.

    A prefix that contains ``path`` becomes ``""``, one below it keeps its remainder, others vanish.
    Raises `BadRequest` when a prefix below ``root`` is too long to be a path.
    """
    seen: list[Path] = []
    for prefix in prefixes:
        absolute = root.join(prefix)
        if absolute.is_under(path):
            seen.append(absolute.relative_to(path))
        elif path.is_under(absolute):
            seen.append(ROOT)
    return covering(seen)


def common(one: Iterable[Path], other: Iterable[Path]) -> tuple[Path, ...]:
    """What both lists of prefixes cover."""
    others = tuple(other)
    pairs = ((a, b) for a in one for b in others)
    return covering(a if a.is_under(b) else b for a, b in pairs if a.is_under(b) or b.is_under(a))


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a session may have at most, whatever it is granted; ``None`` = no limit. Prefixes are
    relative to the root of its grant, which never changes."""

    publish: tuple[Path, ...] | None = None
    subscribe: tuple[Path, ...] | None = None

    def over(self, grant: Grant) -> Grant:
        """The grant without what lies beyond."""
        publish = _lower(self.publish, grant.publish)
        subscribe = _lower(self.subscribe, grant.subscribe)
        return replace(grant, publish=publish or (), subscribe=subscribe or ())

    def under(self, other: Ceiling) -> Ceiling:
        """The one that is as low as both."""
        publish = _lower(self.publish, other.publish)
        return Ceiling(publish, _lower(self.subscribe, other.subscribe))


def _lower(one: tuple[Path, ...] | None, other: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return common(one, other)


def _covered(path: Path, prefixes: tuple[Path, ...], verb: str) -> Allowed | Denied:
    if any(path.is_under(prefix) for prefix in prefixes):
        return Allowed()
    if not prefixes:
        return Denied(f"the grant does not allow to {verb} anything")
    return Denied(f"{str(path)!r} is under no prefix the grant allows to {verb}")
