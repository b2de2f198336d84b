"""A server of keys that does as it is told, well or badly, and keys for it to show."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.keys import Key, generate
from relay.path import Path as Name

FAR = 4_000_000_000


@dataclass
class Answer:
    """What the server says on one path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0
    """Seconds before it says anything."""
    drip: float | None = None
    """Seconds between two bytes of the body."""
    length: bool = True
    """Whether it says how long the body is."""
    cut: int = 0
    """Bytes of the body that are promised and never sent."""
    endless: bool = False
    """Whether it never stops."""
    raw: bytes | None = None
    """Said instead of everything else."""


class KeyServer:
    """HTTP on loopback. ``answers`` by path; ``requests`` are the paths asked for, with headers."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[dict[str, str]], Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.accepted = 0
        self.port = 0
        self._busy: set[asyncio.Task[Any]] = set()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def count(self, path: str) -> int:
        return sum(1 for asked, _ in self.requests if asked == path)

    def show(self, path: str, *keys: Key, **headers: str) -> None:
        """Publish the public halves, with headers (underscores stand for hyphens)."""
        listed = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = Answer(jwks(*keys), headers=listed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        self.accepted += 1
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._busy.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = lines[0].split(" ")[1]
        pairs = (line.split(": ", 1) for line in lines[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        self.requests.append((path, headers))
        found = self.answers.get(path.partition("?")[0], Answer(b"nothing here", 404))
        answer = found if isinstance(found, Answer) else found(headers)
        await asyncio.sleep(answer.pause)
        if answer.raw is not None:
            writer.write(answer.raw)
            await writer.drain()
            return
        said = {"content-type": "application/json", "connection": "close"} | answer.headers
        if answer.length and answer.status != 304:
            said["content-length"] = str(len(answer.body) + answer.cut)
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        writer.write(f"HTTP/1.1 {answer.status} Said\r\n{head}\r\n".encode())
        if answer.drip is not None:
            for byte in answer.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(answer.drip)
        elif answer.status != 304:
            writer.write(answer.body)
        while answer.endless:
            writer.write(b" " * 4096)
            await writer.drain()
        await writer.drain()

    async def stop(self) -> None:
        for task in tuple(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)


@asynccontextmanager
async def key_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[KeyServer]:
    """A server of keys for as long as the block lasts."""
    server = KeyServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.stop()
        await listening.wait_closed()


def jwks(*keys: Key) -> bytes:
    """A JWK set of the public halves."""
    return json.dumps({"keys": [key.public().to_jwk() for key in keys]}).encode()


def token(key: Key, **claims: Any) -> str:
    """A token for everything below ``demo``."""
    claims = {"root": Name("demo"), "get": (Name(""),), "exp": FAR} | claims
    return mint.sign(Claims(**claims), key, 0)


@pytest.fixture(scope="session")
def keys() -> dict[str, Key]:
    """Keys of one kind, by their names."""
    return {kid: generate("EdDSA", kid) for kid in ("one", "two", "three", "four")}


@pytest.fixture(scope="session")
def secret() -> Key:
    return generate("HS256", "secret")


@pytest.fixture
def tools() -> Any:
    """What the tests of this room share: it is no package, so they cannot import it."""

    class Tools:
        Answer = Answer
        server = staticmethod(key_server)
        jwks = staticmethod(jwks)
        token = staticmethod(token)

    return Tools
