"""One answer from one URL, or a sentence why not: the only place where keys are asked for.

The law: a name is looked up once and what is connected to is the address that was judged; size,
time and the number of redirects are bounded, and a redirect leads nowhere but to the same server.
This module must not know what the answer means or how often it is wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple, TypeVar

import httpx

from relay.auth.trust import FetchSettings, split_url
from relay.errors import RelayError
from relay.hosts import look_up
from relay.keyring.address import may_connect
from relay.keyring.caching import lifetime

MAX_REDIRECTS = 3
"""Redirects followed within one fetch, all of them to the same server."""

MAX_ADDRESSES = 8
"""Addresses of one name that are tried."""

MAX_ETAG = 1024
"""Characters of an entity tag that is sent back; longer ones are forgotten, and those that are not
ASCII, which no request of ours can carry."""

_REDIRECTS = (301, 302, 303, 307, 308)
_COMPRESSED = ("gzip", "x-gzip", "deflate", "br", "zstd", "compress")
_HEADERS = {
    "accept": "application/jwk-set+json, application/json, */*;q=0.1",
    "accept-encoding": "identity",  # so that nothing small can become something large
    "user-agent": "moq-relay",
}

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host name. Raises `OSError` when there is none."""


class FetchError(RelayError):
    """Nothing usable came. The message is one line for the log."""

    def __init__(self, message: str, status: int = 0) -> None:
        """``status`` is the HTTP status, where one came."""
        super().__init__(message)
        self.status = status


class Fetched(NamedTuple):
    """An answer."""

    body: bytes | None
    """``None`` = what was fetched before still holds (304)."""
    etag: str | None
    lifetime: float
    """Seconds for which it need not be asked for again."""


Fetch = Callable[[str, str | None], Awaitable[Fetched]]
"""Ask a URL, with the entity tag of what is known already. Raises `FetchError`."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a name."""
    found = await look_up(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def server_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises `ValueError`."""
    parts = split_url(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, parts.hostname or "", port


def never_asked(url: str, settings: FetchSettings) -> str:
    """Why a URL is not asked wherever its name leads; empty where it is. Raises `ValueError`."""
    if server_of(url)[0] == "http" and not (settings.allow_http or settings.allow_private):
        return "plain HTTP: use https, or set auth.fetch.allow_http"
    return ""


async def open_addresses(
    url: str, resolve: Resolve, *, allow_http: bool, allow_private: bool
) -> list[str]:
    """Where a URL's host, which may be an address itself, may be connected to; empty = nowhere.

    Raises `FetchError` for a name without any address, else as ``resolve`` does.
    """
    scheme, host, port = server_of(url)
    try:
        found = [str(ip_address(host))]
    except ValueError:
        found = await resolve(host, port)
    if not found:
        raise FetchError("the name has no address")
    bounds = {"allow_http": allow_http, "allow_private": allow_private}
    allowed = [each for each in dict.fromkeys(found) if may_connect(each, scheme, **bounds)]
    return allowed[:MAX_ADDRESSES]


def request_at(
    address: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    patience: httpx.Timeout,
    content: bytes | None = None,
) -> httpx.Request:
    """A request to one address of a URL's host, whose name still goes into ``Host`` and decides
    about the certificate."""
    named = httpx.URL(url)
    return httpx.Request(
        method,
        named.copy_with(host=address),
        content=content,
        headers={**headers, "host": named.netloc.decode("ascii")},
        extensions={
            "sni_hostname": named.raw_host.decode("ascii"),
            "timeout": patience.as_dict(),
        },
    )


def open_client(
    transport: httpx.AsyncBaseTransport | None, tls: ssl.SSLContext
) -> httpx.AsyncClient:
    """A client that goes where it is told: no proxies, no redirects, no connection kept open."""
    return httpx.AsyncClient(
        transport=transport,
        verify=tls,
        trust_env=False,
        follow_redirects=False,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


_Said = TypeVar("_Said")


async def first_reached(
    addresses: Sequence[str], seconds: float, ask: Callable[[str, httpx.Timeout], Awaitable[_Said]]
) -> _Said:
    """What is said at the first of a name's addresses that takes the connection, ``seconds`` for
    all of it. A silent one must leave time for the others, and for the answer.

    Raises what ``ask`` raised at the last one.
    """
    share = seconds if len(addresses) == 1 else seconds / (len(addresses) + 1)
    patience = httpx.Timeout(seconds, connect=share)
    *others, last = addresses
    for address in others:
        with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
            return await ask(address, patience)
    return await ask(last, patience)


class Fetcher:
    """Asks URLs under one set of limits. ``close`` it at the end."""

    def __init__(
        self,
        settings: FetchSettings,
        resolve: Resolve = resolve,
        transport: httpx.AsyncBaseTransport | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``transport`` and ``tls`` stand in for the network and the system's authorities."""
        self.settings = settings
        self._resolve = resolve
        self._transport = transport
        self._tls = tls
        self._client: httpx.AsyncClient | None = None

    async def fetch(self, url: str, etag: str | None = None) -> Fetched:
        """Ask ``url``. Raises `FetchError` and nothing else."""
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._follow(url, etag)
        except TimeoutError:
            raise FetchError(f"no whole answer within {self.settings.timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise FetchError(_reason(error)) from None
        except ValueError as error:
            raise FetchError(f"not a URL that can be asked: {error}") from None

    async def close(self) -> None:
        """Let go of what was opened."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _follow(self, url: str, etag: str | None) -> Fetched:
        here = url
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._ask(here, etag)
            if isinstance(answer, Fetched):
                return answer
            there = str(httpx.URL(here).join(answer))
            if server_of(there) != server_of(here):
                raise FetchError("a redirect to another server, not followed")
            here = there
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    async def _ask(self, url: str, etag: str | None) -> Fetched | str:
        """The answer, or where a redirect leads."""
        addresses = await self._addresses(url)
        ask = functools.partial(self._ask_at, url, etag)
        return await first_reached(addresses, self.settings.timeout, ask)

    async def _addresses(self, url: str) -> list[str]:
        """Where it may be asked. Raises `FetchError` when that is nowhere."""
        if why := never_asked(url, self.settings):
            raise FetchError(why)
        allow_http, allow_private = self.settings.allow_http, self.settings.allow_private
        allowed = await open_addresses(
            url, self._resolve, allow_http=allow_http, allow_private=allow_private
        )
        if not allowed and allow_private:
            raise FetchError("plain HTTP to a public address: set auth.fetch.allow_http")
        if not allowed:
            raise FetchError("an address that is not public: set auth.fetch.allow_private")
        return allowed

    async def _ask_at(
        self, url: str, etag: str | None, address: str, patience: httpx.Timeout
    ) -> Fetched | str:
        """Ask one address."""
        known = {} if etag is None else {"if-none-match": etag}
        request = request_at(address, "GET", url, _HEADERS | known, patience)
        client = self._opened()
        response = await client.send(request, stream=True)
        client.cookies.clear()
        try:
            return await self._read(response, etag)
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response, etag: str | None) -> Fetched | str:
        headers = response.headers
        if response.status_code in _REDIRECTS and "location" in headers:
            return str(headers["location"])
        tag = headers.get("etag")
        tag = tag if tag is not None and len(tag) <= MAX_ETAG and tag.isascii() else None
        if response.status_code == 304 and etag is not None:
            return Fetched(None, tag or etag, self._lifetime(headers))
        if response.status_code != 200:
            raise FetchError(f"HTTP status {response.status_code}", response.status_code)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise FetchError("a web page instead of keys (text/html)")
        if (coding := headers.get("content-encoding", "").strip().lower()) in _COMPRESSED:
            raise FetchError(f"a body in {coding}, which was not asked for")
        return Fetched(await self._body(response), tag, self._lifetime(headers))

    async def _body(self, response: httpx.Response) -> bytes:
        """All of the body as it was sent, or as soon as it is too much an error."""
        body = bytearray()
        most = self.settings.max_bytes
        said = response.headers.get("content-length", "")
        if said.isdigit() and len(said) < 20 and int(said) > most:
            raise FetchError(f"a body of {said} bytes (at most {most})")
        async for part in response.aiter_raw():
            body += part
            if len(body) > most:
                raise FetchError(f"a body of more than {most} bytes")
        return bytes(body)

    def _lifetime(self, headers: httpx.Headers) -> float:
        return lifetime(
            headers.get("cache-control", ""),
            headers.get("age", ""),
            default=self.settings.default_age,
            least=self.settings.min_interval,
            most=max(self.settings.max_age, self.settings.min_interval),
        )

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = open_client(self._transport, self._tls or _authorities())
        return self._client


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Those of the system. Reading them takes long enough to do it once."""
    return ssl.create_default_context()


def _reason(error: Exception) -> str:
    """One line about what the network said; a URL in it would only be repeated."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}{f': {text}' if text else ''}"
