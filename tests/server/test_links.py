"""Revocations heard from other relays, on their way into the records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

import relay.server.links
from pace import within
from relay.auth.revocation import Revocation, key_of
from relay.auth.settings import AuthSettings
from relay.errors import LimitExceeded
from relay.records.desk import Desk
from relay.records.memory import MemoryRecords
from relay.records.store import StoreError
from relay.server.links import Teller

NOW = 1500.0


class Asleep(MemoryRecords):
    """Records that do not write while they are asleep."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: Exception | None = None
        self.tries = 0

    async def adopt(self, entry: Revocation, now: float) -> bool:
        self._write()
        return await super().adopt(entry, now)

    async def withdraw(self, id: int, now: float) -> bool:
        self._write()
        return await super().withdraw(id, now)

    def _write(self) -> None:
        self.tries += 1
        if self.trouble is not None:
            raise self.trouble

    async def kept(self) -> list[str]:
        return [each.value for each in await self.revocations(NOW)]


@contextlib.asynccontextmanager
async def telling(records: Asleep, said: list[str]) -> AsyncIterator[Teller]:
    def log(event: str, **facts: object) -> None:
        said.append(str(facts["detail"]))

    desk = Desk(records, AuthSettings(), log, wall=lambda: NOW)
    teller = Teller(desk, log)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(teller.run())
        yield teller
        task.cancel()


def revoked(name: str) -> Revocation:
    return Revocation("sub", name, created=NOW - 1)


def test_what_is_heard_while_the_records_are_silent_is_kept_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In order: who was revoked and taken back meanwhile is not revoked at the end."""
    monkeypatch.setattr(relay.server.links, "RETRY_SECONDS", 0.01)

    async def main() -> None:
        records, said = Asleep(), list[str]()
        async with telling(records, said) as teller:
            records.trouble = StoreError("locked")
            teller.learn(revoked("bob"))
            teller.learn(revoked("eve"))
            teller.unlearn(key_of(revoked("eve")), NOW)
            await within(1.0, lambda: records.tries > 2)
            assert said == ["a revocation heard of is not kept yet: locked"]
            assert await records.kept() == []
            records.trouble = None
            teller.learn(revoked("joe"))
            await within(1.0, lambda: records._number == 4)
            assert await records.kept() == ["bob", "joe"]

    asyncio.run(main())


def test_what_the_records_do_not_take_holds_up_nothing() -> None:
    async def main() -> None:
        records, said = Asleep(), list[str]()
        async with telling(records, said) as teller:
            records.trouble = LimitExceeded("full")
            teller.learn(revoked("bob"))
            await within(1.0, lambda: said)
            records.trouble = None
            teller.learn(revoked("eve"))
            await within(1.0, lambda: records._number == 1)
        assert said == ["a revocation heard of was not kept: full"]
        assert await records.kept() == ["eve"]

    asyncio.run(main())
