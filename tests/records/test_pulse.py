"""What is answered from memory is what the store would answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path as Folder

import pytest

from relay.auth.revocation import Revocation
from relay.records.opening import open_records
from relay.records.pulse import TRUSTED, Pulse, Standing
from relay.records.sql import SqlRecords
from relay.records.store import StoreError

NOW = 1500.0


def plain(place: Folder) -> sqlite3.Connection:
    return sqlite3.connect(place, timeout=0, isolation_level=None)


def test_every_commit_is_a_beat(tmp_path: Folder) -> None:
    place = tmp_path / "a b?#.db"
    ours, theirs = Pulse(place), plain(place)
    first = ours.beat()
    assert first is not None
    assert ours.beat() == first
    theirs.execute("CREATE TABLE t (n)")
    theirs.execute("BEGIN")
    theirs.execute("INSERT INTO t VALUES (1)")
    second = ours.beat()
    assert second not in (None, first)
    assert ours.beat() == second, "nothing is committed"
    theirs.execute("COMMIT")
    assert ours.beat() not in (None, first, second)
    theirs.close()
    ours.close()


def test_nothing_is_told_where_it_cannot_be_known(tmp_path: Folder) -> None:
    place = tmp_path / "a.db"
    ours = Pulse(place)
    assert ours.beat() is None
    assert not place.exists()
    theirs = plain(place)
    theirs.execute("CREATE TABLE t (n)")
    before = ours.beat()
    assert before is not None
    theirs.execute("BEGIN EXCLUSIVE")
    assert ours.beat() is None
    theirs.execute("INSERT INTO t VALUES (1)")
    theirs.execute("COMMIT")
    assert ours.beat() not in (None, before), "another connection counts anew"
    theirs.close()
    ours.close()
    assert ours.beat() is None, "closed for good"


def test_an_answer_stands_until_there_is_another_version() -> None:
    version: list[int | None] = [1]
    clock = [0.0]
    asked: list[str] = []
    standing: Standing[str] = Standing(lambda: version[0], lambda: clock[0])

    def read(answer: str) -> Callable[[], Awaitable[str]]:
        async def reading() -> str:
            asked.append(answer)
            if answer == "trouble":
                raise StoreError("trouble")
            return answer

        return reading

    async def main() -> None:
        assert await standing.ask(1, read("a")) == "a"
        assert await standing.ask(1, read("b")) == "a"
        assert await standing.ask(2, read("c")) == "c", "another question"
        version[0] = 2
        assert await standing.ask(2, read("d")) == "d", "another version"
        clock[0] += TRUSTED - 0.1
        assert await standing.ask(2, read("e")) == "d"
        clock[0] += 0.2
        assert await standing.ask(2, read("f")) == "f", "too long ago"
        version[0] = None
        assert await standing.ask(2, read("g")) == "g", "no version"
        assert await standing.ask(2, read("h")) == "h"
        version[0] = 2
        assert await standing.ask(2, read("i")) == "i", "what had no version does not stand"
        version[0] = 3
        with pytest.raises(StoreError):
            await standing.ask(2, read("trouble"))
        version[0] = 2
        assert await standing.ask(2, read("j")) == "j"

    asyncio.run(main())
    assert "".join(asked) == "acdfghitroublej"


def test_what_is_committed_while_it_is_read_is_asked_for_again() -> None:
    version = [1]
    standing: Standing[int] = Standing(lambda: version[0])

    async def read() -> int:
        seen = version[0]
        version[0] += 1  # by somebody else, right after we looked
        return seen

    async def main() -> None:
        assert await standing.ask((), read) == 1
        assert await standing.ask((), read) == 2

    asyncio.run(main())


def test_others_have_their_turn_while_nothing_changes() -> None:
    standing: Standing[int] = Standing(lambda: 1)

    async def read() -> int:
        return 1

    async def main() -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().call_soon(done.set)
        for _ in range(3):
            await standing.ask((), read)
        assert done.is_set()

    asyncio.run(main())


def test_a_store_at_rest_is_not_asked(tmp_path: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/relay.db"
    asked: list[str] = []
    for name in ("_read_changes", "_read_marks"):
        was = getattr(SqlRecords, name)

        def spied(self: SqlRecords, *given: int, name: str = name, was: object = was) -> object:
            asked.append(name)
            return was(self, *given)  # type: ignore[operator]

        monkeypatch.setattr(SqlRecords, name, spied)

    async def main() -> None:
        ours, theirs = await open_records(url), await open_records(url)
        for _ in range(3):
            assert await ours.changes(0) == []
            marks = await ours.marks()
        assert asked == ["_read_changes", "_read_marks"]
        kept = await theirs.revoke(Revocation("sub", "eve"), NOW)
        assert [change.entry for change in await ours.changes(0)] == [kept]
        assert await ours.marks() != marks
        mine = await ours.revoke(Revocation("sub", "mallory"), NOW)
        assert [change.entry for change in await ours.changes(0)] == [kept, mine], "our own, too"
        await ours.close()
        await theirs.close()

    asyncio.run(main())


def test_a_broken_store_is_noticed(tmp_path: Folder) -> None:
    place = tmp_path / "relay.db"

    async def main() -> None:
        store = await open_records(f"sqlite:///{place}")
        assert await store.changes(0) == []
        other = plain(place)
        other.execute("ALTER TABLE revocations RENAME TO gone")
        with pytest.raises(StoreError, match="no such table"):
            await store.changes(0)
        other.execute("ALTER TABLE gone RENAME TO revocations")
        other.close()
        assert await store.changes(0) == []
        place.rename(tmp_path / "moved.db")
        with pytest.raises(StoreError, match="deleted or replaced"):
            await store.changes(0)
        await store.close()

    asyncio.run(main())
