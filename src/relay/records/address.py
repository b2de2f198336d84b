"""Where the store is: the URL of a setting, read without opening anything.

The law: a URL is understood or refused here, and its password appears in no text that is shown.
This module must not know how a store is opened.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path as File
from urllib.parse import unquote, urlsplit

from relay.errors import ConfigError

_EXPECTED = "expected sqlite:///file.db or postgresql://user:password@host/database"
_POSTGRES = re.compile(r"postgres(?:ql)?://")
_WHO = re.compile(r"([^:/@]*)(?::[^@]*)?@")
"""User and password, to the driver: ``/``, ``?`` and ``#`` before the ``@`` are part of it."""

_QUERY = re.compile(r"\?(?=\w+=)")
"""Where a query begins that says something."""


@dataclass(frozen=True, slots=True)
class Address:
    """One store."""

    driver: str = field(repr=False)
    """The URL as the driver wants it, password included."""
    shown: str
    """The URL for logs and errors."""
    file: File | None
    """The file of SQLite; ``None`` for PostgreSQL."""


def read_address(url: str) -> Address:
    """Read ``sqlite:///relay.db`` (relative), ``sqlite:////var/relay.db`` or ``postgresql://…``.

    ``sqlite:///~/relay.db`` is in the home of whoever runs this. The driver reads escapes
    (``%25``) in the name of a file, and so do we. Raises `ConfigError`, which does not quote it.
    """
    if url.startswith("sqlite:///"):
        name = _at_home(url.removeprefix("sqlite:///"))
        decoded = unquote(name)
        if not name or "?" in name or "#" in name or "\0" in decoded or decoded == ":memory:":
            raise ConfigError("expected the name of a file after sqlite:///")
        return Address(f"sqlite+aiosqlite:///{name}", url, File(decoded))
    if _POSTGRES.match(url):
        rest = _POSTGRES.sub("", url)
        return Address(f"postgresql+asyncpg://{rest}", _without_password(rest), None)
    raise ConfigError(_EXPECTED)


def _without_password(rest: str) -> str:
    """What of a server's URL may be shown; ``rest`` is what follows its scheme."""
    found = _WHO.match(rest)
    if found and "password=" in found[0]:
        raise ConfigError(f"{_EXPECTED}; in a query @ is written %40")
    # An @ that is left is of the password, whatever the driver makes of it.
    place = _QUERY.split(rest[found.end() if found else 0 :], maxsplit=1)[0].rpartition("@")[2]
    try:
        parts = urlsplit(f"//{place}")
    except ValueError:
        raise ConfigError(_EXPECTED) from None
    who = f"{found[1]}@" if found and found[1] else ""
    return f"postgresql://{who}{parts.netloc}{parts.path}"


def beside(folder: File, url: str) -> str:
    """The URL with a relative file name made relative to ``folder``; any other as it is."""
    name = _at_home(url.removeprefix("sqlite:///"))
    if name == url or not name or name.startswith("/"):
        return url
    return f"sqlite:///{File(_escaped(folder)) / name}"


def _at_home(name: str) -> str:
    """The name with a home in place of a leading ``~/``."""
    home = File(os.path.expanduser("~"))
    return _escaped(home) + name[1:] if name.startswith("~/") else name


def url_of(file: File) -> str:
    """The URL of the store in a file."""
    return f"sqlite:///{_escaped(file)}"


def _escaped(file: File) -> str:
    """A name without what would mean something else in a URL."""
    return str(file).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
