"""Listening sockets that stay quiet when no more connections can be taken.

Without a file descriptor to spare asyncio asks such a socket again at once, as often as its queue
is long, and writes a traceback each time; a stranger with many connections would keep the relay
from everything else. The law: it is told so once, and that nobody waits until it looks again. This
module must not know what is listened for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from typing import Any

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors after which asyncio waits a second (`asyncio.constants.ACCEPT_RETRY_DELAY`)."""

PAUSE = 0.5
"""Seconds after one of them for which nobody seems to wait; shorter than that second."""


def has_spare() -> bool:
    """Whether one more descriptor can be had. Not every event loop says so when one was missing:
    uvloop takes connections with one that it keeps, and closes them."""
    try:
        socket.socket(socket.AF_UNIX).close()
    except OSError as error:
        return error.errno not in EXHAUSTED
    return True


class Listening(socket.socket):
    """A socket that listens, or will."""

    _silent_until = 0.0

    def accept(self) -> tuple[socket.socket, object]:
        """The next connection. Raises `OSError`: `BlockingIOError` too when there has just been no
        room for one."""
        if time.monotonic() < self._silent_until:
            raise BlockingIOError(errno.EAGAIN, "no room for a connection")
        try:
            return super().accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._silent_until = time.monotonic() + PAUSE
            raise


class Doorplate(Listening):
    """A socket whose file goes when it is closed, unless somebody else's is there by then."""

    _file: tuple[str, int] | None = None

    def bind(self, place: Any) -> None:
        """Make the file. Raises `OSError`."""
        super().bind(place)
        self._file = place, os.stat(place).st_ino

    def close(self) -> None:
        """Let go of it."""
        mine, self._file = self._file, None
        super().close()
        if mine is not None:
            with contextlib.suppress(OSError):
                if os.stat(mine[0]).st_ino == mine[1]:
                    os.unlink(mine[0])


def bind_unix(place: str, kind: type[Listening] = Listening) -> Listening:
    """A stream socket at ``place``; one that was left there is replaced. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(place).st_mode):
            os.unlink(place)
    sock = kind(socket.AF_UNIX)
    try:
        sock.bind(place)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def open_unix(place: str) -> Listening:
    """A stream socket at ``place`` that listens, for anybody who can enter its folder; one that
    nobody listens at any more is replaced. Raises `OSError`."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        try:
            caller.connect(place)
        except (FileNotFoundError, ConnectionRefusedError):
            pass
        except BlockingIOError:  # many wait there already
            raise OSError(errno.EADDRINUSE, "somebody listens there") from None
        else:
            raise OSError(errno.EADDRINUSE, "somebody listens there")
    sock = bind_unix(place, Doorplate)
    try:
        os.chmod(place, 0o666)
        sock.listen(socket.SOMAXCONN)
    except OSError:
        sock.close()
        raise
    return sock
