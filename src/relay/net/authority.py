"""Client certificates: who vouches for them, and what one says about its holder.

A certificate is a fact about a peer, never a right: it is checked here (chain, dates, purpose) and
described as plain values; what it allows is decided elsewhere. The library proves that the peer
holds the key. This module must not know grants.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aioquic.tls import Alert, verify_certificate
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.errors import ConfigError, Unauthorized
from relay.net.followed import Followed
from relay.net.tls import fingerprint, read_authorities
from relay.session.transport import PeerCertificate

MAX_NAMES = 64
"""Alternative names of one certificate that are kept; the rest is ignored."""

CLIENT_PURPOSES = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


class BadCertificate(Unauthorized):
    """A client certificate that nobody vouches for, or not for that, or not now."""

    remote = ""
    """Who showed it, where that is known."""


class Authorities:
    """Who vouches for client certificates that are shown from now on."""

    def __init__(self, pem: bytes, files: Sequence[Path] = ()) -> None:
        """Usually made by `from_files`."""
        self.pem = pem
        """Certificates of all of them."""
        self._followed = Followed(*files)
        self._is_good = True

    @classmethod
    def from_files(cls, files: Sequence[Path]) -> Authorities | None:
        """The authorities in all these files; ``None`` when no file is named.

        Raises `ConfigError`, one line, for a file that cannot be read or holds no certificate.
        """
        if not files:
            return None
        made = cls(b"", files)
        made.pem = made._read()
        return made

    def reload_if_changed(self) -> bool:
        """Look at the files again and answer whether others are believed now, or those before, once
        their files can be used again.

        Raises `ConfigError` once per change for files that cannot be used; the old ones stay.
        """
        if not self._followed.have_changed():
            return False
        were_good, self._is_good = self._is_good, False
        before, self.pem = self.pem, self._read()
        self._is_good = True
        return self.pem != before or not were_good

    def _read(self) -> bytes:
        """What the files hold. Raises `ConfigError`."""
        return b"\n".join(map(_certificates, self._followed.files))


def _certificates(file: Path) -> bytes:
    """The certificates in a file as they stand there. Raises `ConfigError`."""
    try:
        return read_authorities(file)
    except ConfigError as error:
        raise ConfigError(f"server.tls.root: {error}") from None


def examine(
    leaf: x509.Certificate, chain: Sequence[x509.Certificate], roots: bytes
) -> PeerCertificate:
    """What the certificate says. Raises `BadCertificate` unless one of ``roots`` vouches for it."""
    try:
        verify_certificate(certificate=leaf, chain=list(chain), cadata=roots)
    except Alert as alert:
        raise BadCertificate(f"client certificate: {alert}") from None
    _require_purpose(leaf)
    return PeerCertificate(
        subject=leaf.subject.rfc4514_string(),
        issuer=leaf.issuer.rfc4514_string(),
        names=_names(leaf),
        fingerprint=fingerprint(leaf),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
    )


def _require_purpose(leaf: x509.Certificate) -> None:
    """A certificate that names its purposes must name this one (RFC 5280, 4.2.1.12)."""
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    except ValueError:
        raise BadCertificate("client certificate: its extensions cannot be read") from None
    if not CLIENT_PURPOSES & set(purposes):
        raise BadCertificate("client certificate: it is not meant for clients")


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """Its alternative names: DNS names, in lower case since theirs means nothing (RFC 5280,
    4.2.1.6), addresses, mail addresses and URIs."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    kinds = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress)
    return tuple(_written(name) for name in found if isinstance(name, kinds))[:MAX_NAMES]


def _written(name: x509.GeneralName) -> str:
    return str(name.value).lower() if isinstance(name, x509.DNSName) else str(name.value)
