"""Keys at a URL, asked for again before they grow old: one document with its freshness.

The law: one fetch at a time, never sooner than the interval allows, whoever wants it; the last good
answer holds until its time is over and then counts as none. This module must not know how an answer
is fetched, files, or tokens.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable

from relay.auth.keys import KeySet, is_foreign_kid, is_kid
from relay.auth.trust import FetchSettings
from relay.errors import ConfigError
from relay.keyring.fetch import Fetch, Fetched, FetchError
from relay.keyring.files import Log

AHEAD = 0.8
"""The part of its lifetime after which an answer is asked for again."""

MAX_BACKOFF = 60.0
"""Most seconds between two tries of a source that fails."""

GONE = (404, 410)
"""HTTP statuses that say that there is nothing of that name."""

Answered = Callable[[], bool]
"""Whether a question was dealt with; ask again after each round."""

Locate = Callable[[], Awaitable[str]]
"""The URL to ask. Raises `FetchError`."""


def at(url: str) -> Locate:
    """A URL that is known beforehand."""

    async def locate() -> str:
        return url

    return locate


class Remote:
    """One document of keys. ``keys`` is a new object exactly when they changed."""

    def __init__(
        self,
        name: str,
        locate: Locate,
        read: Callable[[bytes], KeySet],
        fetch: Fetch,
        settings: FetchSettings,
        clock: Callable[[], float],
        log: Log,
        finished: Callable[[], None],
        *,
        foreign: bool = False,
        fleeting: bool = False,
    ) -> None:
        """``finished`` is called after each round; ``read`` raises `ConfigError`.

        ``foreign``: names may be any of `is_foreign_kid`. ``fleeting``: it ends by itself as soon
        as there is nothing.
        """
        self.name = name
        self.settings = settings
        self.absent = KeySet(open_ended=True, foreign_names=foreign)
        """The keys of a source that never answered, or not for too long."""
        self.keys = self.absent
        self.fetches = 0
        self.failures = 0
        self.problem: str | None = None
        """Why the last round failed, ``None`` after a good one."""
        self.confirmed: float | None = None
        """When the keys were last known to be right, in the clock's seconds."""
        self._locate = locate
        self._read = read
        self._fetch = fetch
        self._clock = clock
        self._log = log
        self._finished = finished
        self._is_kid = is_foreign_kid if foreign else is_kid
        self._fleeting = fleeting
        self._etag: tuple[str, str] | None = None
        self._digest = b""
        self._started = 0
        self._ended = 0
        self._failing = 0
        self._last = -float("inf")
        self._due = -float("inf")
        self._dies = float("inf")
        self._wanted = False
        self._wake = asyncio.Event()

    @property
    def silence(self) -> str | None:
        """Why the last round got no answer; ``None`` when it got one, a no among them."""
        return self.problem if self._failing else None if self._ended else "no answer yet"

    def may_have(self, kid: str) -> bool:
        """Whether there could be a key of that name."""
        return self._is_kid(kid)

    def ask(self, kid: str) -> Answered | None:
        """Have the source asked about a key it does not hold; ``None`` = it cannot have one."""
        if not self.may_have(kid):
            return None
        ticket = self._started + 1

        def answered() -> bool:
            if self._ended >= ticket:
                return True
            if self._started < ticket:
                self._wanted = True
                self._wake.set()
            return False

        if self._started == self._ended:
            answered()
        return answered

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """`run` from now on."""
        tasks.create_task(self.run())

    async def run(self) -> None:
        """Keep the keys fresh until cancelled, or until a fleeting source has none."""
        while True:
            await self._until_due()
            self._started += 1
            self._wanted = False
            await self._round()
            self._last = self._clock()
            self._ended = self._started
            self._finished()
            if self._fleeting and not self.keys.keys:
                return

    def look(self, now: float) -> None:
        """Forget keys whose time is over. Before it is they are asked for again, and while nothing
        has failed they hold, however long the answer takes."""
        if self._failing and now >= self._dies:
            self._forget("no good answer for too long")

    async def _until_due(self) -> None:
        while True:
            due = self._due
            if self._wanted:
                due = min(due, self._last + self.settings.min_interval)
            left = due - self._clock()
            if left <= 0:
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self) -> None:
        began = self._clock()
        self.fetches += 1
        try:
            url = await self._locate()
            known = self._etag[1] if self._etag is not None and self._etag[0] == url else None
            answer = await self._fetch(url, known)
            if answer.body is None and self.keys is self.absent:  # forgotten since it was asked
                answer = await self._fetch(url, None)
            self._take(answer)
        except FetchError as error:
            if self._fleeting and error.status in GONE:
                self.problem = str(error)
                self._forget("it is not there any more")
            else:
                self._fail(str(error))
        except ConfigError as error:
            self._fail(str(error))
        except Exception as error:  # what a stranger published must not stop the relay
            self._fail(f"internal error: {error!r}")
        else:
            self._succeed(url, answer, began)

    def _take(self, answer: Fetched) -> None:
        if answer.body is None:
            return
        digest = hashlib.sha256(answer.body).digest()
        if digest != self._digest:
            self.keys = self._read(answer.body)
            self._digest = digest

    def _succeed(self, url: str, answer: Fetched, began: float) -> None:
        if self._failing:
            self._log("keys fetched again", source=self.name, failed=self._failing)
        self._failing, self.problem, self.confirmed = 0, None, began
        self._etag = (url, answer.etag) if answer.etag is not None else None
        jitter = random.uniform(0.9, 1.0)
        wait = max(self.settings.min_interval, answer.lifetime * AHEAD * jitter)
        self._due = began + wait
        self._dies = began + answer.lifetime + self.settings.max_stale

    def _fail(self, why: str) -> None:
        self.failures += 1
        self._failing += 1
        self.problem = why
        least = self.settings.min_interval
        wait = min(least * 2 ** min(self._failing - 1, 12), max(MAX_BACKOFF, least))
        wait *= random.uniform(1.0, 1.25)
        self._due = self._clock() + wait
        facts = {"failed": self._failing, "retry": round(wait, 1), "keys": len(self.keys)}
        self._log("keys not fetched", source=self.name, why=why, **facts)

    def _forget(self, why: str) -> None:
        self._etag, self._digest, self._dies = None, b"", float("inf")
        self.confirmed = None
        if self.keys is not self.absent:
            self.keys = self.absent
            self._log("keys forgotten", source=self.name, why=why)
