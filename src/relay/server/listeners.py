"""The sockets of the relay: QUIC, the HTTP faces where they were asked for or beside it, and plain
streams.

This module must not know what the faces answer, nor which process they belong to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import chain

from relay.config import Settings
from relay.control.serve import listen
from relay.errors import ConfigError
from relay.net.listening import open_unix
from relay.net.streams import TCP, UNIX
from relay.net.udp import Socket

TRIES = 8
"""Port numbers that are tried where any will do, until one is free for UDP and for TCP."""

Workers = list[list[Socket]]
"""Sockets of QUIC, one for each address, for each worker that has the port."""

Faces = dict[str, list[socket.socket]]
"""Listening sockets, one for each address, of ``http``, ``https``, ``internal``, ``tcp`` and
``unix``, as far as there are such faces."""


def open_sockets(
    settings: Settings, bind_quic: Callable[[str, int], Workers]
) -> tuple[Workers, Faces]:
    """Every socket of the relay: what ``bind_quic(host, port)`` opens, and the faces.

    Plain HTTP takes the port number of QUIC unless the settings say otherwise. Where any number
    will do, one that is free for UDP need not be for TCP: then another is tried. Raises
    `ConfigError`, with nothing left open.
    """
    asked = settings.server.listen
    for _ in range(1 if asked.port else TRIES):
        try:
            quic = bind_quic(asked.host, asked.port)
        except ConfigError as error:
            # A number that one address of the host has free need not be free on the next.
            failure = ConfigError(f"server.listen: {error}")
            continue
        try:
            return quic, _bind_faces(settings, quic[0][0].getsockname()[1])
        except ConfigError as error:
            failure = error
            for sock in (each for worker in quic for each in worker):
                sock.close()
    raise failure


def _bind_faces(settings: Settings, quic_port: int) -> Faces:
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
        (TCP, settings.server.tcp.listen, "server.tcp.listen"),
    )
    bound: Faces = {}
    try:
        for name, place, setting in wanted:
            if place is not None:
                bound[name] = listen(place.host, place.port, setting)
        if settings.server.unix.listen is not None:
            bound[UNIX] = [_open_unix(str(settings.server.unix.listen))]
    except ConfigError:
        for sock in chain(*bound.values()):
            sock.close()
        raise
    return bound


def _open_unix(place: str) -> socket.socket:
    try:
        return open_unix(place)
    except (OSError, ValueError) as error:  # the latter for a name that holds a NUL
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"server.unix.listen: cannot listen at {place}: {why}") from None
