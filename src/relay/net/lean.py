"""What the library makes anew for each connection, where one for all would do.

Most of what a connection at rest takes is a table of methods and sets, and callbacks that only a
log of events would hear. This module must not know what a connection does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from aioquic.quic import connection as library
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair, NoCallback
from aioquic.tls import Epoch

Table = dict[int, tuple[Callable[..., None], frozenset[Epoch]]]
"""Who hears which frame, and in which packets it may be."""

_FIELD = "_QuicConnection__frame_handlers"

_shared: dict[int, tuple[str, frozenset[Epoch]]] = {}
"""The same with names, which are those of every connection."""


class Handlers:
    """The library's table of frames, whose entries are made when they are looked up."""

    __slots__ = ("_connection",)

    def __init__(self, connection: QuicConnection) -> None:
        self._connection = connection

    def __getitem__(self, kind: int) -> tuple[Callable[..., None], frozenset[Epoch]]:
        """Raises `KeyError`, as the library expects."""
        name, epochs = _shared[kind]
        return getattr(self._connection, name), epochs


def share_handlers(connection: QuicConnection) -> None:
    """Let go of the table a connection has just made."""
    if not _shared:
        # The table is made all the same, but no longer with a set for each of its 33 entries.
        library.EPOCHS = cache(library.EPOCHS)
        own: Table = getattr(connection, _FIELD)
        _shared.update({kind: (hears.__name__, where) for kind, (hears, where) in own.items()})
    setattr(connection, _FIELD, Handlers(connection))


def drop_callbacks(pairs: Iterable[CryptoPair]) -> None:
    """Let go of callbacks that tell a log, where there is none, of keys."""
    for pair in pairs:
        for context in (pair.recv, pair.send):
            context._setup_cb = context._teardown_cb = NoCallback
