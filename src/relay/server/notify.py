"""What whoever started the relay as a service hears: that it is ready (sd_notify).

Upstream's unit has ``Type=notify``: without that word systemd takes a relay that serves everybody
for one that does not come up, and ends it. This module must not know what a relay does.
"""

from __future__ import annotations

import contextlib
import os
import socket

VARIABLE = "NOTIFY_SOCKET"
"""Names the unix socket to tell; ``@`` begins one without a file."""


def tell_ready() -> None:
    """Say it, if somebody wants to hear it. Whoever does not listen after all is no reason to
    stop."""
    name = os.environ.get(VARIABLE, "")
    if name[:1] not in ("/", "@") or not hasattr(socket, "AF_UNIX"):
        return
    address = os.fsencode(name)
    if name[0] == "@":
        address = b"\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        teller.setblocking(False)
        teller.sendto(b"READY=1", address)
