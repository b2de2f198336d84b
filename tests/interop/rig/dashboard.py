"""The dashboard in a real Chromium, through ``node/dashboard.mjs``: an operator's hands and eyes.

Its law is that a page which complains, or asks anybody but the relay, fails the test that opened
it. It must not know the relay.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rig.chromium import Browser

SCREENSHOTS = Path(__file__).resolve().parents[3] / "build" / "screenshots"
"""Where pictures of the page are kept, for people to look at."""


class Sight:
    """One page, and what was done in it."""

    def __init__(self, browser: Browser, number: int) -> None:
        self._browser = browser
        self._number = number

    async def _ask(self, op: str, **fields: object) -> Any:
        return await self._browser.ask(op, page=self._number, **fields)

    async def click(self, selector: str) -> None:
        """Press what is there first."""
        await self._ask("click", selector=selector)

    async def fill(self, selector: str, text: str) -> None:
        """Write into a field."""
        await self._ask("fill", selector=selector, text=text)

    async def choose(self, selector: str, value: str) -> None:
        """Choose an option by its value."""
        await self._ask("choose", selector=selector, text=value)

    async def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        await self._ask("press", keys=keys)

    async def type(self, text: str) -> None:
        """Write, wherever the focus is."""
        await self._ask("type", text=text)

    async def see(self, selector: str, text: str | None = None) -> None:
        """Wait until it is there, with that text in it. Raises `Refused`."""
        said = {} if text is None else {"text": text}
        await self._ask("see", selector=selector, **said)

    async def gone(self, selector: str, text: str | None = None) -> None:
        """Wait until it is not there any more. Raises `Refused`."""
        said = {} if text is None else {"text": text}
        await self._ask("gone", selector=selector, **said)

    async def text(self, selector: str) -> str:
        """What is written there."""
        return str(await self._ask("text", selector=selector))

    async def evaluate(self, code: str) -> Any:
        """What an expression is in the page."""
        return await self._ask("evaluate", code=code)

    async def until(self, code: str) -> None:
        """Wait until an expression is true in the page. Raises `Refused`."""
        await self._ask("until", code=code)

    async def shot(self, name: str, *, full: bool = False) -> None:
        """Keep a picture; ``full`` is the whole page and not what fits the window."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self._ask("shot", file=str(SCREENSHOTS / f"{name}.png"), full=full)

    async def complaints(self) -> list[str]:
        """What the browser's console said was wrong."""
        return [str(each) for each in await self._ask("complaints")]

    async def foreign(self) -> list[str]:
        """Requests that did not go to where the page came from."""
        return [str(each) for each in await self._ask("foreign")]


@asynccontextmanager
async def sight(
    browser: Browser, url: str, *, width: int = 1440, height: int = 900, scheme: str = "light"
) -> AsyncIterator[Sight]:
    """A page of its own, closed with the block; sizes are CSS pixels."""
    number = await browser.ask("open", url=url, width=width, height=height, scheme=scheme)
    try:
        yield Sight(browser, number)
    finally:
        await browser.ask("close", page=number)
