"""Client certificates: shown, checked against our authorities, described as facts."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from relay.errors import ConfigError, SessionLost, Unauthorized
from relay.net.authority import MAX_NAMES, Authorities, examine
from relay.net.dial import dial
from relay.net.trust import DialTls

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
NAMES = [x509.DNSName("edge.example"), x509.RFC822Name("ops@example.org")]
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, subject: str = "test authority") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(subject, self.key.public_key(), name(subject), ca=True)
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def _sign(self, subject: str, key: Any, issuer: x509.Name, ca: bool, **more: Any) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(more.get("start", NOW - DAY))
            .not_valid_after(more.get("end", NOW + DAY))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if (purpose := more.get("purpose")) is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if not ca:
            names = more.get("names", NAMES)
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, folder: Path, **more: Any) -> tuple[x509.Certificate, DialTls]:
        key = ec.generate_private_key(more.get("curve", ec.SECP256R1()))
        issuer = self.certificate.subject
        made = self._sign("edge", key.public_key(), issuer, False, **({"purpose": CLIENT} | more))
        files = folder / "client.pem", folder / "client.key"
        files[0].write_bytes(made.public_bytes(Encoding.PEM))
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files[1].write_bytes(key.private_bytes(*form))
        return made, DialTls(disable_verify=True, certificate=files[0], key=files[1])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_what_a_certificate_says(authority: Authority, tmp_path: Path) -> None:
    made, _ = authority.issue(tmp_path)
    said = examine(made, (), authority.pem)
    assert (said.subject, said.issuer) == ("CN=edge", "CN=test authority")
    assert said.names == ("edge.example", "ops@example.org")
    assert said.fingerprint == made.fingerprint(hashes.SHA256()).hex()
    assert said.not_after == made.not_valid_after_utc.timestamp()


def test_the_case_of_a_host_name_means_nothing_and_that_of_others_does(
    authority: Authority, tmp_path: Path
) -> None:
    names = [
        x509.DNSName("EDGE.Example"),
        x509.UniformResourceIdentifier("spiffe://a/Edge"),
        x509.RFC822Name("Ops@example.org"),
    ]
    made, _ = authority.issue(tmp_path, names=names)
    said = examine(made, (), authority.pem).names
    assert said == ("edge.example", "spiffe://a/Edge", "Ops@example.org")


def test_addresses_are_names_and_what_nobody_could_compare_is_none(
    authority: Authority, tmp_path: Path
) -> None:
    names = [
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]
    made, _ = authority.issue(tmp_path, names=names)
    assert examine(made, (), authority.pem).names == ("2001:db8::1",)


def test_too_many_names(authority: Authority, tmp_path: Path) -> None:
    names = [x509.DNSName(f"n{number}") for number in range(MAX_NAMES + 5)]
    made, _ = authority.issue(tmp_path, names=names)
    assert len(examine(made, (), authority.pem).names) == MAX_NAMES


@pytest.mark.parametrize(
    "fault",
    [
        {"end": NOW - DAY / 2},
        {"start": NOW + DAY / 2},
        {"purpose": ExtendedKeyUsageOID.SERVER_AUTH},
    ],
    ids=["expired", "not yet valid", "a server's"],
)
def test_unfit_certificates_are_refused(
    authority: Authority, tmp_path: Path, fault: dict[str, Any]
) -> None:
    made, _ = authority.issue(tmp_path, **fault)
    with pytest.raises(Unauthorized):
        examine(made, (), authority.pem)


def test_a_stranger_with_the_same_name_is_refused(authority: Authority, tmp_path: Path) -> None:
    made, _ = Authority().issue(tmp_path)
    with pytest.raises(Unauthorized):
        examine(made, (), authority.pem)


async def turned_away(home: Any, scheme: str, trust: Any, heard: Any) -> None:
    """Dial, and see that it comes to nothing."""
    try:
        dialled = await dial(home.url(scheme), protocols=("moq-lite-05",), tls=trust)
    except SessionLost:
        return  # WebTransport: there is no answer to the CONNECT
    home.dialled.append(dialled)
    dialled.start(heard)
    await heard.until(lambda: heard.lost)


def test_root_files_are_read_together(authority: Authority, tmp_path: Path) -> None:
    files = [tmp_path / "a.pem", tmp_path / "b.pem"]
    files[0].write_bytes(authority.pem)
    files[1].write_bytes(Authority("other").pem)
    known = Authorities.from_files(files)
    assert known is not None
    assert len(x509.load_pem_x509_certificates(known.pem)) == 2
    assert Authorities.from_files([]) is None
    files[0].write_text("rubbish")
    with pytest.raises(ConfigError, match=r"a\.pem"):
        Authorities.from_files(files)
    with pytest.raises(ConfigError, match=r"c\.pem"):
        Authorities.from_files([tmp_path / "c.pem"])


def test_root_files_are_followed(authority: Authority, tmp_path: Path) -> None:
    file, other = tmp_path / "a.pem", Authority("other").pem
    file.write_bytes(authority.pem)
    known = Authorities.from_files([file])
    assert known is not None
    assert not known.reload_if_changed()
    file.write_text("rubbish")
    with pytest.raises(ConfigError, match=r"a\.pem"):
        known.reload_if_changed()
    assert not known.reload_if_changed(), "told once"
    assert known.pem == authority.pem
    file.write_bytes(authority.pem)
    assert known.reload_if_changed(), "they can be used again"
    file.write_bytes(other)
    assert known.reload_if_changed()
    assert known.pem == other
    file.unlink()
    with pytest.raises(ConfigError, match=r"a\.pem"):
        known.reload_if_changed()
    assert known.pem == other
    assert not Authorities(other).reload_if_changed()


async def test_who_vouches_may_change_meanwhile(
    house: Any, authority: Authority, tmp_path: Path, scheme: str, recorder: Any
) -> None:
    file = tmp_path / "roots.pem"
    file.write_bytes(Authority("other").pem)
    known = Authorities.from_files([file])
    assert known is not None
    _, trust = authority.issue(tmp_path)
    async with house(authorities=known) as home:
        await turned_away(home, scheme, trust, recorder())
        file.write_bytes(authority.pem)
        assert known.reload_if_changed()
        pair = await home.pair(scheme, tls=trust)
        assert pair.visit.knock.certificate is not None


@pytest.mark.parametrize(
    "curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name
)
async def test_a_certificate_is_told_at_the_door(
    house: Any, authority: Authority, tmp_path: Path, scheme: str, curve: ec.EllipticCurve
) -> None:
    made, trust = authority.issue(tmp_path, curve=curve)
    async with house(authorities=Authorities(authority.pem)) as home:
        pair = await home.pair(scheme, tls=trust)
        shown = pair.visit.knock.certificate
        assert shown is not None
        assert shown.fingerprint == made.fingerprint(hashes.SHA256()).hex()
        pair = await home.pair(scheme)
        assert pair.visit.knock.certificate is None


async def test_nobody_is_asked_without_authorities(
    house: Any, authority: Authority, tmp_path: Path, scheme: str
) -> None:
    _, trust = authority.issue(tmp_path)
    async with house() as home:
        pair = await home.pair(scheme, tls=trust)
        assert pair.visit.knock.certificate is None


async def test_a_bad_certificate_never_reaches_the_door(
    house: Any, authority: Authority, tmp_path: Path, scheme: str, recorder: Any
) -> None:
    _, trust = Authority().issue(tmp_path)
    async with house(authorities=Authorities(authority.pem)) as home:
        await turned_away(home, scheme, trust, recorder())
        assert home.visits.empty()
        assert home.endpoint.sessions == 0
