"""Keys at the operator's counter, as shapes: those that sign, and those that encrypt fields.

The law: nothing of a key that is secret stands in any of them. This module must not know who
answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from relay.control.admin.shape import SPAN, CipherName, Id, Shape

# -- keys that sign --------------------------------------------------------------------------------

Span = Annotated[str, Field(pattern=SPAN)]


class Rotation(Shape):
    """How to rotate the signing keys."""

    grace: Span = "24h"
    """For how long tokens of the key that signed still hold."""
    compromised: bool = False
    """Whether that key is to be refused at once."""
    kid: Id | None = None
    """The key that is meant, and no other; else the one that signs."""


class SigningKey(Shape):
    """One signing key of the relay's own."""

    kid: str
    state: Literal["next", "active", "retiring", "retired"]
    algorithm: str
    created: float
    activated: float | None
    ends: float | None
    compromised: bool


class SigningKeys(Shape):
    """The signing keys, the oldest first."""

    keys: list[SigningKey]


class KeySet(Shape):
    """Public halves of keys (RFC 7517)."""

    keys: list[dict[str, Any]]


# -- cipher keys -----------------------------------------------------------------------------------


class NewCipher(Shape):
    """A cipher key to make."""

    name: CipherName


class CipherNamed(Shape):
    """One cipher key."""

    name: CipherName


class Cipher(Shape):
    """One version of a cipher key, without its bytes."""

    name: str
    version: int
    created: float


class Ciphers(Shape):
    """Every version by name and number; the last one of a name encrypts."""

    ciphers: list[Cipher]
