"""A folder of keys at a URL, of which nobody knows the list: each key is asked for by its name.

The law: a name is checked before it becomes part of a URL, and names that lead nowhere cost a few
fetches and then nothing. This module must not know how an answer is fetched or what a token says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit, urlunsplit

from relay.auth.keys import MAX_FOLDER, KeySet, is_kid
from relay.auth.trust import FetchSettings
from relay.keyring.fetch import Fetch
from relay.keyring.files import SUFFIX, Log, are_same
from relay.keyring.remote import Answered, Remote, at

MAX_MISSES = 8
"""Names asked for in vain, or not answered yet, within ``min_interval``. More are not asked for."""


MAX_PATIENT = 4096
"""Names remembered that were not asked for because of others; those asked about longest ago go."""

PATIENCE = 60.0
"""Seconds for which such a name is remembered."""


class RemoteFolder:
    """A URL below which each key is ``{kid}.jwk``. It holds the keys that were asked for."""

    def __init__(
        self,
        url: str,
        name: str,
        fetch: Fetch,
        settings: FetchSettings,
        clock: Callable[[], float],
        log: Log,
        finished: Callable[[], None],
    ) -> None:
        """``finished`` is called after each answer."""
        self.name = name
        self.settings = settings
        self.keys = KeySet(open_ended=True)
        self.problem: str | None = None
        """Why the last key asked for did not come, ``None`` after one that did."""
        self.silence: str | None = None
        """Why there was no answer when the last key was asked for; ``None`` when there was one."""
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._log = log
        self._finished = finished
        self._keys: dict[str, Remote] = {}
        self._held: list[KeySet] = []
        self._misses: deque[float] = deque()
        self._patient: dict[str, tuple[int, float]] = {}
        """How often each was asked about in vain, and when the last time was: rising."""
        self._ended = [0, 0]
        self._tasks: asyncio.TaskGroup | None = None
        self._full = False

    @property
    def fetches(self) -> int:
        """Fetches of all keys, those that are not held any more included."""
        return self._ended[0] + sum(key.fetches for key in self._keys.values())

    @property
    def failures(self) -> int:
        """Fetches that brought nothing."""
        return self._ended[1] + sum(key.failures for key in self._keys.values())

    @property
    def confirmed(self) -> float | None:
        """When the key that was confirmed longest ago was; ``None`` without keys."""
        times = [key.confirmed for key in self._keys.values() if key.confirmed is not None]
        return min(times, default=None)

    def place(self, kid: str) -> str:
        """The URL of a key. ``kid`` must be one (`is_kid`)."""
        assert self.may_have(kid)
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{kid}{SUFFIX}"))

    def may_have(self, kid: str) -> bool:
        """Whether there could be a key of that name."""
        return is_kid(kid)

    def ask(self, kid: str) -> Answered | None:
        """Have a key asked for; ``None`` when it cannot be, or must not be now."""
        if not self.may_have(kid) or self._tasks is None:
            return None
        if (held := self._keys.get(kid)) is not None:
            answered = held.ask(kid)
            # Where it is not there it is not held any more, and no other round answers for it.
            return answered and (lambda: self._keys.get(kid) is not held or answered())
        if len(self._keys) >= MAX_FOLDER:
            self._say_full()
            return None
        now = self._clock()
        times = self._patient.pop(kid, (0, now))[0] + 1
        while self._has_room(now):
            rival = self._most_patient(now, times)
            key = self._begin(self._tasks, rival or kid)
            if rival is None:
                return lambda: self._keys.get(kid) is not key or bool(key.keys.keys)
        self._patient[kid] = (times, now)
        if len(self._patient) > MAX_PATIENT:
            del self._patient[next(iter(self._patient))]
        return None

    def _has_room(self, now: float) -> bool:
        """Whether one more name may be asked for."""
        while self._misses and self._misses[0] <= now - self.settings.min_interval:
            self._misses.popleft()
        waiting = sum(1 for key in self._keys.values() if not key.keys.keys)
        return len(self._misses) + waiting < MAX_MISSES and len(self._keys) < MAX_FOLDER

    def _most_patient(self, now: float, times: int) -> str | None:
        """Whose turn it is before a name that was asked about that many times. Names made up for
        once are many, and one that is somebody's is asked about again: it comes before them."""
        while self._patient:
            oldest = next(iter(self._patient))
            if self._patient[oldest][1] > now - PATIENCE:
                break
            del self._patient[oldest]
        most = max(self._patient, key=lambda kid: self._patient[kid][0], default=None)
        return most if most is not None and self._patient[most][0] > times else None

    def _begin(self, tasks: asyncio.TaskGroup, kid: str) -> Remote:
        self._patient.pop(kid, None)
        key = self._keys[kid] = self._remote(kid)
        tasks.create_task(self._keep(kid, key))
        return key

    def _remote(self, kid: str) -> Remote:
        name = f"{self.name.rstrip('/')}/{kid}{SUFFIX}"
        return Remote(
            name,
            at(self.place(kid)),
            partial(_read, kid, name),
            self._fetch,
            self.settings,
            self._clock,
            self._log,
            self._gather,
            fleeting=True,
        )

    async def _keep(self, kid: str, key: Remote) -> None:
        """Hold one key until it is gone."""
        await key.run()
        del self._keys[kid]
        self.silence = key.silence
        self._ended = [self._ended[0] + key.fetches, self._ended[1] + key.failures]
        self._misses.append(self._clock())
        self.problem = key.problem
        self._gather()

    def _gather(self) -> None:
        held = [key.keys for key in self._keys.values() if key.keys.keys]
        if not are_same(held, self._held):
            self.keys = KeySet.gather(KeySet(open_ended=True), *held)
            self._held = held
        self._finished()

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Ask from now on, each key in a task of its own that ends with the key."""
        self._tasks = tasks

    async def run(self) -> None:
        """`start` without a group of tasks at hand, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self.start(tasks)
            await asyncio.Event().wait()

    def look(self, now: float) -> None:
        """Forget keys whose time is over."""
        for key in self._keys.values():
            key.look(now)
        self._gather()

    def _say_full(self) -> None:
        if not self._full:
            self._log("key folder full", source=self.name, keys=MAX_FOLDER)
        self._full = True


def _read(kid: str, name: str, body: bytes) -> KeySet:
    return KeySet.load_named(body, kid, name, halved=True)
