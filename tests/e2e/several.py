"""A relay of several workers as its clients see it: who is where, and what its log says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import httpx

from lines import whole_lines
from relay.client import Client, connect
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.net.udp import Socket
from relay.peer.reading import ReadFrame

SIZE = 8000
"""Bytes of a frame of those who publish."""

Answer = TypeVar("Answer")

TRUST = DialTls(disable_verify=True)

WORKERS = """
[log]
format = "json"
level = "debug"
[internal]
listen = "127.0.0.1:0"
"""


class Relay:
    """A relay of several workers, seen through its log."""

    def __init__(self, process: Any, workers: int = 2, host: str = "127.0.0.1") -> None:
        self.process = process
        self.workers = workers
        self.host = host
        facts = process.ready()
        self.port = facts["quic"][1]
        self.http = f"http://127.0.0.1:{facts['http'][1]}"
        self.internal = f"http://127.0.0.1:{facts['internal'][1]}"

    def url(self, target: str, scheme: str = "https") -> str:
        return f"{scheme}://{self.host}:{self.port}{target}"

    def said(self, event: str) -> list[dict[str, Any]]:
        """Everything of one kind in the log."""
        lines = whole_lines(self.process.log)
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def welcomed(self) -> Counter[int]:
        """Sessions that began, by worker."""
        return Counter(line["worker"] for line in self.said("welcome"))

    def pid(self, worker: int) -> int:
        """The process that is this worker now."""
        return int(
            [each["pid"] for each in self.said("worker ready") if each["worker"] == worker][-1]
        )


def worker_of(client: Client, workers: int = 2) -> int:
    """Who issued the connection id that the client sends to."""
    engine = client.guest.transport.connection.engine  # type: ignore[attr-defined]
    return int(engine._peer_cid.cid[0] % workers)


async def asked_again(
    ask: Callable[[], Awaitable[Answer]], is_good: Callable[[Answer], bool], seconds: float = 20.0
) -> Answer:
    """The first good answer: a worker that is held up for a second is silent where all are asked,
    and lends no place."""
    async with asyncio.timeout(seconds):
        while not is_good(answer := await ask()):
            await asyncio.sleep(0.1)
    return answer


async def all_nodes(web: httpx.AsyncClient, relay: Relay) -> Any:
    """What ``/nodes`` says once every worker has answered it."""

    async def ask() -> Any:
        return (await web.get(f"{relay.internal}/nodes")).json()

    everyone = set(range(relay.workers))
    return await asked_again(ask, lambda said: {s["worker"] for s in said["workers"]} == everyone)


@contextlib.asynccontextmanager
async def many(relay: Relay, target: str, count: int) -> AsyncIterator[dict[int, list[Client]]]:
    """So many sessions or a few more, by the worker that has them; each has two at least."""
    by_worker: dict[int, list[Client]] = {index: [] for index in range(relay.workers)}
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count + 40 * relay.workers):
            if number >= count and min(map(len, by_worker.values())) >= 2:
                break
            client = await stack.enter_async_context(connect(relay.url(target), tls=TRUST))
            by_worker[worker_of(client, relay.workers)].append(client)
        yield by_worker


def writer(broadcast: Any, size: int) -> Callable[[], None]:
    """What writes one more group of its track ``video``, a frame of ``size`` bytes."""
    track = broadcast.create_track("video", TrackInfo(), keep=10)
    count = 0

    def write() -> None:
        nonlocal count
        count += 1
        track.append_group()
        track.write_frame((b"%08d" % count * (size // 8)), count)

    return write


@contextlib.asynccontextmanager
async def publishing(relay: Relay, target: str) -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """A broadcast ``cam`` with the track ``video``: its worker, and what writes a group of it."""
    async with connect(relay.url(target), tls=TRUST) as client:
        broadcast = client.create_broadcast("cam")
        write = writer(broadcast, SIZE)
        write()
        yield worker_of(client, relay.workers), write


async def heard(
    client: Client, least: int = 1, path: str = "cam", got: list[int] | None = None
) -> int:
    """Frames of a broadcast until there are so many; meanwhile ``got`` holds how many."""
    got = [0] if got is None else got
    async with asyncio.timeout(20):
        broadcast = await client.find(path)
        async for item in client.frames(broadcast, "video").frames():
            got[0] += isinstance(item, ReadFrame)
            if got[0] >= least:
                break
    return got[0]


async def audience(clients: list[Client], write: Callable[[], None], frames: int = 3) -> list[int]:
    """All of them hear so many frames, written meanwhile: the next once all have one more, or none
    comes for a while, as when somebody has only just asked."""
    got = [[0] for _ in clients]
    async with asyncio.TaskGroup() as tasks:
        hearing = [
            tasks.create_task(heard(client, frames, got=each))
            for client, each in zip(clients, got, strict=True)
        ]
        while not all(task.done() for task in hearing):
            before = [each[0] for each in got]
            write()
            for _ in range(50):
                await asyncio.sleep(0.01)
                if all(
                    now[0] > was or now[0] >= frames for now, was in zip(got, before, strict=True)
                ):
                    break
    return [each[0] for each in got]


def move(client: Client) -> None:
    """Go on from another port, as a phone does that changes its network."""
    connection = client.guest.transport.connection  # type: ignore[attr-defined]
    endpoint = connection.host
    line = endpoint._lines[connection]
    fresh = Socket(line.sock.family)
    fresh.connect(line.sock.getpeername())
    assert fresh.getsockname() != line.sock.getsockname()
    endpoint.add_socket(fresh)
    line.sock = fresh
