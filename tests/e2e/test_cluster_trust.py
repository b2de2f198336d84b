"""Relays that link up: by which certificates they know each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path as File
from typing import Any

import pytest
from mesh import BASE, scene, until

from relay.records.audit import Query

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def authority(folder: File) -> Callable[[str], tuple[File, File]]:
    """``authority(name)``: a new authority ``<name>.pem`` and a certificate signed by it."""

    def make(name: str) -> tuple[File, File]:
        import datetime
        import ipaddress

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        now = datetime.datetime.now(datetime.UTC)
        pem = serialization.Encoding.PEM
        key, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

        def sign(subject: x509.Name, public: Any, *extensions: Any) -> bytes:
            made = x509.CertificateBuilder(title, subject, public, x509.random_serial_number())
            made = made.not_valid_before(now - datetime.timedelta(hours=1))
            made = made.not_valid_after(now + datetime.timedelta(days=1))
            for extension in extensions:
                made = made.add_extension(extension, critical=False)
            return made.sign(key, hashes.SHA256()).public_bytes(pem)

        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        root = sign(title, key.public_key(), x509.BasicConstraints(True, None))
        (folder / f"{name}.pem").write_bytes(root)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}-node")])
        signed = sign(subject, own.public_key(), x509.SubjectAlternativeName(names))
        cert, private = folder / f"{name}-node.pem", folder / f"{name}-node.key"
        cert.write_bytes(signed)
        private.touch(0o600)
        private.write_bytes(
            own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return cert, private

    return make


def certified(name: str) -> str:
    generated = 'generate = ["localhost", "127.0.0.1"]'
    return BASE.replace(generated, f'cert = "{name}-node.pem"\nkey = "{name}-node.key"')


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_whose_certificate_is_believed(node: Any, authority: Any, scheme: str) -> None:
    async def main() -> None:
        authority("ours")
        authority("theirs")
        async with node(base=certified("ours")) as a:
            url = a.url(scheme=scheme)
            pin = a.relay.certificates.fingerprint
            believed = {
                'root = ["ours.pem"]': True,
                'root = ["theirs.pem"]': False,
                f'fingerprint = ["{pin}"]': True,
                f'fingerprint = ["{"0" * 64}"]': False,
                "": False,
            }
            for lines, is_believed in believed.items():
                async with node(extra=f"[client.tls]\n{lines}\n", connect=[url]) as b:
                    await until(lambda: b.up() or len(b.events("link refused")) >= 2)
                    assert bool(b.up()) == is_believed, lines

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_a_relay_is_known_by_its_certificate(node: Any, authority: Any, scheme: str) -> None:
    async def main() -> None:
        for name in ("ours", "theirs"):
            authority(name)
        rule = "[auth.certificates.any]\nfull_access = true\ncluster = true\n"
        base = certified("ours").replace("[auth]", 'root = ["ours.pem"]\n[auth]')
        async with node(base=base, extra=rule) as a:
            for name in ("ours", "theirs"):
                shown = f'cert = "{name}-node.pem"\nkey = "{name}-node.key"\n'
                tls = f'[client.tls]\nroot = ["ours.pem"]\n{shown}'
                lines = f'connect = "{a.url(scheme=scheme)}"\n'
                async with node(lines, extra=tls) as b:
                    if name == "ours":
                        await until(lambda: b.up() and a.relays())
                        async with scene(a, b) as watched:
                            watched.check()
                    else:
                        await until(
                            lambda: len(b.events("link refused") + b.events("link down")) > 2
                        )
                        assert a.relays() == 0
                        told = a.events("refused")[0]
                        assert (told["status"], told["reason"]) == (401, "bad_certificate")
                        assert "local issuer certificate, shown by 127.0.0.1" in told["why"]
                        assert a.relay.door.refused["bad_certificate"] > 0
                        await a.relay.desk.scribe.flush()
                        denied = Query(action="deny", reason="bad_certificate", limit=1)
                        (entry,) = await a.relay.desk.records.audit.entries(denied)
                        assert entry.address == "127.0.0.1"

    asyncio.run(main())
