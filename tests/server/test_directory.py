"""Lists of all that is announced, while others want to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from relay.model.board import Way
from relay.model.origin import Origin
from relay.model.scope import Scope
from relay.path import ROOT, Path
from relay.server.directory import AT_ONCE, Directory

NAMES = sorted(f"room{number}/{letter}" for number in range(2000) for letter in "abc")


class Counted(Scope):
    """One that counts what it was asked."""

    count = 0

    def names(self) -> Iterator[str]:
        for name in super().names():
            Counted.count += 1
            yield name


def many() -> Origin:
    origin = Origin(1)
    for name in NAMES:
        origin.board.post(Path(f"anon/{name}"), (Way((7,)),), object())
    return origin


def test_many_who_ask_for_much_hold_nobody_up() -> None:
    origin, directory, steps = many(), Directory(), []

    async def others(asking: asyncio.Task[list[list[str]]]) -> None:
        while not asking.done():
            before = Counted.count
            await asyncio.sleep(0)
            steps.append(Counted.count - before)

    async def ask() -> list[list[str]]:
        scope = Counted(origin, Path("anon"), (), (ROOT,))
        return await asyncio.gather(*(directory.names(scope) for _ in range(8)))

    async def run() -> list[list[str]]:
        asking = asyncio.ensure_future(ask())
        await others(asking)
        return await asking

    assert asyncio.run(run()) == [NAMES] * 8
    assert max(steps) <= 2 * AT_ONCE
