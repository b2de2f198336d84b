"""The audit log, told to a server of the operator's by POST as it is written.

The law: a POST goes only to an address that was judged, is signed, and is tried again for a bounded
time, so that it may come twice; what waits is bounded, and what was left out is counted and told.
This module must not know what entries mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from email.utils import parsedate_to_datetime

import httpx

from relay.errors import ConfigError, in_words
from relay.keyring.fetch import (
    FetchError,
    Resolve,
    first_reached,
    open_addresses,
    open_client,
    request_at,
    resolve,
)
from relay.records.audit import Entry
from relay.records.settings import AuditSettings

BATCH = 100
"""Entries of one POST."""

TRIES = 8
"""Times that one POST is tried; then its entries are left out."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds after the first failure; twice as many after each further one, up to the longest. A
server may wish for more (Retry-After), up to that."""

FAREWELL = 2.0
"""Seconds in which what still waits is told when the relay stops; then it is left out."""

SIGNATURE = "x-relay-signature"
"""``t=<unix seconds>,v1=<hex>``: HMAC-SHA256 of ``<unix seconds>.<body>`` under the secret."""

MAX_SECRET = 4096
"""Bytes of a file that holds the secret."""


class Busy(FetchError):
    """The server did not take it."""

    def __init__(self, status: int, wait: float) -> None:
        """``wait`` is how many seconds it wishes to be left alone, as far as it says."""
        super().__init__(f"HTTP status {status}", status)
        self.wait = wait


def seconds_of(retry_after: str, now: float) -> float:
    """How long a ``Retry-After`` asks to wait (RFC 9110, 10.2.3); 0 for what says nothing."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


class Webhook:
    """One server that is told."""

    def __init__(
        self,
        settings: AuditSettings,
        log: Callable[..., None],
        wall: Callable[[], float],
        resolve: Resolve = resolve,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``transport`` stands in for the network. Raises `ConfigError` without a secret."""
        assert settings.webhook is not None
        self._settings = settings
        self._url = settings.webhook
        self._secret = read_secret(settings)
        self._log = log
        self._wall = wall
        self._resolve = resolve
        self._transport = transport
        self._queue: deque[Entry] = deque()
        self._batch: list[Entry] = []
        """What is being told."""
        self._missed = 0
        """Entries that were left out, of which no POST has told yet."""
        self._came = asyncio.Event()

    def note(self, entry: Entry) -> None:
        """Have it told. The oldest make room."""
        if len(self._queue) >= self._settings.webhook_queue:
            self._queue.popleft()
            self._missed += 1
        self._queue.append(entry)
        self._came.set()

    async def run(self) -> None:
        """Tell what comes, for ever. Whoever calls owns the task."""
        async with self._client() as client:
            while True:
                await self._came.wait()
                self._came.clear()
                await self._tell_all(client)

    async def close(self) -> None:
        """Tell what waits, and wait for that no longer than `FAREWELL`."""
        if self._batch or self._queue:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL), self._client() as client:
                    await self._tell_all(client)
        if left := len(self._batch) + len(self._queue):
            self._log("warning", detail=f"audit.webhook: {left} entries not told, the relay stops")

    def _client(self) -> httpx.AsyncClient:
        return open_client(self._transport, ssl.create_default_context())

    async def _tell_all(self, client: httpx.AsyncClient) -> None:
        while self._batch or self._queue:
            if not self._batch:
                many = min(BATCH, len(self._queue))
                self._batch = [self._queue.popleft() for _ in range(many)]
            await self._tell(client, self._batch)
            self._batch = []

    async def _tell(self, client: httpx.AsyncClient, batch: list[Entry]) -> None:
        missed = self._missed
        body = json.dumps({"entries": [asdict(entry) for entry in batch], "missed": missed})
        pause = FIRST_PAUSE
        for attempt in range(1, TRIES + 1):
            try:
                async with asyncio.timeout(self._settings.webhook_timeout):
                    await self._post(client, body.encode())
            except (FetchError, httpx.HTTPError, OSError, TimeoutError, ValueError) as error:
                if attempt == TRIES:
                    self._missed += len(batch)
                    self._log("warning", detail=f"audit.webhook: not told, {in_words(error)}")
                    return
                wished = error.wait if isinstance(error, Busy) else 0.0
                await asyncio.sleep(max(pause, min(wished, LONGEST_PAUSE)))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._missed -= missed
                return

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> None:
        """One attempt, at the addresses that may be connected to."""
        at = f"{int(self._wall())}"
        mark = hmac.digest(self._secret, at.encode() + b"." + body, hashlib.sha256).hex()
        headers = {
            "content-type": "application/json",
            "user-agent": "moq-relay",
            SIGNATURE: f"t={at},v1={mark}",
        }

        async def send(address: str, patience: httpx.Timeout) -> httpx.Response:
            request = request_at(address, "POST", self._url, headers, patience, body)
            return await client.send(request, stream=True)

        addresses = await self._addresses()
        response = await first_reached(addresses, self._settings.webhook_timeout, send)
        client.cookies.clear()
        await response.aclose()
        if not 200 <= response.status_code < 300:
            wished = response.headers.get("retry-after", "")
            raise Busy(response.status_code, seconds_of(wished, self._wall()))

    async def _addresses(self) -> list[str]:
        """Where the name may be connected to. Raises `FetchError` when that is nowhere."""
        is_private = self._settings.webhook_private
        allowed = await open_addresses(
            self._url, self._resolve, allow_http=False, allow_private=is_private
        )
        if not allowed:
            raise FetchError("an address that is not public: set audit.webhook_private")
        return allowed


def read_secret(settings: AuditSettings) -> bytes:
    """What POSTs are signed with. Raises `ConfigError` where there is none that can be used."""
    if settings.webhook_secret is not None:
        return settings.webhook_secret.encode()
    if settings.webhook_secret_file is None:
        raise ConfigError("audit.webhook: needs audit.webhook_secret or a file of it")
    try:
        with settings.webhook_secret_file.open("rb") as file:
            secret = file.read(MAX_SECRET).strip()
    except OSError as error:
        raise ConfigError(f"audit.webhook_secret_file: {error.strerror}") from None
    if len(secret) < 16:
        raise ConfigError("audit.webhook_secret_file: expected 16 characters or more")
    return secret
