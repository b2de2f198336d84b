"""Why somebody was turned away: a closed list of codes, each with its step and its HTTP status.

The law: every refusal of this room is one of these codes, so that logs, metrics and tests can count
on them; the text is for the operator and never holds a token or a secret. This module must not know
how a decision is made nor who is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import Refused

if TYPE_CHECKING:
    from relay.auth.revocation import Holder

MAX_QUOTED = 80
"""Characters of a stranger's text that may appear in a reason."""


class Place(NamedTuple):
    """Where a code belongs: the step that failed and the status the stranger sees."""

    step: str
    status: int


PLACES = {
    "bad_path": Place("path", 400),
    "bad_query": Place("token", 400),
    "token_conflict": Place("token", 400),
    "no_token": Place("public", 401),
    "no_keys": Place("token", 401),
    "token_too_long": Place("size", 414),
    "header_too_long": Place("size", 431),
    "malformed": Place("form", 401),
    "bad_crit": Place("header", 401),
    "bad_alg": Place("header", 401),
    "bad_type": Place("header", 401),
    "bad_header": Place("header", 401),
    "bad_kid": Place("key", 401),
    "missing_kid": Place("key", 401),
    "unknown_kid": Place("key", 401),
    "key_cannot_verify": Place("key", 401),
    "key_cannot_sign": Place("key", 401),
    "bad_signature": Place("signature", 401),
    "bad_claims": Place("claims", 401),
    "useless": Place("claims", 401),
    "expired": Place("time", 401),
    "not_yet_valid": Place("time", 401),
    "no_expiry": Place("time", 401),
    "too_long_valid": Place("time", 401),
    "bad_issuer": Place("issuer", 401),
    "bad_audience": Place("audience", 401),
    "scope_exceeded": Place("scope", 401),
    "root_mismatch": Place("reach", 401),
    "no_access": Place("reach", 403),
    "role_not_granted": Place("role", 403),
    "not_accepted": Place("accept", 401),
    "unavailable": Place("lookup", 503),
    "bad_api_key": Place("credential", 401),
    "unknown_token": Place("credential", 401),
    "bad_token_secret": Place("credential", 401),
    "bad_ticket": Place("credential", 401),
    "certificate_not_granted": Place("certificate", 403),
    "revoked": Place("revocation", 401),
    "server_refused": Place("server", 403),
    "server_invalid": Place("server", 503),
}
"""Every code a refusal may carry. 401: no valid credential for here; 403: valid, not enough; 503:
it could not be found out."""


@dataclass(frozen=True, slots=True)
class Reason:
    """The one sentence of a verdict, for the operator only."""

    code: str
    """``allowed`` or a key of `PLACES`: stable, made for counting."""
    text: str
    """What was found, in a sentence; never a token, never a secret."""
    hint: str = ""
    """What to do about it, where there is something to do."""


class Refusal(Refused):
    """A check that failed: raised inside this room, turned into a `Decision` in one place."""

    def __init__(self, code: str, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.reason = Reason(code, text, hint)
        self.step, self.status = PLACES[code]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at on the way to a verdict."""

    name: str
    """Which one: a step of `PLACES`, where it can fail; ``tenant`` and ``patterns`` never do."""
    ok: bool
    """False for the step that decided against; it is the last one."""
    detail: str
    """What was found, for the operator; never a token, never a secret."""
    warning: bool = False
    """True when it passed and deserves a second look."""


class Trail:
    """The steps of one decision while it is made."""

    __slots__ = ("holder", "steps")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.holder: Holder | None = None
        """Whose the credential is, as soon as it is known to be genuine."""

    def note(self, name: str, detail: str, warning: bool = False) -> None:
        """Record a step that passed."""
        self.steps.append(Step(name, True, detail, warning))

    def refuse(self, refusal: Refusal) -> None:
        """Record the step that failed."""
        self.steps.append(Step(refusal.step, False, refusal.reason.text))


def quoted(text: str) -> str:
    """A stranger's text made fit for one line of a log: escaped and cut to `MAX_QUOTED`."""
    cut = text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"
    return ascii(cut) if not cut.isprintable() else repr(cut)


def span(seconds: float) -> str:
    """A length of time in the largest unit that leaves a whole number worth reading."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
