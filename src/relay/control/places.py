"""How many may be at something at a time, and how many of them from one address.

The law: an address has a share of the places, so that nobody keeps all others out from a single
one; what counts as one is what does for sessions. This module must not know what is done there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from relay.errors import LimitExceeded, TooLarge
from relay.net.gate import origin

SHARE = 4
"""Which part of the places one address may have where nothing else is said. One machine may come
from two, an IPv4 and an IPv6 address."""

PIECE = 1 << 16
"""Bytes that an answer may hold uncounted."""

Told = Callable[[str, str], None]
"""Hears of somebody who found no place: why, and the address."""


class Crowded(LimitExceeded):
    """No place is free, or none for that address; whoever asks may know it."""


class Places:
    """Those of one kind."""

    def __init__(self, limit: int, each: int | None, kind: str, setting: str, told: Told) -> None:
        """``kind`` says in the plural of what there may be ``limit``, by ``setting``, and of one
        address ``each``; ``None``: a quarter."""
        self._limit = limit
        self._each = max(1, limit // SHARE) if each is None else each
        self._kind = kind
        self._setting = setting
        self._told = told
        self._inside: Counter[str] = Counter()
        self._count = 0

    def require(self, remote: str, count: int = 1) -> None:
        """Raises `Crowded` where no ``count`` others may come from there."""
        if self._count + count > self._limit:
            limit, whose, setting = self._limit, "", self._setting
        elif self._inside.get(origin((remote, 0)), 0) + count > self._each:
            limit, whose = self._each, " from one address"
            setting = f"{self._setting}_per_address"
        else:
            return
        why = f"more than {limit} {self._kind} at a time{whose} ({setting})"
        self._told(why, remote)
        raise Crowded(why)

    def take(self, remote: str, count: int = 1) -> None:
        """So many more from there. Raises `Crowded`."""
        self.require(remote, count)
        self._inside[origin((remote, 0))] += count
        self._count += count

    def require_possible(self, count: int) -> None:
        """Raises `TooLarge` where so many are never to be had from one address, however long
        somebody waits."""
        if count > (most := min(self._limit, self._each)):
            raise TooLarge(f"more than {most} {self._kind} for one address ({self._setting})")

    def give(self, remote: str, count: int = 1) -> None:
        """So many of them are over."""
        key = origin((remote, 0))
        self._inside[key] -= count
        self._count -= count
        if self._inside[key] <= 0:
            del self._inside[key]


class Hold:
    """What one answer to ``remote`` takes of places that are bytes: by the piece, since looking for
    the address costs more than a small frame does."""

    def __init__(self, places: Places, remote: str) -> None:
        self._places = places
        self._remote = remote
        self._due = 0
        self._taken = 0

    def take(self, size: int) -> None:
        """So many bytes more. Raises `Crowded`, or `TooLarge` where it has too many by itself."""
        self._due += size
        if self._due >= PIECE:
            self._places.require_possible(self._taken + self._due)
            self._places.take(self._remote, self._due)
            self._taken += self._due
            self._due = 0

    def give(self) -> None:
        """The answer is gone."""
        self._places.give(self._remote, self._taken)
        self._due = self._taken = 0
