"""A real relay on loopback: in this process where its insides matter, else as a process."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

import asked
from relay.auth import keys, mint
from relay.auth.claims import Claims
from relay.auth.keys import Key
from relay.cluster import link as link_module
from relay.config import load
from relay.path import ROOT
from relay.path import Path as Name
from relay.server.relay import Relay

sys.path.insert(0, str(Path(__file__).parent))

from mesh import BASE, BLIND, Node


@pytest.fixture(scope="session")
def signer() -> Key:
    """The key that the relays here believe."""
    return keys.generate("HS256", kid="e2e")


@pytest.fixture
def token(signer: Key) -> Callable[..., str]:
    """Mint a token: ``token(root, put=…, get=…, ttl=seconds)``."""

    def make(
        root: str, put: tuple[str, ...] = ("",), get: tuple[str, ...] = ("",), ttl: float = 600
    ) -> str:
        now = time.time()
        claims = Claims(
            root=Name(root),
            put=tuple(map(Name, put)),
            get=tuple(map(Name, get)),
            exp=int(now + ttl),
        )
        return mint.sign(claims, signer, now)

    return make


@pytest.fixture
def folder(tmp_path: Path, signer: Key) -> Path:
    """A folder with the key in it."""
    (tmp_path / "key.jwk").write_bytes(signer.dump())
    (tmp_path / "key.jwk").chmod(0o600)
    return tmp_path


Running = Callable[..., AbstractAsyncContextManager[Relay]]


@pytest.fixture
def running(folder: Path) -> Running:
    """``async with running(extra_toml) as relay``: a relay in this loop."""

    @asynccontextmanager
    async def run(extra: str = "", base: str = BASE) -> AsyncIterator[Relay]:
        file = folder / "relay.toml"
        file.write_text(base + extra)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        relay = Relay(load(file, environ=asked.settings()).settings)
        async with relay.running():
            yield relay

    return run


class Process:
    """A relay as a process of its own."""

    def __init__(self, folder: Path, toml: str, *args: str) -> None:
        (folder / "relay.toml").write_text(toml)
        self.log = folder / "relay.log"
        with self.log.open("wb") as err:
            self.program = subprocess.Popen(
                [sys.executable, "-m", "relay", "run", "relay.toml", *args],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=err,
                env=asked.environment(),
            )

    def ready(self) -> dict[str, Any]:
        """Where it listens."""
        assert self.program.stdout is not None
        line = self.program.stdout.readline().decode()
        assert line.startswith("ready "), self.log.read_text()
        facts: dict[str, Any] = json.loads(line.removeprefix("ready "))
        return facts

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.program.send_signal(signal.SIGTERM)
        return self.program.wait(10)


@pytest.fixture
def process(folder: Path) -> Iterator[Callable[..., Process]]:
    """``process(extra_toml)`` starts a relay; it is ended with the test."""
    started: list[Process] = []

    def start(extra: str = "", base: str = BASE, *args: str) -> Process:
        started.append(Process(folder, base + extra, *args))
        return started[-1]

    yield start
    for one in started:
        if one.program.poll() is None:
            one.program.kill()
        one.program.wait(10)
        if one.program.stdout is not None:
            one.program.stdout.close()


@pytest.fixture
def authority(folder: Path) -> Callable[[str], tuple[Path, Path]]:
    """``authority(name)``: a new authority ``<name>.pem`` and a certificate signed by it."""

    def make(name: str) -> tuple[Path, Path]:
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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that are dialled again sooner."""
    monkeypatch.setattr(link_module, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(link_module, "LONGEST_WAIT", 0.5)


@pytest.fixture
def minted(signer: Any) -> Callable[..., str]:
    """``minted(root, cluster=…, put=…, get=…, jti=…)``."""

    def make(root: str = "", **more: Any) -> str:
        now = time.time()
        more = {"put": (ROOT,), "get": (ROOT,), "exp": int(now + 600), "iat": int(now)} | more
        return mint.sign(Claims(root=Name(root), **more), signer, now)

    return make


@pytest.fixture
def node(folder: Path, minted: Any) -> Callable[..., Any]:
    """``async with node(cluster_lines, extra, connect=[…]) as node``: a relay of a cluster."""
    (folder / "cluster.jwt").write_text(minted(cluster=True))

    @contextlib.asynccontextmanager
    async def run(
        cluster: str = "",
        extra: str = BLIND,
        base: str = BASE,
        connect: Any = None,
        port: int = 0,
        wall: Callable[[], float] = time.time,
    ) -> AsyncIterator[Node]:
        file = folder / "relay.toml"
        if connect is not None:
            cluster += f'connect = {json.dumps(connect)}\ntoken = "cluster.jwt"\n'
        base = base.replace("127.0.0.1:0", f"127.0.0.1:{port}")
        file.write_text(f"{base}\n[cluster]\n{cluster}\n{extra}")
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        said: list[tuple[str, dict[str, Any]]] = []

        class Noting(Relay):
            def _log(self, event: str, **facts: Any) -> None:
                said.append((event, facts))

        relay = Noting(load(file, environ=asked.settings()).settings, wall=wall)
        async with relay.running():
            yield Node(relay, said)

    return run
