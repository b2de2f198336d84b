"""The link to an authorization server: one question, one JSON answer, within a deadline.

The law: plain HTTP stays on this machine, redirects and proxies are not followed, an answer is read
up to a limit and a deadline and never unpacked; whatever is not a clear answer is `Unreachable`.
Errors name the host and never the address, which may hold a credential. This module must not know
what is asked.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path as File
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

from relay.auth.compact import parse_object, to_json
from relay.errors import ConfigError, RelayError, in_words
from relay.net.followed import Followed
from relay.net.trust import tls_context
from relay.sidecar.address import check_url

DEADLINE = 8.0
"""Seconds for one question from the dial to the last byte of the answer. moq-auth 0.2 has ten; but
guests give up ten seconds after they dialled, and so does the door: by then they are told why."""

MAX_ANSWER = 256 * 1024
"""Bytes of an answer; a longer one is no answer."""

MAX_CONNECTIONS = 64
"""Connections to the server at a time; further questions wait, within their deadline."""

MAX_REFUSAL = 256
"""Characters of a refusal's text that are kept."""


_Said = TypeVar("_Said")


class Unreachable(RelayError):
    """No usable answer: the server is down, slow, or says something that is no answer."""

    status = 502


class Reply(NamedTuple):
    """A clear answer."""

    refusal: tuple[int, str] | None
    """Status (401 or 403) and text of a no."""
    members: dict[str, Any]
    """The JSON object of a yes."""


class Link:
    """Asks one server. Use it as an async context manager, or `close` it.

    ``tls`` is for ``https`` servers: whom to trust and which certificate to show. Raises
    `ConfigError` for an address nobody should be asked at.
    """

    def __init__(
        self, url: str, tls: ssl.SSLContext | None = None, deadline: float = DEADLINE
    ) -> None:
        target, socket = check_url(url)
        secure = target.startswith("https:")
        self.host = "the socket" if socket else (urlsplit(target).hostname or "")
        self._url = target
        self._deadline = deadline
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                # Plain HTTP needs no authorities, and reading them takes time.
                verify=(tls or ssl.create_default_context()) if secure else False,
                uds=socket,
                limits=httpx.Limits(
                    max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS
                ),
            ),
            follow_redirects=False,
            trust_env=False,
            timeout=deadline,
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    async def __aenter__(self) -> Link:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()

    async def post(self, members: dict[str, Any]) -> Reply:
        """Ask by POST. Raises `Unreachable`."""
        return await self._ask("POST", self._url, self._read, to_json(members))

    async def get(self, query: Sequence[tuple[str, str]]) -> Reply:
        """Ask by GET; ``query`` is added to the address's own. Raises `Unreachable`."""
        merged = httpx.URL(self._url)
        for name, value in query:
            merged = merged.copy_add_param(name, value)
        return await self._ask("GET", str(merged), self._read)

    async def tell(self, members: dict[str, Any] | None = None, path: str = "") -> None:
        """Say something by POST that needs no answer; ``path`` is appended to the address.

        Raises `Unreachable` unless it was taken (2xx).
        """
        url = self._url.rstrip("/") + path if path else self._url
        body = b"" if members is None else to_json(members)
        await self._ask("POST", url, self._taken, body)

    async def _ask(
        self,
        method: str,
        url: str,
        read: Callable[[httpx.Response], Awaitable[_Said]],
        body: bytes | None = None,
    ) -> _Said:
        headers = {"content-type": "application/json"} if body else {}
        try:
            async with asyncio.timeout(self._deadline):
                request = self._http.build_request(method, url, content=body, headers=headers)
                response = await self._http.send(request, stream=True)
                try:
                    return await read(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise Unreachable(f"{self.host} did not answer in {self._deadline:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unreachable(f"{self.host}: {in_words(error)}") from None

    async def _taken(self, response: httpx.Response) -> None:
        if not 200 <= response.status_code < 300:
            raise Unreachable(f"{self.host} answered {response.status_code}")

    async def _read(self, response: httpx.Response) -> Reply:
        status = response.status_code
        if status in (401, 403):
            text = (await self._content(response, cut=True)).decode("utf-8", "replace")
            return Reply((status, _one_line(text)), {})
        if not 200 <= status < 300:
            raise Unreachable(f"{self.host} answered {status}")
        try:
            return Reply(None, parse_object(await self._content(response)))
        except ValueError as error:
            raise Unreachable(f"{self.host} answered with what is {error}") from None

    async def _content(self, response: httpx.Response, cut: bool = False) -> bytes:
        """The body, as long as it may be. With ``cut`` the rest is left unread."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Unreachable(f"{self.host} answered packed, unasked")
        kept = bytearray()
        async for chunk in response.aiter_raw():
            kept += chunk
            if len(kept) > MAX_ANSWER:
                if cut:
                    break
                raise Unreachable(f"{self.host} answered more than {MAX_ANSWER} bytes")
        return bytes(kept[:MAX_ANSWER])


class Files(Protocol):
    """``[client.tls]``, as far as files are concerned."""

    @property
    def root(self) -> Sequence[File]:
        """Authorities."""

    @property
    def cert(self) -> File | None:
        """What is shown."""

    @property
    def key(self) -> File | None:
        """Its key."""


class ShownTls(ssl.SSLContext):
    """Whom to trust and what to show, as files say; new connections follow them.

    Made by `client_tls`. Connections keep what they began with; files that cannot be used are told
    once per change, and what was read before stays.
    """

    def __new__(cls, *args: Any, **named: Any) -> ShownTls:
        """A client's."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(
        self,
        roots: Sequence[File],
        cert: File | None,
        key: File | None,
        log: Callable[..., None],
        system: bool = False,
    ) -> None:
        """Raises `ConfigError`."""
        self._files = (roots, cert, key, system)
        self._log = log
        self._turn = threading.Lock()
        self._followed = Followed(*roots, *(file for file in (cert, key) if file is not None))
        self._current = _load(*self._files)

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """A connection begins, as the files are now; off the event's loop, in any thread."""
        with self._turn:
            self._reload_if_changed()
            current = self._current
        return current.wrap_bio(*args, **named)

    def _reload_if_changed(self) -> None:
        if not self._followed.have_changed():
            return
        try:
            self._current = _load(*self._files)
        except ConfigError as error:
            self._log("client.tls not reloaded, the old one stays", why=str(error))
        else:
            self._log("client.tls reloaded")


def client_tls(
    roots: Sequence[File], cert: File | None, key: File | None, log: Callable[..., None]
) -> ssl.SSLContext:
    """Whom to trust (``roots``, or the system's) and what to show; files are followed.

    Raises `ConfigError`.
    """
    return ShownTls(roots, cert, key, log) if roots or cert else ssl.create_default_context()


def key_tls(files: Files, log: Callable[..., None]) -> ssl.SSLContext | None:
    """The same for the operator's keys, which may stand anywhere: the system's authorities are
    trusted as well. ``None`` where nobody else is and nothing is shown.

    Raises `ConfigError`.
    """
    if not (files.root or files.cert):
        return None
    return ShownTls(files.root, files.cert, files.key, log, system=True)


def _load(
    roots: Sequence[File], cert: File | None, key: File | None, system: bool
) -> ssl.SSLContext:
    context = tls_context(roots, cert, key, "client.tls.")
    if system:
        context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _one_line(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return shown[:MAX_REFUSAL]
