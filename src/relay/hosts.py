"""Where hosts are, and how that is written; the system is asked for each name in a thread of its
own.

The law: a name whose server is silent holds up no other name, nothing else that threads do, and not
the end of the program. This module must not know who asks, or what for.
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any

MAX_LOOKUPS = 2048
"""Names that are being asked for at a time. One more cannot be found now."""

Found = list[tuple[Any, ...]]
"""As `socket.getaddrinfo` answers."""

_Key = tuple[Any, Any, tuple[tuple[str, int], ...]]

_flights: dict[_Key, Future[Found]] = {}
_departing = Lock()
"""Loops of several threads may ask for the same name at the same moment."""


def with_port(host: str, port: int) -> str:
    """``localhost:4443``, ``127.0.0.1:4443`` or ``[::1]:4443`` (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unreached(error: OSError) -> str:
    """Why there is no connection, as the system says it: asyncio says where to instead."""
    said = error.strerror or str(error)
    if error.errno and "Connect call failed" in said:
        said = os.strerror(error.errno)
    if isinstance(error, ConnectionError):
        return said.lower() or "the peer hung up"
    return said


async def look_up(host: Any, port: Any, **wanted: int) -> Found:
    """What `socket.getaddrinfo` answers to the same; it is asked once, however many wait.

    It takes as long as the system does: whoever asks gives it a time. Raises `OSError`, and
    `UnicodeError` for labels that no name has.
    """
    key = host, port, tuple(wanted.items())
    with _departing:
        flight = _flights.get(key) or _depart(key)
    return await asyncio.wrap_future(flight)


def _depart(key: _Key) -> Future[Found]:
    if len(_flights) >= MAX_LOOKUPS:
        raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
    flight: Future[Found] = Future()
    flight.set_running_or_notify_cancel()  # who waits no longer takes it from nobody else
    # A pool would have the next name wait, and be waited for at the end.
    thread = Thread(target=_fly, args=(key, flight), name="lookup", daemon=True)
    _flights[key] = flight
    try:
        thread.start()
    except RuntimeError as error:
        del _flights[key]
        raise socket.gaierror(socket.EAI_AGAIN, str(error)) from None
    return flight


def _fly(key: _Key, flight: Future[Found]) -> None:
    host, port, wanted = key
    try:
        found = socket.getaddrinfo(host, port, **dict(wanted))
    except Exception as error:
        del _flights[key]
        flight.set_exception(error)
    else:
        del _flights[key]
        flight.set_result(found)
