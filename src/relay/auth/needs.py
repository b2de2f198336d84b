"""What must be looked up before a request can be decided on.

The law: reading costs little, believes nothing and never fails; a request that will be refused for
its form needs nothing. This module must not know how anything is looked up.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

from relay.auth.compact import from_base64url, parse_object
from relay.auth.credentials import Derivation, derivation, is_ticket, read_token
from relay.auth.reason import Refusal
from relay.auth.request import Credential, Request, find_credential
from relay.auth.settings import AuthSettings

MAX_KID = 256
"""Characters of a key id worth asking anybody about."""


class Needs(NamedTuple):
    """What to gather. Everything in it is a stranger's word."""

    jwt: bool = False
    """A JWT was given, with or without a ``kid``."""
    kid: str | None = None
    """The key that the JWT names."""
    parents: tuple[str, ...] = ()
    """Keys of what the JWT was exchanged for, where it ends with them."""
    token_prefix: str | None = None
    """The API token that is given, by its prefix."""
    ticket: str | None = None
    """The ticket that is given; looking it up spends it."""
    derivation: Derivation | None = None
    """What to derive for an API key; slow."""


def needs(request: Request, settings: AuthSettings) -> Needs:
    """What must be looked up for ``request``; the empty `Needs` when there is nothing."""
    try:
        request.path()
        credential = find_credential(request, settings)
    except Refusal:
        return Needs()
    if credential is None or len(credential.text) > settings.max_token_bytes:
        return Needs()
    return _needed(credential, settings)


def _needed(credential: Credential, settings: AuthSettings) -> Needs:
    text = credential.text
    if credential.is_ticket:
        return Needs(ticket=text if is_ticket(text) else None)
    if credential.kind == "token":
        token = read_token(text)
        return Needs(token_prefix=token.prefix if token else None)
    if credential.kind == "api_key":
        hashes = (key.hash for key in settings.api_keys.values())
        return Needs(derivation=derivation(text, hashes))
    kid = member(text, 0, "kid")
    parents = member(text, 1, "parent_kid") if settings.ends_with_key else None
    listed = parents if isinstance(parents, list) else [parents]
    return Needs(
        jwt=True,
        kid=kid if _is_worth_asking(kid) else None,
        parents=tuple(filter(_is_worth_asking, listed)),
    )


def member(token: str, part: int, name: str) -> Any:
    """A member of a JWT's header (part 0) or payload (1), unverified."""
    try:
        return parse_object(from_base64url(token.split(".", 2)[part])).get(name)
    except (ValueError, IndexError):
        return None


def _is_worth_asking(kid: Any) -> TypeGuard[str]:
    return isinstance(kid, str) and 0 < len(kid) <= MAX_KID
