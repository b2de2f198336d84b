"""A judgement at the door: what goes into it, what comes out, and who may take it back.

The judge asks a clerk for facts, and possibly somebody else for the decision itself; both are only
described here, as far as the judge needs them. This module must not know sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from relay.auth.certificate import Certificate
from relay.auth.credentials import called
from relay.auth.decide import Decision, Request
from relay.auth.facts import Facts
from relay.auth.grant import Grant
from relay.auth.keys import KeySet
from relay.auth.reason import PLACES, Reason
from relay.auth.settings import AuthSettings
from relay.errors import BadRequest, Forbidden, Refused, Unauthorized, Unavailable
from relay.hosts import with_port
from relay.session.transport import Knock, PeerCertificate

HEARING = 0.5
"""Seconds for which a relay whose grant was taken back may still hear of it, and pass it on."""

REFUSAL_HEADER = "x-request-id"
"""Where an HTTP answer names the refusal."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decisions are made by; replaced as a whole when keys or settings change."""

    keys: KeySet
    settings: AuthSettings


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision and the id under which the log knows it."""

    decision: Decision
    id: str
    loan: Loan | None = None
    """Who may change or take back the grant, when it is not the relay's own."""
    restore: Callable[[], object] | None = None
    """Makes good again what was spent to know it."""

    @property
    def grant(self) -> Grant | None:
        """The rights, when there are any."""
        return self.decision.grant

    def forgo(self, reason: str) -> None:
        """Nobody comes in on it, or what they came for is done: whoever granted it is told."""
        if self.loan is not None:
            self.loan.end(reason)
        if self.restore is not None:
            self.restore()


class Held:
    """A grant whose bearer waits, for room or for what it sends: it may be taken back meanwhile."""

    __slots__ = ("__weakref__", "grant", "id", "remote", "why")

    def __init__(self, grant: Grant, id: str, remote: str) -> None:
        """``id`` is the one a refusal would have, ``remote`` whose grant it is."""
        self.grant = grant
        self.id = id
        self.remote = remote
        self.why = ""
        """Why it was taken back."""

    def over(self, wall: float) -> str:
        """Why it is in force no longer by unix time ``wall``; empty while it is."""
        has_ended = self.grant.expires is not None and wall >= self.grant.expires
        return self.why or ("the grant has ended" if has_ended else "")


class Loan(Protocol):
    """A grant that somebody else may change or take back while the session runs."""

    def begin(self, changed: Callable[[Grant], None], over: Callable[[str, str], None]) -> None:
        """The session begins; ``over`` is told in a word and in a sentence why it must end."""

    def end(self, reason: str, sent: int = 0, received: int = 0) -> None:
        """The session is over, or will never begin; bytes to and from the guest. Heard once."""


class Authority(Protocol):
    """Somebody else who decides."""

    async def ask(self, request: Request, knock: Knock, facts: Facts) -> tuple[Decision, Loan]:
        """Their decision. Never raises: without a clear yes it is a no."""


class Clerk(Protocol):
    """Who gathers what a decision needs to know beside the request itself."""

    def at_once(self, request: Request, certificate: Certificate | None) -> Facts | None:
        """The facts when nothing has to be waited for, else ``None``."""

    async def gather(self, request: Request, certificate: Certificate | None) -> Facts:
        """The facts, however long they take (within the clerk's own limits). Never raises."""

    async def give_back(self, request: Request, facts: Facts) -> None:
        """What gathering the facts has spent is good again: the request let nobody in, for want of
        an answer or of room, and never will. Called once at most. Never raises."""

    def admitted(self, grant: Grant) -> None:
        """Somebody came in with that grant."""


class NoClerk:
    """Nothing to know: decisions follow from keys and settings alone."""

    def at_once(self, request: Request, certificate: Certificate | None) -> Facts | None:
        """Only what the connection itself showed."""
        return Facts(certificate=certificate)

    async def gather(self, request: Request, certificate: Certificate | None) -> Facts:
        """The same."""
        return Facts(certificate=certificate)

    async def give_back(self, request: Request, facts: Facts) -> None:
        """Nothing was spent."""

    def admitted(self, grant: Grant) -> None:
        """Nobody counts."""


def shown(certificate: PeerCertificate | None) -> Certificate | None:
    """A client certificate as decisions know it."""
    if certificate is None:
        return None
    return Certificate(
        fingerprint=certificate.fingerprint,
        not_after=certificate.not_after,
        subject=certificate.subject,
        sans=certificate.names,
        issuer=certificate.issuer,
        not_before=certificate.not_before,
    )


def asked(knock: Knock, target: str) -> Request:
    """The request that a knock makes."""
    bearer = knock.headers.get("authorization", "")
    scheme, _, credential = bearer.partition(" ")
    return Request(
        target=target,
        bearer=credential.strip() if scheme.lower() == "bearer" else None,
        transport=knock.transport,
    )


def address(knock: Knock) -> str:
    """The peer's address for the log, or which process it is."""
    return knock.process or with_port(*knock.remote)


def is_same_holder(one: Grant, other: Grant) -> bool:
    """Whether two grants are the same somebody's, so that one may take the other's place.

    Whom a credential without a subject was made for nobody knows: it is only the same as itself.
    Two issuers may mean two people by one name.
    What a relay may do is settled when it comes in, so a relay is no guest's same and none of its.
    """
    if one.anonymous or other.anonymous or one.tenant != other.tenant:
        return False
    if one.cluster != other.cluster or one.issuer != other.issuer:
        return False
    if one.subject is not None or other.subject is not None:
        return one.subject == other.subject
    return one.jti is not None and one.jti == other.jti


def what_ends(grant: Grant | None, certificate: PeerCertificate | None) -> str:
    """What of a guest's is over when such a grant is over for its time."""
    ends = None if grant is None else grant.expires
    if certificate is not None and ends is not None and certificate.not_after <= ends:
        return called("certificate")
    return called("jwt" if grant is None else grant.credential)


def ending(reason: str) -> str:
    """What the audit log calls it when a loan is over for that reason."""
    return "expire" if reason == "expired" else "revoke"


def undecided(setting: str) -> Decision:
    """What becomes of whoever is not decided on within the time that ``setting`` names."""
    text = f"keys, the store or an authorization server took longer than {setting}"
    reason = Reason("unavailable", text, "see the log for what did not answer")
    return Decision(False, None, (), reason, PLACES["unavailable"].status)


def refusal(judgement: Judgement) -> Refused:
    """What a session is closed with: the status's word and the id, nothing more."""
    kinds: dict[int, type[Refused]] = {400: BadRequest, 403: Forbidden, 503: Unavailable}
    kind = kinds.get(judgement.decision.status, Unauthorized)
    return kind(f"{kind.__name__.lower()} (id {judgement.id})")
