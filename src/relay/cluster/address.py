"""Addresses of relays: what to dial, what it costs, and which of them mean the same relay.

A relay is known by its URL without the query. This module must not know how anything is dialled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from relay.errors import ConfigError
from relay.peer.settings import NEAR

SCHEMES = {"https": 443, "moqt": 443, "moql": 443, "wss": 443, "ws": 80, "tcp": None}
"""Schemes that can be dialled, and their ports where they have one."""

MAX_COST = 2**32
"""Largest price of a link; a chain of such links still fits where prices are written."""

MAX_ADDRESS = 8192
"""Characters of an address, token included."""


_NO_HOST = re.compile(r'[@%<>"{}|\\^`]')
"""What stands in no host's name, nor in its address or port (RFC 3986, 3.2.2)."""


class Address(NamedTuple):
    """One relay to dial."""

    key: str
    """Which relay it is: the URL in one spelling, without query."""
    url: str
    """What to dial, with everything but the price."""
    cost: int | None = None
    """Price of pulling from it; ``None`` = as it says, else 1."""

    @property
    def is_near(self) -> bool:
        """Whether it is another process of this relay, which asks for no token."""
        return self.url.startswith(f"{NEAR}:")

    @property
    def has_token(self) -> bool:
        """Whether the URL brings a token of its own."""
        return any(name == "jwt" and value for name, value in _query(self.url))

    def with_token(self, token: str) -> str:
        """The URL with ``token``, unless it brings one."""
        if not token or self.has_token:
            return self.url
        kept = [(name, value) for name, value in _query(self.url) if name != "jwt"]
        return urlsplit(self.url)._replace(query=urlencode([*kept, ("jwt", token)])).geturl()


def is_place(url: str) -> bool:
    """Whether a URL leads below the top of that relay, where other guests have the same names."""
    return bool(urlsplit(url).path.strip("/")) and not url.startswith(f"{NEAR}:")


def near(index: int, place: str) -> Address:
    """Another process of this relay, at a unix socket; what comes from there costs nothing."""
    return Address(f"worker {index}", f"{NEAR}:{place}", 0)


def parse(text: str) -> Address:
    """``https://host:port/path?jwt=…&cost=…``; a bare ``host:port`` means ``https://``.

    Raises `ConfigError`, whose message never repeats the query.
    """
    if len(text) > MAX_ADDRESS:
        raise ConfigError(f"an address of more than {MAX_ADDRESS} characters")
    shown, mark, query = text.partition("?")
    whole = text if "://" in shown else f"https://{shown}/{mark}{query}"
    if not text.isprintable() or " " in text:
        raise ConfigError(f"{shown!r} is no URL: it holds characters that none has")
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{shown!r} is no URL: {error}") from None
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise ConfigError(f"{shown!r} cannot be dialled: expected one of {known}")
    if not parts.hostname or port == 0 or _NO_HOST.search(parts.netloc):
        raise ConfigError(f"{shown!r} names no host")
    if port is None and SCHEMES[scheme] is None:
        raise ConfigError(f"{shown!r} names no port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = host if port in (None, SCHEMES[scheme]) else f"{host}:{port}"
    path = parts.path or "/"
    cost: int | None = None
    kept = []
    for name, value in _query(whole):
        if name == "cost":
            cost = _price(value, shown)
        else:
            kept.append((name, value))
    key = urlunsplit((scheme, netloc, path.rstrip("/") or "/", "", ""))
    return Address(key, urlunsplit((scheme, netloc, path, urlencode(kept), "")), cost)


def written(entry: Any) -> str:
    """The address of an entry of a list of relays: as text, or as upstream's newer tables say it:
    ``{url, cost, egress, token}``. Raises `ConfigError`, whose message never repeats the token.
    """
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, Mapping) or not isinstance(url := entry.get("url"), str):
        raise ConfigError("expected a URL, or a table with a url")
    if strange := sorted(set(entry) - {"url", "cost", "egress", "token"}):
        raise ConfigError(f"a relay has no {strange[0]!r}: expected url, cost, egress and token")
    if "#" in url:
        raise ConfigError("a URL with a #, behind which nothing is sent")
    cost, token = entry.get("cost"), entry.get("token") or ""
    price = 1 if cost is None else cost
    if any(type(each) is not int for each in (price, entry.get("egress", price))):
        raise ConfigError("cost and egress are whole numbers")
    if entry.get("egress", price) != price:
        raise ConfigError("egress differs from cost: a link has one price for both ways")
    if not isinstance(token, str):
        raise ConfigError("token is text")
    try:
        said = {name for name, value in _query(url) if value}
        token.encode()  # JSON has half surrogate pairs as well, which nobody can write
    except ValueError:
        raise ConfigError(f"{url.partition('?')[0]!r} is no URL, or its token no text") from None
    for names, name in ((("cost", "egress"), "cost"), (("token",), "jwt")):
        if name in said and any(entry.get(each) not in (None, "") for each in names):
            raise ConfigError(f"{names[0]} stands beside ?{name}= in the URL; keep one of the two")
    added = {"cost": cost, "jwt": token or None}
    fresh = urlencode({name: value for name, value in added.items() if value is not None})
    return url if not fresh else f"{url}{'&' if '?' in url else '?'}{fresh}"


def advertised(path: str) -> str:
    """The URL that a relay announced as a path, where slashes in a row have become one."""
    scheme, slash, rest = path.partition("/")
    return f"{scheme}//{rest}" if slash and scheme.endswith(":") else path


def _query(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)


def _price(value: str, shown: str) -> int:
    digits = len(str(MAX_COST))  # beyond some thousand, reading them is an error of its own
    if not re.fullmatch(rf"[0-9]{{1,{digits}}}", value) or int(value) > MAX_COST:
        raise ConfigError(f"{shown!r}: cost is a whole number up to {MAX_COST}")
    return int(value)
