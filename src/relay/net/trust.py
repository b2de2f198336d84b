"""Whom a client believes, and what it shows of itself.

This module must not know what is dialled.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relay.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DialTls:
    """Whom to believe. Pinned fingerprints replace the check against authorities."""

    roots: tuple[str | Path, ...] = ()
    """PEM files of authorities; none takes the system's."""

    fingerprints: tuple[str, ...] = ()
    """Hex SHA-256 of acceptable certificates, colons allowed."""

    disable_verify: bool = False
    """Believe anybody: for tests and closed networks."""

    certificate: str | Path | None = None
    """PEM file of our own certificate chain, for servers that ask for one."""

    key: str | Path | None = None
    """PEM file of its private key."""

    def pins(self) -> frozenset[str]:
        """The fingerprints as compared. Raises `ConfigError` for one that is no SHA-256."""
        plain = frozenset(pin.replace(":", "").lower() for pin in self.fingerprints)
        for pin in plain:
            if len(pin) != 64 or not set(pin) <= set("0123456789abcdef"):
                raise ConfigError(f"{pin!r} is no SHA-256 fingerprint in hex")
        return plain

    def context(self) -> ssl.SSLContext:
        """The same for TLS over TCP, but for the pins: `is_pinned` is to be asked before anything
        is said. Raises `ConfigError` for files that cannot be used."""
        is_blind = self.disable_verify or bool(self.fingerprints)
        made = tls_context(() if is_blind else self.roots, self.certificate, self.key)
        if is_blind:
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        return made

    def is_pinned(self, certificate: bytes | None) -> bool:
        """Whether that certificate (DER) is one of the pinned, or none is."""
        pins = self.pins()
        return not pins or hashlib.sha256(certificate or b"").hexdigest() in pins


def tls_context(
    roots: Sequence[str | Path], cert: str | Path | None, key: str | Path | None, prefix: str = ""
) -> ssl.SSLContext:
    """A client's: it trusts ``roots``, or the system's, and shows ``cert``, if there is one.

    Raises `ConfigError`, which calls the setting by ``prefix`` and its name.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for root in roots:
        with _naming(f"{prefix}root", root):
            made.load_verify_locations(root)
    if not roots:
        made.load_default_certs()
    if cert is not None:
        with _naming(f"{prefix}cert", cert):
            # Without a password at hand OpenSSL would ask for it at the terminal, and wait.
            made.load_cert_chain(cert, key, password="")
    return made


@contextmanager
def _naming(setting: str, file: str | Path) -> Iterator[None]:
    """Have what cannot be used called by its names; OpenSSL says neither."""
    try:
        yield
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{setting}: {file}: {error.strerror or error}") from None
