"""What to do about a refusal: one sentence for every code, for the operator who has to mend it.

The law: a hint that knows the case comes first, the table is for when there is none; sentences name
commands and settings that exist. This module must not know how a refusal came about.
"""

from __future__ import annotations

from relay.auth.reason import Reason

MENDINGS = {
    "bad_path": "connect to a plain path: no backslash, no control characters, no . or .. segments",
    "bad_query": "send one parameter, jwt, and as few others as possible",
    "token_conflict": "send the token once: in the query or in the header, not two different ones",
    "no_token": "connect with a token as ?jwt=…, or make the path public (auth.public)",
    "no_keys": "configure a key (auth.key); if there is one, the log says why it is not used",
    "token_too_long": "sign fewer prefixes into it, or raise auth.max_token_bytes",
    "header_too_long": "sign fewer prefixes into it, or raise auth.max_token_bytes",
    "malformed": "copy the token whole: three parts between two dots, without blanks or padding",
    "bad_crit": "sign without crit: no extension is understood",
    "bad_alg": "sign with the algorithm of the key (its alg), with the key that kid names",
    "bad_type": "sign with the typ that auth.require_typ names",
    "bad_header": "sign without jku, jwk, x5u, x5c and x5t, or unset auth.strict",
    "bad_kid": "name the key with 1 to 128 letters, digits, hyphens or underscores",
    "missing_kid": "sign with a key that has a kid (relay token generate --id NAME)",
    "unknown_kid": "add the key to auth.keys, or sign with one that is configured",
    "key_cannot_verify": "give the relay a key whose key_ops contain verify",
    "key_cannot_sign": "sign with the private half, whose key_ops contain sign",
    "bad_signature": "give the relay the key the token was signed with, and copy the token whole",
    "bad_claims": "sign claims of the right types: strings, lists of strings, whole unix seconds",
    "useless": "give at least one prefix in put (publish) or get (subscribe)",
    "expired": "sign a new token; if it is new, check the clocks of signer and relay",
    "not_yet_valid": "wait, or check the clocks of signer and relay, or set auth.leeway",
    "no_expiry": "sign it with an exp (relay token sign --expires +1h)",
    "too_long_valid": "sign a shorter one (exp is in seconds), or raise auth.max_ttl",
    "bad_issuer": "sign with the iss that auth.issuer, or the key's source, names",
    "bad_audience": "sign with the aud that auth.audience names, or without any when it is unset",
    "scope_exceeded": "ask for less, or sign with a key whose scope is wider",
    "root_mismatch": "connect to the root of the token, or below it",
    "no_access": "connect where the token allows something; its prefixes are relative to its root",
    "role_not_granted": "sign the missing role: put to publish, get to subscribe",
    "not_accepted": "use another kind of credential, or see accept and enforce_jwt in [auth]",
    "unavailable": "look into the log for what could not be asked, then try again",
    "server_refused": "ask the server that auth.url names why; its own log knows",
    "server_invalid": "look into the server that auth.url names: its answer is none",
    "bad_api_key": "send both halves of the key, secret.salt, as relay hash-token prints them",
    "unknown_token": "make an API token in the store that records.url names",
    "bad_token_secret": "send the whole API token; if its end is lost, make a new one",
    "bad_ticket": "ask for a new ticket: each holds once and for seconds",
    "certificate_not_granted": "name the certificate in auth.certificates",
    "revoked": "make a new credential, or take the revocation back",
}
"""What to do, by code of `relay.auth.reason.PLACES`."""


def mending(reason: Reason) -> str:
    """What to do about ``reason``; never empty for a refusal."""
    return reason.hint or MENDINGS.get(reason.code) or "see the steps above"
