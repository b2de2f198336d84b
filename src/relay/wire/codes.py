"""Numbers with which streams are broken off: the house's own, and those of newer versions.

Above the wire a failure has the number that moq-lite 01 to 05 give it (`relay.errors`); a version
that counts differently has a table here. Numbers that end sessions are the same in all versions.
This module must not know which version uses what, or what a number leads to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FIRST_FREE = 32
"""Numbers from here on are nobody's or the application's, and pass unchanged (moq-lite-06)."""


@dataclass(frozen=True, slots=True)
class Codes:
    """One version's numbers. Without tables they are the house's own."""

    said: Mapping[int, int] | None = None
    """What is said for a number of the house."""
    heard: Mapping[int, int] | None = None
    """What a number of the peer's is to the house."""
    unknown_said: int = 0
    """Said for numbers below `FIRST_FREE` that the table lacks: they mean something else here."""
    unknown_heard: int = 0
    """The same for numbers of the peer's."""

    def say(self, code: int) -> int:
        """The number on the wire."""
        return _look_up(self.said, code, self.unknown_said)

    def hear(self, code: int) -> int:
        """The number in the house."""
        return _look_up(self.heard, code, self.unknown_heard)


def _look_up(table: Mapping[int, int] | None, code: int, unknown: int) -> int:
    if table is None:
        return code
    return table.get(code, code if code >= FIRST_FREE else unknown)


HOUSE = Codes()
"""moq-lite 01 to 05."""

# House: 0 cancelled, 2 expired, 4 internal, 5 undecodable, 10 unexpected stream, 13 not found,
# 24 dropped, 26 lagged, 30 unroutable. There (moq-lite-06, "Stream Error Codes"): 0 internal,
# 1 cancelled, 2 delivery timeout, 3 session closed, 4 going away, 5 too far behind, 0x12 malformed
# track; 51 and 54 are what deployed peers say for not found and unroutable.
REGISTERED = Codes(
    said={0: 1, 2: 2, 5: 0x12, 10: 1, 13: 51, 24: 3, 26: 5, 30: 54},
    heard={0: 4, 1: 0, 2: 2, 3: 24, 4: 24, 5: 26, 0x12: 5, 51: 13, 54: 30},
    unknown_said=0,
    unknown_heard=4,
)
"""moq-lite 06: the numbers of moq-transport."""
