"""The facts of real certificates."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.auth.certificate import MAX_NAMES, read_certificate

START, END = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 2, 1, tzinfo=UTC)


def made(*names: x509.GeneralName) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plant")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plant authority")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(END)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def test_facts() -> None:
    certificate = made(
        x509.DNSName("Plant.Example.com"),
        x509.UniformResourceIdentifier("spiffe://Example/plant"),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.RFC822Name("plant@example.com"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    )
    facts = read_certificate(certificate)
    assert facts.sans == (
        *("plant.example.com", "spiffe://Example/plant", "2001:db8::1", "plant@example.com"),
    )
    assert facts.name == "plant.example.com"
    assert (facts.subject, facts.issuer) == ("CN=plant", "CN=plant authority")
    assert (facts.not_before, facts.not_after) == (START.timestamp(), END.timestamp())
    assert facts.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()


def test_without_names() -> None:
    facts = read_certificate(made())
    assert facts.sans == ()
    assert facts.name == "CN=plant"


def test_too_many_names() -> None:
    facts = read_certificate(made(*(x509.DNSName(f"n{n}") for n in range(MAX_NAMES + 5))))
    assert len(facts.sans) == MAX_NAMES
