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

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors after which asyncio waits a second (`asyncio.constants.ACCEPT_RETRY_DELAY`)."""

PAUSE = 0.5
"""Seconds after one of them for which nobody seems to wait; shorter than that second."""


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


def bind_unix(place: str) -> Listening:
    """A stream socket at ``place``; one that was left there is replaced. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(place).st_mode):
            os.unlink(place)
    sock = Listening(socket.AF_UNIX)
    try:
        sock.bind(place)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
