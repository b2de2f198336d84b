"""How far a key reaches: the prefixes below which its tokens may grant anything.

The law: a token that asks for more than its key may give is refused whole, never trimmed to what
would have been allowed, at signing as at verifying. A relay's token is for everything: relays tell
each other more than any prefix covers. This module must not know how a key signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.auth.claims import MAX_PREFIXES, Claims
from relay.auth.reason import Refusal, quoted
from relay.errors import BadRequest
from relay.path import ROOT, Path


@dataclass(frozen=True, slots=True)
class Scope:
    """The ``scope`` of a key: prefixes per role, relative to ``root``. An empty role denies it."""

    root: Path = ROOT
    put: tuple[Path, ...] = ()
    get: tuple[Path, ...] = ()

    def require(self, claims: Claims) -> None:
        """Raises `Refusal` (``scope_exceeded``) unless every right claimed lies in the scope."""
        put, get = ([self.root.join(each) for each in role] for role in (self.put, self.get))
        if claims.cluster and not self.reaches_all:
            text = "the key may not make its bearer a relay: there are paths it does not reach"
            raise Refusal("scope_exceeded", text, "sign with a key of no scope")
        for verb, wanted, reach in (("publish", claims.put, put), ("subscribe", claims.get, get)):
            for prefix in wanted:
                absolute = claims.root.join(prefix)
                if not any(absolute.is_under(wider) for wider in reach):
                    text = f"the key may not allow to {verb} under {quoted('/' + absolute)}"
                    raise Refusal("scope_exceeded", text, "sign with a key of a wider scope")

    @property
    def reaches_all(self) -> bool:
        """Whether it leaves no path out, so that its key may make a relay of somebody."""
        return not self.root and ROOT in self.put and ROOT in self.get

    @property
    def home(self) -> str | None:
        """The first segment of everything it reaches, where that is one: whose key it is."""
        firsts = {self.root.join(prefix).first for prefix in (*self.put, *self.get)}
        return firsts.pop() if len(firsts) == 1 else None

    def members(self) -> dict[str, Any]:
        """The value of the JWK member ``scope``."""
        return {"root": self.root, "put": list(self.put), "get": list(self.get)}


def read_scope(value: object) -> Scope:
    """Read the JWK member ``scope``. Raises `ValueError` when it is no scope or allows nothing."""
    if not isinstance(value, Mapping):
        raise ValueError("scope is not an object")
    root = value.get("root", "")
    if not isinstance(root, str):
        raise ValueError("scope.root is not a string")
    try:
        scope = Scope(Path(root), _prefixes(value, "put"), _prefixes(value, "get"))
        for prefix in (*scope.put, *scope.get):
            scope.root.join(prefix)
    except BadRequest as error:
        raise ValueError(f"scope holds {error}") from None
    if not scope.put and not scope.get:
        raise ValueError("scope allows nothing: give it at least one prefix in put or get")
    return scope


def _prefixes(value: Mapping[str, object], name: str) -> tuple[Path, ...]:
    listed = value.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise ValueError(f"scope.{name} is not a list of strings")
    if len(listed) > MAX_PREFIXES:
        raise ValueError(f"scope.{name} has more than {MAX_PREFIXES} prefixes")
    return tuple(Path(item) for item in listed)
