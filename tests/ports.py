"""Ports for programs that have to be told theirs, or that come back to it after they were killed.

The law: they lie below those that the system gives to whoever asks for any (32768 and more), else
a test on another worker would be given one while nobody holds it.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket

LOW, HIGH = 12_000, 32_000
SHARE = 2_000
"""Ports of each of the processes that run tests side by side: what one has is free for no other,
also while it is being restarted."""


def free_ports(count: int) -> list[int]:
    """So many ports of 127.0.0.1 in rising order, free for UDP and for TCP just now."""
    index = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    low = LOW + index * SHARE % (HIGH - LOW)
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(low, low + SHARE)
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            found.add(port)
    return sorted(found)
