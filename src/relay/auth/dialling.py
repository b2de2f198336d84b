"""What a client that dials a URL says at the door, for whoever asks about it without dialling.

The law: a text that begins with no scheme is path and query as a session brings them, and no
character of it is lost on the way to the decision; the path of a URL is escaped as clients escape
it. This module must not know keys, or what is decided.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from relay.auth.domains import placed
from relay.auth.request import Request
from relay.errors import BadRequest
from relay.path import as_dialled, within

SCHEMES = {
    "https": "webtransport",
    "http": "webtransport",
    "moqt": "quic",
    "moql": "quic",
    "wss": "websocket",
    "ws": "websocket",
    "tcp": "tcp",
    "unix": "unix",
}
"""How a URL's scheme is dialled."""

TRANSPORTS = (*dict.fromkeys(SCHEMES.values()), "http")
"""Ways to come in."""

_NAMES_HOST = ("webtransport", "websocket")
"""Ways to come in on which the client says which host it dialled."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def dialled(url: str, transport: str | None = None, domains: Sequence[str] = ()) -> Request:
    """The request of a client that dials ``url``, or only its path and query.

    ``transport`` is how it comes, by default what the scheme says, ``domains`` the relay's
    ``auth.domains``. Raises `BadRequest`.
    """
    if _CONTROL.search(url):
        raise BadRequest("control characters in the URL")
    scheme = _SCHEME.match(url)
    if scheme is None:
        return _request(url, transport or "webtransport")
    by_scheme = SCHEMES.get(scheme[1].lower())
    if by_scheme is None:
        raise BadRequest(f"expected a path, or a URL with one of {', '.join(SCHEMES)}")
    try:
        parts = urlsplit(url)
        _ = parts.port  # may be none that there is
    except ValueError:
        raise BadRequest("expected a path or a URL") from None
    if by_scheme == "unix":
        target = within(parts.query)
    else:
        target = as_dialled(parts.path) + (f"?{parts.query}" if parts.query else "")
    transport = transport or by_scheme
    if transport in _NAMES_HOST:
        target = placed(target, parts.hostname or "", domains)
    return _request(target, transport)


def _request(target: str, transport: str) -> Request:
    return Request(target=target, transport=transport, is_address=transport == "http")
