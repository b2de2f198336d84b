"""The scribe: nobody waits for it, nothing is lost quietly, what was acknowledged is on disk."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import relay.records.scribe
from pace import until, within
from relay.records.audit import PRUNED, Fact, Walk
from relay.records.memory_kept import MemoryAudit
from relay.records.opening import open_records
from relay.records.scribe import BATCH, MISSED, PRUNE_SECONDS, Scribe
from relay.records.settings import AuditSettings
from relay.records.store import StoreError

NOW = 1_000_000.0


class Broken(MemoryAudit):
    """A store that fails when it is told to."""

    fails = False

    async def append(self, facts: Any) -> Any:
        if self.fails:
            raise StoreError("out of reach")
        return await super().append(facts)


class Bench:
    def __init__(self, **settings: Any) -> None:
        self.now = NOW
        self.said: list[str] = []
        self.audit = Broken()
        chosen = AuditSettings(**{"flush": 0.0, **settings})
        self.scribe = Scribe(
            self.audit, chosen, "node", lambda: self.now, self.log, lambda: self.now
        )

    def log(self, event: str, **facts: Any) -> None:
        self.said.append(f"{event} {facts}")

    async def actions(self) -> list[str]:
        return [entry.action for entry in await self.audit.after(0, 1000)]


def test_facts_are_written_in_order_with_time_and_node() -> None:
    async def main() -> None:
        bench = Bench()
        heard: list[str] = []
        bench.scribe.listeners.append(lambda entry: heard.append(entry.action))
        for number in range(3):
            bench.scribe.note(Fact(f"a{number}"))
        assert bench.scribe.waiting == 3
        await bench.scribe.flush()
        entries = await bench.audit.after(0, 10)
        assert [(e.action, e.node, e.at) for e in entries] == [
            (f"a{number}", "node", int(NOW * 1_000_000)) for number in range(3)
        ]
        assert heard == ["a0", "a1", "a2"]
        assert (bench.scribe.written, bench.scribe.waiting) == (3, 0)

    asyncio.run(main())


def test_a_full_queue_is_counted_and_the_log_says_so() -> None:
    async def main() -> None:
        bench = Bench(max_queue=2)
        for number in range(5):
            bench.scribe.note(Fact(f"a{number}"))
        await bench.scribe.flush()
        assert await bench.actions() == ["a0", "a1", MISSED]
        assert (await bench.audit.after(2, 1))[0].detail == "3 entries: audit.max_queue"
        assert bench.scribe.missed == 3
        await bench.scribe.flush()
        assert await bench.actions() == ["a0", "a1", MISSED]

    asyncio.run(main())


def test_strangers_cannot_fill_the_store() -> None:
    async def main() -> None:
        bench = Bench(max_strangers=10, max_queue=10_000)
        room = relay.records.scribe.STRANGERS_AT_ONCE
        for fact in (Fact("deny"), Fact("allow", "anonymous")):
            for _ in range(room):
                bench.scribe.note(fact)
        for fact in (Fact("allow", "alice"), Fact("revoke"), Fact("quota.set", "admin")):
            bench.scribe.note(fact)
        await bench.scribe.flush()
        assert bench.scribe.written == room + 3
        assert bench.scribe.missed == room
        bench.now += 2.0
        for _ in range(40):
            bench.scribe.note(Fact("deny"))
        await bench.scribe.flush()
        assert bench.scribe.written == room + 3 + 20
        bench.now += relay.records.scribe.STRANGERS_TOLD
        await bench.scribe.flush()
        (entry,) = await bench.audit.after(room + 23, 10)
        assert (entry.action, entry.detail) == (MISSED, f"{room + 20} entries: audit.max_strangers")
        for _ in range(room):
            bench.scribe.note(Fact("deny"))
        await bench.scribe.flush(is_last=True)
        rest = [each for each in await bench.audit.after(room + 24, room) if each.action == MISSED]
        assert [each.detail for each in rest] == ["400 entries: audit.max_strangers"]

    asyncio.run(main())


def test_while_the_store_is_silent_everything_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.records.scribe, "RETRY_SECONDS", 0.02)

    async def main() -> None:
        bench = Bench()
        task = asyncio.ensure_future(bench.scribe.run())
        for name in "ac":  # a second time is told of like the first
            bench.said.clear()
            bench.audit.fails = True
            bench.scribe.note(Fact(name))
            await until(lambda: bench.said)
            await asyncio.sleep(0.1)
            assert (bench.scribe.waiting, len(bench.said)) == (1, 1)
            assert bench.said[0].startswith("warning {'detail': 'audit log not written")
            with pytest.raises(StoreError):
                await bench.scribe.write(Fact("admin"))
            bench.audit.fails = False
            bench.scribe.note(Fact(chr(ord(name) + 1)))
            await until(lambda: len(bench.said) == 2)
            assert bench.said[1].startswith("audit log written again")
        bench.scribe.note(Fact("e"))
        await until(lambda: bench.scribe.written == 5)
        assert await bench.actions() == ["a", "b", "c", "d", "e"]
        assert len(bench.said) == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_who_writes_what_comes_also_deletes_what_is_too_old() -> None:
    async def main() -> None:
        bench = Bench(keep_days=1)
        bench.scribe.note(Fact("old"))
        await bench.scribe.flush()
        bench.now += 2 * 86_400
        task = asyncio.ensure_future(bench.scribe.run())
        bench.scribe.note(Fact("new"))

        async def is_pruned() -> bool:
            return await bench.actions() == ["new", "audit.pruned"]

        await within(5.0, is_pruned)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.parametrize("was_written", [False, True])
def test_what_was_perhaps_written_is_written_once(
    lasting: str, was_written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store goes away in the moment of a commit: nobody hears whether it was done."""

    async def main() -> None:
        store = await open_records(lasting)
        append = store.audit.append

        async def doubtful(facts: Any) -> Any:
            if was_written:
                await append(facts)
            raise StoreError("gone")

        scribe = Scribe(store.audit, AuditSettings(), "node", lambda: NOW, lambda *said: None)
        heard: list[int] = []
        scribe.listeners.append(lambda entry: heard.append(entry.number))
        for _ in range(3):
            scribe.note(Fact("deny", reason="expired"))
        await append([Fact("deny", reason="expired", at=NOW, node="another")])
        monkeypatch.setattr(store.audit, "append", doubtful)
        with pytest.raises(StoreError):
            await scribe.flush()
        monkeypatch.undo()
        await append([Fact("allow", at=NOW, node="another")])
        scribe.note(Fact("expire"))
        assert scribe.waiting == 4
        await scribe.flush()
        entries = await store.audit.after(0, 100)
        own = [entry.number for entry in entries if entry.node == "node"]
        assert own == heard == ([2, 3, 4, 6] if was_written else [3, 4, 5, 6])
        assert (len(entries), scribe.waiting, scribe.written) == (6, 0, 4)
        walk = Walk()
        for entry in entries:
            walk.see(entry)
        walk.end(await store.audit.length())
        assert walk.broken is None
        await store.close()

    asyncio.run(main())


def test_what_an_operator_does_is_written_when_it_returns() -> None:
    async def main() -> None:
        bench = Bench()
        bench.scribe.note(Fact("a"))
        entry = await bench.scribe.write(Fact("quota.set", "op"))
        assert await bench.actions() == ["quota.set"]
        assert entry.actor == "op"

    asyncio.run(main())


def test_an_operator_need_not_wait_until_nobody_is_refused_any_more() -> None:
    """Nor does who asks for what is there by now."""

    class Busy(MemoryAudit):
        """While it writes more comes than it writes, thirty times."""

        turns = 30

        async def append(self, facts: Any) -> Any:
            self.turns -= 1
            for _ in range(BATCH + 1 if self.turns > 0 else 0):
                scribe.note(Fact("deny"))
            await asyncio.sleep(0.01)
            return await super().append(facts)

    audit = Busy()
    scribe = Scribe(audit, AuditSettings(), "node", lambda: NOW, lambda *said: None)

    async def main() -> None:
        for _ in range(3 * BATCH):
            scribe.note(Fact("deny"))
        flushed = asyncio.ensure_future(scribe.flush())
        await asyncio.sleep(0)
        entry = await scribe.write(Fact("revocation.add"))
        assert entry.number == BATCH + 1
        await flushed
        assert 3 * BATCH < scribe.written < 6 * BATCH

    asyncio.run(asyncio.wait_for(main(), 5))


def test_old_entries_are_deleted_now_and_then() -> None:
    async def main() -> None:
        bench = Bench(keep_days=1)
        await bench.scribe.write(Fact("old"))
        bench.now += 2 * 86_400
        await bench.scribe.write(Fact("new"))
        await bench.scribe.prune()
        assert await bench.actions() == ["new", "audit.pruned"]
        bench.now += PRUNE_SECONDS - 1
        await bench.scribe.prune()
        assert len(await bench.actions()) == 2

    asyncio.run(main())


def test_what_is_too_old_goes_where_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        bench = Bench(keep_days=1)
        await bench.scribe.write(Fact("old"))
        bench.now += 2 * 86_400
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(bench.scribe.run())
            await until(lambda: [each.action for each in bench.audit._entries] == [PRUNED])
            running.cancel()

    monkeypatch.setattr("relay.records.scribe.PRUNE_SECONDS", 0.05)
    asyncio.run(main())


def test_however_much_is_too_old_others_write_in_between() -> None:
    async def main() -> None:
        bench = Bench(keep_days=1)
        left = [3, 2, 1]
        written: list[int] = []

        async def prune(before: float, fact: Fact) -> int:
            await asyncio.sleep(0)
            written.append(bench.scribe.written)
            return left.pop(0) if left else 0

        bench.audit.prune = prune  # type: ignore[method-assign]
        bench.now += 2 * 86_400
        pruning = asyncio.ensure_future(bench.scribe.prune())
        await asyncio.sleep(0)
        await bench.scribe.write(Fact("revocation.add"))
        assert len(written) < 4
        await pruning
        assert len(written) == 4
        assert written[-1] == 1

    asyncio.run(main())


ROUNDS = 100


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A hundred times: a writer is killed with SIGKILL in the middle of its work.

    The killed process is a fork of one that has loaded everything, so that a round is short.
    """
    file = tmp_path / "relay.db"
    acknowledged: set[str] = set()

    async def make() -> None:
        await (await open_records(f"sqlite:///{file}")).close()

    asyncio.run(make())
    nursery = subprocess.Popen(
        [sys.executable, "-c", NURSERY, f"sqlite:///{file}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    try:
        for turn in range(ROUNDS):
            nursery.stdin.write(f"{turn * 10_000}\n")
            nursery.stdin.flush()
            pid = int(nursery.stdout.readline())
            wanted = 2 + turn % 7
            for _ in range(wanted):
                acknowledged.add(nursery.stdout.readline().strip())
            os.kill(pid, signal.SIGKILL)
            while (line := nursery.stdout.readline().strip()) != "dead":
                acknowledged.add(line)  # said before it died
    finally:
        nursery.kill()
        nursery.wait(10)
        nursery.stdin.close()
        nursery.stdout.close()
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT target FROM audit WHERE action='done'").fetchall()
    connection.close()
    kept = {target for (target,) in rows}
    assert len(acknowledged) >= 2 * ROUNDS
    assert acknowledged <= kept

    async def verify() -> Walk:
        store = await open_records(f"sqlite:///{file}")
        walk = Walk()
        number, length = 0, await store.audit.length()
        while page := await store.audit.after(number, 1000):
            for entry in page:
                walk.see(entry)
            number = page[-1].number
        walk.end(length)
        await store.close()
        return walk

    walk = asyncio.run(verify())
    assert walk.broken is None
    assert walk.count >= len(acknowledged)


NURSERY = """
import asyncio, os, sys, time
import aiosqlite, alembic.command, relay.records.sql
from relay.records.audit import Fact
from relay.records.opening import open_records
from relay.records.scribe import Scribe
from relay.records.settings import AuditSettings

async def work(url, first):
    store = await open_records(url)
    scribe = Scribe(store.audit, AuditSettings(), "n", time.time, lambda *a, **k: None)
    for number in range(first, first + 10000):
        scribe.note(Fact("noted", target=str(number)))
        entry = await scribe.write(Fact("done", target=str(number)))
        os.write(1, (entry.target + chr(10)).encode())
        if number % 3 == 0:
            await scribe.flush()

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        os.write(1, f"{os.getpid()}{chr(10)}".encode())
        asyncio.run(work(sys.argv[1], int(line)))
        os._exit(0)
    os.waitpid(pid, 0)
    os.write(1, ("dead" + chr(10)).encode())
"""
