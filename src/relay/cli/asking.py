"""One HTTP question to a running relay, and why there was no answer, in plain words.

The law: what the network said is passed on, an address only by `shown`, since it may hold a token
or a password; and whoever answers is read no further and no longer than any relay's answer takes.
This module must not know what is asked.
"""

from __future__ import annotations

import json
import ssl
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from relay.errors import ConfigError, RelayError, in_words

MOST = 1 << 26
"""Bytes of an answer, unpacked: a relay's, with all that it may hold, is shorter."""

LONGEST = 60.0
"""Seconds that an answer may take once it has begun."""


class Closed(RelayError):
    """Nobody listens at that address, or whoever did has hung up."""


class Answer(NamedTuple):
    """What somebody answered, whatever that is."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is one of those that say yes."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The value in the body. Raises `ValueError`."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("brackets within brackets without an end") from None

    def members(self) -> dict[str, Any] | None:
        """Those of the JSON object in the body, ``None`` where there is no such thing."""
        try:
            found = self.json()
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def ask(method: str, url: str, of: str = "", **options: Any) -> Answer:
    """The answer; ``of`` is the address of whose it is, for people. Raises `RelayError`, `Closed`
    where the connection was refused or closed.

    HTTPS trusts the system's authorities, or those of ``SSL_CERT_FILE``.
    """
    nobody = f"no answer from {shown(of)}" if of else "no answer"
    try:
        is_plain = httpx.URL(url).scheme == "http"  # however somebody wrote it
        verify = False if is_plain else ssl.create_default_context()
        with httpx.stream(method, url, verify=verify, **options) as response:
            return Answer(response.status_code, response.headers, _read(response))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        text = in_words(error)
        if "CERTIFICATE_VERIFY_FAILED" in text:
            text += "; SSL_CERT_FILE=ca.pem names an authority that the system does not know"
        kind = Closed if _was_closed(error) else RelayError
        raise kind(f"{nobody}: {text}") from None


def _was_closed(error: BaseException | None) -> bool:
    """Whether the far side's refusing or closing is the cause; httpx has one word for that and for
    trouble with TLS."""
    if isinstance(error, httpx.RemoteProtocolError | ConnectionError):
        return True
    return error is not None and _was_closed(error.__context__)


def shown(url: str) -> str:
    """An address as it may be told: without who asks, and with what password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "that address"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _read(response: httpx.Response) -> bytes:
    """The whole body. Raises `ValueError` for one that is no relay's."""
    body, until = bytearray(), time.monotonic() + LONGEST
    for piece in response.iter_bytes():
        body += piece
        if len(body) > MOST:
            raise ValueError(f"it is longer than {MOST} bytes")
        if time.monotonic() > until:
            raise ValueError(f"it takes longer than {LONGEST:g} seconds")
    return bytes(body)


def one_word(credential: str, what: str) -> str:
    """A credential as a header can hold it. Raises `ConfigError`, which does not show it."""
    if not credential.isascii() or not credential.isprintable() or " " in credential:
        raise ConfigError(f"{what} is not one word")
    return credential
