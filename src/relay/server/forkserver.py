"""Where the crew's workers come from: a process that forks them (`relay.server.forking`), started
when the first one is wanted, and again should it have ended. Workers outlive it.

This module must not know what workers are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import IO, Any

import structlog

from relay.server.forking import BORN, FORK, FULL, OVER

UNKNOWN = 255
"""Exit status of a worker whose fork server ended before it did, or does not tell."""

BIRTH = 60.0
"""Seconds that the fork server may take for a worker, loading what all are made of included."""

NEWS = 5.0
"""Seconds after which it tells no more how a worker ended."""

LOOKS = 100
"""How often it is looked meanwhile whether an orphan has ended."""


class Program:
    """A worker's process; what the crew may do with one of `asyncio.subprocess`."""

    def __init__(
        self, stdout: asyncio.StreamReader, stdin: asyncio.StreamWriter, close: Callable[[], None]
    ) -> None:
        """``close`` ends what is between us."""
        self.pid = 0
        self.close = close
        self.stdout = stdout
        self.stdin = stdin
        self.returncode: int | None = None
        loop = asyncio.get_running_loop()
        self._born: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[int] = loop.create_future()

    async def birth(self) -> None:
        """Return once it runs. Raises `OSError` when it never will."""
        await self._born

    async def wait(self) -> int:
        """The exit status. To be asked once the process has no more to say: that may be all that
        will ever be known of its end."""
        if self.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NEWS):
                    await asyncio.shield(self._over)
            self.forget()
            status = self._over.result()
            self.returncode = await self._adopted() if status == UNKNOWN else status
        return self.returncode

    async def _adopted(self) -> int:
        """The exit status of an orphan, where those become ours: in a container we may be the first
        process, and nobody else would ever ask for it."""
        with contextlib.suppress(ChildProcessError):  # it is not ours, as a rule
            for _ in range(LOOKS):
                if (status := _ended(self.pid)) is not None:
                    return status
                await asyncio.sleep(NEWS / LOOKS)
        return UNKNOWN

    def kill(self) -> None:
        """End it at once. Raises `ProcessLookupError` when it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, signal.SIGKILL)

    def begin(self, pid: int) -> None:
        """It has been born."""
        self.pid = pid
        if not self._born.done():
            self._born.set_result(None)

    def fail(self, number: int, text: str) -> None:
        """There is no room for it."""
        if not self._born.done():
            self._born.set_exception(OSError(number, text))

    def end(self, status: int) -> None:
        """It has ended."""
        self.returncode = status
        if not self._over.done():
            self._over.set_result(status)

    def forget(self) -> None:
        """Nobody will tell how it ends."""
        if not self._over.done():
            self._over.set_result(UNKNOWN)


class ForkServer:
    """Forks workers."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        """One of the tasks listens to the process, and is over when that is (`close`)."""
        self.log = structlog.get_logger()
        self._tasks = tasks
        self._starting = asyncio.Lock()
        self._server: asyncio.subprocess.Process | None = None
        self._orders: socket.socket | None = None
        self._unborn: deque[Program] = deque()
        self._living: dict[int, Program] = {}
        self._is_closing = False

    async def fork(self, sockets: tuple[int, ...]) -> Program:
        """A new worker that has these sockets. Raises `OSError` and `RuntimeError` when there is no
        room for one, which may be so only now."""
        async with _pipes() as (program, *ends):
            async with self._starting:
                orders = self._orders or await self._start()
            with contextlib.suppress(BrokenPipeError):  # it has ended, as we are about to hear
                socket.send_fds(orders, [FORK], [*ends, *sockets])
            self._unborn.append(program)
            try:
                async with asyncio.timeout(BIRTH):
                    await program.birth()
            except TimeoutError:
                self.close()  # the next one may have more luck with another
                raise OSError(errno.ETIMEDOUT, "the process that forks workers hangs") from None
            return program

    def close(self) -> None:
        """Fork no more."""
        self._is_closing = True
        if self._server is not None:
            _kill(self._server)

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._server = await asyncio.create_subprocess_exec(
                    *(*_python(), "-m", "relay", "worker"),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.PIPE,
                )
            except BaseException:
                ours.close()
                raise
        self._orders, self._is_closing = ours, False
        self._tasks.create_task(self._listen(self._server, ours))
        return ours

    async def _listen(self, server: asyncio.subprocess.Process, orders: socket.socket) -> None:
        """Hear who is born and who has ended, until the fork server has."""
        assert server.stdout is not None
        is_to_end = True
        try:
            while line := await server.stdout.readline():
                try:
                    self._heard(*line.decode().split())
                except (ValueError, TypeError, LookupError):
                    said = line.decode("utf-8", "replace").strip()
                    self.log.error("fork server not understood", said=said)
                    break
            else:
                is_to_end = self._is_closing
        finally:
            self._orders = None
            orders.close()
            unborn, self._unborn = self._unborn, deque()
            for program in self._living.values():
                program.forget()
            self._living.clear()
            _kill(server)
            await server.communicate()
            for program in unborn:
                why = f"the process that forks workers has ended with status {server.returncode}"
                program.fail(errno.ECHILD, why)
            if not is_to_end:
                self.log.warning("fork server ended", status=server.returncode)

    def _heard(self, word: str, number: str, status: str = "") -> None:
        """Raises `ValueError`, `TypeError` or `LookupError` for what it cannot have said."""
        told = int(number)
        if word == OVER:
            self._living.pop(told).end(int(status))
        elif word == BORN:
            program = self._living[told] = self._unborn.popleft()
            program.begin(told)
        elif word == FULL:
            self._unborn.popleft().fail(told, os.strerror(told))
        else:
            raise ValueError(word)


def _ended(pid: int) -> int | None:
    """Exit status of a child of ours, ``None`` while it lives. Raises `ChildProcessError`."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _kill(server: asyncio.subprocess.Process) -> None:
    """End it, if it has not. Its own `kill` looks whether it has, and takes the status from the
    loop, which then does not know it."""
    if server.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def _pipes() -> AsyncIterator[tuple[Program, int, int]]:
    """A worker to be, and what is to be its standard input and output. Should it not come so far
    they end: then it ends as well, if it is born later."""
    loop = asyncio.get_running_loop()
    closing = contextlib.ExitStack()
    with contextlib.ExitStack() as theirs:
        try:
            stdin, ours = os.pipe()
            theirs.callback(os.close, stdin)
            target, protocol = await _connected(
                loop.connect_write_pipe,
                lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()),
                os.fdopen(ours, "wb", 0),
            )
            closing.callback(target.close)
            ours, stdout = os.pipe()
            theirs.callback(os.close, stdout)
            reader = asyncio.StreamReader()
            source, _ = await _connected(
                loop.connect_read_pipe,
                lambda: asyncio.StreamReaderProtocol(reader),
                os.fdopen(ours, "rb", 0),
            )
            closing.callback(source.close)
            writer = asyncio.StreamWriter(target, protocol, None, loop)
            yield Program(reader, writer, closing.close), stdin, stdout
        except BaseException:
            closing.close()
            raise


async def _connected(
    connect: Callable[..., Any], protocol: Callable[[], asyncio.BaseProtocol], file: IO[bytes]
) -> Any:
    """A pipe of the event loop's; closed where it cannot become one."""
    try:
        return await connect(protocol, file)
    except BaseException:
        file.close()
        raise


def _python() -> tuple[str, ...]:
    """The interpreter for a worker, with the flags that say where this one may find modules. With
    ``-m`` one looks in the working directory first, where some ``jwt.py`` may lie that is none of
    ours; it does so only if this one does."""
    here = {""}
    with contextlib.suppress(OSError):  # it was removed
        here.add(os.getcwd())
    if sys.flags.isolated:
        return sys.executable, "-I"
    found = [sys.executable]
    found += ["-E"] if sys.flags.ignore_environment else []
    found += ["-s"] if sys.flags.no_user_site else []
    found += [] if here & {*sys.path} else ["-P"]
    return tuple(found)
