"""A promise about time: broken by who takes longer, and not by a machine that is held up."""

from __future__ import annotations

import asyncio
import time

import pytest

from pace import rest, within


def test_what_comes_too_late_fails_and_what_holds_the_loop_up_does_not() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        late: asyncio.Future[None] = loop.create_future()
        loop.call_later(60.0, late.set_result, None)
        with pytest.raises(AssertionError, match=r"within 0\.2 s"):
            await within(0.2, late.done)
        soon: asyncio.Future[None] = loop.create_future()
        loop.call_later(0.05, soon.set_result, None)
        loop.call_soon(time.sleep, 0.5)
        await within(0.2, soon.done)

        async def yes() -> bool:
            return True

        await within(0.0, yes)

    asyncio.run(main())


def test_a_rest_goes_on_after_the_loop_was_held_up() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        loop.call_soon(time.sleep, 0.3)
        loop.call_soon(turn)
        await rest(0.2)
        assert turns > 10

    asyncio.run(main())
