"""Several workers on one port: one relay to everybody, and one worker's death is its own affair."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path as File
from typing import Any

import httpx
import psutil
import pytest
from several import (
    TRUST,
    WORKERS,
    Relay,
    all_nodes,
    audience,
    many,
    move,
    publishing,
    worker_of,
)

from pace import until
from relay.auth import mint
from relay.auth.claims import Claims
from relay.client import Client, connect
from relay.errors import SessionLost
from relay.path import ROOT, Path
from relay.server.vigil import SIGN, SILENCE


@pytest.fixture(params=["steered", "strays"])
def relay(process: Callable[..., Any], request: Any, monkeypatch: pytest.MonkeyPatch) -> Relay:
    """Once with packets steered by the kernel, once all handed over between the workers."""
    monkeypatch.setenv("MOQ_SERVER__WORKERS", "2")
    if request.param == "strays":
        monkeypatch.setenv("RELAY_UNSTEERED", "1")
    return Relay(process(WORKERS))


async def statuses(url: str, times: int) -> list[int]:
    """With what whoever connects is refused, one after the other."""
    found = []
    for _ in range(times):
        with pytest.raises(SessionLost) as refused:
            async with connect(url, tls=TRUST):
                pass
        found.append(refused.value.status)
    return found


async def are_told(clients: list[Client]) -> None:
    """Wait until those whose worker has died know: whoever says something is told."""
    for client in clients:
        client.create_broadcast(f"at-{id(client)}")
    await until(lambda: all(client.lost.done() for client in clients))


def test_one_relay_to_everybody(relay: Relay) -> None:
    """Whoever publishes is heard on every worker, and each track crosses once."""

    async def main() -> None:
        async with (
            publishing(relay, "/anon") as (home, write),
            many(relay, "/anon", 20) as by_worker,
        ):
            clients = by_worker[0] + by_worker[1]
            assert await audience(clients, write) == [3] * len(clients)
            async with httpx.AsyncClient() as web:
                nodes = await all_nodes(web, relay)
                assert (await web.get(f"{relay.http}/announced/anon")).text.split() == ["cam"]
            assert nodes["nodes"] == []
            side = nodes["workers"][1 - home]
            link = [c for node in side["nodes"] for c in node["connections"]]
            assert len(link) == 1
            written = len(clients) * 3 * 8000
            assert 0 < link[0]["bytes_received"] < written / 2

    asyncio.run(main())
    assert relay.process.stop() == 0
    assert "Traceback" not in relay.process.log.read_text()


def test_a_client_that_moves_keeps_its_session(relay: Relay) -> None:
    async def main() -> int:
        async with (
            publishing(relay, "/anon") as (_, write),
            many(relay, "/anon", 8) as by_worker,
        ):
            clients = by_worker[0] + by_worker[1]
            await audience(clients, write)
            for _ in range(3):
                for client in clients:
                    move(client)
                await audience(clients, write)
            assert not any(client.lost.done() for client in clients)
            return len(clients)

    count = asyncio.run(main())
    assert relay.welcomed().total() == count + 1


def test_a_worker_that_dies_takes_its_sessions_only(relay: Relay) -> None:
    async def main() -> None:
        async with (
            publishing(relay, "/anon") as (home, write),
            many(relay, "/anon", 6) as by_worker,
        ):
            dead = relay.pid(1 - home)
            os.kill(dead, signal.SIGKILL)
            assert await audience(by_worker[home], write) == [3] * len(by_worker[home])
            await until(lambda: relay.pid(1 - home) != dead)
            before = relay.welcomed()[1 - home]
            async with many(relay, "/anon", 6) as fresh:
                assert all(fresh.values())
                await audience(fresh[0] + fresh[1], write)
            assert relay.welcomed()[1 - home] > before
            assert await audience(by_worker[home], write) == [3] * len(by_worker[home])

    asyncio.run(main())
    assert relay.process.stop() == 0
    assert [line["worker"] for line in relay.said("worker died")]


def test_newcomers_need_not_wait_for_a_worker_that_cannot_begin(relay: Relay, folder: File) -> None:
    """All of them are let in meanwhile, whoever the kernel means; its sessions hear of its end."""
    key, away = folder / "key.jwk", folder / "away"

    async def main() -> None:
        async with publishing(relay, "/anon") as (home, write):
            async with many(relay, "/anon", 6) as by_worker:
                key.rename(away)
                os.kill(relay.pid(1 - home), signal.SIGKILL)
                await until(lambda: relay.said("worker died"))
                await are_told(by_worker[1 - home])
            for _ in range(8):
                async with connect(relay.url("/anon"), tls=TRUST) as client:
                    assert worker_of(client, relay.workers) == home
                    assert await audience([client], write) == [3]
            await until(lambda: len(relay.said("worker cannot start")) >= 2)
            assert len(relay.said("worker ready")) == 2, "nobody has come back"
            away.rename(key)
            await until(lambda: len(relay.said("worker ready")) == 3)

    asyncio.run(main())
    assert relay.process.stop() == 0
    assert "Traceback" not in relay.process.log.read_text()


@pytest.mark.parametrize("kernel", ["steers", "does not"])
def test_a_worker_that_dies_while_all_leave_costs_the_others_nothing(
    process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    """Nor are its own sessions left in the dark."""
    monkeypatch.setenv("MOQ_SERVER__WORKERS", "2")
    monkeypatch.setenv("MOQ_SERVER__DRAIN", "60")
    if kernel == "does not":
        monkeypatch.setenv("RELAY_UNSTEERED", "1")
    relay = Relay(process(WORKERS))

    async def main() -> None:
        async with (
            publishing(relay, "/anon") as (home, write),
            many(relay, "/anon", 6) as by_worker,
        ):
            relay.process.program.send_signal(signal.SIGTERM)
            await until(lambda: len(relay.said("draining")) == 2)
            os.kill(relay.pid(1 - home), signal.SIGKILL)
            await until(lambda: relay.said("worker died"))
            assert await audience(by_worker[home], write) == [3] * len(by_worker[home])
            await are_told(by_worker[1 - home])
            assert await statuses(relay.url("/anon"), 4) == [503] * 4

    asyncio.run(main())
    assert relay.process.program.wait(20) == 0
    assert "Traceback" not in relay.process.log.read_text()


@pytest.fixture
def plain(process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Relay]:
    """A relay of two workers with more settings; the kernel steers."""
    monkeypatch.setenv("MOQ_SERVER__WORKERS", "2")
    return lambda more="": Relay(process(more + WORKERS))


def everybody(relay: Relay) -> list[int]:
    """All processes of a relay: the crew, what it started, and the workers."""
    crew = psutil.Process(relay.process.program.pid)
    pids = [crew.pid, *(each.pid for each in crew.children(recursive=True))]
    assert {relay.pid(0), relay.pid(1)} < set(pids)
    return pids


def sub_token(signer: Any, sub: str) -> str:
    """A token of somebody who may do anything below /demo."""
    now = time.time()
    claims = Claims(root=Path("demo"), put=(ROOT,), get=(ROOT,), exp=int(now + 600), sub=sub)
    return mint.sign(claims, signer, now)


def test_revoked_on_every_worker(plain: Any, signer: Any, folder: File) -> None:
    """A revocation written by another process ends the sessions that it strikes, on both."""
    relay = plain('[records]\nurl = "sqlite:///relay.db"\n')
    bad = f"/demo?jwt={sub_token(signer, 'bad')}"
    good = f"/demo?jwt={sub_token(signer, 'good')}"

    async def main() -> None:
        async with many(relay, bad, 6) as struck, many(relay, good, 4) as kept:
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "relay", "records"),
                *("--config", str(folder / "relay.toml"), "revoke", "--sub", "bad"),
                stdout=subprocess.DEVNULL,
            )
            assert await program.wait() == 0
            gone = [client.lost for client in struck[0] + struck[1]]
            await asyncio.wait_for(asyncio.gather(*gone), 3)
            assert not any(client.lost.done() for client in kept[0] + kept[1])
            assert await statuses(relay.url(bad), 6) == [401] * 6

    asyncio.run(main())


def test_tickets_and_sessions_are_of_the_whole_relay(plain: Any, signer: Any) -> None:
    """Without a store, a ticket is good once on any worker; sessions are listed and refreshed."""
    relay = plain()
    bearer = {"authorization": f"Bearer {sub_token(signer, 'me')}"}

    async def main() -> None:
        async with httpx.AsyncClient(base_url=relay.http, headers=bearer) as web:
            for _ in range(8):
                ticket = (await web.post("/ticket")).json()["ticket"]
                async with connect(relay.url(f"/demo?ticket={ticket}"), tls=TRUST):
                    pass
                assert await statuses(relay.url(f"/demo?ticket={ticket}"), 3) == [401] * 3
            target = f"/demo?jwt={sub_token(signer, 'me')}"
            async with many(relay, target, 6) as by_worker:
                count = len(by_worker[0] + by_worker[1])
                found = (await web.get("/session")).json()["sessions"]
                assert len({each["id"] for each in found}) == count
                for each in found:
                    answer = await web.post(f"/session/{each['id']}/refresh")
                    assert answer.status_code == 200, answer.text
                assert len(relay.said("refreshed")) == count
                other = {"authorization": f"Bearer {sub_token(signer, 'you')}"}
                for each in found:
                    path = f"/session/{each['id']}/refresh"
                    refused = await web.post(path, headers=other)
                    assert refused.status_code == 403
                    (line,) = [
                        line
                        for line in relay.said("refused")
                        if line.get("id") == refused.json()["id"]
                    ]
                    assert each["id"] in line["why"]
                assert (await web.post("/session/nobody/refresh")).status_code == 404
            assert relay.welcomed().keys() == {0, 1}

    asyncio.run(main())


def test_drained_over_http_by_all_workers(plain: Any) -> None:
    relay = plain()

    async def main() -> None:
        async with many(relay, "/anon", 4) as by_worker, httpx.AsyncClient() as web:
            answer = await web.post(f"{relay.internal}/drain")
            assert answer.json() == {"sessions": len(by_worker[0] + by_worker[1])}
            await until(lambda: {line["worker"] for line in relay.said("draining")} == {0, 1})
            await asyncio.sleep(1.5 * SIGN)
            relay.process.program.send_signal(signal.SIGTERM)  # the second telling
            assert await asyncio.to_thread(relay.process.program.wait, 5) == 0

    asyncio.run(main())
    assert not relay.said("worker died")


def test_drained_over_http_although_what_forked_the_workers_is_gone(plain: Any) -> None:
    """Nobody can tell then how a worker ends; that it leaves it says itself."""
    relay = plain()
    (forker,) = psutil.Process(relay.process.program.pid).children()
    forker.kill()

    async def main() -> None:
        await until(lambda: relay.said("fork server ended"))
        async with httpx.AsyncClient() as web:
            assert (await web.post(f"{relay.internal}/drain")).status_code == 202
        assert await asyncio.to_thread(relay.process.program.wait, 15) == 0

    asyncio.run(main())
    assert not relay.said("worker died")
    assert len(relay.said("worker ready")) == 2


def test_whoever_comes_while_it_drains_is_turned_away(plain: Any) -> None:
    """Also by a worker that nobody is with any more."""
    relay = plain()

    async def main() -> None:
        async with connect(relay.url("/anon"), tls=TRUST):
            relay.process.program.send_signal(signal.SIGTERM)
            await until(lambda: len(relay.said("draining")) == 2)
            await asyncio.sleep(1)
            assert await statuses(relay.url("/anon"), 8) == [503] * 8

    asyncio.run(main())
    assert relay.process.program.wait(5) == 0


def test_a_worker_that_hangs_is_replaced(plain: Any) -> None:
    """The others go on; whoever comes to its place meets a new one."""

    relay = plain()

    async def main() -> None:
        async with (
            publishing(relay, "/anon") as (home, write),
            many(relay, "/anon", 6) as by_worker,
        ):
            stopped = relay.pid(1 - home)
            os.kill(stopped, signal.SIGSTOP)
            await until(lambda: relay.said("worker hangs"), 16)
            assert await audience(by_worker[home], write) == [3] * len(by_worker[home])
            await until(lambda: relay.pid(1 - home) != stopped)
            async with many(relay, "/anon", 6) as fresh:
                await audience(fresh[0] + fresh[1], write)
            assert [line["worker"] for line in relay.said("worker hangs")] == [1 - home]

    asyncio.run(main())
    assert relay.process.stop() == 0


def test_all_stopped_together_and_going_on_hang_not(plain: Any) -> None:
    """As when a machine sleeps."""
    relay = plain()
    pids = everybody(relay)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(SILENCE + 1)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.5)
    time.sleep(2)
    assert not relay.said("worker hangs")
    assert not relay.said("worker died")
    assert relay.process.stop() == 0


def test_one_that_hangs_does_not_keep_the_relay_from_stopping(plain: Any) -> None:
    relay = plain()
    os.kill(relay.pid(1), signal.SIGSTOP)
    relay.process.program.send_signal(signal.SIGTERM)
    assert relay.process.program.wait(SILENCE + 8) == 0


def test_workers_do_not_outlive_their_crew(plain: Any) -> None:
    relay = plain()
    pids = everybody(relay)[1:]
    relay.process.program.kill()
    deadline = time.monotonic() + 10
    while any(map(psutil.pid_exists, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_who_is_told_of_new_certificates_by_signal_goes_on(plain: Any) -> None:
    """As `pkill -USR1 -f` of a renewal's hook tells each process."""
    relay = plain()
    for pid in everybody(relay):
        os.kill(pid, signal.SIGUSR1)
    relay.process.program.send_signal(signal.SIGTERM)
    assert relay.process.program.wait(10) == 0
    assert not relay.said("worker died")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_everybody_and_then_sigint(plain: Any, number: int) -> None:
    """Whoever stops a service tells each of its processes; that is told once all the same."""
    relay = plain()

    async def main() -> None:
        async with many(relay, "/anon", 2) as by_worker:
            for pid in everybody(relay):
                os.kill(pid, number)
            await until(lambda: len(relay.said("draining")) == 2)
            await asyncio.sleep(0.5)
            clients = by_worker[0] + by_worker[1]
            assert not any(client.lost.done() for client in clients)
            relay.process.program.send_signal(signal.SIGINT)
            await asyncio.wait_for(asyncio.gather(*(client.lost for client in clients)), 5)

    asyncio.run(main())
    assert relay.process.program.wait(10) == 0
