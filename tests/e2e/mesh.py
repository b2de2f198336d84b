"""Relays of a cluster in this loop, a publisher at one and a viewer at another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from pace import rest, until, within
from relay.client import Client, connect
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.path import Path
from relay.peer.reading import GroupEnd
from relay.server.relay import Relay

TRUST = DialTls(disable_verify=True)
BLIND = "[client.tls]\ndisable_verify = true\n"
BASE = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost", "127.0.0.1"]
[auth]
key = "key.jwk"
public = "anon"
"""

REFUSALS = [
    ("/demo", 401),
    ("/demo?jwt=rubbish", 401),
    ("/anon?jwt=rubbish", 401),
    ("/anonymous", 401),
    ("/demo/../anon", 400),
]
"""Targets that such a relay refuses, and with which status."""


class Node:
    """A relay and what it wrote."""

    def __init__(self, relay: Relay, said: list[tuple[str, dict[str, Any]]]) -> None:
        self.relay = relay
        self.said = said

    def url(self, target: str = "/", scheme: str = "https", host: str = "127.0.0.1") -> str:
        ports = {"ws": self.relay.http_addresses[0], "tcp": self.relay.tcp_address}
        address = ports.get(scheme) or self.relay.quic_address
        return f"{scheme}://{host}:{address[1]}{target}"

    def up(self) -> int:
        """Links that are up."""
        return sum(link.state.session is not None for link in self.relay.cluster.links.values())

    def relays(self) -> int:
        """Sessions with relays, either way."""
        return self.relay.house.origin.relays

    def sees(self, path: str) -> bool:
        return self.relay.house.origin.find(Path(path)) is not None

    def events(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.said if event == name]


async def settled(one: Node, other: Node) -> None:
    """Two relays are linked and have told each other who they are."""
    for here, there in ((one, other), (other, one)):
        await until(partial(here.sees, f".internal/relays/{there.relay.house.origin.id}"))
    await rest(0.3)


async def publish(client: Client, path: str = "anon/cam", every: float = 0.04) -> None:
    """A group of two frames each time, for ever."""
    track = client.create_broadcast(path).create_track("v", TrackInfo())
    number = 0
    while True:
        track.append_group()
        track.write_frame(b"%d" % number, number)
        track.write_frame(b"x" * 3000, number)
        number += 1
        await asyncio.sleep(every)


class Watched:
    """The whole groups that a viewer gets."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.broken: list[int] = []
        self.ended: str | None = None

    async def run(self, client: Client, path: str = "anon/cam") -> None:
        found = await client.find(path)
        try:
            async for item in client.frames(found, "v").frames():
                if isinstance(item, GroupEnd):
                    (self.broken if item.error else self.groups).append(item.group)
            self.ended = "complete"
        except Exception as error:
            self.ended = repr(error)

    async def check(self) -> None:
        """Each group once, none missing, in whatever order."""
        wanted = range(min(self.groups), max(self.groups) + 1)
        await within(5.0, lambda: set(wanted) <= set(self.groups))
        assert len(self.groups) == len(set(self.groups))
        assert self.ended is None


@contextlib.asynccontextmanager
async def scene(source: Node, viewer: Node, every: float = 0.04) -> AsyncIterator[Watched]:
    """Somebody publishes at one relay, a group ``every`` so often, and is watched at another."""
    watched = Watched()
    async with (
        connect(source.url("/anon"), tls=TRUST) as one,
        connect(viewer.url("/anon"), tls=TRUST) as other,
    ):
        tasks = [
            asyncio.ensure_future(publish(one, "cam", every)),
            asyncio.ensure_future(watched.run(other, "cam")),
        ]
        try:
            await until(lambda: len(watched.groups) >= 3)
            yield watched
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def more(watched: Watched, count: int = 5, seconds: float = 20.0) -> None:
    goal = len(watched.groups) + count
    await until(lambda: len(watched.groups) >= goal or watched.ended, seconds)
