"""Which certificate is shown to whoever asks for a name, and that QUIC shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from relay.errors import ConfigError, SessionLost
from relay.net import dial as dialling
from relay.net import tls
from relay.net.dial import dial
from relay.net.picking import names_of, pick
from relay.net.trust import DialTls

A, B, WILD = ["a.example"], ["b.example", "192.0.2.7", "2001:db8::1"], ["*.C.example"]


def offered(*each: list[str]) -> list[Any]:
    """What certificates with such names say they are for."""
    return [names_of(tls.generate(names)[0]) for names in each]


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ("a.example", 0),
        ("b.example", 1),
        ("B.eXample", 1),
        ("b.example.", 1),
        ("192.0.2.7", 1),
        ("2001:DB8:0::1", 1),
        ("x.c.example", 2),
        ("X.C.EXAMPLE", 2),
        ("last.example", 3),
        # Nobody's, and the first is shown.
        ("", 0),
        (".", 0),
        ("c.example", 0),
        (".c.example", 0),
        ("x.y.c.example", 0),
        ("xb.example", 0),
        ("192.0.2.8", 0),
        ("b.example\ufffd", 0),
    ],
)
def test_the_first_that_names_the_host(asked: str, place: int) -> None:
    last = ["*.c.example", "last.example", "b.example"]
    assert pick(offered(A, B, WILD, last), asked) == place


@pytest.mark.parametrize("names", [["x*.example"], ["*"], ["a.*.example"], ["*.*.example"]])
def test_a_wildcard_is_one_whole_label_in_front(names: list[str]) -> None:
    for asked in ("xa.example", "a.b.example", "a", "example"):
        assert pick(offered(A, names), asked) == 0


def test_no_wildcard_is_for_addresses_and_no_name_is_one() -> None:
    assert pick(offered(A, ["*.0.2.7"]), "192.0.2.7") == 0
    key = ec.generate_private_key(ec.SECP256R1())
    assert pick([frozenset(), names_of(signed(key, "192.0.2.7"))], "192.0.2.7") == 0


def test_a_subject_is_no_name() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert names_of(signed(key)) == frozenset()


def signed(key: Any, *names: str) -> x509.Certificate:
    """A certificate for a key of any kind, with a subject that looks like a name."""
    made, _ = tls.generate(["localhost"])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "b.example")])
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), made.serial_number)
        .not_valid_before(made.not_valid_before_utc)
        .not_valid_after(made.not_valid_after_utc)
    )
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternative, False)
    is_plain = isinstance(key, ed25519.Ed25519PrivateKey)
    return builder.sign(key, None if is_plain else hashes.SHA256())


KINDS = {
    "p256.example": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384.example": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521.example": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa.example": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519.example": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("first", KINDS)
async def test_quic_shows_keys_of_every_kind_beside_each_other(
    house: Any, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Signatures go by the key that is shown, whichever is the first."""
    pairs = {}
    for name in sorted(KINDS, key=lambda name: name != first):
        key = KINDS[name]()
        pairs[name] = tls.Certificates(tls.Pair((signed(key, name),), key))
    certificates, *more = pairs.values()
    async with house(certificates=certificates, more=more) as home:
        for name, each in (*pairs.items(), ("other.example", certificates)):
            named_in_tls(monkeypatch, name)
            await home.pair("https", tls=DialTls(fingerprints=(each.fingerprint,)))


def named_in_tls(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have every client ask for that name, wherever it dials."""
    made = dialling._configure

    def configured(*given: Any) -> Any:
        configuration = made(*given)
        configuration.server_name = name
        return configuration

    monkeypatch.setattr(dialling, "_configure", configured)


async def test_the_second_pair_alone_is_renewed(
    house: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        tls.write_pair(tmp_path / f"{name}.pem", tmp_path / f"{name}.key", [f"{name}.example"])
    first, second = (
        tls.Certificates.from_files(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        for name in ("a", "b")
    )
    named_in_tls(monkeypatch, "b.example")
    async with house(certificates=first, more=[second]) as home:
        old, kept = second.fingerprint, first.fingerprint
        await home.pair("https", tls=DialTls(fingerprints=(old,)))
        tls.write_pair(tmp_path / "b.pem", tmp_path / "b.key", ["b.example"])
        assert second.reload_if_changed()
        assert not first.reload_if_changed()
        await home.pair("https", tls=DialTls(fingerprints=(second.fingerprint,)))
        with pytest.raises(SessionLost, match="none of those pinned"):
            await dial(
                home.url("https"), protocols=("moq-lite-05",), tls=DialTls(fingerprints=(old,))
            )
        (tmp_path / "b.key").write_bytes((tmp_path / "a.key").read_bytes())
        with pytest.raises(ConfigError, match=r"b\.key does not match .*b\.pem"):
            second.reload_if_changed()
        await home.pair("https", tls=DialTls(fingerprints=(second.fingerprint,)))
        assert first.fingerprint == kept
