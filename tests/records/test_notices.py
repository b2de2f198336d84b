"""Notices: what a neighbour changed is read again soon, once, and again after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

import relay.records.notices
from pace import within
from relay.errors import ConfigError
from relay.quota import Override
from relay.records.memory import MemoryRecords
from relay.records.notices import Notices
from relay.records.opening import open_records
from relay.records.store import StoreError


def test_each_kind_is_read_when_its_mark_moves() -> None:
    async def main() -> None:
        store = MemoryRecords()
        notices = Notices(store, 0.05, lambda event, **facts: None)
        read: list[str] = []

        async def note(kind: str) -> None:
            read.append(kind)

        notices.on("quotas", lambda: note("quotas"))
        notices.on("keys", lambda: note("keys"))
        await notices.refresh()
        assert sorted(read) == ["keys", "quotas"]
        await notices.refresh()
        assert len(read) == 2
        await store.quotas.put("a", Override())
        await notices.refresh()
        assert read[2:] == ["quotas"]
        await store.keys.change(lambda kept: kept)
        await notices.refresh()
        assert read[3:] == ["keys"]

    asyncio.run(main())


def test_what_could_not_be_read_is_read_again_and_what_makes_no_sense_is_said() -> None:
    async def main() -> None:
        store = MemoryRecords()
        said: list[dict[str, Any]] = []
        notices = Notices(store, 0.05, lambda event, **facts: said.append(facts))
        errors: list[Exception] = [StoreError("gone"), ConfigError("sealed under another key")]
        reads = 0

        async def read() -> None:
            nonlocal reads
            reads += 1
            if errors:
                raise errors.pop(0)

        notices.on("keys", read)
        try:
            await notices.refresh()
        except StoreError:
            pass
        else:
            raise AssertionError("nobody said that the store is gone")
        await notices.refresh()
        await notices.refresh()
        assert reads == 2
        assert "sealed under another key" in said[0]["detail"]

    asyncio.run(main())


def test_a_store_that_was_set_back_while_it_was_silent_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And has got as far as it was before, so that its mark does not tell."""
    monkeypatch.setattr(relay.records.notices, "RETRY_SECONDS", 0.02)

    async def main() -> None:
        store, copy = MemoryRecords(), MemoryRecords()
        await store.quotas.put("a", Override(sessions=5))
        await copy.quotas.put("a", Override(sessions=1))
        assert await store.marks() == await copy.marks()
        answering = [store]
        failed = asyncio.Event()

        async def marks() -> Mapping[str, int]:
            if not answering:
                failed.set()
                raise StoreError("asleep")
            return await answering[0].marks()

        found: dict[str, Override] = {}

        async def read() -> None:
            found.update(await answering[0].quotas.all())

        asked = MemoryRecords()
        monkeypatch.setattr(asked, "marks", marks)
        notices = Notices(asked, 0.05, lambda event, **facts: None)
        notices.on("quotas", read)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(notices.run())
            await within(1.0, lambda: found == {"a": Override(sessions=5)})
            answering.clear()
            await failed.wait()
            answering.append(copy)
            await within(1.0, lambda: found == {"a": Override(sessions=1)})
            task.cancel()

    asyncio.run(main())


def test_a_neighbour_hears_of_a_change_within_a_second(lasting: str) -> None:
    async def main() -> None:
        here, there = await open_records(lasting), await open_records(lasting)
        notices = Notices(there, 0.25, lambda event, **facts: None)
        heard = asyncio.Event()
        found: dict[str, Override] = {}

        async def read() -> None:
            found.update(await there.quotas.all())
            if found:
                heard.set()

        notices.on("quotas", read)
        await notices.refresh()
        task = asyncio.ensure_future(notices.run())
        await here.quotas.put("a", Override(sessions=1))
        await within(1.0, heard.is_set)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await here.close()
        await there.close()
        assert found == {"a": Override(sessions=1)}

    asyncio.run(main())
