"""Relays that stop in good order, as processes: who is told, who goes on, and with which status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path as File
from typing import Any

import httpx
import pytest

import asked
from pace import within
from ports import free_ports
from relay.auth import mint
from relay.auth.claims import Claims
from relay.client import connect
from relay.errors import SessionLost
from relay.model.demand import Demand
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.path import ROOT, Path
from relay.peer.local import LocalBroadcast
from relay.peer.reading import GroupEnd, ReadFrame

TRUST = DialTls(disable_verify=True)

DRAIN = 3.0
"""Seconds that a relay gives its sessions."""

LONG = 30
"""Frames of a group that takes a second."""

KEPT = 128
"""Groups that a publisher brings along when it moves."""


class Station:
    """One relay as a process that can be started again at the same place."""

    def __init__(
        self,
        folder: File,
        number: int,
        port: int,
        inside: int,
        peers: list[int],
        drain: float = DRAIN,
    ) -> None:
        self.folder, self.number, self.port, self.inside = folder, number, port, inside
        urls = json.dumps([f"https://127.0.0.1:{peer}/" for peer in peers])
        (folder / f"{number}.toml").write_text(
            f"""
[server]
listen = "127.0.0.1:{port}"
drain = {drain}
[server.tls]
generate = ["localhost", "127.0.0.1"]
[auth]
key = "key.jwk"
public = "anon"
[internal]
listen = "127.0.0.1:{inside}"
[cluster]
id = {number + 100}
token = "cluster.jwt"
connect = {urls}
[client.tls]
disable_verify = true
"""
        )
        self.program: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/anon"

    def start(self) -> None:
        with (self.folder / f"{self.number}.log").open("ab") as log:
            self.program = subprocess.Popen(
                [sys.executable, "-m", "relay", "run", f"{self.number}.toml"],
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=log,
                env=asked.environment(),
            )

    def ready(self) -> None:
        assert self.program is not None
        assert self.program.stdout is not None
        assert self.program.stdout.readline().startswith(b"ready ")

    def signal(self, number: int) -> None:
        assert self.program is not None
        self.program.send_signal(number)

    def wait(self, seconds: float = 10.0) -> int:
        """The exit status."""
        assert self.program is not None
        assert self.program.stdout is not None
        status = self.program.wait(seconds)
        self.program.stdout.close()
        return status

    async def is_linked(self) -> bool:
        """Whether all links are up."""
        async with httpx.AsyncClient() as web:
            nodes = (await web.get(f"http://127.0.0.1:{self.inside}/nodes")).json()
        return all(link["up"] for link in nodes["links"])

    async def is_draining(self) -> bool:
        async with httpx.AsyncClient() as web:
            return (await web.get(f"http://127.0.0.1:{self.inside}/health")).status_code == 503


@pytest.fixture
def stations(folder: File, signer: Any) -> Iterator[Callable[..., list[Station]]]:
    """``stations(3)``: so many relays, each linked to those before it, or to those of ``dials``."""
    now = time.time()
    claims = Claims(root=ROOT, put=(ROOT,), get=(ROOT,), exp=int(now + 600), cluster=True)
    (folder / "cluster.jwt").write_text(mint.sign(claims, signer, now))
    started: list[Station] = []

    def start(
        count: int, drain: float = DRAIN, dials: Sequence[Sequence[int]] | None = None
    ) -> list[Station]:
        found = free_ports(2 * count)
        ports, inside = found[:count], found[count:]
        for number in range(count):
            peers = [ports[each] for each in (range(number) if dials is None else dials[number])]
            started.append(Station(folder, number, ports[number], inside[number], peers, drain))
        for station in started:
            station.ready()
        return started

    yield start
    for station in started:
        if station.program is not None and station.program.poll() is None:
            station.program.kill()
            station.wait()


@contextlib.asynccontextmanager
async def guest(station: Station) -> Any:
    async with connect(station.url, tls=TRUST) as client:
        await asyncio.sleep(0.2)
        yield client


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGTERM,),
        (signal.SIGHUP,),
        (signal.SIGHUP, signal.SIGHUP),
        (signal.SIGTERM, signal.SIGHUP),
        (signal.SIGHUP, signal.SIGTERM),
    ],
)
def test_sigterm_and_a_hangup_give_sessions_their_time(stations: Any, numbers: Any) -> None:
    """One after the other is what a closed terminal or a service's end sends, and no haste."""

    async def main() -> None:
        (station,) = stations(1, 6.0)  # long enough to be told 503 on a busy machine
        began = time.monotonic()
        async with guest(station) as client:
            for number in numbers:
                station.signal(number)
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            assert not client.lost.done()
            with pytest.raises(SessionLost) as error:
                async with connect(station.url, tls=TRUST):
                    pass
            assert error.value.status == 503
            await asyncio.wait_for(client.lost, 7)
            assert time.monotonic() - began > 5.5
        assert await asyncio.to_thread(station.wait) == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGINT), (signal.SIGINT,)]
)
def test_a_second_sigterm_or_a_sigint_does_not_wait(stations: Any, numbers: Any) -> None:
    async def main() -> None:
        (station,) = stations(1, 30.0)
        async with guest(station) as client:
            for number in numbers[:-1]:
                station.signal(number)
                await within(5, station.is_draining)  # one more before would be the same one
            station.signal(numbers[-1])
            await within(6, client.lost.done)
        assert await asyncio.to_thread(station.wait) == 0

    asyncio.run(main())


def test_nohup_is_respected(process: Any) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        relay = process()
    finally:
        signal.signal(signal.SIGHUP, before)
    relay.ready()
    relay.program.send_signal(signal.SIGHUP)
    relay.program.send_signal(signal.SIGUSR1)  # never an ending
    with pytest.raises(subprocess.TimeoutExpired):
        relay.program.wait(1)
    assert relay.stop() == 0


def test_relay_drain_does_the_same(stations: Any) -> None:
    one, other = stations(2)
    command = [sys.executable, "-m", "relay", "drain", "--url", f"http://127.0.0.1:{other.inside}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "stopped")
    assert other.wait() == 0
    assert one.program.poll() is None


class Long:
    """Groups that take a second each, published at one relay and watched at another."""

    def __init__(self) -> None:
        self.groups: list[GroupEnd] = []
        self.frames: list[tuple[int, int]] = []
        self.ended = False

    async def publish(self, client: Any) -> None:
        track = client.create_broadcast("cam").create_track("v", TrackInfo())
        while True:
            track.append_group()
            for number in range(LONG):
                track.write_frame(b"%d" % number, number)
                await asyncio.sleep(1 / LONG)

    async def watch(self, client: Any) -> None:
        found = await client.find("cam")
        with contextlib.suppress(Exception):
            async for item in client.frames(found, "v").frames():
                if isinstance(item, ReadFrame):
                    self.frames.append(item[:2])
                else:
                    self.groups.append(item)
        self.ended = True


@pytest.mark.slow
def test_a_relay_passes_on_what_it_has_begun_when_others_find_another_way(stations: Any) -> None:
    """Between the publisher's relay and the viewer's there are two, and the one in use leaves."""

    async def main() -> None:
        relays = stations(4, 6.0, dials=[[], [0], [0], [1, 2]])
        long = Long()
        async with guest(relays[0]) as there, guest(relays[3]) as here:
            publishing = asyncio.ensure_future(long.publish(there))
            watching = asyncio.ensure_future(long.watch(here))
            await within(20, lambda: len(long.groups) >= 1)
            for station in (relays[1], relays[2]):
                await within(5, lambda: len(long.frames) % LONG == LONG // 3)
                station.signal(signal.SIGTERM)
                began = time.monotonic()
                assert await asyncio.to_thread(station.wait) == 0
                took = time.monotonic() - began
                if station is relays[1]:  # nothing is waited for that has gone elsewhere
                    assert took < 5.0
                    station.start()
                    await asyncio.to_thread(station.ready)
                    async with asyncio.timeout(20):
                        while not await relays[3].is_linked():
                            await asyncio.sleep(0.1)
                    await asyncio.sleep(1)  # and told what there is
            goal = len(long.groups) + 2
            await within(10, lambda: len(long.groups) >= goal)
            assert not long.ended
            watching.cancel()
            publishing.cancel()
            await asyncio.gather(watching, publishing, return_exceptions=True)
        assert [group for group in long.groups if group.error] == []
        assert len(long.frames) == len(set(long.frames))
        first, last = long.groups[0].group, long.groups[-1].group
        whole = {(group, number) for group in range(first, last + 1) for number in range(LONG)}
        assert whole <= set(long.frames)

    asyncio.run(main())


class People:
    """A publisher and a viewer that come again, to the next relay that takes them."""

    def __init__(self, stations: list[Station]) -> None:
        self.stations = stations
        self.number = 0
        self.seen: set[int] = set()
        self.moves = 0

    async def come(self, order: list[int], stay: Callable[[Any], Any]) -> None:
        """Stay with a relay until it is lost, then try the others."""
        while True:
            for index in order:
                try:
                    async with connect(self.stations[index].url, tls=TRUST, timeout=2) as client:
                        work = asyncio.ensure_future(stay(client))
                        await asyncio.wait((work, client.lost), return_when=asyncio.FIRST_COMPLETED)
                        work.cancel()
                        await asyncio.gather(work, return_exceptions=True)
                        self.moves += 1
                except SessionLost:
                    continue
            await asyncio.sleep(0.05)

    async def publish(self, client: Any) -> None:
        """Groups with a number each; those of the last seconds are kept for who comes late."""
        broadcast = LocalBroadcast(client.house.clock)
        first = max(0, self.number - KEPT)
        track = broadcast.create_track("v", TrackInfo(), keep=2 * KEPT, first=first)
        for number in range(first, self.number):
            self.write(track, number)
        now = client.house.clock()
        client.routes.append(client.origin.announce(Path("cam"), broadcast, (), now))
        while True:
            self.write(track, self.number)
            self.number += 1
            await asyncio.sleep(0.05)

    def write(self, track: Any, number: int) -> None:
        track.append_group()
        track.write_frame(b"%d" % number, number)

    async def watch(self, client: Any) -> None:
        while True:
            found = await client.find("cam")
            start = 0 if not self.seen else max(self.seen) + 1
            with contextlib.suppress(Exception):
                frames = client.frames(found, "v", Demand(start=start, max_latency=30_000))
                async for item in frames.frames():
                    if isinstance(item, ReadFrame):
                        self.seen.add(int(item.payload))
            await asyncio.sleep(0.02)


@pytest.mark.slow
def test_a_rolling_restart_loses_no_group(stations: Any) -> None:
    async def main() -> None:
        relays = stations(3)
        people = People(relays)
        tasks = [
            asyncio.ensure_future(people.come([0, 1, 2], people.publish)),
            asyncio.ensure_future(people.come([1, 2, 0], people.watch)),
        ]
        try:
            async with asyncio.timeout(15):
                while len(people.seen) < 10:
                    await asyncio.sleep(0.05)
            for station in (relays[1], relays[0], relays[2]):
                station.signal(signal.SIGTERM)
                assert await asyncio.to_thread(station.wait) == 0
                station.start()
                await asyncio.to_thread(station.ready)
                goal = people.number + 20
                async with asyncio.timeout(15):  # the newest comes first, the rest after it
                    while set(range(min(people.seen), goal)) - people.seen:
                        await asyncio.sleep(0.05)
            assert people.moves >= 3
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
