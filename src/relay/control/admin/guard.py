"""Who is the operator: the key checked, and strangers who guess slowed down.

The law: what cannot be the key is refused at no cost; finding out about the rest is expensive, so
it is done for few at a time and not for an address (or an IPv6 /64) that has just been wrong; a
key that was right once is known at once, so that no stranger's guessing keeps the operator out.
Keys are kept as keyed digests only. This module must not know HTTP.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable

from relay.errors import OverQuota, Unauthorized
from relay.net.gate import origin

FREE_TRIES = 3
"""Wrong keys from one address before it has to wait."""

FIRST_WAIT = 1.0
"""Seconds to wait after one wrong key too many; twice as long after each further one."""

LONGEST_WAIT = 60.0

MAX_ADDRESSES = 10_000
"""Addresses remembered; the one that was wrong longest ago is forgotten first."""

MAX_CHECKS = 2
"""Keys being checked at a time, whoever asks."""

MAX_KNOWN = 16
"""Right keys remembered: two spellings of one hash are possible, many are not."""

MAX_KEY = 512
"""Characters of a key; longer ones are wrong."""

TOLD_SECONDS = 5.0
"""Seconds between two entries about wrong keys, however many there are."""

Check = Callable[[str], Awaitable[bool]]
"""The expensive look: whether a bearer is the operator's key. Asked of the same again meanwhile it
costs nothing."""


class Guard:
    """One relay's."""

    def __init__(
        self, may_be: Callable[[str], bool], check: Check, clock: Callable[[], float]
    ) -> None:
        """``may_be`` tells at once what ``check`` is worth asking for; ``clock`` is monotonic
        seconds."""
        self.refused = 0
        """Requests that were turned away, wrong or too soon."""
        self.told: Callable[[str, int], None] = lambda address, count: None
        """Called once in a while: who was turned away last, and how many since the last call."""
        self._untold = 0
        self._told_at = -TOLD_SECONDS
        self._last = ""
        self._may_be = may_be
        self._check = check
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, None] = {}
        self._checking: Counter[tuple[bytes, str]] = Counter()
        """How many requests wait for the same look: one key, from one address."""
        self._wrong: dict[str, tuple[int, float]] = {}

    async def require(self, bearer: str | None, address: str) -> None:
        """Raises `Unauthorized` for whoever is not the operator, `OverQuota` for whoever has been
        wrong too often to be looked at now."""
        if bearer is not None and len(bearer) <= MAX_KEY and self._may_be(bearer):
            mark = hashlib.blake2b(bearer.encode("utf-8", "replace"), key=self._secret).digest()
            if mark in self._known:
                return
            whose = origin((address, 0))
            look = mark, whose
            is_first = look not in self._checking
            if is_first:
                self._require_patience(address)
            if await self._is_right(bearer, look):
                self._wrong.pop(whose, None)
                while len(self._known) >= MAX_KNOWN:
                    del self._known[next(iter(self._known))]
                self._known[mark] = None
                return
            if is_first:
                self._note_wrong(whose)
        self._turn_away(address)
        raise Unauthorized("not the operator")

    def tick(self, now: float) -> None:
        """Tell of those who were turned away, if it is time."""
        if self._untold and now - self._told_at >= TOLD_SECONDS:
            count, self._untold, self._told_at = self._untold, 0, now
            self.told(self._last, count)

    def _turn_away(self, address: str) -> None:
        self.refused += 1
        self._untold += 1
        self._last = address

    def _require_patience(self, address: str) -> None:
        _, until = self._wrong.get(origin((address, 0)), (0, 0.0))
        wait = until - self._clock()
        if wait > 0.0 or len(self._checking) >= MAX_CHECKS:
            self._turn_away(address)
            raise OverQuota("wrong keys came too often", max(wait, 1.0))

    async def _is_right(self, bearer: str, look: tuple[bytes, str]) -> bool:
        self._checking[look] += 1
        try:
            return await self._check(bearer)
        finally:
            self._checking[look] -= 1
            if not self._checking[look]:
                del self._checking[look]

    def _note_wrong(self, address: str) -> None:
        count, _ = self._wrong.pop(address, (0, 0.0))
        count = min(count + 1, 64)
        wait = 0.0
        if count > FREE_TRIES:
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(count - FREE_TRIES - 1, 10))
        while len(self._wrong) >= MAX_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        self._wrong[address] = (count, self._clock() + wait)
