"""Work that may take long for one thing, in steps: whoever has a loop does a few of them at a time.

The law: what is under way may be looked at between any two steps. This module must not know time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator


def _at_once(steps: Iterator[None]) -> None:
    deque(steps, maxlen=0)


class Errands:
    """How it is done, for all of one origin."""

    __slots__ = ("do",)

    def __init__(self) -> None:
        self.do: Callable[[Iterator[None]], None] = _at_once
        """Takes all of these steps, some now perhaps and the others later. Must not raise."""
