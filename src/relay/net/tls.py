"""Certificates: load, generate, name by fingerprint, and change without a restart.

A pair is read whole and checked before anybody uses it, so a broken file is a clear line for the
operator and never a failing handshake. Generated certificates obey what browsers ask of pinned
ones: ECDSA P-256, no authority, at most 14 days. This module must not know connections.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, PublicKeyAlgorithmOID

from relay.errors import ConfigError
from relay.net.followed import Followed
from relay.net.picking import Names, names_of, pick

MAX_PINNED_DAYS = 14
"""Longest validity browsers accept of a pinned certificate (W3C WebTransport)."""

BACKDATED = datetime.timedelta(minutes=30)
"""How long before its making a certificate is valid, for peers whose clock is behind."""

SPARE = datetime.timedelta(days=1)
"""What is left of a generated certificate's life when the next one takes its place."""

PrivateKey = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)


CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
"""Those that TLS 1.3 has signatures for (RFC 8446, 4.2.3)."""


@dataclass(frozen=True)
class Pair:
    """A certificate chain, leaf first, and the leaf's private key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the leaf, as peers pin it."""
        return fingerprint(self.chain[0])

    @cached_property
    def names(self) -> Names:
        """What the leaf is for."""
        return names_of(self.chain[0])

    @property
    def unpinned(self) -> str:
        """Why browsers do not pin the leaf (W3C WebTransport, custom certificate requirements),
        where it is self-signed and they would have to; else empty."""
        leaf = self.chain[0]
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        if leaf.issuer != leaf.subject:
            return ""
        if life > datetime.timedelta(days=MAX_PINNED_DAYS):
            return f"it lives {life.days} days (at most {MAX_PINNED_DAYS})"
        return "" if is_p256(leaf.public_key()) else "its key is not ECDSA P-256"


def fingerprint(certificate: x509.Certificate) -> str:
    """Hex SHA-256 of the certificate's DER form."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def is_p256(key: object) -> bool:
    """Whether it is the public ECDSA key that all browsers pin."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def is_p521(key: object) -> bool:
    """Whether it is an ECDSA key of the largest curve."""
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP521R1)


def generate(
    names: Sequence[str], days: int = 13, key: ec.EllipticCurvePrivateKey | None = None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A self-signed leaf for DNS names and IP addresses, valid ``days`` days at most 14, and its
    key: a new one, unless there is one.

    Raises `ConfigError` without a name or with a validity browsers would not pin.
    """
    if not names:
        raise ConfigError("a certificate needs at least one name")
    if not 1 <= days <= MAX_PINNED_DAYS:
        raise ConfigError(f"a generated certificate lasts 1 to {MAX_PINNED_DAYS} days, not {days}")
    key = key or ec.generate_private_key(ec.SECP256R1())
    start = _now() - BACKDATED
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "moq relay")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(_signing_only(), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    return builder.sign(key, hashes.SHA256()), key


def write_pair(
    cert_path: str | Path, key_path: str | Path, names: Sequence[str], days: int = 13
) -> Pair:
    """Generate a pair into two PEM files; the key is readable by its owner only.

    Raises `ConfigError` when a file cannot be written.
    """
    certificate, key = generate(names, days)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(Path(key_path), secret, 0o600)
    _write_certificate(Path(cert_path), certificate)
    return Pair((certificate,), key)


def load(cert_file: str | Path, key_file: str | Path) -> Pair:
    """Read a PEM chain (leaf first) and its unencrypted PEM key.

    Raises `ConfigError` with one line that names the file and what is wrong with it.
    """
    cert, key = _read(cert_file), _read(key_file)
    try:
        chain = tuple(x509.load_pem_x509_certificates(cert))
    except ValueError:
        raise ConfigError(f"{cert_file} holds no PEM certificate") from None
    private = _key(key, key_file)
    if _public(private) != _public(chain[0]):
        raise ConfigError(f"the key {key_file} does not match the certificate {cert_file}")
    if chain[0].public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        raise ConfigError(f"the key {key_file} is for RSASSA-PSS alone; make an ordinary RSA one")
    return Pair(chain, private)


def read_authorities(file: str | Path) -> bytes:
    """The PEM certificates in a file as they stand there. Raises `ConfigError`, one line."""
    try:
        pem = Path(file).read_bytes()
        x509.load_pem_x509_certificates(pem)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{file} holds no PEM certificate") from None
    return pem


class Certificates:
    """The pair that new connections use. Connections keep the one they began with."""

    def __init__(
        self,
        pair: Pair,
        followed: Followed | None = None,
        names: Sequence[str] = (),
        files: tuple[Path, Path] | None = None,
    ) -> None:
        """Usually made by `from_files` or `generated`."""
        self.current = pair
        self._followed = followed
        self._names = names
        self._files = files
        self._trouble = ""
        self._doubt = ""

    @classmethod
    def from_files(cls, cert_file: str | Path, key_file: str | Path) -> Certificates:
        """Load a pair that `reload_if_changed` will follow. Raises `ConfigError` like `load`."""
        followed = Followed(Path(cert_file), Path(key_file))
        return cls(load(cert_file, key_file), followed)

    @classmethod
    def generated(
        cls, names: Sequence[str], files: tuple[Path, Path] | None = None
    ) -> Certificates:
        """A pair whose certificate is replaced before it ends, since browsers pin none that has. It
        lives in memory only, or in ``files`` as well, for others to follow.

        Raises `ConfigError` like `generate` and `write_pair`.
        """
        if files is not None:
            return cls(write_pair(*files, names), names=names, files=files)
        certificate, key = generate(names)
        return cls(Pair((certificate,), key), names=names)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the leaf in use."""
        return self.current.fingerprint

    @property
    def unpinned(self) -> str:
        """As `Pair.unpinned`, of the pair in use."""
        return self.current.unpinned

    def doubt(self) -> str:
        """Why the certificate in use is not valid now, each reason once; else empty."""
        leaf, now = self.current.chain[0], _now()
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        why = f"it ended at {end:%Y-%m-%dT%H:%M:%SZ}" if now >= end else ""
        if now < begin:
            why = f"it begins at {begin:%Y-%m-%dT%H:%M:%SZ}"
        before, self._doubt = self._doubt, why
        return why if why != before else ""

    def reload_if_changed(self) -> bool:
        """Look at the files again, for a pair that was generated at the calendar, and answer
        whether a new pair is in use.

        Raises `ConfigError` once per change for files that cannot be used; the old pair stays.
        """
        if self._names:
            return self.renew_if_due()
        if self._followed is None or not self._followed.have_changed():
            return False
        self.current = load(*self._followed.files)
        return True

    def renew_if_due(self) -> bool:
        """The next certificate for the same key, where one was generated and ends soon, or the
        clock was set; answers whether there is one.

        Raises `ConfigError` once when it cannot be written; the old one stays.
        """
        leaf, key = self.current.chain[0], self.current.key
        is_young = leaf.not_valid_before_utc <= _now() < leaf.not_valid_after_utc - SPARE
        if is_young or not self._names:
            return False
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        certificate, _ = generate(self._names, key=key)
        if self._files is not None:
            try:
                _write_certificate(self._files[0], certificate)
            except ConfigError as error:
                before, self._trouble = self._trouble, str(error)
                if self._trouble != before:
                    raise
                return False
        self.current = Pair((certificate,), key)
        return True


class Choice:
    """The certificates of a server. Each is followed on its own, and the first stands for all."""

    def __init__(self, first: Certificates, *more: Certificates) -> None:
        self.first = first
        self.all = (first, *more)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the first one's leaf."""
        return self.first.fingerprint

    @property
    def unpinned(self) -> str:
        """As `Pair.unpinned`, of the first one."""
        return self.first.unpinned

    def pair_for(self, name: str) -> Pair:
        """What a client is shown that asks for that host; empty: for none."""
        if not name:
            return self.first.current
        return self.all[pick((each.current.names for each in self.all), name)].current


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(f"cannot read {path}: {reason}") from None


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    _write(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write beside the file and move it into place, so that nobody reads half of it."""
    beside = path.with_name(path.name + ".new")
    try:
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        beside.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None


def _key(data: bytes, path: str | Path) -> PrivateKey:
    try:
        key: PrivateKeyTypes = serialization.load_pem_private_key(data, None)
    except TypeError:
        raise ConfigError(f"the key {path} is encrypted; it must not be") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{path} holds no PEM private key") from None
    is_odd = isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, CURVES)
    if is_odd or not isinstance(key, PrivateKey):
        raise ConfigError(f"the key {path} is of a kind TLS 1.3 does not take")
    return key


def _public(holder: PrivateKey | x509.Certificate) -> bytes:
    return holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)
    except (ValueError, UnicodeError):
        raise ConfigError(f"{name!r} is no name for a certificate") from None


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
