"""Opening stores: what is made, what survives, what is refused in one line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text

from relay.auth.facts import StoredToken
from relay.auth.grant import Grant
from relay.auth.revocation import Revocation
from relay.errors import ConfigError
from relay.path import Path as NamePath
from relay.records import opening
from relay.records.audit import Fact
from relay.records.kept import Sealed
from relay.records.memory import MemoryRecords
from relay.records.opening import open_records
from relay.records.rows import token_row
from relay.records.sql import SqlRecords
from relay.records.store import StoreError
from relay.records.tables import api_tokens, metadata

NOW = 1500.0

ROUNDS = 50
"""Fresh files that several processes open at once."""


def test_without_a_url_nothing_lasts() -> None:
    assert isinstance(asyncio.run(open_records(None)), MemoryRecords)


def test_everything_survives(lasting: str, token: StoredToken) -> None:
    async def write() -> Revocation:
        store = await open_records(lasting)
        await store.add_token(token)
        entry = await store.revoke(Revocation("kid", "k1", reason="rotated"), NOW)
        await store.close()
        return entry

    async def read() -> tuple[list[StoredToken], list[Revocation]]:
        store = await open_records(lasting)
        found = await store.tokens(), await store.revocations(NOW)
        await store.close()
        return found

    entry = asyncio.run(write())
    assert asyncio.run(read()) == ([token], [entry])


WRITER = """
import asyncio, sys, time
from relay.auth.revocation import Revocation
from relay.records.opening import open_records

async def main():
    store = await open_records(sys.argv[1])
    await store.revoke(Revocation("sub", "bob"), 1500.0)
    print("acknowledged", flush=True)
    time.sleep(60)

asyncio.run(main())
"""


def test_acknowledged_is_kept_by_a_process_that_is_killed(lasting: str) -> None:
    command = [sys.executable, "-c", WRITER, lasting]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "acknowledged\n"
        writer.send_signal(signal.SIGKILL)

    async def read() -> list[Revocation]:
        store = await open_records(lasting)
        found = await store.revocations(NOW)
        await store.close()
        return found

    assert [entry.value for entry in asyncio.run(read())] == ["bob"]


def test_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    async def look() -> tuple[object, ...]:
        store = await open_records(f"sqlite:///{tmp_path}/relay.db")
        assert isinstance(store, SqlRecords)
        found = []
        async with store._engine.connect() as connection:
            for pragma in ("synchronous", "journal_mode"):
                found.append((await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar())
        await store.close()
        return tuple(found)

    assert asyncio.run(look()) == (2, "wal")  # 2 is FULL


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        asyncio.run(_open_and_close(f"sqlite:///{tmp_path}/relay.db"))
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "relay.db").stat().st_mode) == 0o600


async def _open_and_close(url: str, *, makes: bool = True) -> None:
    await (await open_records(url, makes=makes)).close()


def test_the_tables_are_those_of_the_migrations(lasting: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async def compare() -> list[object]:
        store = await open_records(lasting)
        assert isinstance(store, SqlRecords)
        async with store._engine.connect() as connection:
            found = await connection.run_sync(differences)
        await store.close()
        return found

    assert asyncio.run(compare()) == []


def test_several_open_an_empty_store_at_once(lasting: str) -> None:
    async def together() -> None:
        stores = await asyncio.gather(*(open_records(lasting) for _ in range(4)))
        for n, store in enumerate(stores):
            await store.revoke(Revocation("sub", f"s{n}"), NOW)
        assert len(await stores[0].revocations(NOW)) == 4
        for store in stores:
            await store.close()

    asyncio.run(together())


OPENER = """
import asyncio, sys
from relay.records.opening import open_records

async def main(url):
    try:
        await (await open_records(url)).close()
        print("opened", flush=True)
    except Exception as error:
        print(error, flush=True)

for line in sys.stdin:
    asyncio.run(main(line.strip()))
"""


def test_several_processes_open_a_fresh_file_at_once(tmp_path: Path) -> None:
    """Often, since it takes luck for two of them to meet at the one moment that matters."""
    command = [sys.executable, "-c", OPENER]
    with contextlib.ExitStack() as stack:
        programs = [
            stack.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
                )
            )
            for _ in range(4)
        ]
        for number in range(ROUNDS):
            for program in programs:
                assert program.stdin is not None
                program.stdin.write(f"sqlite:///{tmp_path}/{number}.db\n")
            for program in programs:
                assert program.stdout is not None
                assert program.stdout.readline() == "opened\n"


@pytest.mark.parametrize("version", ["9999", ""])
def test_a_store_of_a_newer_relay(lasting: str, version: str) -> None:
    async def advance() -> None:
        store = await open_records(lasting)
        assert isinstance(store, SqlRecords)
        async with store._engine.begin() as connection:
            await connection.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))
        await store.close()

    asyncio.run(advance())
    with pytest.raises(ConfigError, match=r"records\.url: .*made by a newer relay"):
        asyncio.run(open_records(lasting))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, but a text of some length" * 50)
    for url, why in (
        (f"sqlite:///{tmp_path}/none/relay.db", "No such file"),
        (f"sqlite:///{tmp_path}", "directory"),
        (f"sqlite:///{tmp_path}/text.db", "not a database"),
        ("postgresql://u:secret@127.0.0.1:1/x", "127.0.0.1"),
        ("postgresql://u:secret@127.0.0.1:port/x", "not a URL"),
        ("postgresql://u:secret@127.0.0.1:1/x?sslmode=require", "sslmode.*its name there is ssl"),
        ("postgresql://u:secret@127.0.0.1:1/x?timeout=soon", "127.0.0.1"),
        (f"postgresql://u:secret@{'a' * 64}/x", "label"),
    ):
        with pytest.raises(ConfigError, match=why) as error:
            asyncio.run(open_records(url))
        assert str(error.value).startswith("records.url: ")
        assert "\n" not in str(error.value)
        assert "secret" not in str(error.value)


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("makes", [False, True])
def test_the_file_of_another_program_is_left_as_it_is(
    tmp_path: Path, journal: str, makes: bool
) -> None:
    """Also where that program has its tables brought up to date by Alembic as well."""
    file = tmp_path / "diary.db"
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute(f"PRAGMA journal_mode={journal}")
        other.execute("CREATE TABLE alembic_version (version_num TEXT)")
        other.execute("CREATE TABLE pages (text TEXT)")
        other.commit()
    before = file.read_bytes()
    with pytest.raises(ConfigError, match=r"diary\.db: another program's, it has other tables"):
        asyncio.run(open_records(f"sqlite:///{file}", makes=makes))
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["diary.db"]


def test_whoever_only_reads_makes_no_store(lasting: str, tmp_path: Path) -> None:
    (tmp_path / "relay.db").touch()
    for _ in range(2):  # the first did not make one either
        with pytest.raises(ConfigError, match="there is no store; a relay makes one"):
            asyncio.run(open_records(lasting, makes=False))
    assert (tmp_path / "relay.db").read_bytes() == b""
    asyncio.run(_open_and_close(lasting))
    asyncio.run(_open_and_close(lasting, makes=False))


def test_others_may_have_tables_in_our_database(postgres: Callable[[], str]) -> None:
    url = postgres()

    async def scenario() -> None:
        store = await open_records(url)
        assert isinstance(store, SqlRecords)
        async with store._engine.begin() as connection:
            for table in metadata.tables:
                await connection.execute(text(f"DROP TABLE {table}"))
            await connection.execute(text("DROP TABLE alembic_version"))
            await connection.execute(text("CREATE TABLE pages (text TEXT)"))
        await store.close()
        with pytest.raises(ConfigError, match="there is no store"):
            await open_records(url, makes=False)
        await _open_and_close(url)

    asyncio.run(scenario())


def test_a_store_that_breaks_says_so(tmp_path: Path) -> None:
    async def broken() -> None:
        store = await open_records(f"sqlite:///{tmp_path}/relay.db")
        with sqlite3.connect(tmp_path / "relay.db") as other:
            other.execute("DROP TABLE revocations")
        other.close()
        with pytest.raises(StoreError, match="no such table"):
            await store.changes(0)
        with pytest.raises(StoreError, match="no such table"):
            await store.revoke(Revocation("sub", "a"), NOW)
        with sqlite3.connect(tmp_path / "relay.db") as other:
            other.execute(
                "INSERT INTO api_tokens VALUES"
                " ('p', 'd', 'n', 'r', 'no json', '[]', 0, 0, 0, 0, '[]'),"
                " ('q', 'd', 'n', 'r', '[\"\"]', '[]', 0, 0, 0, 0, '\"pii\"')"
            )
            other.execute(
                "INSERT INTO signing_keys VALUES"
                " ('k', 'ES256', '[\"public\"]', '', 'active', 0, 0, NULL, 0)"
            )
        other.close()
        for prefix in ("p", "q"):
            with pytest.raises(StoreError, match="cannot be read"):
                await store.find_token(prefix)
        with pytest.raises(ConfigError, match="the signing key k in the store cannot be read"):
            await store.keys.all()
        await store.close()

    asyncio.run(broken())


@pytest.mark.parametrize(
    ("set", "said"),
    [
        (
            "revocations SET created = 'a'",
            "revocations, column created, id 1: a number was",
        ),
        (
            "revocations SET value = x'ff'",
            "revocations, column value, id 1: text was expected",
        ),
        (
            "counters SET value = 1.5 WHERE name = 'audit'",
            "counters, column value, name 'audit': a who",
        ),
        ("tickets SET expires = 'soon'", "tickets, column expires: a number was expected, not str"),
        ("revocations SET created = 9e999", "revocations, column created, id 1: a number was ex"),
    ],
)
def test_what_was_written_by_hand_and_is_of_another_type_is_named(
    set: str, said: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        store = await open_records(f"sqlite:///{tmp_path}/relay.db")
        await store.revoke(Revocation("sub", "a"), NOW)
        await store.save_ticket("d", Grant(NamePath("demo")), NOW + 1, NOW)
        with sqlite3.connect(tmp_path / "relay.db") as other:
            other.execute(f"UPDATE {set}")
        other.close()
        looks = {
            "revocations": lambda: store.changes(0),
            "counters": store.marks,
            "tickets": lambda: store.take_ticket("d", NOW),
        }
        with pytest.raises(StoreError) as caught:
            await looks[set.partition(" ")[0]]()
        assert f"relay.db: table {said}" in str(caught.value)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("value", ["9223372036854775807", "-9e999", "1.5"])
def test_a_counter_that_cannot_count_is_named(value: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await open_records(f"sqlite:///{tmp_path}/relay.db")
        with sqlite3.connect(tmp_path / "relay.db") as other:
            other.execute(f"UPDATE counters SET value = {value}")
        other.close()
        said = "table counters, column value, name 'revocations': a whole number was expected"
        with pytest.raises(StoreError, match=said):
            await store.revoke(Revocation("sub", "a"), NOW)
        with pytest.raises(StoreError, match="name 'quotas'"):
            await store.quotas.drop("plant")
        await store.close()

    asyncio.run(scenario())


def test_a_number_too_large_for_the_file_is_an_error_of_the_store(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await open_records(f"sqlite:///{tmp_path}/relay.db")
        with pytest.raises(StoreError, match=r"relay\.db: Python int too large"):
            await store.secrets.put(Sealed("cipher", "pii", 2**63, "x", NOW))
        await store.close()

    asyncio.run(scenario())


def test_a_file_that_was_deleted_or_replaced_is_not_written_to(tmp_path: Path) -> None:
    """It would all be lost with the process, and what others write to the new one not be heard."""
    file = tmp_path / "relay.db"
    url = f"sqlite:///{file}"

    async def scenario() -> None:
        store = await open_records(url)
        await store.revoke(Revocation("sub", "a"), NOW)
        file.rename(tmp_path / "kept")
        for _ in range(2):  # gone, then another one
            with pytest.raises(StoreError, match="the file was deleted or replaced"):
                await store.revoke(Revocation("sub", "b"), NOW)
            with pytest.raises(StoreError, match="the file was deleted or replaced"):
                await store.changes(0)
            await _open_and_close(url)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_a_file_whose_last_writes_were_deleted_is_not_written_to(tmp_path: Path, end: str) -> None:
    """They are in files beside it, which whoever comes later makes anew."""
    url = f"sqlite:///{tmp_path}/relay.db"
    beside = tmp_path / f"relay.db{end}"

    async def scenario() -> None:
        store, other = await open_records(url), await open_records(url)
        await asyncio.gather(*(store.revoke(Revocation("sub", f"s{n}"), NOW) for n in range(9)))
        await other.close()
        assert len(await store.changes(0)) == 9
        beside.unlink()
        for _ in range(2):  # gone, then another one
            with pytest.raises(StoreError, match="-wal or -shm was deleted or replaced"):
                await store.revoke(Revocation("sub", "b"), NOW)
            with pytest.raises(StoreError, match="-wal or -shm was deleted or replaced"):
                await store.changes(0)
            beside.touch()
        await store.close()

    asyncio.run(scenario())


def test_a_server_without_that_database(postgres: Callable[[], str]) -> None:
    missing = postgres().replace("@/relay", "@/none")
    assert "none" in missing
    with pytest.raises(ConfigError, match=r"records\.url: postgresql://relay@/none\d+: .*exist"):
        asyncio.run(open_records(missing))


def test_a_server_that_drops_everybody(postgres: Callable[[], str]) -> None:
    url = postgres()

    async def scenario() -> None:
        store, other = await open_records(url), await open_records(url)
        assert isinstance(other, SqlRecords)
        await store.revoke(Revocation("sub", "a"), NOW)
        async with other._engine.begin() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        for _ in range(10):
            try:
                assert len(await store.revocations(NOW)) == 1
                break
            except StoreError:
                await asyncio.sleep(0.05)
        else:
            pytest.fail("the store did not come back")
        await store.close()
        await other.close()

    asyncio.run(scenario())


@contextlib.asynccontextmanager
async def hanging(folder: str, place: Path) -> AsyncIterator[Callable[[bool], None]]:
    """The server of ``folder`` at another place too, where it can be made to hang: what comes is
    taken, and nothing answered."""
    flows = asyncio.Event()
    flows.set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await flows.wait()
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        await asyncio.gather(pump(reader, asks), pump(answers, writer))

    async with await asyncio.start_unix_server(serve, place / ".s.PGSQL.5432"):
        yield lambda hangs: flows.clear() if hangs else flows.set()
        flows.set()


def test_a_server_that_hangs_is_not_waited_for(
    postgres: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "ANSWER_SECONDS", 3.0)  # and more than answers take
    monkeypatch.setattr(opening, "BUSY_SECONDS", 0.1)
    url, _, folder = postgres().partition("?host=")

    async def scenario() -> None:
        async with hanging(folder, tmp_path) as hang:
            store = await open_records(f"{url}?host={tmp_path}")
            hang(True)
            asked = [store.changes(0) for _ in range(2 * opening.CONNECTIONS)]
            for each in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(each, StoreError)
                assert str(each).endswith("no answer in time")
            with pytest.raises(StoreError, match="no answer in time"):
                await store.revoke(Revocation("sub", "a"), NOW)
            with pytest.raises(ConfigError, match="no answer in time"):
                await open_records(f"{url}?host={tmp_path}")
            hang(False)
            assert (await store.revoke(Revocation("sub", "b"), NOW)).value == "b"
            await store.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_the_url_says_how_long_a_server_is_waited_for(postgres: Callable[[], str]) -> None:
    url = postgres()

    async def scenario() -> None:
        store = await open_records(f"{url}&timeout=3&command_timeout=3")
        assert isinstance(store, SqlRecords)
        with pytest.raises(TimeoutError):
            async with store._engine.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(15)"))
        await store.close()

    asyncio.run(scenario())


def test_nothing_is_left_behind_in_a_connection(
    postgres: Callable[[], str], token: StoredToken
) -> None:
    """Or the store would not work behind a pool that gives each transaction another connection."""
    url = postgres()

    async def scenario() -> None:
        store = await open_records(url)
        assert isinstance(store, SqlRecords)
        await store.add_token(token)
        await store.mark_used({token.prefix: NOW})
        for _ in range(2):
            assert await store.find_token(token.prefix)
        async with store._engine.connect() as connection:
            found = await connection.execute(text("SELECT name FROM pg_prepared_statements"))
            assert found.all() == []
        await store.close()

    asyncio.run(scenario())


def test_a_database_that_cannot_hold_every_text(postgres: Callable[[], str]) -> None:
    url = postgres()

    async def make() -> None:
        store = await open_records(url)
        assert isinstance(store, SqlRecords)
        async with store._engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            made = "CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0"
            await connection.execute(text(made))
        await store.close()

    asyncio.run(make())
    latin = re.sub(r"relay\d+", "latin", url)
    with pytest.raises(ConfigError, match="the database is in LATIN1; it has to be in UTF8"):
        asyncio.run(open_records(latin))


def test_writers_wait_for_each_other_whatever_a_server_is_set_to(
    postgres: Callable[[], str],
) -> None:
    url = postgres()

    async def scenario() -> None:
        store = await open_records(url)
        assert isinstance(store, SqlRecords)
        async with store._engine.begin() as connection:
            name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
            strict = f"ALTER DATABASE {name} SET default_transaction_isolation = serializable"
            await connection.execute(text(strict))
        await store.close()
        stores = [await open_records(url) for _ in range(2)]
        await asyncio.gather(
            *(
                each.revoke(Revocation("sub", f"{n} of {at}"), NOW)
                for n in range(5)
                for at, each in enumerate(stores)
            ),
            *(each.revoke(Revocation("sub", "the same"), NOW) for each in stores),
        )
        assert len(await stores[0].revocations(NOW)) == 11
        for each in stores:
            await each.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("step", ["0001", "0003"])
def test_a_store_of_earlier_relays_is_brought_up_to_date(
    tmp_path: Path, token: StoredToken, step: str
) -> None:
    file = tmp_path / "old.db"
    config = Config()
    config.set_main_option("script_location", "relay.records:migrations")
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, step)
        row = token_row(token)
        del row["decrypt"]  # those relays knew no such right
        connection.execute(api_tokens.insert().values(row))
    engine.dispose()

    async def read() -> None:
        store = await open_records(f"sqlite:///{file}")
        assert await store.tokens() == [replace(token, decrypt=())]
        assert await store.quotas.all() == {}
        marks = await store.marks()
        assert set(marks) == {"revocations", "quotas", "keys", "secrets", "audit"}
        assert (await store.audit.append([Fact("x")]))[0].number == 1
        await store.close()

    asyncio.run(read())
