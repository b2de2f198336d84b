"""What if: the same request, were the first thing wrong with it mended, and then the next.

The law: a supposition is never a decision, and nothing forged is ever believed to get one: the same
payload is signed by a throwaway key and the one decision function is asked with that key alone, so
that no rule is written twice. This module must not know files, the network, or who is asking.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from relay.auth.claims import MAX_TIME
from relay.auth.compact import split, to_base64url, to_json
from relay.auth.decide import Decision, Request
from relay.auth.keys import KeySet, generate, is_kid
from relay.auth.reason import Reason
from relay.auth.settings import AuthSettings
from relay.auth.specimen import lay_open
from relay.errors import ConfigError

Judge = Callable[[Request, KeySet, AuthSettings, float], Decision]
"""`decide`, or it with facts already given to it."""

SIGNATURE = frozenset(
    {
        "no_keys",
        "bad_alg",
        "missing_kid",
        "unknown_kid",
        "key_cannot_verify",
        "bad_signature",
        "scope_exceeded",
        "unavailable",
    }
)
"""Refusals that a genuine signature of an unlimited key would not meet; the last where it is the
key that nobody could be asked for."""

TIME = frozenset({"expired", "not_yet_valid"})
"""Refusals that another moment would not meet."""

MAX_MENDED = 4
"""Things supposed to be mended in one go."""


@dataclass(frozen=True, slots=True)
class Supposition:
    """What would be the verdict if all of `mended` were mended."""

    decision: Decision
    mended: tuple[Reason, ...]
    """What was supposed away, in order; the first one is the real refusal."""


def resigned(token: str) -> tuple[str, KeySet] | None:
    """The same payload under a fresh key, and the only key set that believes it.

    ``None`` when the token is too broken to have a payload.
    """
    try:
        parts = split(token)
    except ValueError:
        return None
    kid = parts.header.get("kid")
    try:
        key = generate("HS256", kid if is_kid(kid) else None)
    except ConfigError:
        return None
    header = to_json({**parts.header, "alg": key.algorithm, "kid": key.kid})
    signed = f"{to_base64url(header)}.{to_base64url(parts.payload)}"
    return f"{signed}.{to_base64url(key.sign(signed.encode()))}", KeySet((key,))


def suppose(
    request: Request,
    token: str,
    refused: Decision,
    settings: AuthSettings,
    now: float,
    judge: Judge,
    most: int = MAX_MENDED,
) -> Supposition | None:
    """Mend what can be supposed away, one refusal after the other; ``None`` when nothing can.

    ``token`` is the one credential of ``request``, ``refused`` the real decision; ``most`` things
    are mended. Pure but for the throwaway key.
    """
    genuine = resigned(token)
    if genuine is None or refused.reason.code not in SIGNATURE | TIME:
        return None
    text, keys = genuine
    again = replace(request, target=request.target.partition("?")[0], query="", bearer=text)
    mended: list[Reason] = []
    decision = refused
    while not decision and len(mended) < most:
        code = decision.reason.code
        if code in TIME:
            moment = valid_moment(token, settings)
            if moment is None or moment == now:
                break
            now = moment
        elif code not in SIGNATURE or any(code == each.code for each in mended):
            break
        mended.append(decision.reason)
        decision = judge(again, keys, settings, now)
    if decision.reason.code == "unavailable":  # what did not answer was not about the key
        return None
    return Supposition(decision, tuple(mended))


def valid_moment(token: str, settings: AuthSettings) -> float | None:
    """A second at which neither ``nbf`` nor ``exp`` would stand in the way, if there is one."""
    claims = lay_open(token).claims.members
    exp, nbf = (_time(claims.get(name)) for name in ("exp", "nbf"))
    if exp is None:
        return nbf
    moment = exp - 1.0
    return None if nbf is not None and moment + settings.leeway < nbf else moment


def _time(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MAX_TIME:
        return None
    return float(math.floor(value))


def in_words(mended: tuple[Reason, ...]) -> str:
    """What was supposed, as the beginning of a sentence."""
    signature = any(reason.code in SIGNATURE for reason in mended)
    time = any(reason.code in TIME for reason in mended)
    if signature and time:
        return "With a good signature, and at a time when it is valid,"
    return "With a good signature" if signature else "At a time when it is valid"
