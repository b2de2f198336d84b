"""Secrets at rest: AES-256-GCM under one root key that is never in the store.

The law: what was sealed for one purpose, name and version opens for no other; without the root key
nothing is sealed and nothing opened, and there is no stand-in for it. This module must not know
what is sealed nor where it is kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.errors import ConfigError
from relay.records.kept import Sealed, root_of

VARIABLE = "MOQ_MASTER_KEY"
"""The environment variable of the root key: 32 bytes in base64."""

KEY, NONCE = 32, 12
"""Bytes of a root key, and of the nonce of one secret."""

MAX_SECRET = 65_536
"""Bytes of one secret."""

_HINT = "make one with: openssl rand -base64 32"
_NAME = re.compile(r"[\x21-\x7e]{1,256}")
_PURPOSE = re.compile(r"[a-z0-9.-]{1,64}")


class Seal:
    """A root key. Its representation does not show it."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY:
            raise ConfigError(f"a root key has {KEY} bytes, not {len(key)}; {_HINT}")
        self._cipher = AESGCM(key)
        self.id = hmac.digest(key, b"relay root key id", hashlib.sha256)[:6].hex()
        """Names the key without telling it; stands before everything that is sealed."""

    @classmethod
    def read(cls, environ: Mapping[str, str], variable: str = VARIABLE) -> Seal | None:
        """The root key of an environment; ``None`` when it holds none.

        Raises `ConfigError`, which quotes nothing, for one that is no key.
        """
        text = environ.get(variable, "").strip()
        if not text:
            return None
        try:
            key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(f"{variable}: not base64; {_HINT}") from None
        try:
            return cls(key)
        except ConfigError as error:
            raise ConfigError(f"{variable}: {error}") from None

    def seal(self, purpose: str, name: str, version: int, secret: bytes, now: float) -> Sealed:
        """The secret, sealed; ``now`` is unix seconds. Raises `ConfigError` for a bad name."""
        if not _PURPOSE.fullmatch(purpose) or not _NAME.fullmatch(name) or version < 1:
            raise ConfigError("a secret has a purpose, a name of 1 to 256 letters and a version")
        if len(secret) > MAX_SECRET:
            raise ConfigError(f"a secret of {len(secret)} bytes (at most {MAX_SECRET})")
        nonce = os.urandom(NONCE)
        body = self._cipher.encrypt(nonce, secret, _bound(purpose, name, version))
        text = f"{self.id}:{base64.b64encode(nonce + body).decode()}"
        return Sealed(purpose, name, version, text, now)

    def open(self, sealed: Sealed) -> bytes:
        """What was sealed. Raises `ConfigError` when this is not the key, or it was changed."""
        called = f"the {sealed.purpose} secret {sealed.name!r}, version {sealed.version}"
        if (root := root_of(sealed.text)) != self.id:
            raise ConfigError(f"{called} is sealed under the root key {root}; this is {self.id}")
        try:
            data = base64.b64decode(sealed.text.partition(":")[2], validate=True)
            bound = _bound(sealed.purpose, sealed.name, sealed.version)
            return self._cipher.decrypt(data[:NONCE], data[NONCE:], bound)
        except (InvalidTag, ValueError, binascii.Error):
            raise ConfigError(f"{called} was changed, or is another's") from None

    def again(self, old: Seal, sealed: Sealed) -> str:
        """What was sealed under ``old``, sealed under this. Raises `ConfigError`."""
        secret = old.open(sealed)
        named = sealed.purpose, sealed.name, sealed.version
        return self.seal(*named, secret, sealed.created).text


def _bound(purpose: str, name: str, version: int) -> bytes:
    """What a secret is bound to; no part can hold the byte that stands between them."""
    return b"\0".join((purpose.encode(), name.encode(), b"%d" % version))


def require_seal(seal: Seal | None, under: str | None, why: str = "") -> Seal | None:
    """The seal, if it is that of a store sealed ``under`` some root key.

    Raises `ConfigError` when it is missing although something is sealed (or ``why`` it is needed is
    given), or another one.
    """
    if seal is None:
        if under is not None:
            raise ConfigError(f"{VARIABLE}: not set, and the store is sealed under the key {under}")
        if why:
            raise ConfigError(f"{VARIABLE}: not set, and {why}; {_HINT}")
        return None
    if under is not None and under != seal.id:
        text = f"it is the key {seal.id}, and the store is sealed under the key {under}"
        raise ConfigError(f"{VARIABLE}: {text}")
    return seal
