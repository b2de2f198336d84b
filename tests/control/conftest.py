"""A house of cardboard: it records what it was asked and answers what a test tells it to."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.control.asking import Asked
from relay.control.problems import Denied
from relay.errors import NotFound, Unauthorized
from relay.ingest.route import Declared, read


@dataclass
class CardboardHouse:
    denial: Denied | None = None
    names: list[str] = field(default_factory=list)
    group: tuple[int, list[bytes]] = (7, [b"one", b"", b"three"])
    error: BaseException | None = None
    delay: float = 0.0
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    paid: list[tuple[Any, int]] = field(default_factory=list)
    """Bytes of groups that left, by grant."""
    holds: tuple[str, str] | None = None
    """The one grant and track of which there are groups; ``None`` = whatever is asked for."""
    denies: set[str] = field(default_factory=set)
    is_over: bool = False
    """Whether what was decided is in force no more once the answer is there."""

    def certificate_hash(self, host: str) -> str:
        self.asked.append(("hash", host))
        return "ab" * 32

    async def ticket(self, bearer: str, remote: str) -> dict[str, Any]:
        self.asked.append(("ticket", bearer))
        if self.error:
            raise self.error
        return {"ticket": "t", "expires": 1.0}

    def jwks(self) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {"keys": [{"kid": "k1"}]}

    async def login(self, bearer: str, wished: Any, remote: str) -> dict[str, Any]:
        self.asked.append(("login", bearer, wished))
        if self.error:
            raise self.error
        return {"token": "t", "expires": 1}

    async def sessions(self, bearer: str, remote: str) -> tuple[list[dict[str, Any]], list[int]]:
        self.asked.append(("sessions", bearer))
        return [{"id": "s1", "root": "demo", "expires": None}], [2]

    async def require_operator(self, bearer: str | None, remote: str) -> None:
        if bearer != "operator":
            raise Unauthorized("not the operator")

    async def explain(
        self,
        url: str,
        token: str | None,
        publish: list[str],
        subscribe: list[str],
        transport: str,
    ) -> dict[str, Any]:
        self.asked.append(("explain", url, token, publish, subscribe, transport))
        return {"verdict": True}

    async def refresh(self, id: str, bearer: str, remote: str) -> dict[str, Any]:
        self.asked.append(("refresh", id, bearer))
        if self.error:
            raise self.error
        return {"publish": [""], "subscribe": [], "expires": None}

    async def decide(self, asked: Asked) -> str:
        target = asked.target
        self.asked.append(("decide", target, asked.bearer))
        if self.denial is not None:
            raise self.denial
        if target in self.denies:
            raise Denied(403, "")
        return target

    def require(self, asked: Asked) -> None:
        if self.is_over:
            raise Unauthorized("revoked").known_as("beef")

    async def announced(self, grant: Any) -> Sequence[str]:
        self.asked.append(("announced", grant))
        return sorted(self.names)

    async def fetch(
        self, grant: Any, track: str, group: int | None, hold: Callable[[int], None]
    ) -> tuple[int, Sequence[bytes]]:
        self.asked.append(("fetch", grant, track, group))
        await asyncio.sleep(self.delay)
        if self.error:
            raise self.error
        if self.holds not in (None, (grant, track)):
            raise NotFound("no such track")
        for frame in self.group[1]:
            hold(len(frame))
        return self.group

    def sent(self, grant: Any, size: int) -> None:
        self.paid.append((grant, size))

    def crowded(self, why: str, remote: str) -> None:
        self.asked.append(("crowded", why, remote))

    # -- what publishing and watching ask of it ------------------------------------------------

    async def admit(self, asked: Asked, publishes: bool) -> Any:
        raise AssertionError("nothing was to be decided about")

    async def routes(self, asked: Asked) -> dict[str, Any]:
        raise AssertionError("nothing was to be decided about")

    def place(self, path: str, track: str | None) -> tuple[str, Any]:
        """As the relay does where ``demo/cam:video/v2`` is declared."""
        address = read(path, [Declared.parse("demo/cam:video/v2")], track)
        return address.broadcast, address

    def resolved(self, grant: Any, address: Any) -> str:
        declared = grant.startswith("/demo/cam") and address == ("demo/cam", "video", None)
        return "video/v2" if declared else str(address.name)

    async def decrypted(self, grant: Any, frames: Sequence[bytes], remote: str) -> Sequence[bytes]:
        return [b"%b!" % frame for frame in frames]


@pytest.fixture
def house() -> CardboardHouse:
    return CardboardHouse()


@pytest.fixture
def pair() -> Callable[..., tuple[Path, Path]]:
    """``pair(folder, name, key)``: a self-signed pair, fresh, in files of that name."""
    return fresh_pair


def fresh_pair(folder: Path, name: str = "localhost", key: Any = None) -> tuple[Path, Path]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    title = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(title, title, key.public_key(), x509.random_serial_number())
    begun = now - datetime.timedelta(minutes=1)  # a clock may be set back by a little
    builder = builder.not_valid_before(begun).not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    cert = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / f"{name}.key").write_bytes(private)
    return folder / f"{name}.pem", folder / f"{name}.key"
