"""The small parts that a relay is assembled from, each made from settings or from nothing.

A client of our own takes some of them as well. This module must not know the relay.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from relay.config import Settings
from relay.errors import ConfigError
from relay.net.tls import Certificates, Choice

LAPTOP = ("localhost", "127.0.0.1", "::1")
"""Names in a certificate that nobody gave names for."""


def draw_id() -> int:
    """A hop id: non-zero and below 2^53, so that every client can read it."""
    return secrets.randbelow(2**53 - 1) + 1


def load_certificates(settings: Settings) -> Choice:
    """The pairs of ``[server.tls]``. Raises `ConfigError`."""
    tls = settings.server.tls
    if tls.cert and tls.key:
        try:
            return Choice(*map(Certificates.from_files, tls.cert, tls.key))
        except ConfigError as error:
            raise ConfigError(f"server.tls: {error}") from None
    return Choice(Certificates.generated(tls.generate or LAPTOP))


async def contained(
    work: Coroutine[Any, Any, None], escaped: Callable[[BaseException], None]
) -> None:
    """What is done for one session: an error that nobody foresaw must not end those of others."""
    try:
        await work
    except Exception as error:
        escaped(error)
