"""Work that is not left half done: whoever stops waiting, no lock stays and nothing is doubled."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from relay.records.audit import Fact, Walk
from relay.records.opening import open_records
from relay.records.scribe import Scribe
from relay.records.settings import AuditSettings
from relay.records.whole import whole


def test_a_result_an_error_and_a_cancellation() -> None:
    ended: list[str] = []

    @whole
    async def work(what: str) -> str:
        await asyncio.sleep(0.02)
        ended.append(what)
        if what == "bad":
            raise ValueError(what)
        return what

    async def main() -> None:
        assert await work("good") == "good"
        with pytest.raises(ValueError, match="bad"):
            await work("bad")
        for what in ("cancelled", "bad"):
            task = asyncio.ensure_future(work(what))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await work("late")
        assert ended == ["good", "bad", "cancelled", "bad", "late"]

    asyncio.run(main())


def test_a_cancelled_write_keeps_nobody_waiting(lasting: str) -> None:
    async def main() -> None:
        store = await open_records(lasting)
        facts = [Fact("x")] * 50
        for _ in range(20):
            task = asyncio.ensure_future(store.audit.append(facts))
            await asyncio.sleep(random.random() * 0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            began = time.monotonic()
            await store.audit.append(facts[:1])
            assert time.monotonic() - began < 4.5
        await store.close()

    asyncio.run(main())


def test_a_scribe_that_is_stopped_writes_everything_once(lasting: str) -> None:
    async def main() -> None:
        store = await open_records(lasting)
        settings = AuditSettings(flush=0.0)
        scribe = Scribe(store.audit, settings, "n", time.time, lambda *a, **k: None)
        for turn in range(10):
            task = asyncio.ensure_future(scribe.run())
            for number in range(30):
                scribe.note(Fact("x", target=f"{turn}-{number}"))
            await asyncio.sleep(random.random() * 0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await scribe.flush()
        walk, targets = Walk(), []
        for entry in await store.audit.after(0, 1000):
            walk.see(entry)
            targets.append(entry.target)
        assert targets == [f"{turn}-{number}" for turn in range(10) for number in range(30)]
        assert walk.broken is None
        await store.close()

    asyncio.run(main())
