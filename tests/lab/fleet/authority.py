"""Certificates for hosts that are known by their address. This module must not know relays."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LIFE = datetime.timedelta(days=10)
"""How long before and after now they hold, so that a wrong clock is not what ends a session."""


class Authority:
    """Signs for whoever asks."""

    def __init__(self, folder: Path) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name("lab authority")
        self.file = folder / "authority.pem"
        made = self._sign(self.name, self.key.public_key(), x509.BasicConstraints(True, None))
        self.file.write_bytes(made.public_bytes(Encoding.PEM))

    def issue(self, cert: Path, key: Path, address: str) -> None:
        """Write a certificate for a host and its key."""
        pair = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        made = self._sign(_name(address), pair.public_key(), names)
        cert.write_bytes(made.public_bytes(Encoding.PEM))
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key.touch(0o600)
        key.write_bytes(pair.private_bytes(*form))

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - LIFE)
            .not_valid_after(now + LIFE)
            .add_extension(extension, critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
