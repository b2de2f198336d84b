"""Output to whoever reads slowly, or no longer."""

from __future__ import annotations

import asyncio
import os

import pytest

from relay.cli.pipe import Output

MUCH = bytes(range(256)) * 4096
"""More than a pipe holds."""


def test_who_waits_for_a_reader_does_not_keep_the_loop_waiting():
    async def scenario() -> bytes:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as near, os.fdopen(writing, "wb") as far:
            async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
                task = tasks.create_task(Output(far).write(MUCH))
                await asyncio.sleep(0.05)
                assert not task.done()
                seen = b""
                while not task.done():
                    seen += os.read(reading, 10_000)
                    await asyncio.sleep(0)
            far.close()
            return seen + near.read()

    assert asyncio.run(scenario()) == MUCH


def test_who_waits_for_a_reader_can_be_called_off():
    async def scenario() -> None:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as far:
            async with asyncio.timeout(0.05):
                await Output(far).write(MUCH)

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())


@pytest.mark.parametrize("when", [0.0, 0.05])
def test_a_reader_that_leaves_is_noticed(when):
    async def scenario() -> None:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as far:
            asyncio.get_running_loop().call_later(when, os.close, reading)
            await asyncio.sleep(0)
            async with asyncio.timeout(5):
                await Output(far).write(MUCH)

    with pytest.raises(BrokenPipeError):
        asyncio.run(scenario())


def test_files_are_written_as_they_are(tmp_path):
    with (tmp_path / "out").open("wb") as out:
        asyncio.run(Output(out).write(MUCH))
        assert (tmp_path / "out").read_bytes() == MUCH
