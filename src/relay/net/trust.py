"""Whom a client believes, and what it shows of itself.

This module must not know what is dialled.
"""

from __future__ import annotations

import hashlib
import ssl
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
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.disable_verify or self.fingerprints:
                made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
            elif self.roots:
                for file in self.roots:
                    made.load_verify_locations(file)
            else:
                made.load_default_certs()
            if self.certificate is not None and self.key is not None:
                made.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"certificates for dialling: {error.strerror or error}") from None
        return made

    def is_pinned(self, certificate: bytes | None) -> bool:
        """Whether that certificate (DER) is one of the pinned, or none is."""
        pins = self.pins()
        return not pins or hashlib.sha256(certificate or b"").hexdigest() in pins
