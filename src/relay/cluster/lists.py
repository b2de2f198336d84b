"""More relays to dial, from a file or a server, followed while the relay runs.

The law: a list is taken whole or not at all; while it cannot be had or read the last good one
holds, with a line in the log when that begins and one when it ends. This module must not know how a
list is fetched or what becomes of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from relay.cluster.address import Address, parse, written
from relay.cluster.roster import MAX_RELAYS
from relay.errors import ConfigError, RelayError

LOOK = 0.5
"""Seconds between looks at a file."""

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds between two questions to a server, whatever its answers say of their freshness."""

MAX_LIST = 1 << 20
"""Bytes of a list."""


class Answer(NamedTuple):
    """What a server said."""

    body: bytes | None
    """``None`` = what it said before still holds."""
    lifetime: float
    """Seconds until it should be asked again."""


Ask = Callable[[], Awaitable[Answer]]
"""Ask the server. Raises `RelayError`."""


def read(body: bytes) -> dict[str, Address]:
    """The relays of a list by key. Raises `ConfigError`."""
    if len(body) > MAX_LIST:
        raise ConfigError(f"a list of more than {MAX_LIST} bytes")
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError):
        raise ConfigError("it is no JSON") from None
    if not isinstance(listed, list):
        raise ConfigError("expected a JSON list of URLs")
    if len(listed) > MAX_RELAYS:
        raise ConfigError(f"more than {MAX_RELAYS} relays")
    found: dict[str, Address] = {}
    for each in listed:
        address = parse(written(each))
        if found.setdefault(address.key, address) != address:
            raise ConfigError(f"{address.key} is listed twice, differently")
    return found


def file_of(source: str) -> Path | None:
    """The file that ``cluster.connect_api`` names, or ``None`` for a server."""
    scheme = urlsplit(source).scheme
    if scheme in ("http", "https"):
        return None
    return Path(urlsplit(source).path) if scheme == "file" else Path(source)


class Lists:
    """Follows one list. ``changed`` is called with each new one."""

    def __init__(
        self,
        source: Path | Ask,
        changed: Callable[[dict[str, Address]], None],
        log: Callable[..., None],
    ) -> None:
        self._source = source
        self._changed = changed
        self._log = log
        self._is_good = True
        self._is_read = True
        """Whether what came last, which may hold still, makes sense."""
        self._body: bytes | None = None

    async def run(self) -> None:
        """Follow it, for ever."""
        while True:
            wait = await self.look()
            await asyncio.sleep(wait)

    async def look(self) -> float:
        """Look once; answers the seconds until the next look."""
        wait = LOOK if isinstance(self._source, Path) else SHORTEST
        try:
            if isinstance(self._source, Path):
                with self._source.open("rb") as file:
                    body: bytes | None = file.read(MAX_LIST + 1)
            else:
                body, lifetime = await self._source()
                wait = min(max(lifetime, SHORTEST), LONGEST)
            if body is not None:
                self._is_read = body == self._body
                if not self._is_read:
                    self._changed(read(body))
                    self._body, self._is_read = body, True
            if self._is_read and not self._is_good:
                self._log("relay list usable again")
            self._is_good = self._is_read
        except (RelayError, OSError) as error:
            if self._is_good:
                self._log("relay list not usable", why=str(error))
            self._is_good = False
        return wait
