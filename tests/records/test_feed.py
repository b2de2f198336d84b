"""Revocations as they happen: between relays, across outages, in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import delete, update

import relay.records.feed
import relay.records.memory
from pace import within
from relay.auth.revocation import Holder, Revocation
from relay.auth.settings import AuthSettings
from relay.records.desk import Desk
from relay.records.feed import EXPIRE_SECONDS, RevocationFeed
from relay.records.memory import MemoryRecords
from relay.records.opening import open_records
from relay.records.sql import SqlRecords
from relay.records.store import Change, Records, StoreError
from relay.records.tables import counters, revocations

NOW = 1500.0
BOB = Holder(sub="bob")


def no_log(event: str, **facts: object) -> None:
    """Nobody listens."""


@contextlib.asynccontextmanager
async def running(feed: RevocationFeed) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(feed.run())
        try:
            yield
        finally:
            task.cancel()


async def revoke(feed: RevocationFeed, entry: Revocation) -> Revocation:
    """As an operator does: in the store, then here."""
    kept = await feed._records.revoke(entry, feed._wall())
    await feed.refresh()
    return kept


async def withdraw(feed: RevocationFeed, id: int) -> bool:
    """The other way round."""
    done = await feed._records.withdraw(id, feed.settled())
    await feed.refresh()
    return done


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so, within the second in which relays hear of each other."""
    await within(1.0, condition)


def test_two_relays_see_each_others_entries_within_a_second(lasting: str) -> None:
    async def scenario() -> None:
        one, other = await open_records(lasting), await open_records(lasting)
        feeds = [RevocationFeed(store, 0.25, lambda: NOW, no_log) for store in (one, other)]
        told: list[Revocation] = []
        feeds[1].listeners.append(told.append)
        async with running(feeds[0]), running(feeds[1]):
            entry = await revoke(feeds[0], Revocation("sub", "bob"))
            assert feeds[0].index.check(BOB, NOW) == entry
            await until(lambda: feeds[1].index.check(BOB, NOW))
            assert told == [entry]
            assert await withdraw(feeds[1], entry.id)
            assert feeds[1].index.check(BOB, NOW) is None
            await until(lambda: feeds[0].index.check(BOB, NOW) is None)
            assert told == [entry]
        await one.close()
        await other.close()

    asyncio.run(scenario())


def test_none_is_missed_however_many_write_at_once(lasting: str) -> None:
    async def scenario() -> None:
        stores = [await open_records(lasting) for _ in range(3)]
        feed = RevocationFeed(stores[0], 0.05, lambda: NOW, no_log)
        told: list[Revocation] = []
        feed.listeners.append(told.append)

        async def write(store: Any, name: str) -> None:
            for n in range(15):
                await store.revoke(Revocation("sub", f"{name}{n}"), NOW)

        async def read() -> None:
            while len(told) < 45:
                await feed.refresh()

        async with asyncio.timeout(20):
            await asyncio.gather(read(), *(write(s, f"{n}-") for n, s in enumerate(stores)))
        assert len({entry.value for entry in told}) == len(told) == 45
        assert [entry.id for entry in told] == sorted(entry.id for entry in told)
        for store in stores:
            await store.close()

    asyncio.run(scenario())


def test_a_restart_knows_everything(lasting: str) -> None:
    async def scenario() -> None:
        store = await open_records(lasting)
        for n in range(5):
            await store.revoke(Revocation("sub", f"s{n}"), NOW)
        await store.revoke(Revocation("sub", "past", expires=NOW - 1), NOW - 5)
        feed = RevocationFeed(store, 0.25, lambda: NOW, no_log, lambda: 7.0)
        assert feed.behind() == float("inf")
        await feed.refresh()
        assert feed.behind() == 0.0
        assert sorted(entry.value for entry in feed.index) == [f"s{n}" for n in range(5)]
        await store.close()

    asyncio.run(scenario())


def test_what_a_withdrawn_entry_covered_comes_to_light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.records.memory, "MAX_PAGE", 2)
    monkeypatch.setattr(relay.records.feed, "MAX_PAGE", 2)

    async def scenario() -> None:
        feed = RevocationFeed(MemoryRecords(), 0.25, lambda: NOW, no_log)
        for n in range(5):
            await revoke(feed, Revocation("sub", f"s{n}"))
        narrow = await revoke(feed, Revocation("sub", "bob", issued_before=NOW))
        wide = await revoke(feed, Revocation("sub", "bob"))
        assert feed.index.check(BOB._replace(issued=NOW), NOW) == wide
        await withdraw(feed, wide.id)
        assert feed.index.check(BOB._replace(issued=NOW), NOW) is None
        assert feed.index.check(BOB, NOW) == narrow
        assert len(feed.index) == 6
        assert not await withdraw(feed, wide.id)

    asyncio.run(scenario())


def test_all_that_came_is_in_force_whatever_a_listener_makes_of_one() -> None:
    async def scenario() -> None:
        store = MemoryRecords()
        feed = RevocationFeed(store, 0.25, lambda: NOW, no_log)
        told: list[str] = []

        def failing(entry: Revocation) -> None:
            told.append(entry.value)
            raise LookupError("nobody thought of this")

        feed.listeners.append(failing)
        for name in ("alice", "bob"):
            await store.revoke(Revocation("sub", name), NOW)
        with pytest.raises(LookupError):
            await feed.refresh()
        await feed.refresh()
        assert told == ["alice"]
        assert feed.index.check(Holder(sub="alice"), NOW) is not None
        assert feed.index.check(BOB, NOW) is not None

    asyncio.run(scenario())


class Moody(MemoryRecords):
    """A store that can be told not to answer."""

    silent = False

    async def changes(self, after: int) -> list[Change]:
        if self.silent:
            raise StoreError("asleep")
        return await super().changes(after)


def test_while_the_store_is_silent_what_is_known_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.records.feed, "RETRY_SECONDS", 0.02)
    told: list[str] = []
    clock, wall = [7.0], [NOW]

    async def scenario() -> None:
        store = Moody()
        feed = RevocationFeed(
            *(store, 0.05, lambda: wall[0], lambda event, **facts: told.append(event)),
            lambda: clock[0],
        )
        await store.revoke(Revocation("sub", "bob"), NOW)
        async with running(feed):
            await until(lambda: feed.index.check(BOB, NOW))
            store.silent = True
            await until(lambda: "warning" in told)
            await store.revoke(Revocation("sub", "eve"), NOW)
            clock[0] += 90.0
            await asyncio.sleep(0.1)
            wall[0] = NOW - 3600  # the wall clock is put back meanwhile
            assert feed.behind() == 90.0
            assert feed.index.check(BOB, NOW)
            assert not feed.index.check(Holder(sub="eve"), NOW)
            store.silent = False
            await until(lambda: feed.index.check(Holder(sub="eve"), NOW))
        assert told == ["warning", "records answer again"]

    asyncio.run(scenario())


async def set_back(store: Records, number: int) -> None:
    """What a database is that was restored: everything after that change is lost."""
    assert isinstance(store, SqlRecords)
    async with store._engine.begin() as connection:
        await connection.execute(delete(revocations).where(revocations.c.changed > number))
        named = counters.c.name == "revocations"
        await connection.execute(update(counters).where(named).values(value=number))


def test_a_store_that_was_set_back_is_read_anew_and_what_is_known_holds(lasting: str) -> None:
    async def scenario() -> None:
        store, other = await open_records(lasting), await open_records(lasting)
        desk = Desk(store, AuthSettings(), no_log, wall=lambda: NOW)
        feed = desk.feed
        told: list[str] = []
        feed.listeners.append(lambda entry: told.append(entry.value))
        kept = await revoke(feed, Revocation("sub", "bob"))
        for n in range(4):
            await revoke(feed, Revocation("sub", f"s{n}"))
        await desk.refresh()
        await set_back(store, kept.id)
        await other.revoke(Revocation("sub", "eve"), NOW)
        await desk.refresh()
        assert feed.index.check(Holder(sub="eve"), NOW)
        assert told == ["bob", *(f"s{n}" for n in range(4)), "eve"]
        await other.revoke(Revocation("sub", "joe"), NOW)
        assert await withdraw(feed, kept.id)  # everything is read anew
        assert sorted(each.value for each in feed.index) == ["eve", "joe", "s0", "s1", "s2", "s3"]
        await store.close()
        await other.close()

    asyncio.run(scenario())


def test_a_store_that_was_set_back_while_it_was_silent(
    lasting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And has got further than it was before."""
    monkeypatch.setattr(relay.records.feed, "RETRY_SECONDS", 0.02)

    async def scenario() -> None:
        store = await open_records(lasting)
        said: list[str] = []

        def log(event: str, detail: str = "", **facts: object) -> None:
            said.extend([detail.partition(",")[0].partition(":")[0]] if detail else [])

        feed = RevocationFeed(store, 0.05, lambda: NOW, log)
        for n in range(4):
            await revoke(feed, Revocation("sub", f"s{n}"))
        told: list[str] = []
        feed.listeners.append(lambda entry: told.append(entry.value))
        changes = store.changes

        async def asleep(after: int) -> list[Change]:
            raise StoreError("asleep")

        async with running(feed):
            monkeypatch.setattr(store, "changes", asleep)
            await until(lambda: feed._silent)
            await set_back(store, 1)
            for n in range(5):
                await store.revoke(Revocation("sub", f"new{n}"), NOW)
            monkeypatch.setattr(store, "changes", changes)
            await until(lambda: {f"new{n}" for n in range(5)} <= set(told))
            await until(lambda: not feed._lost)
        assert len(feed.index) == 9
        (new,) = [each for each in feed.index if each.value == "new0"]
        assert await withdraw(feed, new.id)  # everything is read anew
        lost = ["s1", "s2", "s3"]
        assert sorted(each.value for each in feed.index) == [
            *(f"new{n}" for n in (1, 2, 3, 4)),
            "s0",
            *lost,
        ]
        assert said == ["records do not answer", "records were set back"]
        await store.close()

    asyncio.run(scenario())


def test_what_the_store_has_lost_is_written_once_more_unless_it_was_taken_back(
    lasting: str,
) -> None:
    async def scenario() -> None:
        store, other = await open_records(lasting), await open_records(lasting)
        desk = Desk(store, AuthSettings(), no_log, wall=lambda: NOW)
        kept = [await revoke(desk.feed, Revocation("sub", name)) for name in ("bob", "joe", "eve")]
        await revoke(desk.feed, Revocation("sub", "lost", reason="left", expires=NOW + 60))
        await desk.refresh()
        await set_back(store, kept[1].id)
        assert await other.withdraw(kept[1].id, NOW)
        async with running(desk.feed):
            await desk.refresh()
            await until(lambda: not desk.feed._lost)
        again = await other.revocations(NOW)
        told = {(each.value, each.reason, each.expires) for each in again}
        assert told == {("bob", "", None), ("eve", "", None), ("lost", "left", NOW + 60)}
        assert sorted(each.value for each in desk.feed.index) == ["bob", "eve", "lost"]
        await store.close()
        await other.close()

    asyncio.run(scenario())


def test_what_is_taken_back_while_all_is_read_again_was_not_lost() -> None:
    async def scenario() -> None:
        store = MemoryRecords()
        feed = RevocationFeed(store, 0.05, lambda: NOW, no_log)
        entry = await revoke(feed, Revocation("sub", "bob"))
        assert await store.withdraw(entry.id, NOW)
        assert await feed._take_missed()  # as it seems until the change is heard of
        await feed.refresh()
        assert not list(feed.index)

    asyncio.run(scenario())


def test_what_has_ended_leaves_the_index() -> None:
    """Also after the wall clock was put back."""
    clock, wall = [7.0], [NOW + 7200]

    async def scenario() -> None:
        feed = RevocationFeed(MemoryRecords(), 0.05, lambda: wall[0], no_log, lambda: clock[0])
        for now in (NOW + 7200, NOW):
            wall[0] = now
            await revoke(feed, Revocation("sub", "bob", expires=now + 1))
            assert len(feed.index) == 1
            wall[0] = now + 100
            clock[0] += EXPIRE_SECONDS
            async with running(feed):
                await until(lambda: len(feed.index) == 0)

    asyncio.run(scenario())


def test_a_clock_set_far_ahead_and_back_loses_nothing() -> None:
    clock, wall = [7.0], [NOW]
    names = ["kept", "believed", "meanwhile", "said meanwhile"]

    def ending(name: str) -> Revocation:
        return Revocation("sub", name, expires=NOW + 600)

    async def scenario() -> None:
        records = MemoryRecords()
        feed = RevocationFeed(records, 0.05, lambda: wall[0], no_log, lambda: clock[0])
        await revoke(feed, ending("kept"))
        feed.believe(ending("believed"))
        wall[0] += 86_400 * 365
        await records.revoke(ending("meanwhile"), NOW)  # by a relay whose clock is right
        feed.believe(ending("said meanwhile"))
        passing = await records.revoke(ending("taken back"), NOW)
        await feed.refresh()
        await withdraw(feed, passing.id)
        clock[0] += EXPIRE_SECONDS
        async with running(feed):
            await until(lambda: feed.behind() == 0.0)
        wall[0] = NOW + EXPIRE_SECONDS
        for name in names:
            holder = Holder(sub=name)
            assert feed.index.check(holder, wall[0]), name
        assert len(feed.index) == len(names)
        wall[0] += 600
        clock[0] += 600
        async with running(feed):
            await until(lambda: len(feed.index) == 0)

    asyncio.run(scenario())


def test_what_others_say_is_in_force_before_it_is_kept_and_until_they_take_it_back() -> None:
    async def scenario() -> None:
        feed = RevocationFeed(MemoryRecords(), 0.25, lambda: NOW, no_log)
        said = Revocation("sub", "bob", created=NOW - 5)
        feed.believe(said)
        assert feed.index.check(BOB, NOW)
        other = await revoke(feed, Revocation("sub", "ann"))
        await withdraw(feed, other.id)  # everything is read anew; bob is not kept yet
        assert feed.index.check(BOB, NOW)
        await feed.adopt(said)
        await feed.adopt(said)
        (kept,) = feed.index
        assert kept.created == NOW - 5
        assert kept.id > other.id  # what a refusal names and an operator withdraws
        gone: list[Revocation] = []
        feed.withdrawals.append(lambda entry, at: gone.append(entry))
        await feed.relent(lambda entry: entry.value == "ann")
        assert feed.index.check(BOB, NOW)
        await feed.relent(lambda entry: entry.value == "bob")
        assert feed.index.check(BOB, NOW) is None
        assert [entry.value for entry in gone] == ["bob"]
        feed.believe(said)
        await feed.relent(lambda entry: entry.value == "bob")  # never kept at all
        assert feed.index.check(BOB, NOW) is None

    asyncio.run(scenario())
