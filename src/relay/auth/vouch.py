"""Each kind of credential checked, and what it then vouches for.

The law: one function per kind, each ends in the same value or in a `Refusal`; what was looked up
beforehand is compared again with what the guest said. This module must not know the path that was
dialled nor what the guest wants there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relay.auth.certificate import Certificate
from relay.auth.credentials import (
    derivation,
    read_token,
    same_digest,
    secret_digest,
)
from relay.auth.facts import Facts, StoredToken
from relay.auth.grant import Grant
from relay.auth.keys import Key, KeySet
from relay.auth.reason import Refusal, Trail, quoted, span
from relay.auth.revocation import Holder
from relay.auth.rules import CertificateRule
from relay.auth.settings import AuthSettings
from relay.auth.verify import verify
from relay.path import ROOT, Path


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a good credential allows, before the path it is used on. Prefixes are below ``root``."""

    credential: str
    root: Path
    publish: tuple[Path, ...]
    subscribe: tuple[Path, ...]
    expires: float | None = None
    subject: str | None = None
    kid: str | None = None
    jti: str | None = None
    issued: float | None = None
    cluster: bool = False
    decrypt: tuple[str, ...] = ()
    tenant: str | None = None
    """Whose it is, where the credential says so or was narrowed before."""
    home: str | None = None
    """Overrides the first segment of the root, where the credential was narrowed before, or has
    none and its key reaches no further."""
    parent_kids: tuple[str, ...] = ()
    """The keys of the credentials that this one was exchanged for, the first one's first."""
    issuer: str | None = None
    """Who calls somebody `subject`, where only one issuer is believed to."""
    exchanged: float | None = None
    """When it was made out of another credential, unix seconds; ``None`` = it was not."""

    def reach(self) -> Iterator[Path]:
        """The root, and each prefix seen from the top."""
        yield self.root
        for prefix in self.publish + self.subscribe:
            yield self.root.join(prefix)

    def holder(self, path: Path) -> Holder:
        """Who a revocation would strike when this is used at ``path``."""
        tenant = self.tenant_at(path)
        return Holder(self.jti, self.subject, self.kid, tenant, self.issued, self.parent_kids)

    def tenant_at(self, path: Path) -> str | None:
        """Who pays for this when it is used there."""
        return self.tenant or self.home_at(path)

    def home_at(self, path: Path) -> str | None:
        """Whose part of the tree this is used in."""
        return self.home or (self.root or path).first


def vouch_jwt(
    token: str, keys: KeySet, settings: AuthSettings, now: float, trail: Trail
) -> Vouched:
    """A JWT (RFC 7519). Raises `Refusal`."""
    claims, key = verify(token, keys, settings, now, trail)
    times = [time for time in (claims.iat, claims.parent_iat) if time is not None]
    return Vouched(
        credential="jwt",
        root=claims.root,
        publish=claims.put,
        subscribe=claims.get,
        expires=None if claims.exp is None else claims.exp + settings.leeway,
        subject=claims.sub,
        kid=key.kid,
        jti=claims.jti,
        issued=min(times, default=None),
        cluster=claims.cluster,
        decrypt=claims.decrypt,
        tenant=key.tenant or claims.tenant,
        home=key.scope.home if key.scope is not None and not claims.root else None,
        parent_kids=claims.parent_kids,
        issuer=_issuer(key, claims.parent_kids, keys),
        exchanged=(claims.iat or 0) if claims.parent_kids else None,
    )


def vouch_api_key(
    bearer: str, settings: AuthSettings, facts: Facts, now: float, trail: Trail
) -> Vouched:
    """A static API key, ``secret.salt``; it costs one derivation at most. Raises `Refusal`."""
    trail.note("form", "an API key")
    work = derivation(bearer, (key.hash for key in settings.api_keys.values()))
    if work is None:
        hint = "send both halves, secret.salt, as relay hash-token prints them"
        raise Refusal("bad_api_key", "the API key is none of those in auth.api_keys", hint)
    derived = facts.derive(work)
    # Every hash is compared, so that how long it takes does not tell which one it was.
    fitting = [name for name, key in settings.api_keys.items() if key.hash.equals(derived)]
    if not fitting:
        hint = "the key was changed, or the hash in auth.api_keys is of another one"
        raise Refusal("bad_api_key", "the API key does not fit its hash", hint)
    name = fitting[0]
    key = settings.api_keys[name]
    trail.note("credential", f"the API key {quoted(name)}")
    trail.holder = Holder(sub=name, tenant=key.root.first)
    _require_time("the API key", key.expires, now, "make a new one with relay hash-token", trail)
    return Vouched(
        credential="api_key",
        root=key.root,
        publish=key.publish,
        subscribe=key.subscribe,
        expires=key.expires,
        subject=name,
        decrypt=key.decrypt,
    )


def vouch_token(text: str, facts: Facts, now: float, trail: Trail) -> Vouched:
    """A long-lived API token, ``mq_<prefix>_<secret>``. Raises `Refusal`."""
    token = read_token(text)
    if token is None:
        hint = "it is mq_, 12 letters or digits, _ and 43 more; a part may have been cut off"
        raise Refusal("malformed", "not a whole API token", hint)
    trail.note("form", "an API token")
    stored = facts.stored
    if stored is None or stored.prefix != token.prefix:
        hint = "relay records token list shows those there are; records.url names the store"
        raise Refusal("unknown_token", f"no API token mq_{token.prefix} is stored", hint)
    if not same_digest(stored.digest, secret_digest(token.secret)):
        hint = "only its first half is right; make a new one if the other half is lost"
        raise Refusal("bad_token_secret", f"the secret is not that of {stored.id}", hint)
    trail.note("credential", f"the API token {stored.id}, {quoted(stored.name)}")
    trail.holder = Holder(stored.id, stored.name, tenant=stored.root.first)
    _require_unrevoked(stored, now)
    _require_time("the API token", stored.expires, now, "make a new one", trail)
    return Vouched(
        credential="token",
        root=stored.root,
        publish=stored.publish,
        subscribe=stored.subscribe,
        expires=stored.expires,
        subject=stored.name,
        jti=stored.id,
        issued=stored.created,
        decrypt=stored.decrypt,
    )


def vouch_ticket(facts: Facts, now: float, trail: Trail) -> Vouched:
    """A one-time ticket, spent by now: what it was made for. Raises `Refusal`."""
    grant: Grant | None = facts.ticket
    if grant is None:
        hint = "a ticket holds once and for seconds; ask POST /ticket for a new one"
        raise Refusal("bad_ticket", "the ticket is unknown, was used, or is too old", hint)
    trail.note("credential", f"a ticket, made with a credential of kind {grant.credential}")
    trail.holder = grant.holder
    hint = "sign a new token and make a ticket with that"
    _require_time("what the ticket was made with", grant.expires, now, hint, trail)
    return Vouched(
        credential=grant.credential,
        root=grant.root,
        publish=grant.publish,
        subscribe=grant.subscribe,
        expires=grant.expires,
        subject=grant.subject,
        kid=grant.kid,
        jti=grant.jti,
        issued=grant.issued,
        cluster=grant.cluster,
        decrypt=grant.decrypt,
        tenant=grant.tenant,
        home=grant.home,
        parent_kids=grant.parent_kids,
        issuer=grant.issuer,
        exchanged=grant.exchanged,
    )


def vouch_certificate(
    certificate: Certificate, settings: AuthSettings, trail: Trail
) -> Vouched | None:
    """A client certificate by the first rule that fits; ``None`` when none does."""
    for name, rule in settings.certificates.items():
        if rule.fits(certificate):
            trail.note("certificate", f"{quoted(certificate.name)} by the rule {quoted(name)}")
            return _by_rule(rule, certificate)
    text = f"no rule of auth.certificates fits {quoted(certificate.name)}: it allows nothing"
    trail.note("certificate", text, warning=True)
    return None


def beside(certificate: Certificate | None, path: Path) -> Holder | None:
    """Whose certificate was shown on the way to ``path``: who a revocation would strike for it."""
    if certificate is None:
        return None
    name, issued = certificate.name, certificate.not_before
    return Holder(certificate.fingerprint, name, tenant=path.first, issued=issued)


def require_current(certificate: Certificate, now: float) -> None:
    """Raises `Refusal` (``expired``) when the certificate has ended since it was checked."""
    if now >= certificate.not_after:
        text = f"the client certificate expired {span(now - certificate.not_after)} ago"
        raise Refusal("expired", text, "renew it")


def _issuer(key: Key, parent_kids: tuple[str, ...], keys: KeySet) -> str | None:
    """Whose names a token uses. One of the relay's own has those of what it was first exchanged
    for; of any other key nothing is believed about that."""
    if not key.is_own or not parent_kids:
        return None if key.is_own else key.issuer
    parent = keys.find(parent_kids[0])
    if parent is None:
        return f"the key {parent_kids[0]}"
    return None if parent.is_own else parent.issuer


def _by_rule(rule: CertificateRule, certificate: Certificate) -> Vouched:
    everything = (ROOT,)
    return Vouched(
        credential="certificate",
        root=rule.root,
        publish=everything if rule.full_access else rule.publish,
        subscribe=everything if rule.full_access else rule.subscribe,
        expires=certificate.not_after,
        subject=certificate.name,
        jti=certificate.fingerprint,
        issued=certificate.not_before,
        cluster=rule.cluster,
        decrypt=rule.decrypt,
    )


def _require_unrevoked(stored: StoredToken, now: float) -> None:
    if stored.revoked is not None:
        text = f"the API token {stored.id} was revoked {span(now - stored.revoked)} ago"
        raise Refusal("revoked", text, "make a new one")


def _require_time(what: str, expires: float | None, now: float, hint: str, trail: Trail) -> None:
    if expires is None:
        trail.note("time", f"{what} never expires")
        return
    if now >= expires:
        raise Refusal("expired", f"{what} expired {span(now - expires)} ago", hint)
    trail.note("time", f"expires in {span(expires - now)}")
