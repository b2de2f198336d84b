"""Tokens made: claims and a key become a signed text.

The law: nothing is signed that the relay would refuse to read, so a useless token or one beyond the
scope of its key fails here, before it reaches anybody. This module must not know the clock or where
keys are kept.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from relay.auth.claims import Claims, decode
from relay.auth.compact import to_base64url, to_json
from relay.auth.keys import Key
from relay.auth.reason import Refusal
from relay.auth.trust import ClaimNames

_NAMES = ClaimNames()


def sign(claims: Claims, key: Key, now: float | None = None, names: ClaimNames = _NAMES) -> str:
    """The token (JWS compact, RFC 7515, 7.1); ``now`` in unix seconds stamps a missing ``iat``;
    ``names`` is what rights are called.

    Raises `Refusal`: ``useless`` claims, ``bad_claims`` that no relay would read, or would read as
    others, claims that exceed the key's scope (``scope_exceeded``), or a key that
    ``key_cannot_sign``.
    """
    if now is not None and claims.iat is None:
        claims = replace(claims, iat=math.floor(now))
    claims.require_use()
    payload = _encoded(_called(claims.members(), names))
    # Where two of them share a name, one right would be read as another that nobody gave.
    if replace(decode(payload, names), tenant=claims.tenant) != claims:
        hint = "see auth.claims: each needs a claim that means nothing else"
        raise Refusal("bad_claims", "the token would be read as another one", hint)
    if key.scope is not None:
        key.scope.require(claims)
    if not key.can_sign:
        hint = "sign with the private half, whose key_ops contain sign"
        raise Refusal("key_cannot_sign", "the key cannot or may not sign", hint)
    header: dict[str, Any] = {"alg": key.algorithm, "typ": "JWT"}
    if key.kid is not None:
        header["kid"] = key.kid
    signed = f"{to_base64url(to_json(header))}.{to_base64url(payload)}"
    return f"{signed}.{to_base64url(key.sign(signed.encode()))}"


def _called(members: dict[str, Any], names: ClaimNames) -> dict[str, Any]:
    """The members by the names they have on the wire; of two with one name the last stays."""
    called = {own: getattr(names, own) or own for own in ("root", "put", "get", "tenant")}
    return {called.get(own, own): value for own, value in members.items()}


def _encoded(members: dict[str, Any]) -> bytes:
    try:
        return to_json(members)
    except ValueError:
        raise Refusal("bad_claims", "the claims hold something that is no text") from None
