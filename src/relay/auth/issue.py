"""Tokens of the relay's own: what somebody may exchange a credential for.

The law: nobody gets more than they came with, neither in reach nor in time; whoever asks for more
is refused whole. This module must not know keys, the clock, or how anybody asks.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from relay.auth.claims import MAX_PREFIXES, Claims
from relay.auth.grant import Grant, rebase
from relay.auth.reason import Refusal, quoted
from relay.errors import BadRequest
from relay.path import ROOT, Path, covering

LONGEST = sys.float_info.max
"""Seconds that anybody may ask for; integers of JSON can be larger than any float."""


class IssuerSettings(BaseModel):
    """``[issuer]``: short-lived tokens for whoever holds an API token or another credential."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = False
    """Whether the relay makes tokens. It then makes its own signing keys, keeps them in the store,
    sealed under ``MOQ_MASTER_KEY``, and shows their public halves at ``/.well-known/jwks.json``."""

    algorithm: Literal["ES256", "EdDSA"] = "ES256"
    """What keys to come sign with."""

    name: str | None = Field(default=None, min_length=1, max_length=512)
    """What its tokens say as ``iss``; unset: what ``auth.issuer`` says, or nothing."""

    ttl: float = Field(default=300.0, ge=1.0, allow_inf_nan=False)
    """Seconds that a token lives when nobody asks for less or more."""

    max_ttl: float = Field(default=3600.0, ge=1.0, le=86_400.0, allow_inf_nan=False)
    """Most seconds that a token lives; whoever asks for more gets this."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for. What they do not say is all they have."""

    root: Path | None = None
    publish: tuple[Path, ...] | None = None
    """Prefixes below the root."""
    subscribe: tuple[Path, ...] | None = None
    ttl: float | None = None
    """Seconds."""
    decrypt: frozenset[str] | None = None
    """Names of cipher keys."""


def read_wish(members: Mapping[str, Any]) -> Wish:
    """A wish from JSON. Raises `BadRequest`."""
    unknown = set(members) - {"root", "publish", "subscribe", "ttl", "decrypt"}
    if unknown:
        raise BadRequest("a token is asked for by root, publish, subscribe, ttl and decrypt only")
    root, ttl = members.get("root"), members.get("ttl")
    if root is not None and not isinstance(root, str):
        raise BadRequest("root is not text")
    is_number = isinstance(ttl, int | float) and not isinstance(ttl, bool)
    if ttl is not None and not (is_number and 1 <= ttl <= LONGEST):
        raise BadRequest("ttl is not a number of seconds, 1 or more")
    return Wish(
        None if root is None else Path(root),
        _prefixes(members, "publish"),
        _prefixes(members, "subscribe"),
        ttl,
        _key_names(members.get("decrypt")),
    )


def narrowed(
    grant: Grant, wish: Wish, settings: IssuerSettings, now: float, leeway: float = 0.0
) -> Claims:
    """The claims of the token that ``grant``, as seen from the very top, is exchanged for.

    It names keys and time of what it was made from, so that what strikes that strikes it as well.
    ``leeway`` is what the grant's end has in it beyond the credential's own. Raises `Refusal`
    (``no_access``) for more than was granted, or nothing, and (``expired``) where no time is left.
    """
    home = Path(grant.home or "")
    root = wish.root if wish.root is not None else home
    if not root.is_under(home):
        text = f"the credential is for {quoted('/' + home)}, not for {quoted('/' + root)}"
        raise Refusal("no_access", text, "ask for a root below that of the credential")
    put = _part(grant.publish, root, wish.publish, "publish")
    get = _part(grant.subscribe, root, wish.subscribe, "subscribe")
    if not (put or get):
        hint = "ask for what the credential allows"
        raise Refusal("no_access", f"nothing is left to allow below {quoted('/' + root)}", hint)
    names = frozenset(grant.decrypt) if wish.decrypt is None else wish.decrypt
    if more := sorted(names.difference(grant.decrypt)):
        text = f"the credential does not allow to decrypt with {quoted(more[0])}"
        raise Refusal("no_access", text, "ask for what the credential allows, or for less")
    ttl = min(wish.ttl or settings.ttl, settings.max_ttl)
    ends = now + ttl
    if grant.expires is not None:
        ends = min(ends, grant.expires - leeway)
    if math.floor(ends) + leeway <= now:  # tokens end with whole seconds
        raise Refusal("expired", "the credential ends within this second", "renew it")
    return Claims(
        root=root,
        put=put,
        get=get,
        exp=math.floor(ends),
        iat=math.floor(now),
        sub=grant.subject,
        jti=grant.jti,
        parent_kids=tuple(dict.fromkeys(kid for kid in (*grant.parent_kids, grant.kid) if kid)),
        parent_iat=None if grant.issued is None else math.floor(grant.issued),
        decrypt=tuple(name for name in grant.decrypt if name in names),
    )


def _part(
    granted: tuple[Path, ...], root: Path, wished: tuple[Path, ...] | None, verb: str
) -> tuple[Path, ...]:
    if wished is None:
        return rebase(ROOT, granted, root)
    for prefix in wished:
        whole = root.join(prefix)
        if not any(whole.is_under(wider) for wider in granted):
            text = f"the credential does not allow to {verb} under {quoted('/' + whole)}"
            raise Refusal("no_access", text, "ask for what the credential allows, or for less")
    return covering(wished)


def _prefixes(members: Mapping[str, Any], name: str) -> tuple[Path, ...] | None:
    value = members.get(name)
    if value is None:
        return None
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise BadRequest(f"{name} is not a prefix or a list of prefixes")
    if len(listed) > MAX_PREFIXES:
        raise BadRequest(f"{name} has more than {MAX_PREFIXES} prefixes")
    return covering(map(Path, listed))


def _key_names(value: object) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRequest("decrypt is not a list of names")
    return frozenset(value)
