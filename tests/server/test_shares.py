"""Shares over real sockets: what one gives up another gets, and who is silent stops nobody."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.errors import OverQuota
from relay.net.steer import Share
from relay.quota import Ledger, Limits, QuotaSettings, Tab
from relay.quota.purse import INTERVAL
from relay.server import shares
from relay.server.colleagues import Colleagues
from relay.server.shares import FIRST, Shares, known

COUNT = 3


class Worker:
    """The part of a worker that is about quotas."""

    def __init__(self, index: int, folder: Path, quota: QuotaSettings) -> None:
        self.ledger = Ledger(Limits(quota), COUNT)
        self.colleagues = Colleagues(Share(index, COUNT), folder)
        self.shares = Shares(self.ledger, self.colleagues, time.monotonic, self.escaped)
        self.errors: list[BaseException] = []
        self.server: asyncio.Server | None = None
        self.task: asyncio.Task[None] | None = None

    def escaped(self, error: BaseException) -> None:
        self.errors.append(error)

    async def begin(self, tasks: asyncio.TaskGroup) -> None:
        self.server = await self.colleagues.listen(self.shares.answers)
        self.task = tasks.create_task(self.shares.run())

    def end(self) -> None:
        assert self.server is not None
        assert self.task is not None
        self.server.close()
        self.task.cancel()

    async def enter(self) -> Tab | None:
        await known(self.ledger.account("a"), ("sessions",), time.monotonic)
        try:
            return self.ledger.enter("a", time.monotonic())
        except OverQuota:
            return None


@contextlib.asynccontextmanager
async def crew(folder: Path, **quota: int) -> AsyncIterator[tuple[list[Worker], asyncio.TaskGroup]]:
    workers = [Worker(index, folder, QuotaSettings(**quota)) for index in range(COUNT)]
    async with asyncio.TaskGroup() as tasks:
        for worker in workers:
            await worker.begin(tasks)
        async with asyncio.timeout(5):
            while not workers[FIRST].shares.lender.is_ready:
                await asyncio.sleep(0.01)
        yield workers, tasks
        for worker in workers:
            worker.end()
    assert not any(worker.errors for worker in workers)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody counts as silent who only waits for his turn of the machine."""
    monkeypatch.setattr(shares, "RECALL", 5.0)


@pytest.mark.usefixtures("patient")
def test_one_after_another_and_all_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with crew(tmp_path, sessions=7) as (workers, _):
            alone = [await workers[1].enter() for _ in range(5)]
            assert all(alone)
            rest = await asyncio.gather(*(worker.enter() for worker in workers * 3))
            assert sum(tab is not None for tab in rest) == 2
            for tab in alone:
                assert tab is not None
                tab.close()
            await asyncio.sleep(0.25)
            again = await asyncio.gather(*(worker.enter() for worker in workers * 3))
            assert sum(tab is not None for tab in again) == 5

    asyncio.run(main())


@pytest.mark.usefixtures("patient")
def test_those_who_come_while_one_is_asked_for_get_what_there_is(tmp_path: Path) -> None:
    """What comes for the first is no verdict on those who came after it was asked for."""

    async def main() -> None:
        async with crew(tmp_path, sessions=7) as (workers, tasks):
            for step in range(10):
                coming = []
                for _ in range(9):
                    coming.append(tasks.create_task(workers[1].enter()))
                    for _ in range(step):
                        await asyncio.sleep(0)
                tabs = [tab for tab in await asyncio.gather(*coming) if tab is not None]
                assert len(tabs) == 7
                for tab in tabs:
                    tab.close()
                await asyncio.sleep(0.25)  # what was refused is not asked for again at once
                other = await workers[2].enter()  # which takes back what is not used
                assert other is not None
                other.close()

    asyncio.run(main())


def test_who_is_silent_keeps_what_it_holds_and_the_others_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with crew(tmp_path, sessions=100) as (workers, tasks):
            assert await workers[2].enter()
            held = workers[FIRST].shares.lender.lent("a", "sessions")
            assert held > 1
            workers[2].end()
            began = time.monotonic()
            tabs = [await workers[index].enter() for index in (0, 1) * 50]
            assert sum(tab is not None for tab in tabs) == 100 - held
            assert time.monotonic() - began < 5
            fresh = Worker(2, tmp_path, QuotaSettings(sessions=100))
            await fresh.begin(tasks)
            async with asyncio.timeout(5):
                while workers[FIRST].shares.lender.lent("a", "sessions") > 100 - held:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(INTERVAL)  # for as long it stands that there are no more
            tabs = [await workers[0].enter() for _ in range(held + 3)]
            assert sum(tab is not None for tab in tabs) == held
            workers[2] = fresh

    asyncio.run(main())


def test_a_lender_that_is_new_learns_what_is_held(tmp_path: Path) -> None:
    async def main() -> None:
        async with crew(tmp_path, sessions=4) as (workers, tasks):
            for index in (0, 1, 2):
                assert await workers[index].enter()
            workers[FIRST].end()
            workers[FIRST] = Worker(FIRST, tmp_path, QuotaSettings(sessions=4))
            await workers[FIRST].begin(tasks)
            async with asyncio.timeout(5):
                while not workers[FIRST].shares.lender.is_ready:
                    await asyncio.sleep(0.01)
            # The one session of the worker that was replaced is gone with it.
            tabs = await asyncio.gather(*(worker.enter() for worker in workers * 2))
            assert sum(tab is not None for tab in tabs) == 2

    asyncio.run(main())
