"""The sources that ``[auth]`` names: files, folders, URLs, folders at URLs, issuers.

The law: their order is that of the settings, files before URLs, and it decides which of two keys of
one name is used. This module must not know when a source is looked at or asked.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from relay.auth.keys import KeySet
from relay.auth.settings import AuthSettings
from relay.auth.trust import KeySource, is_content, is_url
from relay.errors import ConfigError
from relay.keyring.fetch import Fetch, Fetcher
from relay.keyring.files import KeyFile, KeyFolder, KeyText, Log
from relay.keyring.issuer import Issuer
from relay.keyring.remote import Locate, Remote, at
from relay.keyring.remote_folder import RemoteFolder


class Source(Protocol):
    """What every source can say of itself."""

    name: str
    keys: KeySet
    """A new object exactly when the keys changed."""
    problem: str | None
    """What is wrong with it now, one line."""

    @property
    def fetches(self) -> int:
        """Times it was read or asked."""

    @property
    def failures(self) -> int:
        """Times nothing usable came of it."""

    @property
    def confirmed(self) -> float | None:
        """When its keys were last known to be right, monotonic seconds; ``None`` = not at all."""

    def look(self, now: float) -> None:
        """Notice what time and others did. ``now`` is monotonic seconds."""


class Sources:
    """All sources of one relay."""

    def __init__(
        self,
        settings: AuthSettings,
        log: Log,
        finished: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``finished`` is called when a URL has answered or failed; ``tls`` is for URLs of the
        operator's own keys, where others are trusted than for those that somebody shows to all."""
        self.settings = settings
        self._log = log
        self._finished = finished
        self._fetcher = Fetcher(settings.fetch)
        self._own = Fetcher(settings.fetch, tls=tls)
        self.watched: list[KeyFile | KeyFolder] = []
        self.asked: list[Remote | RemoteFolder] = []
        self.adopted: list[Source] = []
        """Sources that somebody else keeps."""
        for place in settings.key_places:
            if is_url(place):
                self.asked.append(self._document(place))
            elif is_content(place):
                self.watched.append(KeyText(place))
            else:
                self.watched.append(self._file(place))
        if settings.key_dir is not None:
            self._add_folder(settings.key_dir)
        for source in settings.key_sets:
            if source.file is not None:
                self.watched.append(self._file(source.file, source))
            else:
                self.asked.append(self._published(source))

    @property
    def all(self) -> list[Source]:
        """Every source; where two have a key of one name, that of the first counts: what others
        publish takes no name from what is kept here."""
        return [*self.watched, *self.adopted, *self.asked]

    @property
    def silence(self) -> str:
        """Why a key that is not there may be good all the same, in words for the operator: a source
        did not answer when it was asked last. Empty where all did."""
        for source in self.asked:
            if source.silence is not None:
                return f"the key is not known, and {source.name} does not answer: {source.silence}"
        return ""

    def load(self) -> None:
        """Read the files. Raises `ConfigError` for one that cannot be used, and for two keys of one
        name."""
        now = time.monotonic()
        for source in self.watched:
            try:
                source.load(now)
            except ConfigError as error:
                raise ConfigError(f"auth: {error}") from None
        found = [source.keys for source in self.watched]
        KeySet.require_apart(*found, sources=[source.name for source in self.watched])
        if self.asked and any(key.kid is None for keys in found for key in keys.keys):
            raise ConfigError("auth: a key without kid in a file, and others by URL: give it one")

    async def close(self) -> None:
        """Let go of what was opened for fetching."""
        await self._fetcher.close()
        await self._own.close()

    def _file(self, path: str, source: KeySource | None = None) -> KeyFile:
        read = KeySet.load if source is None else partial(_expecting, source)
        return KeyFile(path, self.settings.fetch.max_stale, self._log, read)

    def _add_folder(self, place: str) -> None:
        fetch = self.settings.fetch
        if is_url(place):
            self.asked.append(
                RemoteFolder(
                    place,
                    shown(place),
                    self._own.fetch,
                    fetch,
                    time.monotonic,
                    self._log,
                    self._finished,
                )
            )
        else:
            self.watched.append(KeyFolder(place, fetch.max_stale, self._log))

    def _document(self, url: str) -> Remote:
        """A key file at a URL: in any form a file may have, with a name of our own alphabet."""
        return self._remote(url, at(url), partial(_halved, shown(url)), self._own.fetch)

    def _published(self, source: KeySource) -> Remote:
        """A set that somebody shows to everybody."""
        url = source.url or source.issuer or ""
        read = partial(_published, source, shown(url))
        if source.url is not None:
            return self._remote(url, at(url), read, foreign=True)
        issuer = Issuer(url, self._fetcher.fetch, time.monotonic)
        return self._remote(url, issuer.locate, read, issuer.fetch, foreign=True)

    def _remote(
        self,
        url: str,
        locate: Locate,
        read: Callable[[bytes], KeySet],
        fetch: Fetch | None = None,
        *,
        foreign: bool = False,
    ) -> Remote:
        return Remote(
            shown(url),
            locate,
            read,
            fetch or self._fetcher.fetch,
            self.settings.fetch,
            time.monotonic,
            self._log,
            self._finished,
            foreign=foreign,
        )


def shown(url: str) -> str:
    """A URL as it may stand in a log: its query can hold a secret."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def _halved(name: str, body: bytes) -> KeySet:
    return KeySet.load(body, name, halved=True)


def _published(source: KeySource, name: str, body: bytes) -> KeySet:
    return KeySet.load_published(body, name).expecting(source.issuer, source.audience)


def _expecting(source: KeySource, data: bytes, name: str) -> KeySet:
    return KeySet.load(data, name).expecting(source.issuer, source.audience)
