"""What is due by time is done at each beat, whatever another does, and once more at the end."""

from __future__ import annotations

import asyncio
import math

import pytest

from relay.server import clockwork
from relay.server.clockwork import every, keep_time


def kept(monkeypatch: pytest.MonkeyPatch, due: list, telling: list, beats: int) -> list[str]:
    """Let time be kept for so many beats; answers what escaped."""
    escaped: list[str] = []
    now = 0.0

    async def beat() -> float:
        nonlocal now, beats
        if not beats:
            await asyncio.Event().wait()
        beats -= 1
        now += 1.0
        return 1.0

    async def main() -> None:
        task = asyncio.ensure_future(
            keep_time(due, telling, lambda: now, late.append, lambda why: escaped.append(str(why)))
        )
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    late: list[float] = []
    monkeypatch.setattr(clockwork, "beat", beat)
    asyncio.run(main())
    assert late == [0.0] * len(late)
    return escaped


def test_one_that_fails_costs_nobody_else_a_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[float] = []

    def fails(now: float) -> None:
        raise RuntimeError(f"at {now}")

    assert kept(monkeypatch, [fails, heard.append], [], 2) == ["at 1.0", "at 2.0"]
    assert heard == [1.0, 2.0]


def test_who_speaks_now_and_then_has_a_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    due: list[float] = []
    told: list[float] = []
    assert kept(monkeypatch, [due.append], [told.append], 2) == []
    assert due == [1.0, 2.0]
    assert told == [1.0, 2.0, math.inf]


def test_some_things_wait_for_a_later_beat() -> None:
    done: list[str] = []
    tick = every(3, lambda: done.append("done"))
    counts = []
    for now in range(7):
        tick(float(now))
        counts.append(len(done))
    assert counts == [0, 0, 1, 1, 1, 2, 2]
