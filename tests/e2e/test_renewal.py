"""Certificates that are renewed while the relay, or the sidecar, runs."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import Any

from relay.cli import sidecar
from relay.config import load
from relay.net import tls

HTTPS = """
[auth]
public = ""
[web.https]
listen = "127.0.0.1:0"
cert = "web.pem"
key = "web.key"
"""

SIDECAR = """
[auth]
public = ""
[sidecar]
listen = "127.0.0.1:0"
cert = "web.pem"
key = "web.key"
"""


def renewed(folder: Any) -> str:
    """Write a new pair; its fingerprint."""
    return tls.write_pair(folder / "web.pem", folder / "web.key", ["localhost"]).fingerprint


def shown(host: str, port: int) -> str:
    """The fingerprint of what a server shows."""
    pem = ssl.get_server_certificate((host, port), timeout=5)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


async def shows(address: tuple[str, int], wanted: str) -> None:
    """Wait until connections get that certificate."""
    async with asyncio.timeout(10):
        while await asyncio.to_thread(shown, *address) != wanted:
            await asyncio.sleep(0.05)


def test_a_renewed_certificate_of_https_is_shown_without_a_restart(
    running: Any, folder: Any
) -> None:
    first = renewed(folder)
    base = '[server]\nlisten = "127.0.0.1:0"\n[server.tls]\ngenerate = ["localhost"]\n'

    async def run() -> None:
        async with running(HTTPS, base=base) as relay:
            address = relay.http_addresses[-1]
            await shows(address, first)
            await shows(address, renewed(folder))

    asyncio.run(run())


def test_and_that_of_the_sidecar(folder: Any) -> None:
    first = renewed(folder)
    (folder / "relay.toml").write_text(SIDECAR)

    async def run() -> None:
        settings = load(folder / "relay.toml", environ={}).settings
        async with sidecar.serving(settings) as address:
            await shows(address, first)
            await shows(address, renewed(folder))

    asyncio.run(run())
