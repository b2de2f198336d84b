"""Telling relays to ask again."""

from __future__ import annotations

import asyncio

import pytest

from pace import rest
from relay.errors import ConfigError
from relay.sidecar import push as module
from relay.sidecar.push import Push


def test_every_relay_is_told(oracle):
    async def run():
        async with oracle(status=202) as one, oracle(status=200) as two:
            push = Push([one.url, two.url], lambda *_, **__: None)
            heard = await push.push("id=00ff")
            await stop(push)
            return heard, one.targets + two.targets

    assert asyncio.run(run()) == (2, ["/auth/sessions/revalidate?id=00ff"] * 2)


def test_many_changes_are_one_push_and_a_deaf_relay_is_tried_again(oracle, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    lines = []

    async def run():
        async with oracle(status=202) as good, oracle(status=500) as deaf:
            push = Push([good.url, deaf.url], lambda event, **facts: lines.append((event, facts)))
            for _ in range(10):
                push.nudge()
            task = asyncio.ensure_future(push.run())
            async with asyncio.timeout(20):
                while len(deaf.targets) < 3:
                    await asyncio.sleep(0.01)
                deaf.status = 202
                while len(deaf.targets) < 4:
                    await asyncio.sleep(0.01)
                await rest(0.3)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return good.targets, deaf.targets

    good, deaf = asyncio.run(run())
    assert good == ["/auth/sessions/revalidate"]
    assert len(deaf) == 4
    assert [event for event, _ in lines] == ["not told"] * 3


def test_a_relay_that_is_deaf_for_long_is_told_when_it_hears_again(oracle, monkeypatch):
    """Nothing else may ever have it ask again: there need be no cadence."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.02)

    async def run():
        async with oracle(status=500) as deaf:
            push = Push([deaf.url], lambda *_, **__: None)
            push.nudge()
            task = asyncio.ensure_future(push.run())
            async with asyncio.timeout(20):
                while len(deaf.targets) < 12:
                    await asyncio.sleep(0.01)
                deaf.status, before = 202, len(deaf.targets)
                while len(deaf.targets) == before:
                    await asyncio.sleep(0.01)
            told = len(deaf.targets)
            await rest(0.1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return told, len(deaf.targets)

    told, later = asyncio.run(run())
    assert told == later


def test_nobody_waits_for_a_relay_that_hangs(oracle):
    async def run():
        async with oracle(status=202) as good, oracle(silent=True) as hung:
            push = Push([hung.url, good.url], lambda *_, **__: None)
            task = asyncio.ensure_future(push.run())
            async with asyncio.timeout(5):
                for many in (1, 2):
                    push.nudge()
                    while len(good.targets) < many:
                        await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


@pytest.mark.parametrize(
    "relays", [["http://relay.example.com/"], ["http://127.0.0.1/"] * (module.MAX_RELAYS + 1)]
)
def test_bad_addresses(relays):
    with pytest.raises(ConfigError, match=r"^sidecar\.relays: "):
        Push(relays, lambda *_, **__: None)


async def stop(push):
    """Have it let go of its connections."""
    task = asyncio.ensure_future(push.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
