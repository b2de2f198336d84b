"""API keys derived off the loop: once, remembered for a while, and never too many."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

import relay.records.derivations
from relay.auth.credentials import Derivation
from relay.errors import LimitExceeded
from relay.records.derivations import REMEMBERED_SECONDS, Derivations


def work(name: str, iterations: int = 1) -> Derivation:
    return Derivation(name.encode(), b"salt", iterations, 32)


class Bench:
    """Derives when it is let, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, asked: Derivation) -> bytes:
        assert threading.current_thread() is not threading.main_thread()
        self.count += 1
        assert self.gate.wait(5)
        return b"good" if asked.secret.startswith(b"good") else b"bad"


def is_right(result: bytes) -> bool:
    return result == b"good"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench()
    monkeypatch.setattr(relay.records.derivations, "derive", made)
    yield made
    made.gate.set()


def test_what_was_right_is_remembered_for_a_while(bench: Bench) -> None:
    now = [0.0]

    async def scenario() -> None:
        desk = Derivations(4, lambda: now[0])
        assert desk.known(work("good")) is None
        assert await desk.ask(work("good"), is_right) == b"good"
        assert await desk.ask(work("good"), is_right) == desk.known(work("good")) == b"good"
        assert bench.count == 1
        for other in (work("good2"), work("good", 2)):
            assert desk.known(other) is None
        now[0] = REMEMBERED_SECONDS
        assert desk.known(work("good")) is None
        await desk.ask(work("good"), is_right)
        assert bench.count == 2
        desk.close()

    asyncio.run(scenario())


def test_what_was_wrong_is_not_remembered(bench: Bench) -> None:
    async def scenario() -> None:
        desk = Derivations(4, lambda: 0.0)
        for _ in range(2):
            assert await desk.ask(work("bad"), is_right) == b"bad"
        assert bench.count == 2
        desk.close()

    asyncio.run(scenario())


def test_a_hundred_at_once_with_one_key_cost_one(bench: Bench) -> None:
    async def scenario() -> None:
        desk = Derivations(1, lambda: 0.0)
        asked = (desk.ask(work("good"), is_right) for _ in range(100))
        assert set(await asyncio.gather(*asked)) == {b"good"}
        assert bench.count == 1
        desk.close()

    asyncio.run(scenario())


def test_only_so_many_are_under_way(bench: Bench) -> None:
    async def scenario() -> None:
        desk = Derivations(3, lambda: 0.0)
        bench.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(desk.ask(work(f"good{n}"), is_right)) for n in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(LimitExceeded, match="max_derivations"):
                await desk.ask(work("good9"), is_right)
            waiting[0].cancel()
            bench.gate.set()
        assert [task.cancelled() for task in waiting] == [True, False, False]
        assert await desk.ask(work("good9"), is_right) == b"good"
        desk.close()

    asyncio.run(scenario())


def test_the_oldest_is_forgotten_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.records.derivations, "MAX_REMEMBERED", 2)

    async def scenario() -> None:
        desk = Derivations(4, lambda: 0.0)
        for n in range(3):
            await desk.ask(work(f"good{n}"), is_right)
        assert [desk.known(work(f"good{n}")) for n in range(3)] == [None, b"good", b"good"]
        desk.close()

    asyncio.run(scenario())
