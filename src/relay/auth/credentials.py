"""Credentials beside the JWT: static API keys, stored API tokens and one-time tickets, as letters.

The law: what kind a credential is shows in its form alone, so nothing is tried out; only hashes are
kept, they are compared in constant time, and a guess costs at most one derivation. This module must
not know the clock, a store, or what a credential allows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["jwt", "api_key", "token", "certificate"]
"""What rights may be founded on. A ticket is of the kind it was made with."""

KINDS: tuple[Kind, ...] = ("jwt", "api_key", "token", "certificate")

_CALLED = {
    "jwt": "the token",
    "api_key": "the API key",
    "token": "the API token",
    "certificate": "the client certificate",
}

ITERATIONS = 600_000
"""PBKDF2 rounds of a new hash, as OWASP counsels for HMAC-SHA256; about 0.2 s of one core."""

MIN_ITERATIONS, MAX_ITERATIONS = 100_000, 5_000_000
"""Rounds a configured hash may ask for: fewer are no protection, more are a stall at the door."""

MOOSE_ITERATIONS, MOOSE_BYTES = 1000, 20
"""PBKDF2 rounds and hash length of MooseStack's API keys, fixed there."""

OPERATOR = "MOQ_ADMIN_TOKEN"
"""The variable with the operator's key itself: ``relay admin`` shows it, and a relay lets its
bearer in where no ``admin.api_key`` says whom to."""

_LEAST = 16
"""Characters of the shortest secret that is taken from somebody else."""

_LETTERS = string.ascii_letters + string.digits
_PREFIX, _SECRET = 12, 43
"""Letters of 62: 12 name a token (71 bits), 43 are its secret (256 bits)."""

_TOKEN = re.compile(rf"mq_([A-Za-z0-9]{{{_PREFIX}}})_([A-Za-z0-9]{{{_SECRET}}})")
_TICKET = re.compile(rf"[A-Za-z0-9]{{{_SECRET}}}")
_MOOSE = re.compile(r"[0-9A-Fa-f]{40}")
_SALT = r"[A-Za-z0-9_-]{8,128}"
_MODERN = re.compile(rf"pbkdf2_sha256\$([0-9]{{1,8}})\$({_SALT})\$([A-Za-z0-9+/]+=*)")
_EXPECTED = (
    "expected pbkdf2_sha256$<iterations>$<salt>$<hash>, or 40 hex digits as MooseStack makes them "
    "(relay hash-token makes one)"
)


def called(kind: str) -> str:
    """What such a credential is called where its bearer, or the operator, is told of it."""
    return _CALLED.get(kind, "the ticket")


# -- API keys ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyHash:
    """What is kept of an API key. ``str`` is the text of the setting."""

    digest: bytes = field(repr=False)
    iterations: int
    salt: str | None
    """``None``: the form of MooseStack, where only the bearer knows the salt."""

    @classmethod
    def parse(cls, text: str) -> KeyHash:
        """Read the text of a setting. Raises `ValueError`, which does not quote it."""
        if _MOOSE.fullmatch(text):
            return cls(bytes.fromhex(text), MOOSE_ITERATIONS, None)
        found = _MODERN.fullmatch(text)
        if not found:
            raise ValueError(_EXPECTED)
        iterations = int(found[1])
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise ValueError(f"expected {MIN_ITERATIONS} to {MAX_ITERATIONS} iterations")
        try:
            digest = base64.b64decode(found[3], validate=True)
        except binascii.Error:
            raise ValueError(_EXPECTED) from None
        if len(digest) != hashlib.sha256().digest_size:
            raise ValueError("expected a hash of 32 bytes in base64")
        return cls(digest, iterations, found[2])

    def __str__(self) -> str:
        if self.salt is None:
            return self.digest.hex()
        hashed = base64.b64encode(self.digest).decode()
        return f"pbkdf2_sha256${self.iterations}${self.salt}${hashed}"

    def equals(self, derived: bytes) -> bool:
        """Whether ``derived`` is this hash, in constant time."""
        return hmac.compare_digest(self.digest, derived)


class NewKey(NamedTuple):
    """Both halves of a new API key."""

    bearer: str
    """For whoever calls: ``secret.salt``."""
    hash: KeyHash
    """For the configuration."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """The one slow thing about an API key: PBKDF2-HMAC-SHA256 (RFC 8018, 5.2) still to be done."""

    secret: bytes = field(repr=False)
    salt: bytes
    iterations: int
    length: int
    """Bytes wanted."""


def derive(work: Derivation) -> bytes:
    """Do the work: about 0.2 s at `ITERATIONS` (give it a thread), 0.4 ms for MooseStack's form."""
    return hashlib.pbkdf2_hmac("sha256", work.secret, work.salt, work.iterations, work.length)


def derivation(bearer: str, hashes: Iterable[KeyHash]) -> Derivation | None:
    """What must be derived to tell whether ``bearer`` is one of ``hashes``; ``None``: it is none.

    The salt in the bearer names the hash, so a stranger who has never seen a key costs nothing;
    hashes of MooseStack's form share one cheap derivation.
    """
    secret, dot, salt = bearer.partition(".")
    if not (secret and dot and salt) or "." in salt:
        return None
    moose = False
    for each in hashes:
        if each.salt == salt:
            return Derivation(_encoded(secret), _encoded(salt), each.iterations, len(each.digest))
        moose = moose or each.salt is None
    if not moose:
        return None
    return Derivation(_encoded(secret), _encoded(salt), MOOSE_ITERATIONS, MOOSE_BYTES)


def make_key(iterations: int = ITERATIONS) -> NewKey:
    """A new API key of our form. The secret is 256 bits."""
    return _made(_letters(_SECRET), _letters(22), iterations, 32, moose=False)


def hash_key(text: str) -> KeyHash:
    """What is to be kept of an API key that somebody has. Raises `ValueError`, without the key."""
    if not looks_like_key(text):
        raise ValueError("expected a key as relay hash-token prints it, secret.salt")
    secret, _, salt = text.partition(".")
    return _made(secret, salt, ITERATIONS, 32, moose=False).hash


def looks_like_key(text: str) -> bool:
    """Whether the credential has the form of an API key; a JWT less its signature has it, too."""
    secret, dot, salt = text.partition(".")
    return bool(dot) and len(secret) >= _LEAST and re.fullmatch(_SALT, salt) is not None


def make_moose_key() -> NewKey:
    """A new API key as ``moose generate hash-token`` makes them: ``token.salt`` and 40 digits."""
    token, salt = secrets.token_hex(16), secrets.token_hex(16)
    return _made(token, salt, MOOSE_ITERATIONS, MOOSE_BYTES, moose=True)


def _made(secret: str, salt: str, iterations: int, length: int, moose: bool) -> NewKey:
    digest = derive(Derivation(secret.encode(), salt.encode(), iterations, length))
    return NewKey(f"{secret}.{salt}", KeyHash(digest, iterations, None if moose else salt))


# -- API tokens and tickets --------------------------------------------------------------------


class ApiToken(NamedTuple):
    """A long-lived token ``mq_<prefix>_<secret>``, taken apart."""

    prefix: str
    """Names the token; not secret."""
    secret: str

    def __str__(self) -> str:
        return f"mq_{self.prefix}_{self.secret}"

    def __repr__(self) -> str:
        return f"ApiToken(prefix={self.prefix!r})"


def looks_like_token(text: str) -> bool:
    """Whether the credential calls itself an API token."""
    return text.startswith("mq_")


def read_token(text: str) -> ApiToken | None:
    """The parts of an API token; ``None`` when it is not well-formed."""
    found = _TOKEN.fullmatch(text)
    return ApiToken(found[1], found[2]) if found else None


def make_token() -> ApiToken:
    """A new API token."""
    return ApiToken(_letters(_PREFIX), _letters(_SECRET))


def make_ticket() -> str:
    """A new one-time ticket: 256 bits, without meaning."""
    return _letters(_SECRET)


def is_ticket(text: str) -> bool:
    """Whether the text has the form of a ticket."""
    return _TICKET.fullmatch(text) is not None


def secret_digest(secret: str) -> str:
    """What is kept of the secret of a token, or of a ticket: SHA-256, hex.

    One fast round is right here: nobody guesses 256 random bits however fast the hash is, and a
    slow one would only let strangers keep the door busy.
    """
    return hashlib.sha256(_encoded(secret)).hexdigest()


def same_digest(one: str, other: str) -> bool:
    """Whether two digests are equal, in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def _letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


def _encoded(text: str) -> bytes:
    """UTF-8 of whatever a stranger sent, halves of surrogate pairs included."""
    return text.encode("utf-8", "surrogatepass")
