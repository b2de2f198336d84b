"""The pair of an HTTP face: followed, and whole at any moment. No sockets."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from relay.control.secure import Secure
from relay.errors import ConfigError
from relay.net.tls import write_pair

EC = ec.SECP256R1()


def shown(secure: Secure, newest: ssl.TLSVersion, name: str | None = "localhost") -> Any:
    """The public key that a client meets."""
    wanted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    wanted.check_hostname, wanted.verify_mode = False, ssl.CERT_NONE
    wanted.maximum_version = newest
    wanted.set_alpn_protocols(["http/1.1"])
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = wanted.wrap_bio(down, up, server_hostname=name)
    server = secure.context.wrap_bio(up, down, server_side=True)
    for each in (client, server) * 3:
        with contextlib.suppress(ssl.SSLWantReadError):
            each.do_handshake()
    assert client.selected_alpn_protocol() == "http/1.1"
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found).public_key()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_of_another_kind(pair: Any, tmp_path: Path, newest: ssl.TLSVersion) -> None:
    """Nobody is shown the old one any more, with a name or without."""
    kinds: list[Callable[[], Any]] = [
        lambda: ec.generate_private_key(EC),
        lambda: rsa.generate_private_key(65537, 2048),
    ]
    cert, key = pair(tmp_path)
    secure = Secure(cert, key)
    for make in (*kinds, kinds[0]):
        pair(tmp_path, key=make())
        assert secure.reload_if_changed()
        assert not secure.reload_if_changed()
        now = x509.load_pem_x509_certificate(cert.read_bytes()).public_key()
        assert shown(secure, newest) == now
        assert shown(secure, newest, None) == now


def test_replaced_one_file_after_the_other(pair: Any, tmp_path: Path) -> None:
    cert, key = pair(tmp_path)
    secure = Secure(cert, key)
    old = shown(secure, ssl.TLSVersion.TLSv1_3)
    (tmp_path / "next").mkdir()
    new_cert, new_key = pair(tmp_path / "next")
    for file, new in ((cert, new_cert), (key, new_key)):
        file.unlink()
        with pytest.raises(ConfigError, match="No such file"):
            secure.reload_if_changed()
        assert not secure.reload_if_changed()
        assert shown(secure, ssl.TLSVersion.TLSv1_3) == old
        file.write_bytes(new.read_bytes())
        if file == cert:
            with pytest.raises(ConfigError, match="does not belong"):
                secure.reload_if_changed()
    assert secure.reload_if_changed()
    assert shown(secure, ssl.TLSVersion.TLSv1_3) != old


def test_of_several_pairs_the_one_that_names_the_host(tmp_path: Path) -> None:
    files = {}
    for name in ("a.example", "*.b.example", "c.example"):
        files[name] = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        write_pair(*files[name], [name])
    secure = Secure.of(*zip(*files.values(), strict=True))

    def key_of(name: str) -> Any:
        return x509.load_pem_x509_certificate(files[name][0].read_bytes()).public_key()

    def check() -> None:
        for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            assert shown(secure, newest, "X.b.example") == key_of("*.b.example")
            for name in ("a.example", "b.example", None):
                assert shown(secure, newest, name) == key_of("a.example")

    check()
    first, second, third = secure.all
    write_pair(*files["*.b.example"], ["*.b.example"])
    assert [each.reload_if_changed() for each in secure.all] == [False, True, False]
    check()
    # A renewed certificate may be for other names; a broken one is nobody else's trouble.
    write_pair(*files["*.b.example"], ["d.example"])
    files["c.example"][1].write_bytes(b"")
    assert second.reload_if_changed()
    with pytest.raises(ConfigError, match=r"c\.example\.pem"):
        third.reload_if_changed()
    assert not first.reload_if_changed()
    assert shown(secure, ssl.TLSVersion.TLSv1_3, "x.b.example") == key_of("a.example")
    assert shown(secure, ssl.TLSVersion.TLSv1_3, "d.example") == key_of("*.b.example")


def test_nobody_is_asked_for_the_password_of_a_key(pair: Any, tmp_path: Path) -> None:
    cert, key = pair(tmp_path)
    secure = Secure(cert, key)
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"word")
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, locked))
    with pytest.raises(ConfigError, match="the key is encrypted"):
        secure.reload_if_changed()
