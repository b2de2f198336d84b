"""Keys in files, looked at again and again: one file, or a folder of files named after their keys.

The law: what cannot be read keeps the last good keys for a while, what is gone is gone as soon as
it was missed twice (a file that is being replaced is missed once). This module must not know
URLs, tokens, or who wants the keys.
"""

from __future__ import annotations

import hashlib
import math
import operator
import os
import stat
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from relay.auth.keys import MAX_FOLDER, MAX_KEY_FILE, KeySet, is_kid
from relay.errors import ConfigError

SUFFIX = ".jwk"
"""How the files of a folder of keys end."""

MISSED = 2
"""Looks in a row that must find a file missing before its keys are forgotten."""

FRESH = 2.0
"""Seconds for which a change may hide behind an unchanged time stamp: such a file is read again."""

Log = Callable[..., None]
"""Write an event with its facts to the log."""

Read = Callable[[bytes, str], KeySet]
"""The keys in a file of that name. Raises `ConfigError`."""

Signature = tuple[int, int, int, int, int]


def are_same(one: Sequence[KeySet], other: Sequence[KeySet]) -> bool:
    """Whether both are made of the very same sets: sources make a new one for each change."""
    return len(one) == len(other) and all(map(operator.is_, one, other))


def silent(event: str, **facts: Any) -> None:
    """A log that nobody reads."""


class KeyFile:
    """One file. ``keys`` is what it last held; the object is a new one exactly when it changed."""

    def __init__(
        self, path: str, max_stale: float, log: Log = silent, read: Read = KeySet.load
    ) -> None:
        """``max_stale`` is how many seconds keys outlive a file that cannot be read any more."""
        self.name = path
        self.keys = KeySet()
        self.fetches = 0
        """Times it was read."""
        self.failures = 0
        """Times it became unusable."""
        self.confirmed: float | None = None
        """When it was last found as it is known, in monotonic seconds."""
        self.problem: str | None = None
        """Why the file cannot be used as it is now, or ``None``."""
        self._max_stale = max_stale
        self._log = log
        self._read = read
        self._seen: Signature | None = None
        self._fresh = False
        self._digest = b""
        self._missed = 0
        self._broken: float | None = None

    @property
    def gone(self) -> bool:
        """Whether the file was missed often enough to be taken for removed."""
        return self._missed >= MISSED

    def load(self, now: float) -> None:
        """Read it for the first time. Raises `ConfigError`, one line that names the file."""
        try:
            self._reread(_signature(self.name))
            self.confirmed = now
        except OSError as error:
            raise ConfigError(f"{self.name}: {error.strerror or error}") from None

    def look(self, now: float) -> None:
        """See whether it changed. ``now`` is monotonic seconds."""
        try:
            seen = _signature(self.name)
            if seen != self._seen or self._fresh:
                self._reread(seen)
            self._missed = 0
            self._mended(now)
        except (FileNotFoundError, NotADirectoryError):
            self._missed += 1
            if self._missed == MISSED:
                self.problem = "the file is gone"
                self._forget(self.problem)
        except OSError as error:
            self._break(f"{self.name}: {error.strerror or error}", now)
        except ConfigError as error:
            self._missed = 0
            self._break(str(error), now)

    def _reread(self, seen: Signature) -> None:
        """Raises `OSError` and `ConfigError`; the file is then read again at the next look."""
        self._seen = None
        self.fetches += 1
        with open(self.name, "rb") as file:
            data = file.read(MAX_KEY_FILE + 1)
        digest = hashlib.sha256(data).digest()
        if digest != self._digest:
            self.keys = self._read(data, self.name)
            self._digest = digest
        self._seen = seen
        self._fresh = abs(time.time() - seen[3] / 1e9) < FRESH

    def _mended(self, now: float) -> None:
        if self._broken is not None:
            self._log("key file readable again", file=self.name)
        self._broken = self.problem = None
        self.confirmed = now

    def _break(self, why: str, now: float) -> None:
        """It is there and of no use: keep what it held, not for ever, and say so once."""
        if why != self.problem:
            self.failures += 1
            self._log("key file not usable", file=self.name, why=why, kept=len(self.keys))
        self.problem = why
        self._broken = now if self._broken is None else self._broken
        if now - self._broken >= self._max_stale:
            self._forget("the file was not usable for too long")

    def _forget(self, why: str) -> None:
        self._seen, self._digest = None, b""
        if self.keys:
            self.keys = KeySet()
            self._log("keys forgotten", source=self.name, why=why)


INSIDE = "a key in the settings"
"""What a key without a file of its own is called."""


class KeyText(KeyFile):
    """A key that stands in the settings themselves: it never changes, and has no name to show."""

    def __init__(self, text: str) -> None:
        super().__init__(INSIDE, math.inf)
        self._text = text

    def load(self, now: float) -> None:
        """Read it. Raises `ConfigError`, which does not quote it."""
        self.keys = KeySet.load(self._text.encode(), self.name)
        self.confirmed = now

    def look(self, now: float) -> None:
        """It is as it was."""
        self.confirmed = now


class KeyFolder:
    """A folder of ``{kid}.jwk`` files, each with one key of just that name."""

    def __init__(self, path: str, max_stale: float, log: Log = silent) -> None:
        self.name = path
        self.keys = KeySet()
        self.problem: str | None = None
        """Why the folder cannot be listed, or ``None``."""
        self._max_stale = max_stale
        self._log = log
        self._files: dict[str, KeyFile] = {}
        self._ignored: frozenset[str] = frozenset()

    @property
    def fetches(self) -> int:
        """Times a file was read, of those that are still there."""
        return sum(file.fetches for file in self._files.values())

    @property
    def failures(self) -> int:
        """Times a file became unusable, of those that are still there."""
        return sum(file.failures for file in self._files.values())

    @property
    def confirmed(self) -> float | None:
        """When the file that was found well longest ago was; ``None`` without one."""
        times = [file.confirmed for file in self._files.values() if file.confirmed is not None]
        return min(times, default=None)

    def load(self, now: float) -> None:
        """Read it for the first time. Raises `ConfigError` when it cannot be listed.

        A file that cannot be used is named in the log, and tried again at every look.
        """
        try:
            kids = self._list()
        except OSError as error:
            raise ConfigError(f"{self.name}: {error.strerror or error}") from None
        self._refresh(kids, now)

    def look(self, now: float) -> None:
        """See what changed. ``now`` is monotonic seconds."""
        try:
            kids = self._list()
            if self.problem is not None:
                self._log("key folder readable again", folder=self.name)
            self.problem = None
        except OSError as error:
            kids = []
            why = error.strerror or str(error)
            if why != self.problem:
                self._log("key folder not readable", folder=self.name, why=why)
            self.problem = why
        self._refresh(kids, now)

    def _refresh(self, kids: list[str], now: float) -> None:
        before = [file.keys for file in self._files.values()]
        for kid in kids:
            if kid not in self._files and len(self._files) < MAX_FOLDER:
                path = os.path.join(self.name, kid + SUFFIX)
                read = partial(_named, kid)
                self._files[kid] = KeyFile(path, self._max_stale, self._log, read)
        for kid, file in list(self._files.items()):
            file.look(now)
            if file.gone:
                del self._files[kid]
        after = [file.keys for file in self._files.values()]
        if not are_same(before, after):
            self.keys = KeySet.gather(*after)

    def _list(self) -> list[str]:
        """The ids of the keys that are filed here. Raises `OSError`."""
        stems = sorted(
            name.removesuffix(SUFFIX)
            for name in os.listdir(self.name)
            if name.endswith(SUFFIX) and not name.startswith(".")
        )
        kids = [stem for stem in stems if is_kid(stem)]
        ignored = frozenset(stems).difference(kids) | frozenset(kids[MAX_FOLDER:])
        for stem in sorted(ignored - self._ignored)[:8]:
            why = "too many keys" if is_kid(stem) else "its name is no key id"
            self._log("key file ignored", file=os.path.join(self.name, stem + SUFFIX), why=why)
        self._ignored = ignored
        return kids[:MAX_FOLDER]


def _named(kid: str, data: bytes, name: str) -> KeySet:
    return KeySet.load_named(data, kid, name)


def _signature(path: str) -> Signature:
    """What changes when a file does. Raises `OSError`; also for what is no file or too large."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError("not a file")
    if found.st_size > MAX_KEY_FILE:
        raise OSError(f"larger than {MAX_KEY_FILE} bytes")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
