"""Lines on their way to a stream that may be slow, or that nobody reads any more.

The law: whoever writes a line goes on at once. What the stream takes now it is given now, in one
piece; the rest waits in order for a thread that has nothing else to do, and beyond `MAX_WAITING`
lines are lost and counted. A line is whole although several processes have the stream: each waits
for its turn, since a pipe that is full takes in pieces what is longer than `AT_ONCE`. Nobody hears
of a stream that fails: when a terminal is closed, or a disk full, the relay goes on or ends in good
order. This module must not know what the lines say.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

MAX_WAITING = 1 << 20
"""Bytes of lines that wait for the stream."""

AT_ONCE = select.PIPE_BUF
"""Bytes that a stream takes without waiting when it says that it takes any."""

PATIENCE = 1.0
"""Seconds that what still waits at the end is given."""


class Lines:
    """A stream for lines. Any thread may write, also within `write`: what the collector finds while
    a line is written, such as a future that failed and nobody asked, has a line of its own."""

    def __init__(self, stream: TextIO, lost: Callable[[int], None] = lambda lines: None) -> None:
        """``lost`` hears how many lines were lost, once others can be written again."""
        self._stream = stream
        self._told = lost
        self._number = _number(stream)
        # A terminal does not say how much it takes.
        self._at_once = 0 if self._number is None or os.isatty(self._number) else AT_ONCE
        self._takes_turns = self._number is not None and not _is_file(self._number)
        self._lock = threading.RLock()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._writer: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Write it, now or later, if that can be done."""
        if self._number is None:
            with contextlib.suppress(OSError):
                self._stream.write(line)
                self._stream.flush()
            return
        data = line.encode(self._stream.encoding or "utf-8", "backslashreplace")
        writer = None
        with self._lock:
            is_free = self._writer is None and not self._waiting
            is_short = len(data) <= self._at_once
            if is_free and is_short and _is_ready(self._number) and self._put(data):
                return
            if self._size + len(data) > MAX_WAITING:
                self._lost += 1
            else:
                self._waiting.append(data)
                self._size += len(data)
                writer = self._next_writer()
        if writer is not None:  # without the lock: it may have a line to write before it begins
            self._begin(writer)

    def __enter__(self) -> Lines:
        """As long as lines are written."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for what waits, not for long."""
        writer = self._writer
        if writer is not None:
            writer.join(PATIENCE)

    def _next_writer(self) -> threading.Thread | None:
        """The thread that is to work from now on, unless there is one already."""
        if self._writer is None:
            writer = threading.Thread(target=self._write_all, daemon=True)
            if self._writer is None:  # still
                self._writer = writer
                return writer
        return None

    def _begin(self, writer: threading.Thread) -> None:
        """Have it work; where there is no thread to be had, the next line tries again."""
        try:
            writer.start()
        except RuntimeError:
            self._writer = None

    def _write_all(self) -> None:
        """The thread's work, as long as anything waits."""
        while True:
            with self._lock:
                lost, self._lost = (0, self._lost) if self._waiting else (self._lost, 0)
                if not self._waiting and not lost:
                    self._writer = None
                    return
                data = self._waiting.popleft() if self._waiting else b""
            if lost:
                self._told(lost)
            self._put(data, waits=True)
            with self._lock:
                self._size -= len(data)

    def _put(self, data: bytes, waits: bool = False) -> bool:
        """Write it when it is our turn; false where that would have to be waited for, and nobody
        does. Where streams have no locks everybody writes as he likes."""
        assert self._number is not None
        if not self._takes_turns:
            _write(self._number, data)
            return True
        try:
            fcntl.lockf(self._number, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # as the system says it (fcntl(2))
            return False
        except OSError:
            pass
        _write(self._number, data)
        with contextlib.suppress(OSError):
            fcntl.lockf(self._number, fcntl.LOCK_UN)
        return True


def _number(stream: TextIO) -> int | None:
    """The descriptor below the stream, if there is one."""
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _is_ready(number: int) -> bool:
    """Whether `AT_ONCE` bytes can be written without waiting."""
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return bool(poll.poll(0))


def _is_file(number: int) -> bool:
    """Whether it is a file, which takes every line whole; locks may wait there for a network."""
    with contextlib.suppress(OSError):
        return stat.S_ISREG(os.fstat(number).st_mode)
    return False


def _write(number: int, data: bytes) -> None:
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(number, data) :]
