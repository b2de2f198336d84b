"""The one decision: who asks, with which token, for which path, and what therefore is granted.

The law: every surface of the relay asks here and nothing else reads a token; no token means the
public's rights, a bad token never does; what is not granted is refused. This module must not know
the clock, files, or who is listening: `now`, the keys and the facts are arguments, the answer is a
value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from relay.auth.certificate import Certificate
from relay.auth.credentials import called
from relay.auth.facts import NO_FACTS, Facts, nothing_revoked
from relay.auth.grant import Grant, rebase
from relay.auth.keys import KeySet
from relay.auth.reason import Reason, Refusal, Step, Trail, quoted
from relay.auth.request import Credential, Request, find_credential
from relay.auth.revocation import Holder
from relay.auth.settings import AuthSettings
from relay.auth.verify import describe
from relay.auth.vouch import (
    Vouched,
    beside,
    require_current,
    vouch_api_key,
    vouch_certificate,
    vouch_jwt,
    vouch_ticket,
    vouch_token,
)
from relay.path import ROOT, Path, as_dialled

__all__ = ["Decision", "Request", "decide"]

_NOTHING_HERE = frozenset(["root_mismatch", "no_access", "role_not_granted", "not_accepted"])
"""Refusals of somebody whose credential is good, and allows nothing where it is shown."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict with its steps and its reason; true in a condition when it is yes."""

    verdict: bool
    grant: Grant | None
    """Present exactly when the verdict is yes."""
    steps: tuple[Step, ...]
    """What was looked at, in order; the last one decided."""
    reason: Reason
    """For the log, the audit and the operator; never for the stranger."""
    status: int
    """What the stranger is told: 200, or 400, 401, 403, 414, 431, 503."""
    holder: Holder | None = None
    """Who was refused, where a credential of theirs is genuine: expired, revoked, or too narrow."""

    def __bool__(self) -> bool:
        return self.verdict

    @property
    def warnings(self) -> tuple[str, ...]:
        """Details of the steps that passed and deserve a second look."""
        return tuple(step.detail for step in self.steps if step.warning)


def decide(
    request: Request, keys: KeySet, settings: AuthSettings, now: float, facts: Facts = NO_FACTS
) -> Decision:
    """Decide on ``request`` at ``now`` (unix seconds). Pure, and never raises for bad input.

    With an API key it takes as long as ``facts.derive`` does: give it results, or a thread.
    """
    trail = Trail()
    try:
        grant = _Case(request, keys, settings, now, facts, trail).grant()
    except Refusal as refusal:
        trail.refuse(refusal)
        steps = tuple(trail.steps)
        return Decision(False, None, steps, refusal.reason, refusal.status, trail.holder)
    reason = Reason("allowed", trail.steps[-1].detail)
    return Decision(True, grant, tuple(trail.steps), reason, 200)


@dataclass(frozen=True, slots=True)
class _Case:
    """Everything one decision is made from."""

    request: Request
    keys: KeySet
    settings: AuthSettings
    now: float
    facts: Facts
    trail: Trail

    def grant(self) -> Grant:
        """The rights of the guest. Raises `Refusal`."""
        path = self.request.path()
        self.trail.note("path", f"connects to {quoted('/' + path)}")
        credential = find_credential(self.request, self.settings)
        certificate = self.facts.certificate
        if credential is None:
            self.trail.note("token", "none")
        if certificate is not None:
            self.trail.holder = beside(certificate, path)
            require_current(certificate, self.now)
        if credential is not None:
            return self._entitled(self._vouched(credential), path)
        if certificate is not None:
            return self._certified(certificate, path)
        return self._public(path)

    def _certified(self, certificate: Certificate, path: Path) -> Grant:
        """What the certificate allows, else what is public: whoever has one shows it everywhere,
        and must not fare worse than without."""
        vouched = vouch_certificate(certificate, self.settings, self.trail)
        if vouched is None:
            return self._public(path)
        try:
            return self._entitled(vouched, path)
        except Refusal as refusal:
            is_open = self._open(path) is not None and self._closed_to("public") is None
            if refusal.reason.code not in _NOTHING_HERE or not is_open:
                raise
            self.trail.note("certificate", refusal.reason.text, warning=True)
        return self._public(path)

    def _entitled(self, vouched: Vouched, path: Path) -> Grant:
        """The rights of whoever has that credential."""
        path = self._meant(path, vouched.reach())
        self.trail.holder = vouched.holder(path)
        self._require_accepted(vouched.credential)
        self._require_unretired(vouched)
        self._require_unrevoked(vouched, path)
        return self._reach(vouched, path)

    def _meant(self, path: Path, literal: Iterable[Path]) -> Path:
        """The path, known who asks: an address may name as it stands what the rights do so."""
        if not self.request.is_address:
            return path
        meant = self.request.path(literal)
        if meant != path:
            self.trail.note("path", f"means {quoted('/' + meant)}, as the rights have it")
        return meant

    def _vouched(self, credential: Credential) -> Vouched:
        """What the credential vouches for; no longer than the certificate beside it does."""
        if credential.kind is not None:
            self._require_accepted(credential.kind)
        if credential.kind == "jwt" and not self.keys:
            _require_answered(self.facts)
            hint = "configure auth.key; if there are keys, the log says why they are not used"
            raise Refusal("no_keys", "a token, but there is no key to check it with", hint)
        self._require_size(credential)
        _require_known(self.facts)
        vouched = self._by_kind(credential)
        certificate = self.facts.certificate
        if certificate is None:
            return vouched
        ends = [certificate.not_after, vouched.expires or certificate.not_after]
        return replace(vouched, expires=min(ends))

    def _by_kind(self, credential: Credential) -> Vouched:
        text, now, trail = credential.text, self.now, self.trail
        if credential.is_ticket:
            return vouch_ticket(self.facts, now, trail)
        if credential.kind == "token":
            return vouch_token(text, self.facts, now, trail)
        if credential.kind == "api_key":
            return vouch_api_key(text, self.settings, self.facts, now, trail)
        try:
            return vouch_jwt(text, self.keys, self.settings, now, trail)
        except Refusal as refusal:
            if refusal.reason.code in ("unknown_kid", "missing_kid"):
                _require_answered(self.facts)
            raise

    def _require_size(self, credential: Credential) -> None:
        self.trail.note("token", f"in the {credential.where}")
        size, most = len(credential.text), self.settings.max_token_bytes
        if size > most:
            code = "header_too_long" if credential.where == "header" else "token_too_long"
            text = f"a token of {size} bytes (at most {most})"
            raise Refusal(code, text, "ask for fewer prefixes, or raise auth.max_token_bytes")
        self.trail.note("size", f"{size} bytes")

    def _closed_to(self, kind: str) -> str | None:
        """Where the guest came in and such a credential is not taken; ``None`` where it is.

        A session is refreshed by an HTTP request, and goes on with that credential.
        """
        session, http = ("session", self.settings.session), ("http", self.settings.http)
        surfaces = {"http": (http,), "refresh": (http, session)}
        for name, accepts in surfaces.get(self.request.transport, (session,)):
            if not accepts.takes(kind):
                return name
        return None

    def _require_accepted(self, kind: str) -> None:
        """Raises `Refusal` (``not_accepted``) when the surface does not take such a credential."""
        if (name := self._closed_to(kind)) is not None:
            hint = f"see auth.{name}.accept and auth.{name}.enforce_jwt"
            raise Refusal("not_accepted", f"a credential of kind {kind} is not taken here", hint)

    def _require_unretired(self, vouched: Vouched) -> None:
        """A ticket, and a token that was made from another, outlive the key of what they are made
        from; where sessions end with that key they must not come back by these."""
        made, kids = vouched.exchanged, (vouched.kid, *vouched.parent_kids)
        if made is None:
            return
        retired = self.keys.retired
        gone = [(kid, "was removed") for kid in kids if made < retired.get(kid or "", -math.inf)]
        origin = self.keys.origin(vouched.kid, vouched.parent_kids)
        if self.settings.ends_with_key and origin is not None and self.keys.find(origin) is None:
            gone.append((origin, "is not known"))  # removed before the start, or never a key here
        if gone:
            _require_answered(self.facts)
            text = "the key {}, by which it came to be, {}".format(*gone[0])
            raise Refusal("unknown_kid", text, "get a new one with a key that is configured")

    def _require_unrevoked(self, vouched: Vouched, path: Path) -> None:
        _require_unstruck(vouched.holder(path), path, self.facts, self.now)
        if self.facts.revoked is not nothing_revoked:
            self.trail.note("revocation", "not revoked")

    def _reach(self, vouched: Vouched, path: Path) -> Grant:
        """The rights as seen from the path that was dialled."""
        root = vouched.root
        grant = Grant(
            root=path,
            publish=rebase(root, vouched.publish, path),
            subscribe=rebase(root, vouched.subscribe, path),
            expires=vouched.expires,
            subject=vouched.subject,
            kid=vouched.kid,
            jti=vouched.jti,
            cluster=vouched.cluster,
            decrypt=vouched.decrypt,
            tenant=vouched.tenant_at(path),
            home=vouched.home_at(path),
            issued=vouched.issued,
            credential=vouched.credential,
            parent_kids=vouched.parent_kids,
            issuer=vouched.issuer,
            beside=beside(self.facts.certificate, path),
        )
        what = called(vouched.credential)
        if not (path.is_under(root) or root.is_under(path)):
            text = f"{what} is for {quoted('/' + root)}, not for {quoted('/' + path)}"
            raise Refusal("root_mismatch", text, _mend(what, root, path))
        if not (grant.publish or grant.subscribe):
            text = f"nothing {what} allows lies at or below {quoted('/' + path)}"
            raise Refusal("no_access", text, "its prefixes are relative to its root")
        self.trail.note("reach", _granted(grant))
        return self._narrow_to_accepted(self._narrow_to_role(grant))

    def _open(self, path: Path) -> Grant | None:
        """What the public may do there, as far as the guest wants it, whoever may come in."""
        public, home = self.settings.public, path.first
        grant = Grant(
            root=path,
            publish=rebase(ROOT, public.publish, path) if self.request.publishes else (),
            subscribe=rebase(ROOT, public.subscribe, path) if self.request.subscribes else (),
            anonymous=True,
            tenant=home,
            home=home,
            credential="public",
        )
        return grant if grant.publish or grant.subscribe else None

    def _public(self, path: Path) -> Grant:
        public = self.settings.public
        path = self._meant(path, (*public.publish, *public.subscribe))
        grant = self._open(path)
        closed = self._closed_to("public")
        if grant is not None and closed is None:
            self.trail.note("public", _granted(grant))
            return self._narrow_to_accepted(grant)
        why = f"{quoted('/' + path)} is not public"
        hint = "connect with a token as ?jwt=…, or set auth.public"
        if grant is not None:
            why = f"what is public at {quoted('/' + path)} needs a JWT here"
            hint = f"connect with a token as ?jwt=…, or unset auth.{closed}.enforce_jwt"
        elif self.facts.certificate is not None:
            hint = f"name it in auth.certificates: {self.facts.certificate.traits}"
        if self.facts.certificate is not None:
            text = f"the certificate allows nothing, and {why}"
            raise Refusal("certificate_not_granted", text, hint)
        raise Refusal("no_token", f"no token, and {why}", hint)

    def _narrow_to_accepted(self, grant: Grant) -> Grant:
        """Take away the direction that such a credential may not be used for."""
        kind = grant.credential
        publish = grant.publish if self.settings.ingest.takes(kind) else ()
        subscribe = grant.subscribe if self.settings.consumption.takes(kind) else ()
        if publish == grant.publish and subscribe == grant.subscribe:
            return grant
        hint = "see auth.ingest and auth.consumption"
        if not (publish or subscribe):
            if grant.anonymous:
                raise Refusal("no_token", "what is public needs a JWT here", hint)
            raise Refusal("not_accepted", f"a credential of kind {kind} is not taken here", hint)
        narrowed = replace(grant, publish=publish, subscribe=subscribe)
        self.trail.note("accept", f"by kind {kind}: {_granted(narrowed)}")
        return narrowed

    def _narrow_to_role(self, grant: Grant) -> Grant:
        """Take away the role that the guest does not want; refuse it when nothing is left."""
        wants = (self.request.publishes, self.request.subscribes)
        if all(wants):
            return grant
        narrowed = replace(
            grant,
            publish=grant.publish if wants[0] else (),
            subscribe=grant.subscribe if wants[1] else (),
        )
        wish = "publish" if wants[0] else "subscribe" if wants[1] else "do nothing"
        if not (narrowed.publish or narrowed.subscribe):
            what = called(grant.credential)
            text = f"the guest wants to {wish} and {what} does not allow that here"
            raise Refusal("role_not_granted", text)
        self.trail.note("role", f"wants to {wish} only")
        return narrowed


def require_unrevoked(grant: Grant, facts: Facts, now: float) -> None:
    """What the relay knows of somebody whom another server lets in. Raises `Refusal`."""
    _require_known(facts)
    _require_unstruck(grant.holder, grant.root, facts, now)


def _require_known(facts: Facts) -> None:
    if facts.unavailable:
        hint = "the refusal is for want of an answer: see the log, and try again"
        raise Refusal("unavailable", facts.unavailable, hint)


def _require_answered(facts: Facts) -> None:
    """Raises `Refusal` where whoever could have the key does not answer: the token may be good."""
    if facts.silence:
        raise Refusal("unavailable", facts.silence, "see the log, and try again")


def _require_unstruck(holder: Holder, path: Path, facts: Facts, now: float) -> None:
    """Neither the holder nor the certificate shown on the way may be revoked."""
    for each in (holder, beside(facts.certificate, path)):
        entry = None if each is None else facts.revoked(each, now)
        if entry is not None:
            number = f" (revocation {entry.id})" if entry.id else ""  # not kept yet
            why = f": {quoted(entry.reason)}" if entry.reason else ""
            text = f"revoked by {quoted(str(entry))}{number}{why}"
            back = f"relay admin revocations withdraw {entry.id}" if entry.id else "withdraw it"
            raise Refusal("revoked", text, f"make a new credential, or {back}")


def _granted(grant: Grant) -> str:
    return f"may publish {describe(grant.publish)}, subscribe {describe(grant.subscribe)}"


def _mend(what: str, root: Path, path: Path) -> str:
    """What to do about a credential for ``root`` that was shown at ``path``."""
    written = as_dialled(root)
    if written != root and f"{path}/".startswith(f"{written}/"):
        return f"clients write that root as {quoted('/' + written)} in a URL: sign for that one"
    return f"connect to the root of {what}, or below"
