"""A house of cardboard: it records what it was asked and answers what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from relay.control.asking import Asked
from relay.errors import NotFound, Unauthorized


@dataclass
class Answer:
    ok: bool = True
    status: int = 200
    denial_id: str = ""
    grant: Any = None


@dataclass
class CardboardHouse:
    verdict: Answer = field(default_factory=Answer)
    names: list[str] = field(default_factory=list)
    group: tuple[int, list[bytes]] = (7, [b"one", b"", b"three"])
    error: BaseException | None = None
    delay: float = 0.0
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    holds: tuple[str, str] | None = None
    """The one grant and track of which there are groups; ``None`` = whatever is asked for."""
    denies: set[str] = field(default_factory=set)

    def certificate_hash(self) -> str:
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

    async def decide(self, asked: Asked) -> Answer:
        target = asked.target
        self.asked.append(("decide", target, asked.bearer, asked.origin))
        if target in self.denies:
            return Answer(False, 403)
        return Answer(self.verdict.ok, self.verdict.status, self.verdict.denial_id, target)

    def announced(self, grant: Any) -> Sequence[str]:
        self.asked.append(("announced", grant))
        return self.names

    async def fetch(self, grant: Any, track: str, group: int | None) -> tuple[int, Sequence[bytes]]:
        self.asked.append(("fetch", grant, track, group))
        await asyncio.sleep(self.delay)
        if self.error:
            raise self.error
        if self.holds not in (None, (grant, track)):
            raise NotFound("no such track")
        return self.group


@pytest.fixture
def house() -> CardboardHouse:
    return CardboardHouse()
