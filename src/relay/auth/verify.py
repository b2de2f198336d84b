"""One token checked, from its letters to its scope: everything but the path it is used on.

The law: nothing of a token is believed before its signature, its key is found by name alone and
never tried out, and the algorithm is the key's. Each check leaves a step or raises a `Refusal`. It
must not know where the token came from or what the bearer wants with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from relay.auth.claims import Claims, decode
from relay.auth.compact import Parts, split
from relay.auth.keys import Key, KeySet, is_kid
from relay.auth.material import ALGORITHMS
from relay.auth.reason import Refusal, Trail, quoted
from relay.auth.settings import AuthSettings

FAR_FUTURE = 100 * 365 * 86400
"""Seconds after which an ``exp`` is taken for one in milliseconds and worth a warning."""

_KEY_HEADERS = ("jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256")


class Verified(NamedTuple):
    """A token that is genuine and valid now."""

    claims: Claims
    key: Key


def verify(
    token: str, keys: KeySet, settings: AuthSettings, now: float, trail: Trail | None = None
) -> Verified:
    """Check ``token`` at ``now`` (unix seconds); what was looked at is noted in ``trail``.

    The size of the token is the caller's to limit. Raises `Refusal` and nothing else.
    """
    trail = Trail() if trail is None else trail
    parts = _take_apart(token, trail)
    algorithm, kid = _read_header(parts.header, trail)
    key = _choose(keys, kid, algorithm, trail)
    if not key.verify_signature(parts.signed, parts.signature):
        hint = "it was changed, or signed by another key of the same name"
        raise Refusal("bad_signature", "the signature is not by this key", hint)
    trail.note("signature", f"made by {_name(key)}")
    claims = decode(parts.payload)
    claims.require_use()
    trail.note("claims", _claimed(claims))
    _check_time(claims, settings, now, trail)
    _check_audience(claims, settings, trail)
    if key.scope is not None:
        key.scope.require(claims)
        trail.note("scope", f"within what {_name(key)} may allow")
    return Verified(claims, key)


def _take_apart(token: str, trail: Trail) -> Parts:
    try:
        parts = split(token)
    except ValueError as error:
        raise Refusal("malformed", f"not a token: {error}") from None
    trail.note("form", "three parts, strictly encoded")
    return parts


def _read_header(header: Mapping[str, Any], trail: Trail) -> tuple[str, str | None]:
    """Algorithm and key name. Where keys might be fetched from is never looked at."""
    if "crit" in header:
        # RFC 7515, 4.1.11: no extension is understood here, so none may be critical.
        raise Refusal("bad_crit", "the header has critical extensions (crit)")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        named = quoted(algorithm) if isinstance(algorithm, str) else "missing or not a string"
        raise Refusal("bad_alg", f"the algorithm is {named}", f"use {', '.join(ALGORITHMS)}")
    kid = header.get("kid")
    if "kid" in header and not is_kid(kid):
        text = "the key id (kid) is not 1 to 128 letters, digits, hyphens or underscores"
        raise Refusal("bad_kid", text)
    trail.note("header", f"{algorithm}, {'no key id' if kid is None else f'key id {kid}'}")
    if ignored := [name for name in _KEY_HEADERS if name in header]:
        text = f"{', '.join(ignored)} ignored: a token does not bring its own key"
        trail.note("header", text, warning=True)
    return algorithm, kid


def _choose(keys: KeySet, kid: str | None, algorithm: str, trail: Trail) -> Key:
    """The key by its name alone: trying several would let a token choose its judge."""
    key = _named(keys, kid, trail)
    if key.algorithm != algorithm:
        text = f"the token says {algorithm}, {_name(key)} is for {key.algorithm}"
        raise Refusal("bad_alg", text)
    if not key.can_verify:
        hint = "its key_ops do not contain verify"
        raise Refusal("key_cannot_verify", f"{_name(key)} may not verify", hint)
    return key


def _named(keys: KeySet, kid: str | None, trail: Trail) -> Key:
    if kid is None:
        if len(keys) != 1:
            text = f"the token names no key (kid) and {len(keys)} are configured"
            raise Refusal("missing_kid", text, "sign with a key that has a kid")
        trail.note("key", "the only one there is")
        return keys.keys[0]
    key = keys.find(kid)
    if key is not None:
        trail.note("key", f"{_name(key)}, {key.algorithm}")
        return key
    if keys.single and len(keys) == 1:
        key = keys.keys[0]
        text = f"the token names the key {kid}, checked with the only one there is: {_name(key)}"
        trail.note("key", text, warning=True)
        return key
    known = ", ".join(sorted(key.kid for key in keys.keys[:8] if key.kid is not None))
    raise Refusal("unknown_kid", f"no key is named {kid}", f"known: {known}" if known else "")


def _check_time(claims: Claims, settings: AuthSettings, now: float, trail: Trail) -> None:
    """``exp`` is the first second of refusal (RFC 7519, 4.1.4), ``nbf`` the first of validity."""
    leeway = settings.leeway
    if claims.nbf is not None and now + leeway < claims.nbf:
        text = f"valid only in {_span(claims.nbf - now)}"
        raise Refusal("not_yet_valid", text, "check the clocks of signer and relay, or set leeway")
    if claims.exp is None:
        trail.note("time", "no exp: the token never expires", warning=True)
    elif now >= claims.exp + leeway:
        text = f"expired {_span(now - claims.exp)} ago"
        raise Refusal("expired", text, "sign a new token; if it is new, check the clocks")
    elif claims.exp - now > FAR_FUTURE:
        text = "expires in more than a century: exp looks like milliseconds, it is in seconds"
        trail.note("time", text, warning=True)
    elif claims.exp <= now:
        trail.note("time", f"expired {_span(now - claims.exp)} ago, within leeway", warning=True)
    else:
        trail.note("time", f"expires in {_span(claims.exp - now)}")
    if claims.iat is not None and claims.iat > now + leeway:
        text = f"signed {_span(claims.iat - now)} in the future: the clocks differ"
        trail.note("time", text, warning=True)


def _check_audience(claims: Claims, settings: AuthSettings, trail: Trail) -> None:
    if settings.audience is None:
        if claims.aud is not None:
            hint = "set auth.audience to what such tokens name, or sign without aud"
            raise Refusal("bad_audience", "the token names an audience, none is configured", hint)
        return
    if claims.aud is None or settings.audience not in claims.aud:
        named = "none" if claims.aud is None else ", ".join(quoted(name) for name in claims.aud[:4])
        text = f"the token is for {named}, not for {quoted(settings.audience)}"
        raise Refusal("bad_audience", text)
    trail.note("audience", f"for {quoted(settings.audience)}")


def _name(key: Key) -> str:
    return "the key without a name" if key.kid is None else f"the key {key.kid}"


def _claimed(claims: Claims) -> str:
    rights = [f"root {quoted('/' + claims.root)}"]
    for verb, prefixes in (("publish", claims.put), ("subscribe", claims.get)):
        rights.append(f"{verb} {describe(prefixes)}")
    if claims.cluster:
        rights.append("as a relay")
    return ", ".join(rights)


def describe(prefixes: tuple[str, ...]) -> str:
    """Prefixes in words, cut to a few."""
    if not prefixes:
        return "nothing"
    shown = [quoted(prefix) if prefix else "everything" for prefix in prefixes[:4]]
    more = len(prefixes) - len(shown)
    return " ".join(shown) + (f" and {more} more" if more else "")


def _span(seconds: float) -> str:
    """A length of time in the largest unit that leaves a whole number worth reading."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
