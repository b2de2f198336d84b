"""Where an authorization server may be: over TLS, on this machine, or behind a socket file.

The law: an address that could carry a credential, in it or over a line anybody can read, is refused
when it is read, and no error shows any part of it. This module must not know how to dial.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from relay.auth.browser import is_loopback
from relay.errors import ConfigError


def check_url(url: str, setting: str = "auth.url") -> tuple[str, str | None]:
    """Where to ask: the address, and the socket to ask through for ``unix:`` ones.

    Raises `ConfigError`, one line that names ``setting`` and shows no part of the address.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"{setting}: not an address") from None
    if parts.username or parts.password:
        raise ConfigError(f"{setting}: a name or password in the address; use a certificate")
    if parts.fragment:
        raise ConfigError(f"{setting}: the address has a fragment (#…)")
    if parts.scheme == "unix" and not host and parts.path not in ("", "/"):
        return "http://localhost/", unquote(parts.path)
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{setting}: expected an https:// or unix:/ address")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(f"{setting}: plain http is for this machine only; use https")
    return url, None
