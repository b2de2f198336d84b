"""A client certificate as a fact: what a checked chain says about who dialled.

The law: a certificate is only ever looked at after its chain was checked by whoever took the
connection; a name is compared whole, without patterns. This module must not know which authorities
are trusted nor what a certificate allows.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

MAX_NAMES = 64
"""Alternative names of one certificate that are looked at."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The leaf of a chain that was found good."""

    fingerprint: str
    """SHA-256 of the DER form, lower-case hex."""
    not_after: float
    """Unix seconds from which it is no longer valid."""
    subject: str = ""
    """Distinguished name (RFC 4514)."""
    sans: tuple[str, ...] = ()
    """Alternative names: host names in lower case, addresses, URIs, mailboxes (RFC 5280,
    4.2.1.6)."""
    issuer: str = ""
    """Distinguished name of who signed it (RFC 4514)."""
    not_before: float | None = None
    """Unix seconds from which it is valid: its time of issue."""

    @property
    def name(self) -> str:
        """What to call its bearer: the first alternative name, else the subject."""
        return self.sans[0] if self.sans else self.subject


def read_certificate(certificate: x509.Certificate) -> Certificate:
    """The facts of a certificate whose chain has been checked."""
    return Certificate(
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        subject=certificate.subject.rfc4514_string(),
        sans=_alternative_names(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc.timestamp(),
    )


def _alternative_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    found: list[str] = []
    for name in list(names)[:MAX_NAMES]:
        if isinstance(name, x509.DNSName):
            found.append(name.value.lower())
        elif isinstance(name, x509.IPAddress):
            found.append(str(name.value))
        elif isinstance(name, x509.UniformResourceIdentifier | x509.RFC822Name):
            found.append(name.value)
    return tuple(found)
