"""The life of one of several workers on a port, under the crew that started it.

The crew hands over its orders on standard input and says there when to stop; when it is gone, so is
the worker. Signals are the crew's business: whoever stops a service tells all of its processes, and
a second telling would mean haste. This module must not know how a relay does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from relay.errors import ConfigError
from relay.server.log import write_log
from relay.server.loop import run
from relay.server.post import HURRY, LEAVING, READY, Orders, read_lost, read_orders
from relay.server.relay import Relay
from relay.server.vigil import SIGN


def work(sockets: list[int]) -> None:
    """Be a worker until told to stop; it has the sockets of these numbers.

    Raises `ConfigError`, `SystemExit`.
    """
    orders = read_orders(sys.stdin.fileno())
    try:
        with write_log(orders.settings):
            run(_serve(orders, sockets), orders.settings.server.loop)
    except ConfigError as error:
        _say(str(error))  # the crew's to show: once for all workers
        raise SystemExit(2) from None


def _say(line: str) -> None:
    """Tell the crew; an empty line says that we live."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def _serve(orders: Orders, sockets: list[int]) -> None:
    relay = Relay(orders.settings, post=orders.post(sockets))
    hurry = asyncio.Event()
    loop = asyncio.get_running_loop()
    source = sys.stdin.fileno()
    os.set_blocking(source, False)

    heard = bytearray()

    def told() -> None:
        try:
            said = os.read(source, 4096)
        except BlockingIOError:
            return
        if not said:
            loop.remove_reader(source)
            hurry.set()
            relay.draining.set()
        heard.extend(said)
        while b"\n" in heard:
            line, _, rest = heard.partition(b"\n")
            heard[:] = rest
            obey(bytes(line) + b"\n")

    def obey(line: bytes) -> None:
        if (died := read_lost(line)) is not None:
            relay.shares.lost(*died)
            return
        if line == HURRY:
            hurry.set()
        relay.draining.set()

    def live() -> None:
        with contextlib.suppress(OSError):  # the crew is gone, or has no time to listen
            _say(LEAVING if relay.draining.is_set() else "")
        loop.call_later(SIGN, live)

    def ready(relay: Relay) -> None:
        _say(f"{READY} {relay.shares.life}")
        os.set_blocking(sys.stdout.fileno(), False)
        live()

    loop.add_reader(source, told)
    await relay.serve(hurry, ready)
    with contextlib.suppress(OSError):
        _say(LEAVING)  # else the crew may take this end for a death: its status can be unknown
