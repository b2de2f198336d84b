"""What came on streams before its turn, kept piece by piece.

The library keeps all from the next byte that is due up to the last that came in one buffer, zeros
between, and looks at each piece for every frame: a byte far ahead, or gaps between single bytes,
kept a relay busy or full with a few packets. The law: of what a peer says twice the first holds,
what is kept costs no more than what came, and one connection has a limited number of pieces. This
module must not know what the bytes are.
"""

from __future__ import annotations

from bisect import bisect_right

from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet import QuicErrorCode, QuicFrameType

MOST = 8192
"""Pieces that wait on all streams of a connection together. Beyond: INTERNAL_ERROR ends it. A peer
whose packets are lost leaves fewer gaps than it has packets under way."""

PIECE = 1 << 16
"""Bytes from which on a piece is not made longer, so that none is copied often."""


_ERROR, _PADDING = QuicErrorCode.INTERNAL_ERROR, QuicFrameType.PADDING


class Tally:
    """How many pieces wait on a connection."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Pieces:
    """The pieces of one stream, none of which overlap."""

    __slots__ = ("_pieces", "_starts", "_tally")

    def __init__(self, tally: Tally) -> None:
        """``tally`` counts them with those of the connection's other streams."""
        self._starts: list[int] = []
        self._pieces: list[bytearray] = []
        self._tally = tally

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, start: int, data: bytes) -> None:
        """Keep what is new of these bytes. Raises `QuicConnectionError` when there are too many
        pieces."""
        starts, pieces = self._starts, self._pieces
        at, stop = start, start + len(data)
        index = bisect_right(starts, start) - 1  # the one that begins before, if there is one
        while at < stop:
            end = starts[index] + len(pieces[index]) if index >= 0 else 0
            at = max(at, end)
            index += 1
            until = min(starts[index], stop) if index < len(starts) else stop
            if at >= until:
                continue
            fresh = data[at - start : until - start]
            if at == end and index and len(pieces[index - 1]) < PIECE:
                pieces[index - 1] += fresh
            elif index < len(starts) and until == starts[index] and len(pieces[index]) < PIECE:
                starts[index] = at
                pieces[index][:0] = fresh
            else:
                starts.insert(index, at)
                pieces.insert(index, bytearray(fresh))
                index += 1
                self._tally.count += 1
                if self._tally.count > MOST:
                    raise QuicConnectionError(_ERROR, _PADDING, "too many gaps in streams")
            at = until

    def take(self, start: int) -> bytes:
        """What there is from ``start`` on without a gap, which is kept no longer."""
        starts, pieces = self._starts, self._pieces
        count, stop = 0, start
        while count < len(starts) and starts[count] == stop:
            stop += len(pieces[count])
            count += 1
        taken = b"".join(pieces[:count])
        del starts[:count], pieces[:count]
        self._tally.count -= count
        return taken

    def clear(self) -> None:
        """None of them is wanted any more."""
        self._tally.count -= len(self._pieces)
        self._starts.clear()
        self._pieces.clear()
