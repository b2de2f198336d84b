"""The process that workers are forked from: it has loaded everything and does nothing else.

What takes a process longest at its start is to load and compile what it is made of. That is done
once, here, so that a worker is there at once, also in place of one that has died, and workers have
in common the memory that stays as it was. The law: one thread, no event loop and no socket of the
relay, so that there is nothing in the middle of which it could be forked. It goes when the crew
does, and by no signal. This module must not know what a worker does.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator

from relay.errors import ConfigError
from relay.server.endings import pass_over

MAX_FILES = 253
"""Files that Linux passes in one message at most."""

BORN, FULL, OVER = "born", "full", "over"
"""What the crew is told: the pid of the next worker that it asked for | the `errno` for which there
is none | the pid of one that has ended, and its exit status, negative for a signal's."""

FORK = b"f"
"""What the crew says, with the worker's standard input and output to be, and its sockets."""

Work = Callable[[list[int]], None]
"""A worker's life; given the numbers of its sockets."""

STDIN, STDOUT, STDERR = 0, 1, 2

PATIENCE = 10.0
"""Seconds for which workers may outlive the crew."""


def tend(load: Callable[[], Work]) -> None:
    """Fork a worker whenever the crew wants one, until it is gone. In a worker this returns, or
    raises, when its life is over. ``load`` loads what workers are made of.

    Raises `ConfigError` when it was not the crew that started this.
    """
    pass_over()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(STDERR + 1, MAX_FILES)  # what some event loops leave open in children of theirs
    try:
        crew = socket.socket(fileno=os.dup(STDIN))
    except OSError:
        raise ConfigError("a worker is started by relay run, not by hand") from None
    with crew:
        work = load()
        gc.collect()
        gc.freeze()  # collecting writes to what is looked at, and what is written is shared no more
        workers: set[int] = set()
        sockets = _wait(crew, workers)
    if sockets is not None:
        work(sockets)
    else:
        _see_off(workers)


def _wait(crew: socket.socket, workers: set[int]) -> list[int] | None:
    """In a worker, the numbers of its sockets; ``None`` in this process, when the crew is gone.

    ``workers`` are the pids of those who live.
    """
    with _deaths() as deaths:
        while True:
            readable, _, _ = select.select([crew.fileno(), deaths], (), ())
            if deaths in readable:
                os.read(deaths, 4096)
                for pid, status in _ended(workers):
                    _tell(OVER, pid, status)
            if crew.fileno() in readable:
                said, files, flags, _ = socket.recv_fds(crew, len(FORK), MAX_FILES)
                if not said:
                    return None
                if flags & socket.MSG_CTRUNC:  # no descriptors are left for some of them
                    for number in files:
                        os.close(number)
                    _tell(FULL, errno.EMFILE)
                elif _fork(workers, files):
                    for number in (STDIN, STDOUT):
                        os.dup2(files[number], number)
                        os.close(files[number])
                    return files[STDERR:]


def _fork(workers: set[int], files: list[int]) -> bool:
    """Fork, and tell the crew; whether this is the worker, which has the ``files``.

    They are not ours any more once the crew is told: when they end it takes the worker for dead.
    """
    try:
        pid = os.fork()
    except OSError as error:
        news = FULL, error.errno or 0
    else:
        if not pid:
            return True
        workers.add(pid)
        news = BORN, pid
    for number in files:
        os.close(number)
    _tell(*news)
    return False


def _ended(workers: set[int]) -> Iterator[tuple[int, int]]:
    """Pid and exit status of those who have ended, and are workers no more."""
    with contextlib.suppress(ChildProcessError):  # there are none
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            workers.discard(ended[0])
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def _see_off(workers: set[int]) -> None:
    """End those who do not go by themselves, as they do when the crew is gone: one that hangs would
    keep the port."""
    until = time.monotonic() + PATIENCE
    while workers and time.monotonic() < until:
        time.sleep(0.05)
        for _ in _ended(workers):
            pass
    for pid in workers:
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _deaths() -> Iterator[int]:
    """Something can be read from this while children of ours have ended."""
    source, target = os.pipe()
    os.set_blocking(target, False)
    before = signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(target, warn_on_full_buffer=False)
    try:
        yield source
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, before)
        os.close(source)
        os.close(target)


def _tell(word: str, *numbers: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the crew is gone
        os.write(STDOUT, " ".join((word, *map(str, numbers))).encode() + b"\n")
