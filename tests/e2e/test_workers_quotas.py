"""A tenant's quotas hold for all workers together, wherever its sessions are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path as File
from typing import Any

import httpx
import pytest
from rates import until_refused
from samples import Samples, scrape, total
from several import TRUST, WORKERS, Relay, asked_again, worker_of

from pace import rest, within
from relay.client import Client, connect
from relay.errors import SessionLost
from relay.model.track import TrackInfo
from relay.peer.reading import ReadFrame

Running = Callable[..., Relay]


@pytest.fixture
def relay(process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Running:
    """``relay(count, quotas)``"""

    def run(count: int, quotas: str, more: str = "") -> Relay:
        monkeypatch.setenv("MOQ_SERVER__WORKERS", f"{count}")
        return Relay(process(f"{WORKERS}\n[quotas.tenants.anon]\n{quotas}\n{more}"), count)

    return run


@contextlib.asynccontextmanager
async def crowd(relay: Relay) -> AsyncIterator[Callable[[], Any]]:
    """What lets one more in and answers its client, or the status with which it was refused."""
    async with contextlib.AsyncExitStack() as stack:

        async def come() -> Client | int:
            try:
                return await stack.enter_async_context(connect(relay.url("/anon"), tls=TRUST))
            except SessionLost as lost:
                return lost.status

        yield come


async def fill(come: Callable[[], Any], count: int) -> list[Client]:
    """So many are let in; who is refused comes again."""
    async with asyncio.timeout(20):
        return [await asked_again(come, lambda it: isinstance(it, Client)) for _ in range(count)]


async def whole(relay: Relay) -> Samples:
    """The numbers of all workers, once none is silent."""
    ask = partial(scrape, relay.internal)
    return await asked_again(ask, lambda found: not total(found, "relay_workers_silent"))


async def usage(relay: Relay, quota: str) -> float:
    """What the tenant uses of all workers."""
    return total(await whole(relay), "relay_tenant_usage", quota=quota, tenant="anon")


async def give_way(clients: list[Client], come: Callable[[], Any]) -> None:
    """The first leaves, and the next has the place, whichever worker it comes to."""
    clients.pop(0).guest.close(SessionLost("enough"))
    clients += await fill(come, 1)


async def moved(relay: Relay, direction: str) -> float:
    """Bytes of groups of the tenant's, over all workers."""
    found = await whole(relay)
    return total(found, "relay_tenant_bytes_total", direction=direction, tenant="anon")


@pytest.mark.parametrize("count", [2, 4])
def test_exactly_as_many_sessions_as_may_be(relay: Running, count: int) -> None:
    running = relay(count, "sessions = 7")

    async def main() -> None:
        async with crowd(running) as come:
            clients = await fill(come, 7)
            assert [await come() for _ in range(3)] == [429] * 3
            assert await usage(running, "sessions") == 7
            left = 0
            while left < 4 or len(running.welcomed()) == 1:
                await give_way(clients, come)
                assert await come() == 429
                left += 1
            assert await usage(running, "sessions") == 7

    asyncio.run(main())
    assert running.process.stop() == 0
    assert "Traceback" not in running.process.log.read_text()


def children(pid: int) -> set[int]:
    """The processes that a process has started and that run."""
    found = File(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return set(map(int, found))


async def successor(forker: int, known: set[int]) -> int:
    """Who is forked in the place of one that died; it is kept from beginning."""
    async with asyncio.timeout(20):
        while not (fresh := children(forker) - known):
            await asyncio.sleep(0.005)
    (pid,) = fresh
    os.kill(pid, signal.SIGSTOP)
    return pid


@pytest.mark.skipif(not File("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_the_places_of_a_worker_that_was_killed_are_free_before_another_has_begun(
    relay: Running,
) -> None:
    running = relay(2, "sessions = 7")

    async def main() -> None:
        async with crowd(running) as come:
            clients = await fill(come, 7)
            while {worker_of(client) for client in clients} != {0, 1}:  # once in 64 times
                await give_way(clients, come)
            assert await come() == 429
            (forker,) = children(running.process.program.pid)
            known = children(forker)
            os.kill(running.pid(1), signal.SIGKILL)
            stopped = await successor(forker, known)
            try:
                async with asyncio.timeout(20):
                    while True:  # who knocks at the one that is stopped is not heard
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(1):
                                if isinstance(await come(), Client):
                                    break
            finally:
                os.kill(stopped, signal.SIGCONT)
            assert len(running.said("worker ready")) == 2

    asyncio.run(main())
    assert running.process.stop() == 0
    assert "Traceback" not in running.process.log.read_text()


def test_all_at_once(relay: Running) -> None:
    running = relay(3, "sessions = 6")

    async def main() -> None:
        async with crowd(running) as come:
            found = await asyncio.gather(*(come() for _ in range(18)))
            refused = [each for each in found if not isinstance(each, Client)]
            assert len(refused) >= 12
            assert set(refused) == {429}
            await fill(come, len(refused) - 12)
            assert [await come() for _ in range(3)] == [429] * 3
            assert await usage(running, "sessions") == 6

    asyncio.run(main())


def test_broadcasts_and_subscriptions(relay: Running) -> None:
    """Announcements beyond wait for room, subscriptions beyond are refused, on any worker."""
    running = relay(2, "broadcasts = 4\ntracks = 3")

    async def main() -> None:
        async with crowd(running) as come, httpx.AsyncClient() as web:
            publishers = [await come() for _ in range(8)]
            while {worker_of(client) for client in publishers} != {0, 1}:
                publishers.append(await come())
            for number, client in enumerate(publishers):
                broadcast = client.create_broadcast(f"cam{number}")
                broadcast.create_track("video", TrackInfo(), keep=1).append_group()

            async def announced() -> list[str]:
                return (await web.get(f"{running.http}/announced/anon")).text.split()

            async def settled(count: int) -> list[str]:
                deadline = time.monotonic() + 10  # what was lost lingers, for it might come again
                while len(found := await announced()) != count:
                    assert time.monotonic() < deadline, found
                    await asyncio.sleep(0.05)
                await asyncio.sleep(1.0)
                assert await announced() == found
                return found

            names = await settled(4)
            gone = int(names[0].removeprefix("cam"))
            publishers[gone].guest.close(SessionLost("enough"))
            async with asyncio.timeout(10):
                while (found := await announced()) == names or len(found) < 4:
                    await asyncio.sleep(0.1)
            names = await settled(4)
            assert f"cam{gone}" not in names

            viewers = [await come() for _ in range(6)]
            got = [0]
            watching = [asyncio.ensure_future(hear(client, names[1], got)) for client in viewers]
            await within(10.0, lambda: sum(task.done() for task in watching) >= 3)
            await rest(0.5)
            refused = [task for task in watching if task.done()]
            assert len(refused) == 3
            assert all(task.exception() is not None for task in refused)
            assert await usage(running, "tracks") == 3
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    asyncio.run(main())
    assert "Traceback" not in running.process.log.read_text()


def test_requests_may_take_their_time(relay: Running) -> None:
    """What was lent to a worker for a request is lent again where its body came late."""
    running = relay(2, "announces_per_second = 2\ntracks = 5\nsubscribers = 5\n")

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(1.2)
        yield b"}"

    async def main() -> None:
        headers = {"content-type": "application/json"}
        async with httpx.AsyncClient(base_url=running.http) as web:
            for number in range(3):
                url = f"/publish/anon/late{number}/x"
                answer = await web.post(url, content=slowly(), headers=headers)
                assert answer.status_code == 202, answer.text
            for _ in range(3):
                async with web.stream("GET", "/watch/anon/late0/x") as watching:
                    assert watching.status_code == 200

    asyncio.run(main())


BITS = 4_000_000
"""A second, that may leave."""


async def hear(client: Client, name: str, got: list[int]) -> None:
    broadcast = await client.find(name)
    async for item in client.frames(broadcast, "video").frames():
        if isinstance(item, ReadFrame):
            got[0] += len(item.payload)


def test_what_goes_out_is_capped_for_all_together(relay: Running) -> None:
    """Viewers on both workers want four times what the tenant may send."""
    running = relay(2, f"egress_bits = {BITS}")

    async def main() -> None:
        async with crowd(running) as come, contextlib.AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            publisher = await come()
            track = publisher.create_broadcast("cam").create_track("video", TrackInfo(), keep=10)
            viewers = [await come() for _ in range(4)]
            while {worker_of(client) for client in viewers} != {0, 1}:
                viewers.append(await come())
            got = [[0] for _ in viewers]
            hearing = [
                tasks.create_task(hear(client, "cam", each))
                for client, each in zip(viewers, got, strict=True)
            ]

            async def publish() -> None:
                count = 0
                while True:
                    count += 1
                    track.append_group()
                    track.write_frame(b"x" * 10_000, count)
                    track.finish_group()
                    await asyncio.sleep(8 * 10_000 / BITS)

            hearing.append(tasks.create_task(publish()))
            began = time.monotonic()
            await asyncio.sleep(2.0)
            early = await moved(running, "out"), time.monotonic()
            await asyncio.sleep(3.0)
            middle = await moved(running, "out"), time.monotonic()
            await asyncio.sleep(3.0)
            heard = sum(each[0] for each in got)  # before it is asked, while more goes out
            late = await moved(running, "out"), time.monotonic()
            for each in hearing:
                each.cancel()
            most = BITS / 8 * (late[1] - began + 1.4)
            assert late[0] <= most
            assert (late[0] - early[0]) * 8 / (late[1] - early[1]) < 1.1 * BITS
            rates = [
                (after[0] - before[0]) * 8 / (after[1] - before[1])
                for before, after in ((early, middle), (middle, late))
            ]
            assert max(rates) > 0.85 * BITS  # of a worker that is held up little goes out
            assert 0 < heard <= late[0]
            by_worker = [0, 0]
            for client, each in zip(viewers, got, strict=True):
                by_worker[worker_of(client)] += each[0]
            assert min(by_worker) > 0.05 * sum(by_worker)

    asyncio.run(main())
    assert "Traceback" not in running.process.log.read_text()


def test_what_is_said_at_run_time_is_in_force_everywhere_within_a_second(
    relay: Running, folder: File
) -> None:
    running = relay(2, "sessions = 3", '[records]\nurl = "sqlite:///relay.db"\n')

    async def say(*words: str) -> None:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relay", "quotas"),
            *("--config", str(folder / "relay.toml"), *words),
            stdout=subprocess.DEVNULL,
        )
        assert await program.wait() == 0
        await asyncio.sleep(1.0)

    async def main() -> None:
        async with crowd(running) as come:
            await fill(come, 3)
            assert [await come() for _ in range(2)] == [429] * 2
            await say("set", "anon", "sessions=6")
            await fill(come, 3)
            assert [await come() for _ in range(3)] == [429] * 3
            await say("set", "anon", "sessions=2")
            assert [await come() for _ in range(4)] == [429] * 4
            await say("set", "anon", "sessions=0")
            found = [await come() for _ in range(6)]
            assert all(isinstance(each, Client) for each in found)
            await say("set", "anon", "sessions=14")
            await fill(come, 2)
            assert [await come() for _ in range(4)] == [429] * 4

    asyncio.run(main())


def test_new_sessions_and_requests_a_second(relay: Running) -> None:
    running = relay(2, "sessions_per_second = 4")

    async def main() -> None:
        async with crowd(running) as come, httpx.AsyncClient() as web:
            began, admitted = time.monotonic(), 0
            # The first four may come at once; how they are split over workers is luck, and either
            # may be left with a part of one. In the long run nothing of the rate is lost.
            async with asyncio.timeout(20):
                while admitted < 10:
                    found = await asyncio.gather(*(come() for _ in range(12)))
                    admitted += sum(isinstance(each, Client) for each in found)
                    assert admitted <= 4 * (time.monotonic() - began + 1.4)
                    assert {each for each in found if not isinstance(each, Client)} <= {429}
            await asyncio.sleep(1.2)
            ask = partial(web.get, f"{running.http}/announced/anon")
            answers, _ = await until_refused(ask, 4, burst=1.4)
            assert answers >= 3

    asyncio.run(main())


def test_below_the_limits_nothing_is_held_up(relay: Running) -> None:
    """Each worker has bursts of its own, of what together is three quarters of the rate."""
    running = relay(2, f"ingress_bits = {2 * BITS}\negress_bits = {4 * BITS}\nsessions = 40")

    async def main() -> None:
        async with crowd(running) as come, contextlib.AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            clients = [await come() for _ in range(4)]
            while {worker_of(client) for client in clients} != {0, 1}:
                clients.append(await come())
            first = next(client for client in clients if worker_of(client) == 0)
            second = next(client for client in clients if worker_of(client) == 1)
            tracks = [
                client.create_broadcast(name).create_track("video", TrackInfo(), keep=10)
                for client, name in ((first, "a"), (second, "b"))
            ]
            got = [[0], [0]]
            hearing = [
                tasks.create_task(hear(client, name, each))
                for client, name, each in ((first, "b", got[0]), (second, "a", got[1]))
            ]
            await asyncio.sleep(1.0)
            sent = 0
            for count in range(1, 21):
                for track in tracks:
                    track.append_group()
                    track.write_frame(b"x" * 75_000, count)
                    track.finish_group()
                sent += 75_000
                await asyncio.sleep(8 * 2 * 75_000 / (1.5 * BITS))
                async with asyncio.timeout(5):  # or a worker that was held up has several at once
                    while [each[0] for each in got] != [sent, sent]:
                        await asyncio.sleep(0.01)
            for each in hearing:
                each.cancel()

    asyncio.run(main())
    assert not running.said("over quota")
