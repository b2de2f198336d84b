"""How large datagrams to one peer may be: found out by trying (RFC 9000, 14.3; RFC 8899).

A connection begins with the size that every path carries, then sends packets of larger sizes that
carry nothing else; the first that arrives is the size from then on. When several large packets in
a row are lost the path is taken to have changed: the safe size again, and later another try. The
law: no clock and no packets here, only sizes.
"""

from __future__ import annotations

SAFE = 1200
"""Bytes of UDP payload that every path of QUIC carries (RFC 9000, 14)."""

STEPS = (1452, 1392, 1312, 1252)
"""Sizes worth trying: what Ethernet's 1,500 bytes leave over IPv6, and with the usual tunnels."""

TRIES = 3
"""Times a size is tried before the next smaller one."""

GONE = 4
"""Large packets that are lost, none having arrived since, after which the size is given up."""

AGAIN, AGAIN_MOST = 10.0, 600.0
"""Seconds after which larger sizes are tried again; twice as many each time, up to the second."""


class PathMtu:
    """The search on one connection."""

    __slots__ = ("_again_at", "_ceiling", "_steps", "_tries", "_wait", "gone", "size", "under_way")

    size: int
    """Bytes of UDP payload that packets may have now."""
    under_way: int | None
    """The size that is being tried."""
    gone: int
    """Packets larger than the safe size that were lost since one arrived."""
    _again_at: float | None

    def __init__(self, ceiling: int) -> None:
        """``ceiling`` is the largest size in bytes that may be sent, at least `SAFE`."""
        self._ceiling = ceiling
        self.begin()

    def lower_ceiling(self, most: int) -> None:
        """The peer takes no more than so many bytes (its ``max_udp_payload_size``)."""
        self._ceiling = max(SAFE, min(self._ceiling, most))
        self._steps = _above(self.size, self._ceiling)

    def begin(self) -> None:
        """Find out what the path carries; anew where the peer is somewhere else now."""
        self.size = SAFE
        self._steps = _above(SAFE, self._ceiling)
        self.under_way = self._again_at = None
        self._tries = self.gone = 0
        self._wait = AGAIN

    def wish(self, now: float) -> int | None:
        """The size of a packet that should be sent to try it, if any."""
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            self._steps = _above(self.size, self._ceiling)
        if self.under_way is not None or not self._steps:
            return None
        return self._steps[0]

    def try_arrived(self, size: int) -> None:
        """A packet that tried ``size`` arrived; it says nothing of a path that came since."""
        if self.under_way is None:
            return
        self.under_way = None
        self.size = max(self.size, size)
        self._steps = []  # smaller ones need not be tried any more
        self._tries = self.gone = 0

    def try_lost(self, size: int) -> None:
        """A packet that tried ``size`` was lost."""
        self.under_way = None
        self._tries += 1
        if self._tries >= TRIES:
            self._tries = 0
            self._steps = [each for each in self._steps if each < size]

    def lost(self, count: int, now: float) -> bool:
        """So many packets larger than the safe size were lost; answers whether that size is given
        up."""
        self.gone += count
        if self.gone < GONE or self.size == SAFE:
            return False
        self.size = SAFE
        self.gone = self._tries = 0
        self._steps = []
        self._again_at = now + self._wait
        self._wait = min(2 * self._wait, AGAIN_MOST)
        return True


def _above(size: int, ceiling: int) -> list[int]:
    """Sizes to try, the largest first."""
    return [each for each in sorted({ceiling, *STEPS}, reverse=True) if size < each <= ceiling]
