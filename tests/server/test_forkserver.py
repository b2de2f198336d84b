"""Workers are forked with what they are given, how they end is told, and they outlive the rest."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from descriptors import open_files
from relay.server import forkserver
from relay.server.forkserver import UNKNOWN, ForkServer, Program
from relay.server.loop import Wanted, run

PROGRAM = """#!{python}
import os, signal, sys, time
from relay.server import forking

forking.PATIENCE = 1.0

def life(sockets):
    sys.stdout.write(f"{{os.getpid()}} {{' '.join(str(os.fstat(n).st_ino) for n in sockets)}}\\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line == "fds\\n":
            # One of them is the list itself.
            print(len(os.listdir("/proc/self/fd")) - 1, flush=True)
        elif line == "signals\\n":
            print(signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL, flush=True)
        elif line == "hang\\n":
            print("hanging", flush=True)
            time.sleep(60)
        else:
            print("last", flush=True)
            sys.exit(int(line))

forking.tend(lambda: life)
"""


@pytest.fixture(autouse=True)
def forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "worker"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Wanted:
    wanted: Wanted = request.param
    return wanted


class Closing(ForkServer):
    """One that knows what it has forked."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        super().__init__(tasks)
        self.programs: list[Program] = []

    async def fork(self, sockets: tuple[int, ...]) -> Program:
        self.programs.append(await super().fork(sockets))
        return self.programs[-1]


@contextlib.asynccontextmanager
async def forks() -> AsyncIterator[ForkServer]:
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        server = Closing(tasks)
        try:
            yield server
        finally:
            server.close()
            for program in server.programs:
                program.close()


async def first_line(program: Program) -> list[int]:
    """A worker's pid as it knows it, and its sockets."""
    return [int(word) for word in (await program.stdout.readline()).split()]


async def ask(program: Program, words: str) -> str:
    program.stdin.write(f"{words}\n".encode())
    return (await program.stdout.readline()).decode().strip()


def process(source: ForkServer) -> psutil.Process:
    """The process that forks."""
    assert source._server is not None
    return psutil.Process(source._server.pid)


async def over(source: ForkServer) -> None:
    """Return once it is known that the process that forks has ended."""
    while source._orders is not None:
        await asyncio.sleep(0.01)


def test_each_has_what_it_was_given_and_nothing_of_the_others(loop: Wanted) -> None:
    async def main() -> None:
        async with forks() as source, asyncio.TaskGroup() as tasks:
            pairs = [socket.socketpair() for _ in range(8)]
            asked = [
                tasks.create_task(source.fork((one.fileno(), other.fileno())))
                for one, other in pairs
            ]
            programs = [await each for each in asked]
            for program, pair in zip(programs, pairs, strict=True):
                numbers = [os.fstat(each.fileno()).st_ino for each in pair]
                assert await first_line(program) == [program.pid, *numbers]
                assert await ask(program, "fds") == "5"
                assert await ask(program, "signals") == "True"
            assert len({program.pid for program in programs}) == len(programs)
            assert {each.pid for each in process(source).children()} == {
                each.pid for each in programs
            }
            for program, pair in zip(programs, pairs, strict=True):
                program.stdin.close()
                assert await program.wait() == 0
                for each in pair:
                    each.close()

    run(main(), loop)


def test_how_each_ends_is_told(loop: Wanted) -> None:
    async def main() -> None:
        async with forks() as source:
            for status in (0, 3):
                program = await source.fork(())
                await first_line(program)
                assert await ask(program, str(status)) == "last"
                assert await program.wait() == status == program.returncode
                with pytest.raises(ProcessLookupError):
                    program.kill()
            program = await source.fork(())
            program.kill()
            assert await program.wait() == -signal.SIGKILL

    run(main(), loop)


def test_workers_outlive_it_and_others_come_from_the_next(loop: Wanted) -> None:
    async def main() -> None:
        async with forks() as source:
            told, killed = [await source.fork(()) for _ in range(2)]
            old, said = process(source), asyncio.Queue[dict[str, Any]]()
            source.log = SimpleNamespace(warning=lambda event, **facts: said.put_nowait(facts))
            old.kill()
            assert await said.get() == {"status": -signal.SIGKILL}
            assert await told.wait() == UNKNOWN
            told.returncode = None
            assert await first_line(told) == [told.pid]
            assert await ask(told, "0") == "last"
            assert await told.stdout.read() == b""
            killed.kill()
            await first_line(killed)
            assert await killed.stdout.read() == b""

            program = await source.fork(())
            assert process(source).pid != old.pid
            assert await ask(program, "7")
            assert await program.wait() == 7

    run(main(), loop)


def test_the_signals_of_a_service_that_stops_do_not_end_it(loop: Wanted) -> None:
    async def main() -> None:
        async with forks() as source:
            await source.fork(())
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
                process(source).send_signal(number)
            program = await source.fork(())
            program.kill()
            assert await program.wait() == -signal.SIGKILL

    run(main(), loop)


def test_one_that_nobody_waits_for_ends(loop: Wanted) -> None:
    async def main() -> None:
        async with forks() as source:
            first = await source.fork(())
            asked = asyncio.ensure_future(source.fork(()))
            while not source._unborn:
                await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert await source.fork(())
            while len(source._living) > 2:
                await asyncio.sleep(0.01)
            assert first.pid in source._living

    run(main(), loop)


def test_they_go_when_the_crew_does_also_one_that_hangs(loop: Wanted) -> None:
    async def main() -> None:
        async with forks() as source:
            going, hanging = [await source.fork(()) for _ in range(2)]
            for each in (going, hanging):
                await first_line(each)
            assert await ask(hanging, "hang") == "hanging"
            seen = process(source).children()
            assert len(seen) == 2
            assert source._orders is not None
            source._orders.shutdown(socket.SHUT_RDWR)
            going.stdin.close()
            await over(source)
            assert not (await asyncio.to_thread(psutil.wait_procs, seen, timeout=20))[1]

    run(main(), loop)


def test_one_that_hangs_itself_is_replaced(monkeypatch: pytest.MonkeyPatch, loop: Wanted) -> None:
    """It tells neither how a worker has ended nor of another one's birth."""

    async def main() -> None:
        async with forks() as source:
            program = await source.fork(())
            await first_line(program)
            with monkeypatch.context() as quick:
                quick.setattr(forkserver, "NEWS", 0.3)
                quick.setattr(forkserver, "BIRTH", 1.0)
                await hang(source, program)
            await over(source)
            program = await source.fork(())
            assert await ask(program, "7")
            await program.stdout.readline()
            assert await program.wait() == 7

    async def hang(source: ForkServer, program: Program) -> None:
        process(source).send_signal(signal.SIGSTOP)
        program.kill()
        assert await program.stdout.read() == b""
        assert await program.wait() == UNKNOWN
        with pytest.raises(OSError, match="hangs"):
            await source.fork(())

    run(main(), loop)


def test_what_could_not_be_sent_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, loop: Wanted
) -> None:
    """The next one is told of its own birth, and nothing stays open."""

    async def main() -> None:
        async with forks() as source:
            await source.fork(())
            sending = socket.send_fds

            def refuse(*arguments: Any) -> int:
                monkeypatch.setattr(socket, "send_fds", sending)
                raise OSError(errno.ETOOMANYREFS, "too many")

            gc.collect()  # what earlier tests left open is not ours
            before = open_files()
            monkeypatch.setattr(socket, "send_fds", refuse)
            with pytest.raises(OSError, match="too many"):
                await source.fork(())
            await settle(before)
            program = await source.fork(())
            assert await first_line(program) == [program.pid]

    run(main(), loop)


@pytest.mark.parametrize("room", [0, 1])
def test_without_room_for_its_pipes_nothing_stays_open(
    monkeypatch: pytest.MonkeyPatch, loop: Wanted, room: int
) -> None:
    async def main() -> None:
        async with forks() as source:
            await source.fork(())
            gc.collect()
            before, made, left = open_files(), os.pipe, room

            def pipe() -> tuple[int, int]:
                nonlocal left
                left -= 1
                if left < 0:
                    raise OSError(errno.EMFILE, "too many open files")
                return made()

            monkeypatch.setattr(os, "pipe", pipe)
            with pytest.raises(OSError, match="too many open"):
                await source.fork(())
            await settle(before)

    run(main(), loop)


async def settle(files: int) -> None:
    """Until so many files are open: the event loop closes in its own time."""
    async with asyncio.timeout(5):
        while open_files() != files:
            await asyncio.sleep(0.01)


def test_none_begins_with_a_part_of_its_sockets(loop: Wanted) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        with one, other:
            sockets = one.fileno(), other.fileno()
            async with forks() as source:
                await first_line(await source.fork(sockets))
                server = process(source)
                limit = server.rlimit(psutil.RLIMIT_NOFILE)
                for spare in range(4):
                    few = max(map(int, os.listdir(f"/proc/{server.pid}/fd"))) + 1 + spare
                    server.rlimit(psutil.RLIMIT_NOFILE, (few, limit[1]))
                    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                        await source.fork(sockets)
                server.rlimit(psutil.RLIMIT_NOFILE, limit)
                assert len(await first_line(await source.fork(sockets))) == 3

    run(main(), loop)


def test_orphans_that_become_ours_are_asked_how_they_ended(loop: Wanted) -> None:
    """In a container we may be the first process; nobody else would let go of them."""
    libc, subreaper = ctypes.CDLL(None), 36  # PR_SET_CHILD_SUBREAPER
    assert libc.prctl(subreaper, 1, 0, 0, 0) == 0

    async def main() -> None:
        async with forks() as source:
            killed, leaving = [await source.fork(()) for _ in range(2)]
            for each in (killed, leaving):
                await first_line(each)
            process(source).kill()
            await over(source)
            killed.kill()
            assert await killed.stdout.read() == b""
            assert [await killed.wait() for _ in range(2)] == [-signal.SIGKILL] * 2
            assert await ask(leaving, "3") == "last"
            assert await leaving.stdout.read() == b""
            assert await leaving.wait() == 3
            assert not psutil.pid_exists(killed.pid)

    try:
        run(main(), loop)
    finally:
        libc.prctl(subreaper, 0, 0, 0, 0)


@pytest.mark.parametrize("line", ["hello", "born", "born x", "over 1 0", "born 1"])
def test_one_that_says_anything_else_is_replaced(tmp_path: Path, loop: Wanted, line: str) -> None:
    """What is started with each Python may print something."""
    program = tmp_path / "worker"
    text = program.read_text()
    program.write_text(f"#!/bin/sh\necho {line}\nexec sleep 60\n")

    async def main() -> None:
        async with forks() as source:
            said = asyncio.Queue[dict[str, Any]]()
            source.log = SimpleNamespace(error=lambda event, **facts: said.put_nowait(facts))
            if line == "born 1":
                await source._start()
            else:
                with pytest.raises(OSError, match="has ended"):
                    await source.fork(())
            assert await said.get() == {"said": line}
            await over(source)
            program.write_text(text)
            assert await first_line(await source.fork(()))

    run(main(), loop)


@pytest.mark.parametrize("flags", [("-I",), ("-E", "-s"), ("-P",), ()])
def test_it_finds_modules_where_this_one_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    monkeypatch.undo()
    tell = "from relay.server.forkserver import _python; print(*_python()[1:])"
    done = subprocess.run(
        [sys.executable, *flags, "-c", tell], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.split() == list(flags)


def test_one_that_cannot_load_says_so(tmp_path: Path, loop: Wanted) -> None:
    (tmp_path / "worker").write_text("#!/bin/sh\nexit 1\n")

    async def main() -> None:
        async with forks() as source:
            for _ in range(2):
                with pytest.raises(OSError, match="has ended"):
                    await source.fork(())

    run(main(), loop)


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    done = subprocess.run(
        [*forkserver._python(), "-m", "relay", "worker"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "relay: a worker is started by relay run, not by hand\n"
