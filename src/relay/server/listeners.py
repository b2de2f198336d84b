"""The TCP sockets of the HTTP faces: where they were asked for, or beside QUIC.

This module must not know what the faces answer, nor which process they belong to.
"""

from __future__ import annotations

import socket

from relay.config import Settings
from relay.control.serve import listen
from relay.errors import ConfigError

TRIES = 8
"""Free port numbers that are tried for UDP and TCP together."""


def ports(settings: Settings) -> list[int]:
    """Port numbers to try for QUIC: the one asked for, or such as TCP has free where any will do.

    Plain HTTP takes the same number, and a number that is free for UDP need not be for TCP.
    """
    asked = settings.server.listen
    is_shared = settings.web.http.listen is None and settings.web.https.listen is None
    if asked.port or not is_shared:
        return [asked.port]
    found: list[int] = []
    for _ in range(TRIES):
        with listen(asked.host, 0, "server.listen") as probe:
            found.append(int(probe.getsockname()[1]))
    return found


def bind_faces(settings: Settings, quic_port: int) -> dict[str, socket.socket]:
    """Bound sockets of ``http``, ``https`` and ``internal``, as far as there are such faces.

    Plain HTTP is on the port number of QUIC unless the settings say otherwise. Raises
    `ConfigError`.
    """
    web, internal = settings.web, settings.internal.listen
    plain = web.http.listen
    if plain is None and web.https.listen is None:
        plain = settings.server.listen._replace(port=quic_port)
    if web.https.listen is not None and not (web.https.cert and web.https.key):
        raise ConfigError("web.https.listen needs web.https.cert and web.https.key")
    wanted = (
        ("http", plain, "web.http.listen"),
        ("https", web.https.listen, "web.https.listen"),
        ("internal", internal, "internal.listen"),
    )
    bound: dict[str, socket.socket] = {}
    try:
        for name, place, setting in wanted:
            if place is not None:
                bound[name] = listen(place.host, place.port, setting)
    except ConfigError:
        for sock in bound.values():
            sock.close()
        raise
    return bound
