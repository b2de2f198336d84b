"""The office: nothing an operator does happens that the log does not know before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, text

from relay.auth.facts import StoredToken
from relay.auth.revocation import Revocation
from relay.errors import BadRequest, NotFound
from relay.path import Path as RelayPath
from relay.quota import Override
from relay.records.audit import FIRST, Entry, Fact, Query
from relay.records.memory import MemoryRecords
from relay.records.office import Office, Operator
from relay.records.opening import open_records
from relay.records.scribe import Scribe
from relay.records.settings import AuditSettings
from relay.records.store import StoreError
from relay.records.tables import audit

WHO = Operator("admin", "192.0.2.1")


class Bench:
    def __init__(self) -> None:
        self.store = MemoryRecords()
        self.done = 0
        scribe = Scribe(self.store.audit, AuditSettings(), "n", lambda: 5.0, self.log)
        self.office = Office(self.store, scribe, lambda: 5.0, self.put_in_force)

    def log(self, event: str, **facts: Any) -> None:
        """Nobody reads."""

    async def put_in_force(self) -> None:
        self.done += 1

    async def said(self) -> list[str]:
        return [
            entry.action for entry in reversed(await self.office.records.audit.entries(Query()))
        ]


def test_every_change_is_written_and_put_in_force(token: StoredToken) -> None:
    async def main() -> None:
        bench = Bench()
        office = bench.office
        await office.set_quota(WHO, "plant", Override(sessions=3))
        assert await office.records.quotas.all() == {"plant": Override(sessions=3)}
        assert await office.clear_quota(WHO, "plant")
        await office.create_token(WHO, token)
        revoked = await office.revoke_token(WHO, token.prefix, "lost")
        assert revoked.value == token.id
        entry = await office.revoke(WHO, Revocation("sub", "alice", reason="left"))
        await office.withdraw(WHO, entry.id)
        assert await bench.said() == [
            *("quota.set", "quota.clear", "token.create", "token.revoke"),
            *("revocation.add", "revocation.withdraw"),
        ]
        assert bench.done == 6
        first = (await bench.store.audit.after(0, 1))[0]
        assert (first.actor, first.address, first.target) == ("admin", "192.0.2.1", "plant")
        assert first.detail == '{"sessions": 3}'
        walk = await office.verify()
        assert (walk.broken, walk.count) == (None, 6)

    asyncio.run(main())


def test_what_is_done_about_a_tenant_is_found_by_its_name(token: StoredToken) -> None:
    async def main() -> None:
        bench = Bench()
        office, whose = bench.office, replace(token, root=RelayPath("plant/hall"))
        await office.set_quota(WHO, "plant", Override(sessions=3))
        await office.create_token(WHO, whose)
        await office.revoke_token(WHO, whose.prefix, "lost")
        await office.revoke(WHO, Revocation("tenant", "plant"))
        await office.revoke(WHO, Revocation("sub", "plant"))
        with pytest.raises(NotFound):
            await office.revoke_token(WHO, "nothing", "lost")
        found = await bench.store.audit.entries(Query(tenant="plant"))
        assert [entry.action for entry in reversed(found)] == [
            *("quota.set", "token.create", "token.revoke", "revocation.add"),
        ]
        assert found[0].target == "tenant plant"

    asyncio.run(main())


def test_what_could_not_be_done_is_written_too(token: StoredToken) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.office.create_token(WHO, token)
        with pytest.raises(BadRequest):
            await bench.office.create_token(WHO, token)
        assert await bench.said() == ["token.create", "token.create", "token.create.failed"]
        with pytest.raises(BadRequest):
            await bench.office.set_quota(WHO, "a/b", Override())
        with pytest.raises(BadRequest):
            await bench.office.revoke(WHO, Revocation("nonsense", "x"))
        assert len(await bench.said()) == 3
        with pytest.raises(NotFound):
            await bench.office.revoke_token(WHO, "nothing", "lost")
        with pytest.raises(NotFound):
            await bench.office.withdraw(WHO, 7)
        assert (await bench.said())[3:] == [
            *("token.revoke", "token.revoke.failed"),
            *("revocation.withdraw", "revocation.withdraw.failed"),
        ]
        assert bench.done == 1

    asyncio.run(main())


def test_what_would_have_ended_already_is_not_done(token: StoredToken) -> None:
    async def main() -> None:
        bench = Bench()
        for ends in (0.0, 4.0, 5.0):
            with pytest.raises(BadRequest, match="ended already"):
                await bench.office.revoke(WHO, Revocation("sub", "alice", expires=ends))
            with pytest.raises(BadRequest, match="ended already"):
                await bench.office.create_token(WHO, replace(token, expires=ends))
        assert await bench.said() == []
        await bench.office.revoke(WHO, Revocation("sub", "alice", expires=6.0))

    asyncio.run(main())


@pytest.mark.parametrize(("wall", "is_in_force"), [(9.0, True), (10.0, False), (1e9, True)])
def test_what_has_ended_cannot_be_taken_back(wall: float, is_in_force: bool) -> None:
    """A clock that was set far ahead by mistake has ended nothing."""

    async def main() -> None:
        bench = Bench()
        entry = await bench.office.revoke(WHO, Revocation("sub", "alice", expires=10.0))
        scribe = bench.office.scribe
        later = Office(
            bench.store, scribe, lambda: wall, settled=lambda: wall if wall < 11 else 9.0
        )
        if is_in_force:
            await later.withdraw(WHO, entry.id)
        with pytest.raises(NotFound, match="no revocation 1 is in force"):
            await later.withdraw(WHO, entry.id)

    asyncio.run(main())


def test_the_name_of_a_tenant_is_as_long_as_it_may_be() -> None:
    async def main() -> None:
        for name, why in (("a/b", "no slashes"), ("a" * 513, "at most 512 characters")):
            with pytest.raises(BadRequest, match=why):
                await Bench().office.set_quota(WHO, name, Override(sessions=3))

    asyncio.run(main())


def test_nothing_is_done_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        bench = Bench()

        async def fail(facts: Any) -> Any:
            raise StoreError("out of reach")

        monkeypatch.setattr(bench.store.audit, "append", fail)
        with pytest.raises(StoreError):
            await bench.office.set_quota(WHO, "plant", Override(sessions=3))
        assert await bench.office.records.quotas.all() == {}

    asyncio.run(main())


def test_a_chain_that_was_tampered_with_is_found() -> None:
    async def main() -> None:
        bench = Bench()
        for _ in range(3):
            await bench.office.set_quota(WHO, "plant", Override())
        del bench.store.audit._entries[1]
        walk = await bench.office.verify()
        assert walk.broken == "entry 2 is missing (the next is 3)"

    asyncio.run(main())


@pytest.mark.parametrize("number", [0, -5, -(2**63), 4, 7_000_000_000])
@pytest.mark.parametrize("length", [0, 3])
def test_an_entry_beyond_the_ends_of_the_chain_is_named(
    lasting: str, number: int, length: int
) -> None:
    async def main() -> None:
        bench = Bench()
        store: Any = await open_records(lasting)
        bench.office.records = store
        await store.audit.append([Fact("deny", "alice", at=5.0)] * length)
        assert (await bench.office.verify()).broken is None
        forged = Entry.of(Fact("allow", "mallory", at=5.0), number, FIRST)
        async with store._engine.begin() as connection:
            await connection.execute(insert(audit), [forged.row()])
        assert await store.audit.entries(Query(actor="mallory")) == [forged]
        walk = await bench.office.verify()
        assert walk.broken == f"entry {number} does not belong to the chain of {length}"
        async with store._engine.begin() as connection:
            await connection.execute(delete(audit).where(audit.c.number == number))
        assert (await bench.office.verify()).broken is None
        await store.close()

    asyncio.run(main())


def test_an_entry_whose_number_is_none_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench()
        store: Any = await open_records(f"sqlite:///{tmp_path}/relay.db")
        bench.office.records = store
        await store.audit.append([Fact("deny", "alice", at=5.0)] * 3)
        async with store._engine.begin() as connection:
            await connection.execute(text("UPDATE audit SET number = 'x' WHERE number = 2"))
        walk = await bench.office.verify()
        assert walk.broken == "entry 'x' does not belong to the chain of 3"
        await store.close()

    asyncio.run(main())


def test_what_is_written_while_the_chain_is_walked_belongs_to_it() -> None:
    async def main() -> None:
        bench = Bench()
        log = bench.store.audit
        await log.append([Fact("deny", at=5.0)] * 3)
        length = log.length

        async def later() -> int:
            await log.append([Fact("deny", at=5.0)])
            found = await length()
            await log.append([Fact("deny", at=5.0)])
            return found

        log.length = later  # type: ignore[method-assign]
        walk = await bench.office.verify()
        assert (walk.broken, walk.count) == (None, 4)

    asyncio.run(main())
