"""How many may be at something at a time, and how many of them from one address.

The law: an address has a share of the places, so that nobody keeps all others out from a single
one; what counts as one is what does for sessions. This module must not know what is done there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from relay.errors import LimitExceeded
from relay.net.gate import origin

SHARE = 4
"""Which part of the places one address may have where nothing else is said. One machine may come
from two, an IPv4 and an IPv6 address."""

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

    def require(self, remote: str) -> None:
        """Raises `Crowded` where nobody else may come from there."""
        if self._count >= self._limit:
            limit, whose, setting = self._limit, "", self._setting
        elif self._inside.get(origin((remote, 0)), 0) >= self._each:
            limit, whose = self._each, " from one address"
            setting = f"{self._setting}_per_address"
        else:
            return
        why = f"more than {limit} {self._kind} at a time{whose} ({setting})"
        self._told(why, remote)
        raise Crowded(why)

    def take(self, remote: str) -> None:
        """One more from there. Raises `Crowded`."""
        self.require(remote)
        self._inside[origin((remote, 0))] += 1
        self._count += 1

    def give(self, remote: str) -> None:
        """One of them is over."""
        key = origin((remote, 0))
        self._inside[key] -= 1
        self._count -= 1
        if self._inside[key] <= 0:
            del self._inside[key]
