"""File descriptors, as far as the operator has to know: whether there are any left.

The law: that they are used up is told once, and once when they no longer are. This module must not
know what they are used for.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.beat import beat
from relay.net.listening import has_spare

SECONDS = 1.0
"""Seconds between two looks, where nobody else keeps time."""


class Descriptors:
    """Those of this process."""

    def __init__(self, log: Callable[..., None], has_spare: Callable[[], bool] = has_spare) -> None:
        """``has_spare`` tells whether one more can be had."""
        self._log = log
        self._has_spare = has_spare
        self._are_short = False

    async def run(self) -> None:
        """Look each second, for ever."""
        while True:
            await beat(SECONDS)
            self.look()

    def look(self) -> None:
        """Tell, if it changed. For every second or so."""
        were_short, self._are_short = self._are_short, not self._has_spare()
        if self._are_short and not were_short:
            detail = "no file descriptors left (ulimit -n): who comes over TCP is turned away"
            self._log("warning", detail=detail)
        elif were_short and not self._are_short:
            self._log("file descriptors to spare again")
