"""The slow half of API keys: derived in threads, once per key and minute.

The law: the loop never waits for a derivation, the same key is derived once however many ask, and
only a bounded number wait; what is remembered is found by a keyed digest and is no bearer text.
This module must not know what a key allows.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from relay.auth.credentials import Derivation, derive
from relay.errors import LimitExceeded

REMEMBERED_SECONDS = 60.0
"""How long a key that was right need not be derived again."""

MAX_REMEMBERED = 1024
"""Keys remembered; the oldest is forgotten first."""

THREADS = 2
"""Derivations at a time, each on a core of its own."""


class Derivations:
    """Results of `derive`."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        """``most`` derivations may be under way; ``clock`` is monotonic seconds."""
        self._most = most
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="derivation")
        self._flights: dict[bytes, asyncio.Future[bytes]] = {}
        self._known: dict[bytes, tuple[bytes, float]] = {}

    def known(self, work: Derivation) -> bytes | None:
        """The result, when it was right a short while ago."""
        mark = self._mark(work)
        result, until = self._known.get(mark, (None, 0.0))
        if result is not None and self._clock() >= until:
            del self._known[mark]
            return None
        return result

    async def ask(self, work: Derivation, is_right: Callable[[bytes], bool]) -> bytes:
        """The result; remembered when it ``is_right``.

        Raises `LimitExceeded` when too many are under way.
        """
        result = self.known(work)
        if result is not None:
            return result
        mark = self._mark(work)
        flight = self._flights.get(mark)
        if flight is None:
            flight = self._start(work, mark)
        result = await asyncio.shield(flight)
        if is_right(result):
            self._remember(mark, result)
        return result

    def close(self) -> None:
        """Start no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, work: Derivation, mark: bytes) -> asyncio.Future[bytes]:
        if len(self._flights) >= self._most:
            raise LimitExceeded(f"{self._most} API keys being checked (records.max_derivations)")
        flight = asyncio.get_running_loop().run_in_executor(self._pool, derive, work)
        if not flight.done():  # as it may be at once, from Python 3.14 on
            self._flights[mark] = flight
            flight.add_done_callback(lambda _: self._flights.pop(mark, None))
        return flight

    def _remember(self, mark: bytes, result: bytes) -> None:
        self._known.pop(mark, None)
        while len(self._known) >= MAX_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[mark] = (result, self._clock() + REMEMBERED_SECONDS)

    def _mark(self, work: Derivation) -> bytes:
        """What stands for the key in memory; without this process's secret it says nothing."""
        marked = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in (work.secret, work.salt, b"%d %d" % (work.iterations, work.length)):
            marked.update(len(part).to_bytes(4, "big") + part)
        return marked.digest()
