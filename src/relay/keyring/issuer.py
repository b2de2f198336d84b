"""An OpenID Connect issuer: where it says its keys are (Discovery 1.0, sections 3 and 4).

The law: the document must name the very issuer that was asked, and its keys may be anywhere that
keys may be fetched from, but not over plain HTTP when the issuer itself is not. This module must
not know what is at the place it finds.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.auth.compact import parse_object
from relay.auth.reason import quoted
from relay.auth.trust import split_url
from relay.keyring.fetch import Fetch, Fetched, FetchError

WELL_KNOWN = "/.well-known/openid-configuration"
"""Where an issuer describes itself."""


class Issuer:
    """One issuer, by the URL that its tokens name as ``iss``."""

    def __init__(self, issuer: str, fetch: Fetch, clock: Callable[[], float]) -> None:
        self.issuer = issuer
        self.url = issuer.rstrip("/") + WELL_KNOWN
        self._fetch = fetch
        self._clock = clock
        self._etag: str | None = None
        self._found: str | None = None
        self._fresh = -float("inf")

    async def locate(self) -> str:
        """The URL of the issuer's keys. Raises `FetchError`."""
        if self._found is not None and self._clock() < self._fresh:
            return self._found
        began = self._clock()
        try:
            answer = await self._fetch(self.url, self._etag)
        except FetchError as error:
            raise FetchError(f"discovery: {error}") from None
        if answer.body is not None:
            self._found = jwks_uri(answer.body, self.issuer)
        if self._found is None:
            raise FetchError("discovery: nothing was said")
        self._etag = answer.etag
        self._fresh = began + answer.lifetime
        return self._found

    async def fetch(self, url: str, etag: str | None) -> Fetched:
        """Its keys, from where they were found; where they are is asked anew after a failure, since
        they may have moved. Raises `FetchError`."""
        try:
            return await self._fetch(url, etag)
        except FetchError:
            self._fresh = -float("inf")
            raise


def jwks_uri(body: bytes, issuer: str) -> str:
    """What a discovery document says about keys. Raises `FetchError`."""
    try:
        members = parse_object(body)
    except ValueError as error:
        raise FetchError(f"discovery: the document is {error}") from None
    named = members.get("issuer")
    if named != issuer:
        text = quoted(named) if isinstance(named, str) else "nobody"
        raise FetchError(f"discovery: the document is that of {text}")
    found = members.get("jwks_uri")
    if not isinstance(found, str):
        raise FetchError("discovery: no jwks_uri")
    try:
        parts = split_url(found)
    except ValueError as error:
        raise FetchError(f"discovery: jwks_uri: {error}") from None
    if parts.scheme != "https" and issuer.lower().startswith("https"):
        raise FetchError("discovery: keys over plain HTTP")
    return found
