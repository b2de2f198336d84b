"""A token before its judges: the specimen, the keys it may be checked with, the time, the path.

The law: a signature is checked with one named key or not at all, and what cannot be checked is said
and never assumed. This module must not know which judge thinks what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.auth.compact import from_base64url, parse_object
from relay.auth.keys import Key, KeySet, read_jwk
from relay.auth.specimen import Specimen
from relay.errors import ConfigError

GOOD, BAD, UNCHECKED = "good", "bad", "unchecked"
"""What is known of a signature."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The content of a key file, as different readers take it."""

    jwks: tuple[Mapping[str, Any], ...] = field(repr=False)
    """The members of each key as written."""
    listed: bool
    """Whether the file is a JWK set."""
    encoded: bool
    """Whether it is base64url of JSON, not JSON."""
    keys: KeySet | None
    """As this relay reads it."""
    trouble: str = ""
    """Why this relay does not read it, when it does not."""

    @classmethod
    def load(cls, data: bytes, name: str) -> Bench:
        """Read a JWK, a JWK set, or a public key in PEM. Raises `ConfigError` when it is none."""
        keys, trouble = None, ""
        try:
            keys = KeySet.load(data, name)
        except ConfigError as error:
            trouble = str(error)
        if keys is not None and data.lstrip().startswith(b"-----BEGIN"):
            return cls(tuple(key.to_jwk() for key in keys.keys), False, False, keys)
        text = data.strip()
        encoded = not text.startswith(b"{")
        try:
            json = from_base64url(text.decode("ascii").rstrip("=")) if encoded else text
            members = parse_object(json)
        except ValueError:
            raise ConfigError(trouble or f"{name}: no usable key") from None
        inner = members.get("keys")
        listed = inner if isinstance(inner, list) else [members]
        jwks = tuple(jwk for jwk in listed if isinstance(jwk, dict))
        return cls(jwks, isinstance(inner, list), encoded, keys, trouble)


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a judge may look at."""

    specimen: Specimen
    bench: Bench | None
    """``None`` when nobody gave a key."""
    now: float
    """Unix seconds."""
    path: str | None = None
    """Where the bearer would connect; ``None``: to the root of the token."""

    @property
    def header(self) -> Mapping[str, Any]:
        """Header members; empty when there are none."""
        return self.specimen.header.members

    @property
    def claims(self) -> Mapping[str, Any]:
        """Claims; empty when there are none."""
        return self.specimen.claims.members

    @property
    def root(self) -> str:
        """The claimed root; the empty one when there is none."""
        root = self.claims.get("root", "")
        return root if isinstance(root, str) else ""

    def named_key(self) -> Mapping[str, Any] | None:
        """The key that ``kid`` names, the only one there is, or ``None``."""
        jwks = () if self.bench is None else self.bench.jwks
        named = [jwk for jwk in jwks if "kid" in self.header and jwk.get("kid") == self.kid]
        if named:
            return named[0]
        return jwks[0] if len(jwks) == 1 else None

    @property
    def kid(self) -> Any:
        """The ``kid`` of the header, of whatever type."""
        return self.header.get("kid")

    def signature(self) -> str:
        """`GOOD`, `BAD` or `UNCHECKED`, by the named key with that key's own algorithm."""
        jwk = self.named_key()
        if jwk is None:
            return UNCHECKED
        key = _usable(jwk)
        if key is None:
            return UNCHECKED
        found = self.specimen.signature
        return GOOD if found and key.material.verify(self.specimen.signed, found) else BAD


def _usable(jwk: Mapping[str, Any]) -> Key | None:
    """The key's material, whatever it is meant for; ``None`` when this relay could not use it."""
    try:
        return read_jwk({**jwk, "kid": None, "key_ops": ["verify"], "scope": None})
    except ValueError:
        return None
