"""How this relay reaches others: dialling for the cluster, asking for its list, passing on news.

Brings the cluster together with the rooms that it does not know: the network, the keys' fetcher and
the records. This module must not know what travels over a link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from relay.auth.revocation import Key, Revocation, key_of
from relay.auth.trust import FetchSettings
from relay.cluster.address import near
from relay.cluster.cluster import Cluster, Dial, Dialled
from relay.cluster.lists import Answer, Ask, file_of
from relay.config import Settings
from relay.errors import RelayError
from relay.keyring.fetch import Fetcher
from relay.net.detour import Detour
from relay.net.dial import dial, setup_target
from relay.net.local import dial_local
from relay.net.trust import DialTls
from relay.peer.door import Door
from relay.peer.settings import NEAR
from relay.records.desk import Desk
from relay.records.feed import RETRY_SECONDS
from relay.records.store import StoreError
from relay.server.post import Post
from relay.sidecar.link import client_tls
from relay.wire.version import LITE_NEAR, SPOKEN

MAX_WAITING = 10_000
"""News of revocations that wait to be kept; further ones are in force and forgotten at the end."""


class Teller:
    """Revocations, from the records to the other relays and back."""

    def __init__(self, desk: Desk, log: Callable[..., None]) -> None:
        self._desk = desk
        self._log = log
        self._waiting: asyncio.Queue[Revocation | tuple[Key, float]] = asyncio.Queue(MAX_WAITING)

    def learn(self, entry: Revocation) -> None:
        """Another relay revoked: in force at once, kept a moment later."""
        self._desk.feed.believe(entry)
        self._keep(entry)

    def unlearn(self, key: Key, at: float) -> None:
        """Another relay took a revocation back."""
        self._keep((key, at))

    def _keep(self, item: Revocation | tuple[Key, float]) -> None:
        try:
            self._waiting.put_nowait(item)
        except asyncio.QueueFull:
            self._log("warning", detail="news of revocations come faster than they are kept")

    async def run(self) -> None:
        """Write what was heard into the records, for ever."""
        while True:
            item = await self._waiting.get()
            try:
                await self._write(item)
            except RelayError as error:
                self._log("warning", detail=f"a revocation heard of was not kept: {error}")

    async def _write(self, item: Revocation | tuple[Key, float]) -> None:
        """Write it however long the records do not answer, or it ends with this process, and others
        on the store never hear of it. What came later waits: it may take back what comes first.

        Raises `RelayError` for what they do not take.
        """
        is_told = False
        while True:
            try:
                if isinstance(item, Revocation):
                    await self._desk.feed.adopt(item)
                else:
                    await self._desk.feed.relent(partial(_is_meant, *item))
                return
            except StoreError as error:
                if not is_told:
                    self._log("warning", detail=f"a revocation heard of is not kept yet: {error}")
                is_told = True
                await asyncio.sleep(RETRY_SECONDS)


def _is_meant(key: Key, at: float, entry: Revocation) -> bool:
    """Whether a withdrawal is about this entry; the same may have been revoked again since."""
    return entry.created <= at and key_of(entry) == key


def make_cluster(
    settings: Settings,
    door: Door,
    log: Callable[..., None],
    fetcher: Fetcher,
    post: Post | None,
) -> Cluster:
    """The links, as ``[cluster]`` and ``[client]`` say, and those to the workers after this one.

    Raises `ConfigError`.
    """
    others = range(post.share.index + 1, post.share.count) if post else ()
    return Cluster(
        door,
        settings.cluster,
        _dialler(settings, log),
        door.house.clock,
        log,
        _asker(settings, fetcher),
        [near(index, post.place("link", index)) for index in others] if post else (),
        [file for file in (settings.client.tls.cert, settings.client.tls.key) if file is not None],
    )


def list_fetcher(settings: Settings, log: Callable[..., None]) -> Fetcher:
    """What asks ``cluster.connect_api``: the operator's own server, wherever it stands."""
    tls = settings.client.tls
    shown = client_tls(tls.root, tls.cert, tls.key, log) if tls.root or tls.cert else None
    return Fetcher(FetchSettings(allow_http=True, allow_private=True), tls=shown)


def _dialler(settings: Settings, log: Callable[..., None]) -> Dial:
    client = settings.client
    tls = DialTls(
        roots=client.tls.root,
        fingerprints=client.tls.fingerprint,
        disable_verify=client.tls.disable_verify,
        certificate=client.tls.cert,
        key=client.tls.key,
    )

    silence = min(settings.cluster.silence, settings.quic.idle_timeout)
    limits = replace(settings.quic, idle_timeout=silence)

    def over_websocket(place: str) -> None:
        log("link over websocket", peer=place, why="QUIC had no session sooner")

    detour = None
    if client.websocket.enabled:
        detour = Detour(client.websocket.delay, over_websocket)

    def failed(error: Exception) -> None:
        log("internal error", error=repr(error))

    async def dial_relay(url: str) -> tuple[Dialled, str | None]:
        scheme, _, place = url.partition(":")
        if scheme == NEAR:
            return await dial_local(place, LITE_NEAR.identifier, settings.quic, failed), None
        dialled = await dial(
            url,
            # Newest first: the oldest do not say by which relays a broadcast came.
            protocols=[each for each in SPOKEN if each in settings.server.versions],
            tls=tls,
            timeout=client.timeout,
            limits=limits,
            bind=client.bind,
            detour=detour,
        )
        return dialled, setup_target(url)

    return dial_relay


def _asker(settings: Settings, fetcher: Fetcher) -> Ask | None:
    source = settings.cluster.connect_api
    if source is None or file_of(source) is not None:
        return None
    url = source
    if settings.cluster.node is not None:
        joint = "&" if "?" in url else "?"
        url += f"{joint}node={quote(settings.cluster.node, safe='')}"
    known: dict[str, Any] = {"etag": None}

    async def ask() -> Answer:
        fetched = await fetcher.fetch(url, known["etag"])
        known["etag"] = fetched.etag or known["etag"]
        return Answer(fetched.body, fetched.lifetime)

    return ask
