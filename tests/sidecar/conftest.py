"""A desk that decides for others, and authorization servers with manners of all kinds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from relay.auth import mint
from relay.auth.certificate import Certificate
from relay.auth.claims import Claims
from relay.auth.decide import Decision, decide
from relay.auth.facts import Facts
from relay.auth.keys import Key, KeySet, generate
from relay.auth.request import Request
from relay.auth.settings import AuthSettings
from relay.control.serve import HttpListener, listen
from relay.control.settings import PublicLimits
from relay.path import Path
from relay.sidecar.app import sidecar_app
from relay.sidecar.settings import SidecarSettings

NOW = 1_900_000_000.0


@dataclass
class Desk:
    """What the decision service stands on: keys, settings, a clock, a log."""

    keys: KeySet
    settings: AuthSettings = field(default_factory=AuthSettings)
    now: float = NOW
    unavailable: str = ""
    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    noted: list[tuple[str, dict[str, Any], Any]] = field(default_factory=list)
    delay: float = 0.0

    async def judge(self, request: Request, certificate: Certificate | None) -> Decision:
        await asyncio.sleep(self.delay)
        facts = Facts(certificate=certificate, unavailable=self.unavailable)
        return decide(request, self.keys, self.settings, self.now, facts)

    async def find(self, kid: str, path: Path) -> Key | None:
        return self.keys.find(kid)

    async def push(self, query: str) -> int:
        self.pushed.append(query)
        return 1

    def wall(self) -> float:
        return self.now

    def log(self, event: str, **facts: Any) -> None:
        self.lines.append((event, facts))

    def note(self, action: str, told: Any, grant: Any = None) -> None:
        self.noted.append((action, told, grant))

    def metrics(self) -> bytes:
        return b"# numbers\n"

    def said(self, event: str) -> dict[str, Any]:
        return next(facts for name, facts in reversed(self.lines) if name == event)


@pytest.fixture(scope="session")
def made() -> dict[str, Key]:
    return {"k1": generate("HS256", "k1"), "e1": generate("ES256", "e1")}


@pytest.fixture
def desk(made: dict[str, Key]) -> Desk:
    keys = KeySet(tuple(made.values()))
    return Desk(keys, AuthSettings.model_validate({"public": "anon"}))


@pytest.fixture(scope="session")
def token(made: dict[str, Key]) -> Callable[..., str]:
    """A token by key ``kid``, signed for ``root`` with prefixes to publish and to subscribe."""

    def sign(root: str = "demo", put=(), get=(), exp: int | None = None, kid: str = "e1") -> str:
        claims = Claims(
            root=Path(root), put=tuple(map(Path, put)), get=tuple(map(Path, get)), exp=exp
        )
        return mint.sign(claims, made[kid], NOW)

    return sign


@pytest.fixture(name="now")
def _now() -> float:
    return NOW


@pytest.fixture(name="serving")
def _serving() -> Any:
    return serving


@pytest.fixture(name="oracle")
def _oracle() -> Any:
    return oracle


@contextlib.asynccontextmanager
async def serving(desk: Desk, settings: SidecarSettings | None = None) -> AsyncIterator[str]:
    """The decision service on loopback; its address."""
    limits = PublicLimits(drain=1)
    app = sidecar_app(desk, settings or SidecarSettings())
    listener = HttpListener(app, listen("127.0.0.1", 0), limits)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.serve())
        await asyncio.wait_for(listener.started.wait(), 5)
        try:
            yield f"http://127.0.0.1:{listener.address[1]}/"
        finally:
            listener.stop()


@dataclass
class Oracle:
    """An authorization server that answers whatever it is told to, and remembers the questions."""

    status: int = 200
    body: Any = field(default_factory=lambda: {"publish": ["**"]})
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """Sent as it is in place of everything above."""
    drip: float = 0.0
    """Seconds between the bytes of an answer."""
    silent: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self) -> bytes:
        if self.raw is not None:
            return self.raw
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        told = {"content-type": "application/json", "content-length": str(len(body))} | self.headers
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        return f"HTTP/1.1 {self.status} x\r\n{head}connection: close\r\n\r\n".encode() + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.targets.append(head.split(" ")[1])
            length = [
                int(line.partition(":")[2])
                for line in head.split("\r\n")
                if line.lower().startswith("content-length:")
            ]
            body = await reader.readexactly(length[0]) if length else b""
            self.asked.append(json.loads(body) if body else {})
            if self.silent:
                await reader.read()
                return
            answer = self.answer()
            if self.drip:
                for at in range(len(answer)):
                    writer.write(answer[at : at + 1])
                    await writer.drain()
                    await asyncio.sleep(self.drip)
            writer.write(b"" if self.drip else answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def oracle(**told: Any) -> AsyncIterator[Oracle]:
    """An `Oracle` on loopback."""
    found = Oracle(**told)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/auth"
    try:
        yield found
    finally:
        server.close()
