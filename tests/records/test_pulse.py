"""What is answered from memory is what the store would answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path as Folder

import pytest
from sqlalchemy import text

from relay.auth.revocation import Revocation
from relay.records.opening import open_records
from relay.records.pulse import TRUSTED, FilePulse, ServerPulse, Standing, Version
from relay.records.sql import SqlRecords
from relay.records.store import StoreError

NOW = 1500.0


def plain(place: Folder) -> sqlite3.Connection:
    return sqlite3.connect(place, timeout=0, isolation_level=None)


def told(version: list[Version]) -> Callable[[], Awaitable[Version]]:
    async def now() -> Version:
        return version[0]

    return now


def test_every_commit_to_a_file_is_a_beat(tmp_path: Folder) -> None:
    place = tmp_path / "a b?#.db"

    async def main() -> None:
        ours, theirs = FilePulse(place), plain(place)
        first = await ours.beat()
        assert first is not None
        assert await ours.beat() == first
        theirs.execute("CREATE TABLE t (n)")
        theirs.execute("BEGIN")
        theirs.execute("INSERT INTO t VALUES (1)")
        second = await ours.beat()
        assert second not in (None, first)
        assert await ours.beat() == second, "nothing is committed"
        theirs.execute("COMMIT")
        assert await ours.beat() not in (None, first, second)
        theirs.close()
        await ours.close()

    asyncio.run(main())


def test_nothing_is_told_of_a_file_where_it_cannot_be_known(tmp_path: Folder) -> None:
    place = tmp_path / "a.db"

    async def main() -> None:
        ours = FilePulse(place)
        assert await ours.beat() is None
        assert not place.exists()
        theirs = plain(place)
        theirs.execute("CREATE TABLE t (n)")
        before = await ours.beat()
        assert before is not None
        theirs.execute("BEGIN EXCLUSIVE")
        assert await ours.beat() is None
        theirs.execute("INSERT INTO t VALUES (1)")
        theirs.execute("COMMIT")
        assert await ours.beat() not in (None, before), "another connection counts anew"
        theirs.close()
        await ours.close()
        assert await ours.beat() is None, "closed for good"

    asyncio.run(main())


def test_every_commit_to_a_server_is_a_beat(postgres: Callable[[], str]) -> None:
    async def main() -> None:
        store = await open_records(postgres())
        assert isinstance(store, SqlRecords)
        ours, engine = ServerPulse(store._engine), store._engine
        first = await ours.beat()
        assert first is not None
        assert set(await asyncio.gather(*(ours.beat() for _ in range(20)))) == {first}
        async with engine.connect() as theirs:
            await theirs.execute(text("CREATE TABLE t (n int)"))
            begun = await ours.beat()  # of which nothing is seen
            await theirs.commit()
            done = await ours.beat()
            assert done not in (None, first, begun)
            assert await ours.beat() == done
            ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> "
            await theirs.execute(text(f"{ends} pg_backend_pid() AND datname = current_database()"))
        assert await ours.beat() is None
        async with asyncio.timeout(5):
            while (anew := await ours.beat()) is None:  # what else was left behind fails, too
                pass
        assert anew != done, "another connection counts anew"
        await ours.close()
        assert await ours.beat() is None, "closed for good"
        await store.close()

    asyncio.run(main())


def test_a_server_that_lets_nobody_in_is_a_store_that_does_not_answer(
    postgres: Callable[[], str],
) -> None:
    url = postgres()

    async def main() -> None:
        store, theirs = await open_records(url), await open_records(postgres())
        assert isinstance(theirs, SqlRecords)
        assert await store.changes(0) == []
        async with theirs._engine.connect() as connection:
            name = url.split("?")[0].rsplit("/")[-1]
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            await connection.execute(text(f"{ends}'{name}'"))
            for _ in range(4):
                with pytest.raises(StoreError):
                    await store.changes(0)
            await connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        assert await store.changes(0) == []
        await store.close()
        await theirs.close()

    asyncio.run(main())


class Silent:
    """A connection that answers what it is given, or never."""

    def __init__(self, answer: str | None = None) -> None:
        self.answer = answer
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()

    async def fetchval(self, question: str) -> str | None:
        self.asked.set()
        if self.answer is None:
            await self.closed.wait()
            raise ConnectionError
        return self.answer

    async def close(self, **_: float) -> None:
        self.closed.set()

    def terminate(self) -> None:
        self.closed.set()


def asked_by(connection: Silent, monkeypatch: pytest.MonkeyPatch) -> ServerPulse:
    async def opened(self: ServerPulse) -> Silent:
        return connection

    monkeypatch.setattr(ServerPulse, "_open", opened)
    return ServerPulse(None)  # type: ignore[arg-type]


def test_a_standby_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        ours = asked_by(standby := Silent(""), monkeypatch)
        assert await ours.beat() is None
        assert await ours.beat() is None
        assert not standby.closed.is_set()
        standby.answer = "1:1:"  # it was promoted
        assert await ours.beat() is not None

    asyncio.run(main())


def test_whoever_stops_asking_leaves_nothing_that_the_next_one_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        ours = asked_by(silent := Silent(), monkeypatch)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ours.beat()
        assert silent.closed.is_set()
        ours = asked_by(Silent("1:1:"), monkeypatch)
        assert await ours.beat() is not None

    asyncio.run(main())


def test_closing_waits_for_nobody_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        ours = asked_by(silent := Silent(), monkeypatch)
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            asking = group.create_task(ours.beat())
            await silent.asked.wait()
            await ours.close()
            assert silent.closed.is_set()
            assert await asking is None
        assert await ours.beat() is None

    asyncio.run(main())


def test_a_store_that_does_not_answer_in_time_is_not_asked_twice(
    tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: FilePulse) -> Version:
        raise TimeoutError

    async def main() -> None:
        store = await open_records(f"sqlite:///{tmp_path / 'relay.db'}")
        monkeypatch.setattr(FilePulse, "beat", never)
        with pytest.raises(StoreError, match="no answer in time"):
            await store.changes(0)
        await store.close()

    asyncio.run(main())


def test_a_file_that_is_opened_anew_has_another_journal(tmp_path: Folder) -> None:
    async def main() -> None:
        store = await open_records(f"sqlite:///{tmp_path / 'relay.db'}")
        assert isinstance(store, SqlRecords)
        assert await store.changes(0) == []
        pulse = store._database._pulse
        assert isinstance(pulse, FilePulse)
        assert pulse._connection is not None
        await store._engine.dispose()  # as whoever is cancelled while it reads leaves it
        pulse._connection.close()  # the last one: what is beside the file is gone
        (tmp_path / "other").touch()  # has its place on the disk
        for _ in range(3):
            assert await store.changes(0) == []
        await store.close()

    asyncio.run(main())


def test_an_answer_stands_until_there_is_another_version() -> None:
    version: list[Version] = [(1, 1)]
    clock = [0.0]
    asked: list[str] = []
    standing: Standing[str] = Standing(told(version), lambda: clock[0])

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
        version[0] = 1, 2
        assert await standing.ask(2, read("d")) == "d", "another version"
        clock[0] += TRUSTED - 0.1
        assert await standing.ask(2, read("e")) == "d"
        clock[0] += 0.2
        assert await standing.ask(2, read("f")) == "f", "too long ago"
        version[0] = None
        assert await standing.ask(2, read("g")) == "g", "no version"
        assert await standing.ask(2, read("h")) == "h"
        version[0] = 1, 2
        assert await standing.ask(2, read("i")) == "i", "what had no version does not stand"
        version[0] = 1, 3
        with pytest.raises(StoreError):
            await standing.ask(2, read("trouble"))
        version[0] = 1, 2
        assert await standing.ask(2, read("j")) == "j"

    asyncio.run(main())
    assert "".join(asked) == "acdfghitroublej"


def test_what_is_committed_while_it_is_read_is_asked_for_again() -> None:
    version: list[Version] = [(1, 0)]
    standing: Standing[int] = Standing(told(version))
    seen = 0

    async def read() -> int:
        nonlocal seen
        seen += 1
        version[0] = 1, seen  # by somebody else, right after we looked
        return seen

    async def main() -> None:
        assert await standing.ask((), read) == 1
        assert await standing.ask((), read) == 2

    asyncio.run(main())


def test_others_have_their_turn_while_nothing_changes() -> None:
    standing: Standing[int] = Standing(told([(1, 1)]))

    async def read() -> int:
        return 1

    async def main() -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().call_soon(done.set)
        for _ in range(3):
            await standing.ask((), read)
        assert done.is_set()

    asyncio.run(main())


def test_a_store_at_rest_is_not_asked(lasting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("_read_changes", "_read_marks"):
        was = getattr(SqlRecords, name)

        def spied(self: SqlRecords, *given: int, name: str = name, was: object = was) -> object:
            asked.append(name)
            return was(self, *given)  # type: ignore[operator]

        monkeypatch.setattr(SqlRecords, name, spied)

    async def main() -> None:
        ours, theirs = await open_records(lasting), await open_records(lasting)
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
