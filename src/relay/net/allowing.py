"""Which processes may dial a unix socket: the kernel says who they are (unix(7), SO_PEERCRED).

Not every system tells. This module must not know what they dial for.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from typing import NamedTuple, Protocol

from relay.errors import Forbidden

CAN_TELL = hasattr(socket, "SO_PEERCRED")
"""Whether this system says who dials."""

_CREDENTIALS = struct.Struct("iII")
"""``struct ucred`` of Linux."""


class NotAllowed(Forbidden):
    """A process that may not dial here; it was told nothing."""


class Process(NamedTuple):
    """Somebody on this machine, as they were when they dialled."""

    pid: int
    """0 for a process that cannot be seen from here, of another container say."""
    uid: int
    gid: int

    def __str__(self) -> str:
        return f"uid {self.uid}, gid {self.gid}, pid {self.pid}"


class Allowed(Protocol):
    """Who may dial: whoever is in each of the lists, an empty one of which holds everybody."""

    @property
    def uid(self) -> Collection[int]:
        """User ids."""

    @property
    def gid(self) -> Collection[int]:
        """Group ids: that of the process itself, not those of its user besides."""

    @property
    def pid(self) -> Collection[int]:
        """Process ids."""


def asks_nothing(allowed: Allowed) -> bool:
    """Whether everybody may dial."""
    return not (allowed.uid or allowed.gid or allowed.pid)


def process_of(sock: socket.socket) -> Process | None:
    """Who is at the other end of a unix socket, ``None`` where the system does not tell."""
    if not CAN_TELL:
        return None
    said = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Process(*_CREDENTIALS.unpack(said))


def check(allowed: Allowed, process: Process | None) -> None:
    """Raises `NotAllowed`, with why, unless the process may dial."""
    if asks_nothing(allowed):
        return
    if process is None:
        raise NotAllowed("this system does not say who dials")
    for name in ("uid", "gid", "pid"):
        holds, value = getattr(allowed, name), getattr(process, name)
        if holds and value not in holds:
            raise NotAllowed(f"{name} {value} is not one of server.unix.allow.{name}")
