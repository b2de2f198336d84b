"""The steps of every day in C, and the books that they are about.

`relay.net.speedups` does what a settled connection does for each frame and acknowledgement, with
the objects that Python has: their slots are where C finds them. The law: one step is the other, and
what is not of every day C leaves to Python. This module must not know how a step goes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet_builder import QuicDeliveryState

from relay.net.built import speedups
from relay.net.growth import Reno
from relay.net.incoming import Incoming
from relay.net.keys import Keys
from relay.net.mtu import PathMtu
from relay.net.pacing import Pacer, RttMonitor
from relay.net.receiver import Heard, Receiver
from relay.net.recovery import Recovery, Space, Train
from relay.net.reordering import Reordering
from relay.net.sender import DEAF, MUTE, SharedSender, SharedStream, Stream
from relay.net.settings import QuicLimits
from relay.net.udp import joined
from relay.net.window import Window

_BOOKS: tuple[type[Any], ...] = (
    Incoming,
    Space,
    Recovery,
    Train,
    SharedSender,
    Stream,
    SharedStream,
    Receiver,
    Reno,
    Pacer,
    RttMonitor,
    PathMtu,
    Reordering,
    Window,
    Keys,
    Heard,
)
"""In the order of `books.h`."""


def chosen(kind: Any, limits: QuicLimits) -> Any:
    """The class to make a connection of this kind with."""
    return _quick(kind) if limits.short_way and limits.speedups else kind


@cache
def _quick(kind: Any) -> Any:
    """One that takes its everyday steps in C; ``kind`` itself where those were not built."""
    built = speedups()
    if built is None:
        return kind
    taken = built.bind(QuicDeliveryState.ACKED, QuicConnectionError, joined, MUTE, DEAF, *_BOOKS)
    asked = {f"_{name}": getattr(kind, name) for name in taken}  # where it is not that simple
    return type(f"Quick{kind.__name__}", (kind,), {"__slots__": (), **taken, **asked})
