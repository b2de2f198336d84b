"""What is announced above a prefix that somebody watches: as everything below it, it is there too.

Of several announcements the nearest counts, and none while something is announced at the prefix
itself. A change only stirs a roof, once until its owner has it look, which tells what is true then.
This module must not know who watches, nor in whose turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.path import Path

if TYPE_CHECKING:
    from relay.model.board import Board, Way


class Roof:
    """One prefix of one watcher, until it is closed."""

    __slots__ = (
        "_announce",
        "_board",
        "_exclude",
        "_is_live",
        "_stir",
        "_told",
        "_withdraw",
        "prefix",
    )

    def __init__(
        self,
        board: Board,
        prefix: Path,
        exclude: int,
        announce: Callable[[Path, Way], None],
        withdraw: Callable[[Path], None],
        stir: Callable[[Roof], None],
    ) -> None:
        self.prefix = prefix
        self._board = board
        self._exclude = exclude
        self._announce = announce
        self._withdraw = withdraw
        self._stir = stir
        self._told: tuple[Way, object] | None = None
        """What was told, and whose it is."""
        self._is_live = True

    def stir(self) -> None:
        """Something has changed: whoever owns it is to have it look. Nothing may change here."""
        self._stir(self)

    def look(self) -> None:
        """Tell what has changed since the last time."""
        if self._is_live:
            self._board.put_up(self)
            self._tell(self._board.above(self.prefix, self._exclude))

    def give_way(self) -> None:
        """Something is about to be told at the prefix itself."""
        self._tell(None)

    def step_in(self) -> None:
        """What was told there was taken back."""
        self._told = None
        self._stir(self)

    def close(self) -> None:
        """Tell nothing any more, and take back what was told."""
        self._is_live = False
        self._board.take_down(self)
        self._tell(None)

    def _tell(self, now: tuple[Way, object] | None) -> None:
        was, self._told = self._told, now
        is_same = was is not None and now is not None and was[1] is now[1]
        if was is not None and not is_same:
            self._withdraw(self.prefix)
        if now is not None and not (was is not None and is_same and was[0].hops == now[0].hops):
            self._announce(self.prefix, now[0])
