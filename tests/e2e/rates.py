"""Asking as often as one may, and once more."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import httpx


async def until_refused(
    ask: Callable[[], Awaitable[httpx.Response]],
    rate: float,
    burst: float = 1.0,
    status: int = 200,
) -> tuple[int, httpx.Response]:
    """How often it was answered with ``status`` before it was too often, and how that was said.

    It is never answered more often than ``rate`` a second lets it be, after ``burst`` seconds'
    worth at once, however long the machine takes.
    """
    began, answered = time.monotonic(), 0
    while (answer := await ask()).status_code == status:
        answered += 1
        assert answered <= rate * (time.monotonic() - began + burst)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    return answered, answer
