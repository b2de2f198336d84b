"""A relay in memory: guests on both sides of it, joined by transports that never lose a byte."""

from __future__ import annotations

from typing import Any

import pytest

from dialogue import Wire
from relay.auth.grant import Grant
from relay.model.board import Way
from relay.model.group import Group, Log
from relay.model.origin import Origin
from relay.model.settings import CacheSettings
from relay.model.track import Demand, TrackInfo
from relay.path import ROOT, Path
from relay.peer.guest import Guest
from relay.peer.house import House
from relay.peer.local import LocalBroadcast
from relay.peer.reading import MAX_FRAME
from relay.peer.settings import PeerSettings
from relay.peer.transcode import transcode
from relay.session.lite import LiteSession
from relay.session.settings import SessionSettings
from relay.wire.frame import FrameParser, Layout

ALL = (ROOT,)


class Watch:
    """A viewer in a client's own origin: groups as lists of (timestamp, payload)."""

    def __init__(self, demand: Demand | None = None) -> None:
        self.demand = demand or Demand()
        self.info: TrackInfo | None = None
        self.logs: dict[int, list[Log]] = {}
        self.order: list[int] = []
        self.datagrams: list[tuple[int, int, bytes]] = []
        self.ended: list[Any] = []

    def track_accepted(self, info: TrackInfo) -> None:
        self.info = info

    def group_opened(self, group: Group) -> None:
        self.order.append(group.sequence)
        self.logs.setdefault(group.sequence, []).append(group.log(Layout.TIMED, transcode))

    def datagram_received(self, sequence: int, timestamp: int, payload: bytes) -> None:
        self.datagrams.append((sequence, timestamp, payload))

    def track_ended(self, error: Any) -> None:
        self.ended.append(error)

    def frames(self, sequence: int) -> list[tuple[int | None, bytes]]:
        """The frames of the last incarnation of a group."""
        parser = FrameParser(Layout.TIMED, MAX_FRAME)
        chunks = b"".join(self.logs[sequence][-1].chunks)
        return [(frame.timestamp, frame.payload) for frame in parser.feed(chunks)]

    def complete(self) -> list[int]:
        """Sequences of the groups that arrived whole."""
        return sorted(n for n, logs in self.logs.items() if logs[-1].finished)


class Names:
    """What a client hears of."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.hops: dict[str, tuple[int, ...]] = {}

    def announced(self, path: Path, way: Way) -> None:
        self.log.append(f"+{path}")
        self.hops[path] = way.hops

    def unannounced(self, path: Path) -> None:
        self.log.append(f"-{path}")


class Client:
    """One foreign end: a private origin and a session with the relay."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.house = House(Origin(number), world.clock)
        self.origin = self.house.origin
        self.names = Names()
        self.origin.watch(ROOT, self.names)
        self.guest: Guest
        self.host: Guest
        self.wire: Any

    def publish(self, path: str, **tracks: TrackInfo) -> LocalBroadcast:
        broadcast = LocalBroadcast(self.world.clock)
        for name, info in tracks.items():
            broadcast.create_track(name, info)
        self.origin.announce(Path(path), broadcast, (), self.world.now)
        self.world.run()
        return broadcast

    def watch(self, path: str, track: str, demand: Demand | None = None) -> Watch:
        seat = self.origin.seek(Path(path))
        assert seat is not None, f"{path} is not announced; heard {self.names.log}"
        watch = Watch(demand)
        seat.track(track).watch(watch, self.world.now)
        self.world.run()
        return watch

    def unwatch(self, path: str, track: str, watch: Watch) -> None:
        broadcast = self.origin.find(Path(path))
        assert broadcast is not None
        broadcast.track(track).unwatch(watch, self.world.now)
        self.world.run()

    def hang_up(self) -> None:
        self.wire.client.close(0, "bye")
        self.world.run()


class World:
    """A relay, its clock, and everybody connected to it."""

    def __init__(self, settings: PeerSettings | None = None, cache: CacheSettings | None = None):
        self.now = 1000.0
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.house = House(
            Origin(99, cache or CacheSettings()),
            self.clock,
            settings or PeerSettings(),
            log=lambda event, **facts: self.said.append((event, facts)),
        )
        self.protocol = "moq-lite-06"
        self.sessions: SessionSettings | None = None
        self.clients: list[Client] = []
        self.hosts: list[Guest] = []

    def clock(self) -> float:
        return self.now

    def connect(
        self,
        protocol: str | None = "",
        publish: tuple[Path, ...] = ALL,
        subscribe: tuple[Path, ...] = ALL,
        root: str = "",
        cut: int = 0,
        tenant: str | None = None,
        cluster: bool = False,
        number: int | None = None,
    ) -> Client:
        if protocol == "":
            protocol = self.protocol
        client = Client(self, number or 100 + len(self.clients))
        wire = client.wire = Wire(cut)
        origins = self.house.origin.id, client.origin.id
        host = Guest(
            self.house,
            wire.server,
            LiteSession(wire.server, protocol, origin=origins[0], settings=self.sessions),
            id=f"g{len(self.clients)}",
            grant=Grant(Path(root), publish, subscribe, tenant=tenant, cluster=cluster),
            tab=self.house.ledger.enter(tenant, self.now) if tenant is not None else None,
            left=lambda guest, reason: self.hosts.remove(guest),
        )
        session = LiteSession(wire.client, protocol, origin=origins[1], client=True)
        client.guest = Guest(
            client.house, wire.client, session, id="c", grant=Grant(ROOT, ALL, ALL)
        )
        client.host = host
        wire.server.receiver, wire.client.receiver = host, client.guest
        self.clients.append(client)
        self.hosts.append(host)
        client.guest.start()
        host.start()
        self.run()
        return client

    def run(self) -> None:
        """Deliver everything on all wires until all are quiet."""
        for _ in range(1000):
            for client in self.clients:
                client.wire.run()
            if not any(
                c.wire.queue or c.wire.client.dirty or c.wire.server.dirty for c in self.clients
            ):
                return
        raise AssertionError("the world never becomes quiet")

    def wait(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, ticking as the server does."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            self.house.origin.tick(self.now)
            self.house.ledger.tick(self.now)
            for host in tuple(self.hosts):
                host.tick(self.now)
            self.house.orphans.tick(self.now)
            for client in self.clients:
                client.origin.tick(self.now)
                client.guest.tick(self.now)
            self.run()


@pytest.fixture(params=["moq-lite-06", "moq-lite-05"])
def world(request: pytest.FixtureRequest) -> World:
    """Everybody in it who does not care speaks the newest version, or the most common one."""
    world = World()
    world.protocol = request.param
    return world


@pytest.fixture
def make_world() -> type[World]:
    return World
