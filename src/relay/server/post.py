"""What a worker is given by the crew that starts it: settings, open sockets, and its number.

This module must not know how either of them lives.
"""

from __future__ import annotations

import os
import pickle
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path as File

from relay.config import Settings
from relay.errors import ConfigError
from relay.net.listening import Listening
from relay.net.steer import Share
from relay.net.udp import Socket
from relay.records.address import url_of

DRAIN, HURRY = b"d\n", b"h\n"
"""What the crew says later: stop in good order | stop now. That it is gone means the latter."""

READY = "ready"
"""What a worker answers once it listens, as its first line, and the name of its life after it;
every other line is a sign of life."""

LEAVING = "leaving"
"""What signs of life say once the worker stops in good order, whoever told it to."""

_LOST = re.compile(rb"x ([0-9]{1,4}) ([0-9a-f]{1,64})\n")


def lost(index: int, life: str) -> bytes:
    """What the crew says to the first worker when another has died."""
    return f"x {index} {life}\n".encode()


def read_lost(line: bytes) -> tuple[int, str] | None:
    """The worker that has died and the name of its life, if that is what the crew says."""
    found = _LOST.fullmatch(line)
    return None if found is None else (int(found[1]), found[2].decode())


@dataclass(slots=True)
class Post:
    """What a worker has because it is one of several."""

    share: Share
    folder: File
    """Where the workers' unix sockets are; nobody else may enter."""
    quic: list[Socket]
    faces: dict[str, list[socket.socket]] = field(default_factory=dict)
    """Listening TCP sockets by their settings' names; all of them are the first worker's."""

    def place(self, kind: str, index: int | None = None) -> str:
        """A worker's unix socket, its own unless told whose."""
        return str(self.folder / f"{kind}-{self.share.index if index is None else index}")


def common_store(folder: File) -> str:
    """The URL of the store that the workers share where none is named; it goes when they do."""
    return url_of(folder / "records.db")


@dataclass(frozen=True, slots=True)
class Orders:
    """What is handed over to a new worker: the settings, and its post, but for the sockets."""

    settings: Settings
    index: int
    count: int
    folder: str
    quic: int
    """How many of its sockets are for QUIC: the first ones."""
    faces: dict[str, int]
    """And how many are for each face."""

    def post(self, numbers: Iterable[int]) -> Post:
        """The post, with the sockets of these numbers."""
        each = iter(numbers)
        return Post(
            Share(self.index, self.count),
            File(self.folder),
            [Socket(fileno=number) for number in islice(each, self.quic)],
            {name: list(map(_listening, islice(each, n))) for name, n in self.faces.items()},
        )


def _listening(number: int) -> socket.socket:
    sock = Listening(fileno=number)
    sock.setblocking(False)
    return sock


def write_orders(orders: Orders) -> bytes:
    """Orders as they go over standard input: their length, then they."""
    body = pickle.dumps(orders)
    return len(body).to_bytes(8, "big") + body


def read_orders(source: int) -> Orders:
    """Read them. The crew started us and nobody else can write here, so they are believed.

    Raises `ConfigError` when it is gone.
    """
    body = _exactly(source, int.from_bytes(_exactly(source, 8), "big"))
    orders = pickle.loads(body)
    assert isinstance(orders, Orders)
    return orders


def _exactly(source: int, size: int) -> bytes:
    """So many bytes and not one more, for what follows is read by the event loop."""
    found = b""
    while len(found) < size:
        piece = os.read(source, size - len(found))
        if not piece:
            raise ConfigError("a worker is started by relay run, not by hand")
        found += piece
    return found
