"""How other readers take a token's key, form, header and signature: one rule, one objection.

The law: a rule answers with its objection or with nothing, looks at the case only, and says in a
comment where it stands in its own project. This module must not know how we decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from relay.auth.doctor.case import BAD, Case
from relay.auth.material import ALGORITHMS, MIN_SECRET
from relay.auth.sayings import shown

Rule = Callable[[Case], str | None]
"""What a reader objects to, ``None`` when to nothing."""


# -- keys ------------------------------------------------------------------------------------------


def key_is_json(case: Case) -> str | None:
    # moq-token 0.5.8 key.rs from_str: JSON only; base64url came with #1309.
    if case.bench is not None and case.bench.encoded:
        return "the key file is base64url, and only JSON is read"
    return None


def key_has_kty(case: Case) -> str | None:
    # moq-auth key.rs Jwk (#3776): kty is required, a secret is no longer guessed.
    return _of_key(case, lambda jwk: None if "kty" in jwk else "the key has no kty")


def key_names_operations(case: Case) -> str | None:
    # @moq/token 0.2.3 key.js BaseKeySchema; moq-token 0.5.8 Key.operations has no default.
    return _of_key(case, lambda jwk: None if jwk.get("key_ops") else "the key has no key_ops")


def key_verifies(case: Case) -> str | None:
    # All of them, before anything of the token is read: verify() in key.rs and key.js.
    def objection(jwk: Mapping[str, Any]) -> str | None:
        operations = jwk.get("key_ops", ["verify"])
        allowed = isinstance(operations, list) and "verify" in operations
        return None if allowed else "the key may not verify (key_ops)"

    return _of_key(case, objection)


def key_is_long(case: Case) -> str | None:
    # moq-token 0.7 and @moq/token: MIN_HMAC_SECRET_BYTES; moq-token 0.5.8 took any length.
    def objection(jwk: Mapping[str, Any]) -> str | None:
        secret = jwk.get("k")
        short = isinstance(secret, str) and len(secret.rstrip("=")) * 6 // 8 < MIN_SECRET
        return f"the secret is shorter than {MIN_SECRET} bytes" if short else None

    return _of_key(case, objection)


def key_is_named(case: Case) -> str | None:
    # KeySet.verify in set.rs: a kid must be found; without one there must be a single key.
    if case.bench is None:
        return None
    if case.kid is None:
        return None if len(case.bench.jwks) == 1 else "no kid, and there are several keys"
    if not any(jwk.get("kid") == case.kid for jwk in case.bench.jwks):
        return f"no key has the kid {shown(case.kid)}"
    return None


def key_is_found(case: Case) -> str | None:
    # moq-relay 0.14 auth.rs: a single key file is used whatever kid says; a set as in set.rs.
    if case.bench is not None and not case.bench.listed:
        return None
    return key_is_named(case)


def _of_key(case: Case, objection: Callable[[Mapping[str, Any]], str | None]) -> str | None:
    jwk = case.named_key()
    return None if jwk is None else objection(jwk)


# -- form, header, signature -----------------------------------------------------------------------


def three_parts(case: Case) -> str | None:
    # jsonwebtoken decoding.rs; jose jws_verify.js verifyCompact.
    parts = case.specimen.parts
    return None if parts == 3 else f"{parts} parts instead of three" if parts else "too long"


def strict_letters(case: Case) -> str | None:
    # jsonwebtoken serialization.rs: base64 URL_SAFE_NO_PAD takes no padding and no blanks.
    return case.specimen.letters


def readable_header(case: Case) -> str | None:
    # Both libraries read the header first.
    trouble = case.specimen.header.trouble
    return f"the header is {trouble}" if trouble else None


def rust_header(case: Case) -> str | None:
    # jsonwebtoken header.rs: a struct; known members once and of their type, alg of an enum.
    leaf = case.specimen.header
    known = {"alg", "typ", "cty", "jku", "jwk", "kid", "x5u", "x5c", "x5t", "x5t#S256"}
    if twice := sorted(leaf.twice & known):
        return f"the header has {twice[0]} twice"
    if leaf.marked:
        return "a byte order mark stands before the header"
    for name in ("typ", "kid"):
        if not isinstance(leaf.members.get(name), str | None):
            return f"the header's {name} is not a string"
    return None


def jose_critical(case: Case) -> str | None:
    # jose validate.js validateCrit: b64 is understood; jwt/verify.js: only with b64 true.
    if "crit" not in case.header:
        return None
    critical = case.header["crit"]
    if not isinstance(critical, list) or not critical:
        return "crit is not a list of names"
    if any(name != "b64" for name in critical):
        return f"crit names {shown(next(name for name in critical if name != 'b64'))}"
    if len(critical) > 1 or case.header.get("b64") is not True:
        return "crit names b64, and b64 is not true"
    return None


def algorithm_fits(case: Case) -> str | None:
    # Validation::new(key's alg) in key.rs; algorithms: [key.alg] in key.js.
    algorithm = case.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return f"the algorithm is {shown(algorithm)}"
    wanted = (case.named_key() or {}).get("alg", algorithm)
    return None if algorithm == wanted else f"the key is for {shown(wanted)}, not for {algorithm}"


def signed(case: Case) -> str | None:
    # All of them; an empty signature is nobody's.
    if not case.specimen.signature:
        return "the signature is missing or not base64url"
    return "the signature is not by this key" if case.signature() == BAD else None


def readable_claims(case: Case) -> str | None:
    # Both libraries: the payload is a JSON object.
    trouble = case.specimen.claims.trouble
    return f"the payload is {trouble}" if trouble else None
