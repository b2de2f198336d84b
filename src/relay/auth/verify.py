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
from relay.auth.keys import Key, KeySet, is_foreign_kid, is_kid
from relay.auth.material import ALGORITHMS
from relay.auth.reason import Refusal, Trail, quoted, span
from relay.auth.revocation import Holder
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
    algorithm, kid = _read_header(parts.header, keys, settings, trail)
    key = _choose(keys, kid, algorithm, settings, trail)
    # Another key of that name may be the one that was meant.
    unused = keys.unused.get(key.kid or "", "")
    if not key.verify_signature(parts.signed, parts.signature):
        hint = unused or "it was changed, or signed by another key of the same name"
        if None not in (kid, key.kid) and kid != key.kid:
            hint = f"it names the key {kid}, which is not there: configure that one"
        raise Refusal("bad_signature", "the signature is not by this key", hint)
    trail.note("signature", f"made by {_name(key)}")
    claims = decode(parts.payload, settings.claims)
    tenant = key.tenant or claims.tenant or claims.root.first
    trail.holder = Holder(claims.jti, claims.sub, key.kid, tenant)
    claims.require_use()
    if settings.strict:
        _require_plain(claims)
    trail.note("claims", _claimed(claims))
    if claims.tenant is not None:
        trail.note("tenant", f"{quoted(claims.tenant)}, as the claim {settings.claims.tenant} says")
    elif key.tenant is not None:
        trail.note("tenant", f"{quoted(key.tenant)}, whose {_name(key)} is")
    _check_time(claims, settings, now, trail)
    _check_issuer(claims, key.issuer or settings.issuer, unused, trail)
    _check_audience(claims, key.audience or settings.audience, unused, trail)
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


def _read_header(
    header: Mapping[str, Any], keys: KeySet, settings: AuthSettings, trail: Trail
) -> tuple[str, str | None]:
    """Algorithm and key name. Where keys might be fetched from is never looked at."""
    if "crit" in header:
        # RFC 7515, 4.1.11: no extension is understood here, so none may be critical.
        raise Refusal("bad_crit", "the header has critical extensions (crit)")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        named = quoted(algorithm) if isinstance(algorithm, str) else "missing or not a string"
        raise Refusal("bad_alg", f"the algorithm is {named}", f"use {', '.join(ALGORITHMS)}")
    _check_type(header.get("typ"), settings.require_typ)
    kid = header.get("kid")
    if "kid" in header and not (is_kid(kid) or (keys.foreign_names and is_foreign_kid(kid))):
        text = "the key id (kid) is not 1 to 128 letters, digits, hyphens or underscores"
        raise Refusal("bad_kid", text)
    trail.note("header", f"{algorithm}, {'no key id' if kid is None else f'key id {kid}'}")
    if ignored := [name for name in _KEY_HEADERS if name in header]:
        if settings.strict:
            raise Refusal("bad_header", f"the header brings a key: {', '.join(ignored)}")
        text = f"{', '.join(ignored)} ignored: a token does not bring its own key"
        trail.note("header", text, warning=True)
    return algorithm, kid


def _check_type(typ: object, wanted: str | None) -> None:
    """``typ`` is a media type whose ``application/`` may be left out (RFC 7515, 4.1.9)."""
    if wanted is None:
        return
    if not isinstance(typ, str) or _media_type(typ) != _media_type(wanted):
        named = quoted(typ) if isinstance(typ, str) else "missing or not a string"
        raise Refusal("bad_type", f"the type (typ) is {named}, not {quoted(wanted)}")


def _media_type(text: str) -> str:
    return text.lower().removeprefix("application/")


def _choose(
    keys: KeySet, kid: str | None, algorithm: str, settings: AuthSettings, trail: Trail
) -> Key:
    """The key by its name alone: trying several would let a token choose its judge."""
    key = _named(keys, kid, settings.strict, trail)
    if key.algorithm != algorithm:
        text = f"the token says {algorithm}, {_name(key)} is for {key.algorithm}"
        raise Refusal("bad_alg", text)
    if not key.can_verify:
        hint = "its key_ops do not contain verify"
        raise Refusal("key_cannot_verify", f"{_name(key)} may not verify", hint)
    return key


def _named(keys: KeySet, kid: str | None, strict: bool, trail: Trail) -> Key:
    if kid is None:
        if len(keys) != 1 or keys.open_ended:
            count = f"more than {len(keys)} may be" if keys.open_ended else f"{len(keys)} are"
            text = f"the token names no key (kid) and {count} configured"
            raise Refusal("missing_kid", text, "sign with a key that has a kid")
        trail.note("key", "the only one there is")
        return keys.keys[0]
    key = keys.find(kid)
    if key is not None:
        trail.note("key", f"{_name(key)}, {key.algorithm}")
        return key
    if keys.single and len(keys) == 1 and not strict:
        key = keys.keys[0]
        text = f"the token names the key {kid}, checked with the only one there is: {_name(key)}"
        trail.note("key", text, warning=True)
        return key
    known = ", ".join(sorted(key.kid for key in keys.keys[:8] if key.kid is not None))
    raise Refusal("unknown_kid", f"no key is named {kid}", f"known: {known}" if known else "")


def _require_plain(claims: Claims) -> None:
    """Raises `Refusal` for prefixes that look as if they led somewhere else."""
    for prefix in (claims.root, *claims.put, *claims.get):
        if any(segment in (".", "..") for segment in prefix.segments):
            raise Refusal("bad_claims", f"a dot segment in {quoted(prefix)}")


def _check_time(claims: Claims, settings: AuthSettings, now: float, trail: Trail) -> None:
    """``exp`` is the first second of refusal (RFC 7519, 4.1.4), ``nbf`` the first of validity."""
    leeway = settings.leeway
    if claims.nbf is not None and now + leeway < claims.nbf:
        text = f"valid only in {span(claims.nbf - now)}"
        raise Refusal("not_yet_valid", text, "check the clocks of signer and relay, or set leeway")
    _check_length(claims.exp, settings, now)
    if claims.exp is None:
        trail.note("time", "no exp: the token never expires", warning=True)
    elif now >= claims.exp + leeway:
        text = f"expired {span(now - claims.exp)} ago"
        raise Refusal("expired", text, "sign a new token; if it is new, check the clocks")
    elif claims.exp - now > FAR_FUTURE:
        text = "expires in more than a century: exp looks like milliseconds, it is in seconds"
        trail.note("time", text, warning=True)
    elif claims.exp <= now:
        trail.note("time", f"expired {span(now - claims.exp)} ago, within leeway", warning=True)
    else:
        trail.note("time", f"expires in {span(claims.exp - now)}")
    if claims.iat is not None and claims.iat > now + leeway:
        text = f"signed {span(claims.iat - now)} in the future: the clocks differ"
        if settings.strict:
            raise Refusal("not_yet_valid", text, "check the clocks, or set leeway")
        trail.note("time", text, warning=True)


def _check_length(exp: int | None, settings: AuthSettings, now: float) -> None:
    """How long a token may still be valid."""
    longest = settings.max_ttl
    if exp is None:
        if settings.require_exp or longest is not None:
            raise Refusal("no_expiry", "the token never expires", "sign it with an exp")
    elif longest is not None and exp - now > longest:
        text = f"valid for another {span(exp - now)}, at most {span(longest)} are allowed"
        hint = "exp looks like milliseconds, it is in seconds" if exp - now > FAR_FUTURE else ""
        raise Refusal("too_long_valid", text, hint or "sign a shorter one, or raise auth.max_ttl")
    elif settings.strict and exp - now > FAR_FUTURE:
        text = "expires in more than a century"
        raise Refusal("too_long_valid", text, "exp looks like milliseconds, it is in seconds")


def _check_issuer(claims: Claims, wanted: str | None, hint: str, trail: Trail) -> None:
    if wanted is None:
        return
    if claims.iss != wanted:
        named = "nobody" if claims.iss is None else quoted(claims.iss)
        raise Refusal("bad_issuer", f"the token is by {named}, not by {quoted(wanted)}", hint)
    trail.note("issuer", f"by {quoted(wanted)}")


def _check_audience(claims: Claims, wanted: str | None, hint: str, trail: Trail) -> None:
    if wanted is None:
        if claims.aud is not None:
            hint = "set auth.audience to what such tokens name, or sign without aud"
            raise Refusal("bad_audience", "the token names an audience, none is configured", hint)
        return
    if claims.aud is None or wanted not in claims.aud:
        named = ", ".join(quoted(name) for name in (claims.aud or ())[:4]) or "none"
        text = f"the token is for {named}, not for {quoted(wanted)}"
        raise Refusal("bad_audience", text, hint)
    trail.note("audience", f"for {quoted(wanted)}")


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
