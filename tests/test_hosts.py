"""Names are looked up one by one, and a silent one holds up nobody."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from socket import SOCK_DGRAM, SOCK_STREAM, gaierror
from typing import Any

import pytest

from relay import hosts
from relay.hosts import look_up, unreached, with_port

SILENT = 60
"""Names that hang, more than any pool of threads has."""


class System:
    """What is asked; names that begin with ``silent`` are answered when told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = threading.Event()

    def getaddrinfo(self, host: str, port: int, *, type: int) -> Any:
        self.asked.append(host)
        if host.startswith("silent"):
            self.answer.wait(10)
        if host == "silent-wrong":
            raise gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, type, 0, "", ("127.0.0.1", port))]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    system = System()
    monkeypatch.setattr(hosts.socket, "getaddrinfo", system.getaddrinfo)
    yield system
    system.answer.set()


def test_loops_of_two_threads_ask_for_the_same_name_at_once(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    departing, found, together = hosts.Thread, list[Any](), threading.Barrier(2)

    def slowly(*args: Any, **kwargs: Any) -> threading.Thread:
        time.sleep(0.05)
        return departing(*args, **kwargs)

    async def ask() -> None:
        together.wait(10)
        found.append(await look_up("silent", 443, type=SOCK_DGRAM))

    joined, wrapping = threading.Semaphore(0), asyncio.wrap_future

    def joins(flight: Any) -> Any:
        joined.release()
        return wrapping(flight)

    monkeypatch.setattr(hosts, "Thread", slowly)
    monkeypatch.setattr(hosts.asyncio, "wrap_future", joins)
    asking = [threading.Thread(target=lambda: asyncio.run(ask()), daemon=True) for _ in range(2)]
    for thread in asking:
        thread.start()
    assert all(joined.acquire(timeout=10) for _ in asking)  # each waits for its answer
    system.answer.set()
    for thread in asking:
        thread.join(10)
    assert system.asked == ["silent"]
    assert len(found) == 2
    assert not hosts._flights


def test_names_that_hang_hold_up_neither_others_nor_other_threads(system: System) -> None:
    async def main() -> None:
        hanging = [
            asyncio.ensure_future(look_up(f"silent{number}", 443, type=SOCK_DGRAM))
            for number in range(SILENT)
        ]
        async with asyncio.timeout(5):
            while len(system.asked) < SILENT:
                await asyncio.sleep(0.001)
            assert await look_up("here", 443, type=SOCK_DGRAM)
            assert await asyncio.to_thread(lambda: "done") == "done"
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    asyncio.run(main())  # and the end waits for none of them


def test_a_name_is_asked_for_once_however_many_wait_and_one_gives_up(system: System) -> None:
    async def main() -> None:
        waiting = [asyncio.ensure_future(look_up("silent", 443, type=SOCK_DGRAM)) for _ in range(5)]
        await asyncio.sleep(0)
        waiting.pop().cancel()
        system.answer.set()
        assert all([await each == await waiting[0] for each in waiting])
        assert await look_up("silent", 443, type=SOCK_STREAM)
        assert await look_up("silent", 443, type=SOCK_DGRAM)
        assert system.asked == ["silent"] * 3, "nothing is kept"

    asyncio.run(main())


def test_everybody_hears_that_there_is_none(system: System) -> None:
    async def main() -> None:
        waiting = [
            asyncio.ensure_future(look_up("silent-wrong", 1, type=SOCK_DGRAM)) for _ in range(2)
        ]
        await asyncio.sleep(0)
        system.answer.set()
        for each in waiting:
            with pytest.raises(gaierror, match="no such name"):
                await each

    asyncio.run(main())


def test_there_is_an_end_to_names_and_to_threads(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        first = asyncio.ensure_future(look_up("silent", 443, type=SOCK_DGRAM))
        await asyncio.sleep(0)
        with monkeypatch.context() as patched:
            patched.setattr(hosts, "MAX_LOOKUPS", 1)  # others' may be on their way, and land
            with pytest.raises(gaierror, match="too many names"):
                await look_up("here", 443, type=SOCK_DGRAM)
        system.answer.set()
        await first

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(gaierror, match="can't start"):
            await look_up("here", 443, type=SOCK_DGRAM)
        monkeypatch.undo()
        assert await look_up("localhost", 443, type=SOCK_DGRAM)

    asyncio.run(main())


def test_a_label_that_no_name_has() -> None:
    with pytest.raises(UnicodeError):
        asyncio.run(look_up("x" * 300, 443, type=SOCK_DGRAM))


@pytest.mark.parametrize(
    ("host", "written"),
    [("localhost", "localhost:1"), ("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1")],
)
def test_a_host_and_a_port_as_one_text(host: str, written: str) -> None:
    assert with_port(host, 1) == written


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_why_there_is_no_connection_is_said_as_the_system_says_it(family: int) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as free:
        free.bind((host, 0))

        async def main() -> None:
            with pytest.raises(ConnectionRefusedError) as refused:
                await asyncio.open_connection(host, free.getsockname()[1])
            assert unreached(refused.value) == "connection refused"

        asyncio.run(main())
    assert unreached(OSError(113, "Connect call failed ('::1', 1)")) == "No route to host"
    assert unreached(FileNotFoundError(2, "No such file or directory")) == (
        "No such file or directory"
    )
