"""Workers that have died and are not there again yet: who reads what comes to their sockets.

The law: what a kernel gives to a worker that is away reaches another that is there, so that nobody
has to wait until it is started again: neither newcomers, nor, where the kernel does not steer, the
sessions of the others. This module must not know why a worker is away, nor what packets hold.
"""

from __future__ import annotations

import asyncio
from pathlib import Path as File

from relay.net import udp
from relay.net.gate import CID_LENGTH
from relay.net.stray import StandIn
from relay.server.listeners import Workers

BATCH = 64
"""Datagrams read at once, before the crew looks after anything else."""


class Absences:
    """The workers that are away."""

    def __init__(self, quic: Workers, folder: File) -> None:
        """``quic`` are the sockets of all workers, ``folder`` is where their unix sockets are."""
        self._quic = quic
        self._loop = asyncio.get_running_loop()
        self._stand_in = StandIn(len(quic), folder)
        self._away: set[int] = set()

    def begin(self, index: int) -> None:
        """That worker is away from now on."""
        self._away.add(index)
        self._look()

    def end(self, index: int) -> None:
        """It reads for itself again."""
        self._away.discard(index)
        self._look()

    def close(self) -> None:
        """Read for nobody any more."""
        self._away.clear()
        self._look()
        self._stand_in.close()

    def _look(self) -> None:
        """Read for those who are away. While all are, packets wait in the sockets for them."""
        is_anybody_there = len(self._away) < len(self._quic)
        for index, sockets in enumerate(self._quic):
            for line, sock in enumerate(sockets):
                if index in self._away and is_anybody_there:
                    self._loop.add_reader(sock.fileno(), self._pass_on, line, sock)
                else:
                    self._loop.remove_reader(sock.fileno())

    def _pass_on(self, line: int, sock: udp.Socket) -> None:
        runs, trouble = udp.receive(sock, BATCH, CID_LENGTH)
        if trouble:
            # uvloop stops reading from a socket with an error, whatever comes afterwards.
            self._loop.remove_reader(sock.fileno())
            self._look()
        self._stand_in.pass_on(line, runs)
