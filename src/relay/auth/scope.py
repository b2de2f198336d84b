"""How far a key reaches: the prefixes below which its tokens may grant anything, and for whom.

The law: a token that asks for more than its key may give is refused whole, never trimmed to what
would have been allowed, at signing as at verifying. A relay's token is for everything: relays tell
each other more than any prefix covers. This module must not know how a key signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.auth.claims import MAX_PREFIXES, TENANT_NAME, Claims, is_tenant
from relay.auth.reason import Refusal, quoted
from relay.errors import BadRequest
from relay.path import ROOT, Path


@dataclass(frozen=True, slots=True)
class Scope:
    """The ``scope`` of a key: prefixes per role, relative to ``root``. An empty role denies it."""

    root: Path = ROOT
    put: tuple[Path, ...] = ()
    get: tuple[Path, ...] = ()
    tenant: str | None = None
    """Whose all its tokens are, said in them or not; ``None`` = as they say."""

    def require(self, claims: Claims) -> None:
        """Raises `Refusal` (``scope_exceeded``) unless every right claimed lies in the scope, and
        the tenant is that of the key."""
        put, get = ([self.root.join(each) for each in role] for role in (self.put, self.get))
        if claims.cluster and not self.reaches_all:
            text = "the key may not make its bearer a relay: there are paths it does not reach"
            if self.tenant is not None:
                text = "the key may not make its bearer a relay: it is a tenant's"
            raise Refusal("scope_exceeded", text, "sign with a key of no scope")
        if self.tenant is not None and claims.tenant not in (None, self.tenant):
            mine, theirs = quoted(self.tenant), quoted(claims.tenant)
            text = f"the key is the tenant {mine}'s, and the token names {theirs}"
            raise Refusal("scope_exceeded", text, f"name {mine}, or no tenant")
        for verb, wanted, reach in (("publish", claims.put, put), ("subscribe", claims.get, get)):
            for prefix in wanted:
                absolute = claims.root.join(prefix)
                if not any(absolute.is_under(wider) for wider in reach):
                    text = f"the key may not allow to {verb} under {quoted('/' + absolute)}"
                    raise Refusal("scope_exceeded", text, "sign with a key of a wider scope")

    @property
    def reaches_all(self) -> bool:
        """Whether it leaves nothing out, so that its key may make a relay of somebody."""
        is_open = not self.root and ROOT in self.put and ROOT in self.get
        return is_open and self.tenant is None

    @property
    def home(self) -> str | None:
        """The first segment of everything it reaches, where that is one: whose key it is."""
        firsts = {self.root.join(prefix).first for prefix in (*self.put, *self.get)}
        return firsts.pop() if len(firsts) == 1 else None

    def members(self) -> dict[str, Any]:
        """The value of the JWK member ``scope``."""
        members = {"root": self.root, "put": list(self.put), "get": list(self.get)}
        return members if self.tenant is None else {**members, "tenant": self.tenant}


def read_scope(value: object) -> Scope:
    """Read the JWK member ``scope``. Raises `ValueError` when it is no scope or allows nothing."""
    if not isinstance(value, Mapping):
        raise ValueError("scope is not an object")
    root = value.get("root", "")
    if not isinstance(root, str):
        raise ValueError("scope.root is not a string")
    try:
        prefixes = _prefixes(value, "put"), _prefixes(value, "get")
        scope = Scope(Path(root), *prefixes, _tenant(value.get("tenant")))
        for prefix in (*scope.put, *scope.get):
            scope.root.join(prefix)
    except BadRequest as error:
        raise ValueError(f"scope holds {error}") from None
    if not scope.put and not scope.get:
        raise ValueError("scope allows nothing: give it at least one prefix in put or get")
    return scope


def _tenant(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and is_tenant(value)):
        raise ValueError(f"scope.tenant is not {TENANT_NAME}")
    return value


def _prefixes(value: Mapping[str, object], name: str) -> tuple[Path, ...]:
    listed = value.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise ValueError(f"scope.{name} is not a list of strings")
    if len(listed) > MAX_PREFIXES:
        raise ValueError(f"scope.{name} has more than {MAX_PREFIXES} prefixes")
    return tuple(Path(item) for item in listed)
