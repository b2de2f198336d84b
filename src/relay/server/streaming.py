"""Sessions over plain streams, where ``[server.tcp]`` and ``[server.unix]`` ask for them.

This module must not know how such a session is carried, nor who is let in.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence

from relay.config import Settings
from relay.net.called import StreamListener
from relay.net.gate import Gate
from relay.net.streams import TCP, UNIX
from relay.net.visit import Door


async def take_streams(
    settings: Settings,
    sockets: Mapping[str, Sequence[socket.socket]],
    door: Door,
    gate: Gate,
    failed: Callable[[Exception], None],
    closing: contextlib.AsyncExitStack,
) -> None:
    """Let people in there, until ``closing`` ends."""
    server = settings.server
    for name, allowed in ((TCP, None), (UNIX, server.unix.allow)):
        listener = StreamListener(door, settings.endpoint, server.versions, failed, gate, allowed)
        closing.push_async_callback(listener.close)
        for sock in sockets.get(name, ()):
            closing.callback((await listener.listen(sock)).close)
