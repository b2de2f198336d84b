"""All the keys there are, from every source, as one set that is replaced when one of them changes.

The law: whoever decides holds a finished set and never waits; what waits is `Keyring.need`, bounded
in number and in fetches whatever names strangers make up. This module must not know tokens,
sessions, or how a source reads or fetches.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from relay.auth.keys import Key, KeySet, is_foreign_kid
from relay.auth.settings import AuthSettings
from relay.beat import beat
from relay.errors import ConfigError
from relay.keyring.files import Log, are_same, silent
from relay.keyring.sources import Source, Sources

LOOK = 1.0
"""Seconds between looks at files, and at keys whose time is over."""

MAX_UNKNOWN = 4096
"""Names remembered as those of no key; the oldest are forgotten first."""

MAX_RETIRED = 4096
"""Names remembered as those of keys that were removed; the oldest are forgotten first."""

UNASKED = "the key is not known, and was not asked for: too many are at a time, or the relay stops"
"""`Keyring.silence_about` a key that its sources could have and were not asked about."""

MAX_TOLD = 16
"""Lines about unusable keys that are written to the log at a time."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is different in a new set. A name whose key was replaced stands in both; with both
    empty the set was made anew and holds the same keys."""

    added: frozenset[str | None]
    """Names that may vouch from now on; ``None`` is the key without a name."""
    removed: frozenset[str | None]
    """Names whose tokens are worth nothing any more."""


class Keyring:
    """The keys of all sources. ``keys`` is always a whole set; ``run`` keeps it current."""

    def __init__(
        self,
        settings: AuthSettings,
        log: Log = silent,
        tls: ssl.SSLContext | None = None,
        every: float = LOOK,
    ) -> None:
        """Read every file that ``[auth]`` names; URLs are asked when it `run`s, those of the
        operator's own keys with ``tls``. ``every`` is seconds between looks at files.

        Raises `ConfigError`, one line, for a file or folder that cannot be used.
        """
        self.settings = settings.fetch
        self.waiting = 0
        """Tokens that wait for a source to be asked."""
        self._sources = Sources(settings, log, self.turn, tls)
        self._sources.load()
        self._log = log
        self._every = every
        self._callbacks: list[Callable[[Change], None]] = []
        self._unknown: dict[str, tuple[float, str]] = {}
        """Until when they are, and `silence` when they were asked for."""
        self._retires = settings.on_key_removed == "close"
        self._retired: dict[str, tuple[Any, float]] = {}
        """By the names of keys that are gone: which one it was, and since when another has it."""
        self._running = False
        self._turn = asyncio.Event()
        self._told: frozenset[str] = frozenset()
        self._parts: list[KeySet] = []
        self.keys = KeySet()
        self._gather()

    def on_change(self, callback: Callable[[Change], None]) -> None:
        """Have ``callback`` called after each change of `keys`, by plain call."""
        self._callbacks.append(callback)

    def adopt(self, source: Source) -> None:
        """Believe the keys of one more source, which somebody else keeps current.

        Raises `ConfigError` when there is a key without a name: beside others nobody could mean it.
        """
        if any(key.kid is None for key in self.keys.keys):
            raise ConfigError("auth: a key without kid, and the relay has keys of its own: name it")
        self._sources.adopted.append(source)
        self.turn()

    async def run(self) -> None:
        """Keep the keys current until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for source in self._sources.asked:
                    source.start(tasks)
                self._running = True
                try:
                    await self._look()
                finally:  # what is begun from now on nobody would end
                    self._running = False
        finally:
            self._pulse()
            await self._sources.close()

    async def need(self, kid: str | None) -> None:
        """Wait until a key of that name is there, or is known not to be.

        Returns at once when it is there, when no source could have it, when it was asked for in
        vain just now, and when too many wait. Each source is asked once at most, together for all
        who wait. Never raises; decide with `keys` afterwards.
        """
        if kid is None or not self.may_come(kid):
            return
        if self.waiting >= self.settings.max_waiting:
            return
        sources = [source for source in self._sources.asked if source.may_have(kid)]
        asked = [answered for source in sources if (answered := source.ask(kid))]
        if not asked:
            return
        is_whole = len(asked) == len(sources)
        self.waiting += 1
        try:
            while self._running and self.keys.find(kid) is None:
                asked = [answered for answered in asked if not answered()]
                if not asked:
                    if is_whole:
                        self._remember(kid)
                    return
                await self._turn.wait()
        finally:
            self.waiting -= 1

    @property
    def silence(self) -> str:
        """Why a key that is not there may be good all the same (`Sources.silence`)."""
        return self._sources.silence

    def silence_about(self, kid: str | None) -> str:
        """The same of a key of that name, after `need`: whoever is asked for another one in the
        meantime, and answers, has not answered about this one; nor has who was not asked."""
        if kid is None or self.keys.find(kid) is not None:
            return self.silence
        if kid in self._unknown and not self.may_come(kid):
            return self._unknown[kid][1]
        could_have = kid not in self._unknown and any(
            source.may_have(kid) for source in self._sources.asked
        )
        return self.silence or (UNASKED if could_have else "")

    @property
    def sources(self) -> list[Source]:
        """Every source as it stands, in the order of the settings."""
        return self._sources.all

    def turn(self) -> None:
        """A source has news, or nothing new after all: look, and wake whoever waits."""
        self._gather()
        self._pulse()

    @property
    def asks_others(self) -> bool:
        """Whether there is anybody to ask for a key by its name."""
        return self._running and bool(self._sources.asked)

    def may_come(self, kid: str) -> bool:
        """Whether `need` might have to wait for it: it is not there, and a source could have it."""
        if not (self.asks_others and is_foreign_kid(kid)):
            return False
        if self.keys.find(kid) is not None:
            return False
        return self._unknown.get(kid, (-1.0, ""))[0] <= time.monotonic()

    def _remember(self, kid: str) -> None:
        self._unknown.pop(kid, None)
        self._unknown[kid] = time.monotonic() + self.settings.unknown_age, self.silence
        while len(self._unknown) > MAX_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]

    def _pulse(self) -> None:
        turned, self._turn = self._turn, asyncio.Event()
        turned.set()

    async def _look(self) -> None:
        """See what became of files and of keys whose time may be over."""
        while True:
            await beat(self._every)
            now = time.monotonic()
            for source in self._sources.all:
                try:
                    source.look(now)
                except Exception as error:  # one source's trouble must not stop the relay
                    self._log("keys not fetched", source=source.name, why=f"internal: {error!r}")
            self.turn()

    def _gather(self) -> None:
        """Make the set anew if a source has a new part of it."""
        sources = self._sources.all
        parts = [source.keys for source in sources]
        if are_same(parts, self._parts):
            return
        self._parts = parts
        before, self.keys = (
            self.keys,
            KeySet.gather(*parts, sources=[each.name for each in sources]),
        )
        self._tell(self.keys.skipped)
        change = _difference(before.keys, self.keys.keys)
        if self._retires:
            self._retire(before.keys, change)
        names = {"added": _listed(change.added), "removed": _listed(change.removed)}
        if change.added or change.removed:
            self._log("keys changed", **names, keys=len(self.keys))
        for kid in change.added:
            self._unknown.pop(kid or "", None)
        for callback in self._callbacks:
            callback(change)

    def _retire(self, before: Iterable[Key], change: Change) -> None:
        """Remember which keys are gone, until they are back."""
        for key in before:
            if key.kid is not None and key.kid in change.removed:
                self._retired[key.kid] = _mark(key), math.inf
        for key in self.keys.keys:
            kid, mark = key.kid or "", _mark(key)
            gone, since = self._retired.get(kid, (mark, 0.0))
            if gone == mark:
                self._retired.pop(kid, None)
            elif since == math.inf:
                self._retired[kid] = gone, time.time()
        while len(self._retired) > MAX_RETIRED:
            del self._retired[next(iter(self._retired))]
        retired = {kid: since for kid, (_, since) in self._retired.items()}
        self.keys = replace(self.keys, retired=retired)

    def _tell(self, lines: Iterable[str]) -> None:
        """Say what is not used, each thing once as long as it lasts."""
        now = frozenset(lines)
        for line in sorted(now - self._told)[:MAX_TOLD]:
            self._log("key not used", why=line)
        self._told = now


def _difference(before: Iterable[Key], after: Iterable[Key]) -> Change:
    old, new = ({key.kid: _mark(key) for key in keys} for keys in (before, after))
    return Change(
        frozenset(kid for kid, mark in new.items() if old.get(kid) != mark),
        frozenset(kid for kid, mark in old.items() if new.get(kid) != mark),
    )


def _mark(key: Key) -> tuple[Any, ...]:
    """What makes a key this one and no other of the same name."""
    return key.to_jwk(), key.issuer, key.audience


def _listed(kids: frozenset[str | None]) -> list[str]:
    return sorted(kid or "" for kid in kids)[:MAX_TOLD]
