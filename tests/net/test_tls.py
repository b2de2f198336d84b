"""Certificates: what is generated, what is refused, and changing them while running."""

import datetime
import hashlib
import ipaddress
import os
import shutil
import stat
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from relay.errors import ConfigError, SessionLost
from relay.net import tls
from relay.net.dial import dial
from relay.net.trust import DialTls

PLAIN = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
RSA_ENCRYPTION = bytes.fromhex("06092a864886f70d0101010500")
RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a3000")
"""What a certificate says its key is for, in DER (RFC 8017, appendix C)."""


@pytest.fixture
def files(tmp_path):
    """A pair on disk."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    tls.write_pair(cert, key, ["localhost", "127.0.0.1"])
    return cert, key


def test_a_generated_certificate_can_be_pinned_by_a_browser() -> None:
    cert, key = tls.generate(["relay.example", "192.0.2.7", "2001:db8::1"])
    assert isinstance(key.curve, ec.SECP256R1)
    lifetime = cert.not_valid_after_utc - cert.not_valid_before_utc
    assert lifetime <= datetime.timedelta(days=14)
    now = datetime.datetime.now(datetime.UTC)
    assert cert.not_valid_before_utc < now < cert.not_valid_after_utc
    extensions = cert.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["relay.example"]
    addresses = [ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("2001:db8::1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]


def test_why_browsers_do_not_pin_a_certificate(monkeypatch) -> None:
    cert, key = tls.generate(["localhost"])
    assert tls.Pair((cert,), key).unpinned == ""
    other, own = tls.generate(["localhost"], key=ec.generate_private_key(ec.SECP384R1()))
    assert tls.Pair((other,), own).unpinned == "its key is not ECDSA P-256"
    with monkeypatch.context() as patched:
        patched.setattr(tls, "MAX_PINNED_DAYS", 365)
        long, _ = tls.generate(["localhost"], 365, key)
    assert tls.Pair((long,), key).unpinned == "it lives 365 days (at most 14)"
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
    builder = x509.CertificateBuilder(issuer, long.subject, key.public_key(), 1)
    builder = builder.not_valid_before(long.not_valid_before_utc)
    signed = builder.not_valid_after(long.not_valid_after_utc).sign(key, hashes.SHA256())
    assert tls.Pair((signed,), key).unpinned == ""


def test_the_fingerprint_is_that_of_the_der_form() -> None:
    cert, _ = tls.generate(["localhost"])
    der = cert.public_bytes(serialization.Encoding.DER)
    assert tls.fingerprint(cert) == hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize(("names", "days"), [([], 13), (["a"], 15), (["a"], 0), (["ü" * 70], 13)])
def test_what_cannot_be_generated(names, days) -> None:
    with pytest.raises(ConfigError):
        tls.generate(names, days)


def test_a_written_pair_loads_and_its_key_is_private(files) -> None:
    cert, key = files
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert tls.load(cert, key).chain[0].public_key() == tls.load(cert, key).key.public_key()
    key.chmod(0o644)
    tls.write_pair(cert, key, ["localhost"])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_errors_are_one_line_that_names_the_file(files, tmp_path) -> None:
    cert, key = files
    other = tmp_path / "other.pem"
    tls.write_pair(tmp_path / "x.pem", other, ["localhost"])
    text = tmp_path / "text.pem"
    text.write_text("nothing of the kind")
    secret = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
    )
    odd, curve = tmp_path / "odd.pem", tmp_path / "curve.pem"
    odd.write_bytes(x25519.X25519PrivateKey.generate().private_bytes(*PLAIN))
    curve.write_bytes(ec.generate_private_key(ec.SECP256K1()).private_bytes(*PLAIN))
    cases = [
        (tmp_path / "none.pem", key, "there is no file .*none.pem"),
        (cert, tmp_path / "none.pem", "there is no file .*none.pem"),
        (tmp_path, key, "cannot read .*directory"),
        (cert, other, "does not match the certificate"),
        (text, key, "text.pem holds no PEM certificate"),
        (cert, text, "text.pem holds no PEM private key"),
        (cert, locked, "is encrypted"),
        (cert, odd, "TLS 1.3 does not take"),
        (cert, curve, "TLS 1.3 does not take"),
    ]
    for first, second, words in cases:
        with pytest.raises(ConfigError, match=words) as caught:
            tls.load(first, second)
        assert "\n" not in str(caught.value)


def test_an_unwritable_place(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        tls.write_pair(tmp_path / "no" / "cert.pem", tmp_path / "no" / "key.pem", ["a"])


def test_a_broken_change_is_reported_once_and_the_old_pair_stays(files) -> None:
    cert, key = files
    certificates = tls.Certificates.from_files(cert, key)
    before = certificates.current
    assert not certificates.reload_if_changed()
    good = cert.read_bytes()
    for broken in (b"broken", None):
        if broken is None:
            cert.unlink()
        else:
            cert.write_bytes(broken)
        with pytest.raises(ConfigError):
            certificates.reload_if_changed()
        assert not certificates.reload_if_changed()
        assert certificates.current is before
    cert.write_bytes(good)
    assert certificates.reload_if_changed()
    assert certificates.fingerprint == before.fingerprint


def test_a_pair_in_memory_has_nothing_to_reload() -> None:
    assert not tls.Certificates.generated(["localhost"]).reload_if_changed()


@pytest.mark.parametrize(("days", "why"), [(-2, "begins at"), (5, ""), (20, "ended at")])
def test_why_nobody_believes_it_is_said_once(files, monkeypatch, days, why) -> None:
    following = tls.Certificates.from_files(*files)
    assert following.doubt() == ""
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    monkeypatch.setattr(tls, "_now", lambda: then)
    said = following.doubt()
    assert why in said if why else said == ""
    assert following.doubt() == ""
    tls.write_pair(*files, ["localhost"])
    assert following.reload_if_changed()
    assert following.doubt() == ""


@pytest.mark.parametrize("days", [-1, 12, 400])
def test_a_generated_certificate_is_replaced_before_it_ends(tmp_path, monkeypatch, days) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    kept = tls.Certificates.generated(["localhost"])
    written = tls.Certificates.generated(["localhost"], (cert, key))
    following = tls.Certificates.from_files(cert, key)
    pairs = kept.current, written.current
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    monkeypatch.setattr(tls, "_now", lambda: later)
    for each, before in zip((kept, written), pairs, strict=True):
        assert each.reload_if_changed()
        assert not each.reload_if_changed()
        leaf = each.current.chain[0]
        assert leaf.not_valid_before_utc < later < leaf.not_valid_after_utc - tls.SPARE
        assert each.current.key is before.key
        assert each.fingerprint != before.fingerprint
    assert following.reload_if_changed()
    assert following.fingerprint == written.fingerprint
    assert not following.renew_if_due()


def test_a_certificate_that_cannot_be_written_stays(tmp_path, monkeypatch) -> None:
    (folder := tmp_path / "pair").mkdir()
    kept = tls.Certificates.generated(["localhost"], (folder / "cert.pem", folder / "key.pem"))
    before = kept.current
    shutil.rmtree(folder)
    later = before.chain[0].not_valid_after_utc
    monkeypatch.setattr(tls, "_now", lambda: later)
    with pytest.raises(ConfigError, match=r"cannot write .*cert\.pem"):
        kept.renew_if_due()
    assert not kept.renew_if_due()
    assert kept.current is before


async def test_new_connections_use_the_new_pair_and_old_ones_live(house, files) -> None:
    certificates = tls.Certificates.from_files(*files)
    async with house(certificates=certificates) as home:
        old = certificates.fingerprint
        first = await home.pair("https")
        tls.write_pair(*files, ["localhost", "127.0.0.1"])
        assert certificates.reload_if_changed()
        assert certificates.fingerprint != old
        second = await home.pair("moqt")
        with pytest.raises(SessionLost, match="none of those pinned"):
            await dial(
                home.url("moqt"), protocols=("moq-lite-05",), tls=DialTls(fingerprints=(old,))
            )
        for pair in (first, second):
            stream = pair.near.open_uni()
            pair.near.send(stream, b"x", True)
            await pair.server.until(lambda p=pair: p.server.finished)


def test_an_rsa_key_for_pss_alone_is_refused(files) -> None:
    # What is signed with an ordinary RSA key goes by another name (RFC 8446, 4.2.3).
    cert, key = files
    private = rsa.generate_private_key(65537, 2048)
    made = x509.load_pem_x509_certificate(cert.read_bytes())
    builder = x509.CertificateBuilder().subject_name(made.subject).issuer_name(made.issuer)
    builder = builder.not_valid_before(made.not_valid_before_utc)
    builder = builder.not_valid_after(made.not_valid_after_utc)
    builder = builder.serial_number(1).public_key(private.public_key())
    der = builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert der.count(RSA_ENCRYPTION) == 1
    twin = x509.load_der_x509_certificate(der.replace(RSA_ENCRYPTION, RSASSA_PSS))
    cert.write_bytes(twin.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(private.private_bytes(*PLAIN))
    with pytest.raises(ConfigError, match="RSASSA-PSS alone"):
        tls.load(cert, key)


@pytest.mark.parametrize(
    "curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name
)
async def test_a_key_of_every_curve_serves(house, curve) -> None:
    certificate, key = tls.generate(["localhost"], key=ec.generate_private_key(curve))
    certificates = tls.Certificates(tls.Pair((certificate,), key))
    async with house(certificates=certificates) as home:
        await home.pair("moqt")


async def test_a_key_nobody_may_read_is_refused(files) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    files[1].chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        tls.load(*files)


def test_the_first_connection_loads_nothing_for_which_it_needs_a_descriptor() -> None:
    loaded = "'cryptography.hazmat.backends.openssl.backend' in sys.modules"
    program = f"import sys, relay.net.engine; assert {loaded}"
    subprocess.run([sys.executable, "-c", program], check=True)
