"""One relay with a certificate for each of its names: everybody meets the one they ask for.

Addresses are asked for by nobody in TLS, so ``127.0.0.1`` meets the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from absent import module
from relay.client import connect
from relay.errors import SessionLost
from relay.net import tls
from relay.net.trust import DialTls

FIRST, SECOND = "127.0.0.1", "localhost"

BASE = """
[server]
listen = "127.0.0.1:0"
[auth]
public = ""
"""
FACES = """
[web.http]
listen = "127.0.0.1:0"
[web.https]
listen = "127.0.0.1:0"
cert = ["a.pem", "b.pem"]
key = ["a.key", "b.key"]
"""
FLAGS = [
    *("--server-tls-cert", "a.pem", "--tls-cert", "b.pem"),
    *("--tls-key", "a.key", "--tls-key=b.key"),
]


@pytest.fixture
def written(folder: Path) -> Callable[[str, str], str]:
    """``written(file, name)``: a new pair in those files; its fingerprint. The second is for the
    address as well, and shown to nobody for that."""

    def write(file: str, name: str) -> str:
        files = folder / f"{file}.pem", folder / f"{file}.key"
        return tls.write_pair(*files, [name, FIRST] if file == "b" else [name]).fingerprint

    return write


async def met(port: int, host: str, pin: str) -> bool:
    """Whether somebody who believes that certificate alone comes in over QUIC."""
    url = f"moqt://{host}:{port}/"
    try:
        async with connect(url, tls=DialTls(fingerprints=(pin,))):
            return True
    except SessionLost as error:
        if "none of those pinned" not in str(error):
            raise
        return False


def shown(port: int, name: str | None) -> str:
    """The fingerprint of what HTTPS shows to whoever asks for that name."""
    wanted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    wanted.check_hostname, wanted.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        wanted.wrap_socket(plain, server_hostname=name) as secure,
    ):
        return hashlib.sha256(secure.getpeercert(True) or b"").hexdigest()


@pytest.mark.parametrize("workers", [1, 2])
def test_each_name_has_its_certificate_and_a_renewed_one_of_its_own(
    process: Any, written: Callable[[str, str], str], workers: int
) -> None:
    first, second = written("a", "a.example"), written("b", SECOND)
    ready = process(FACES, BASE, *FLAGS, "--workers", f"{workers}").ready()
    assert ready["fingerprint"] == first
    quic, https = ready["quic"][1], ready["https"][1]

    def hash_for(host: str) -> str:
        base = f"http://127.0.0.1:{ready['http'][1]}"
        return httpx.get(f"{base}/certificate.sha256", headers={"host": host}).text

    async def main() -> None:
        assert await met(quic, FIRST, first)
        assert await met(quic, SECOND, second)
        assert not await met(quic, SECOND, first)
        names = {"a.example": first, None: first, "other.example": first, "LocalHost": second}
        for name, wanted in names.items():
            assert shown(https, name) == wanted
        hosts = {"a.example": first, "127.0.0.1:1": first, "[::1]:1": first, "": first}
        for host, wanted in (hosts | {"localhost:4443": second, SECOND: second}).items():
            assert hash_for(host) == wanted
        renewed = written("b", SECOND)
        async with asyncio.timeout(20):
            for _ in range(3 * workers):  # each of the workers, with near certainty
                while not await met(quic, SECOND, renewed):
                    await asyncio.sleep(0.05)
            while shown(https, SECOND) != renewed:
                await asyncio.sleep(0.05)
        assert hash_for(SECOND) == renewed
        assert await met(quic, FIRST, first)
        assert shown(https, None) == first

    asyncio.run(main())


def test_to_moq_rs_as_well(process: Any, written: Callable[[str, str], str]) -> None:
    moq = module("moq")
    first, second = written("a", "a.example"), written("b", SECOND)
    # It believes what plain HTTP says of the certificate, at the port of QUIC.
    port = process("", BASE, *FLAGS).ready()["quic"][1]

    async def comes_in(url: str, **trust: Any) -> bool:
        client = moq.Client(f"{url}:{port}/", **trust, websocket_enabled=False, reconnect=False)
        async with contextlib.AsyncExitStack() as stack, asyncio.timeout(10):
            try:
                await stack.enter_async_context(client)
            except moq.Error:
                return False
            return True

    async def main() -> None:
        for host, pin, other in ((FIRST, first, second), (SECOND, second, first)):
            assert await comes_in(f"https://{host}", tls_fingerprints=[pin])
            assert not await comes_in(f"https://{host}", tls_fingerprints=[other])
            assert await comes_in(f"http://{host}")

    asyncio.run(main())


def test_a_pair_that_is_none_stops_the_start(
    process: Any, written: Callable[[str, str], str]
) -> None:
    written("a", "a.example")
    written("b", SECOND)
    keys = ["--tls-key", "a.key", "--tls-key", "a.key"]
    program = process(FACES, BASE, *FLAGS[:4], *keys)
    assert program.program.wait(20) == 2
    said = program.log.read_text()
    assert "server.tls: the key a.key does not match the certificate b.pem" in said
