"""Which tracks are copied: a pattern of broadcasts and the name of a track.

This module must not know where to.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.path import Path, fits
from relay.reserve import INTERNAL


class Choice(NamedTuple):
    """Of a pattern ``*`` stands for one segment, ``**`` at its end for any number of them."""

    pattern: tuple[str, ...]
    track: str

    @classmethod
    def parse(cls, text: str) -> Choice:
        """``plant/**:temperature``. Raises `ValueError`."""
        left, colon, track = text.partition(":")
        pattern = tuple(each for each in left.split("/") if each)
        if not colon or not track or not pattern:
            raise ValueError("expected broadcasts:track, such as plant/**:temperature")
        if "**" in pattern[:-1]:
            raise ValueError("expected ** at the end of the broadcasts only")
        return cls(pattern, track)

    def covers(self, broadcast: Path) -> bool:
        """Whether the pattern covers a broadcast; relays' own ones are none."""
        return not broadcast.is_under(INTERNAL) and fits(broadcast, self.pattern)
