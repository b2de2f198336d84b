"""Who is the operator: what a wrong key costs, and that guessing keeps nobody out who is right."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from relay.control.admin.guard import (
    FREE_TRIES,
    LONGEST_WAIT,
    MAX_CHECKS,
    MAX_KEY,
    TOLD_SECONDS,
    Guard,
)
from relay.errors import OverQuota, Unauthorized


@dataclass
class Lock:
    right: str = "right.salt"
    now: float = 100.0
    checks: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()
        self.guard = Guard(lambda bearer: bearer.endswith(".salt"), self.check, lambda: self.now)

    async def check(self, bearer: str) -> bool:
        self.checks += 1
        await self.open.wait()
        return bearer == self.right


async def wrong(lock: Lock, bearer: str | None, address: str = "a") -> None:
    with pytest.raises(Unauthorized):
        await lock.guard.require(bearer, address)


def test_what_cannot_be_the_key_costs_nothing_and_makes_nobody_wait() -> None:
    async def main() -> None:
        lock = Lock()
        for _ in range(1000):
            for bearer in (None, "", "x", "x.other", "x" * MAX_KEY + ".salt"):
                await wrong(lock, bearer)
        assert (lock.checks, lock.guard.refused) == (0, 5000)
        await lock.guard.require(lock.right, "a")

    asyncio.run(main())


def test_wrong_keys_make_their_address_wait_longer_and_longer() -> None:
    async def main() -> None:
        lock = Lock()
        for number in range(FREE_TRIES + 1):
            await wrong(lock, f"{number}.salt")
        waits = []
        for _ in range(9):
            with pytest.raises(OverQuota) as error:
                await lock.guard.require("y.salt", "a")
            waits.append(error.value.wait)
            lock.now += error.value.wait
            await wrong(lock, "y.salt")
        assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT]
        await lock.guard.require(lock.right, "b")

    asyncio.run(main())


def test_who_has_a_network_to_guess_from_waits_as_well() -> None:
    async def main() -> None:
        lock = Lock()
        for number in range(FREE_TRIES + 1):
            await wrong(lock, f"{number}.salt", f"2001:db8::{number}")
        with pytest.raises(OverQuota):
            await lock.guard.require(lock.right, "2001:db8::ffff")
        await lock.guard.require(lock.right, "2001:db8:0:1::1")

    asyncio.run(main())


def test_a_key_that_was_right_is_known_while_others_guess() -> None:
    async def main() -> None:
        lock = Lock()
        await lock.guard.require(lock.right, "a")
        for number in range(20):
            with pytest.raises((Unauthorized, OverQuota)):
                await lock.guard.require(f"{number}.salt", "a")
        checks = lock.checks
        await lock.guard.require(lock.right, "a")
        assert lock.checks == checks == 1 + FREE_TRIES + 1

    asyncio.run(main())


def test_only_a_few_are_looked_at_together() -> None:
    async def main() -> None:
        lock = Lock()
        lock.open.clear()
        async with asyncio.TaskGroup() as tasks:
            for number in range(MAX_CHECKS):
                tasks.create_task(wrong(lock, "x.salt", f"{number}"))
            await asyncio.sleep(0)
            with pytest.raises(OverQuota):
                await lock.guard.require("x.salt", "elsewhere")
            lock.open.set()
        assert lock.checks == MAX_CHECKS
        await lock.guard.require(lock.right, "elsewhere")

    asyncio.run(main())


@pytest.mark.parametrize("is_right", [True, False])
def test_requests_that_come_together_with_one_key_are_one_look(is_right: bool) -> None:
    """As those of a page are, or of a program, before the key is known."""

    async def main() -> None:
        lock = Lock()
        lock.open.clear()
        bearer = lock.right if is_right else "x.salt"
        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                asked = lock.guard.require(bearer, "a") if is_right else wrong(lock, bearer)
                tasks.create_task(asked)
            await asyncio.sleep(0)
            lock.open.set()
        assert lock.guard.refused == (0 if is_right else 20)
        for number in range(FREE_TRIES - 1):
            await wrong(lock, f"{number}.salt")  # there has been one wrong key, if any

    asyncio.run(main())


def test_however_many_guess_it_is_told_once_in_a_while() -> None:
    async def main() -> None:
        lock, told = Lock(), []
        lock.guard.told = lambda address, count: told.append((address, count))
        for _ in range(1000):
            await wrong(lock, "x")
            lock.guard.tick(lock.now)
        assert told == [("a", 1)]
        lock.now += TOLD_SECONDS
        lock.guard.tick(lock.now)
        lock.now += TOLD_SECONDS
        lock.guard.tick(lock.now)
        assert told == [("a", 1), ("a", 999)]

    asyncio.run(main())
