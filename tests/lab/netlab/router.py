"""The program between hosts: packets in at one end of a link, out at the other, weather allowing.

One process carries every link of a lab. It takes orders as JSON, one a line, on the socket that it
is started with, answers each, and ends when that closes, so that it never outlives its lab; its TUN
devices go with it. It must not know what the packets carry.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from netlab.namespaces import entered
from netlab.weather import Way, Weather

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
PR_SET_TIMERSLACK = 29

MAX_PACKET = 65_535
BURST = 64
"""Packets taken from one device before the others have their turn."""

NICE = -10
"""The weather must not depend on how busy the hosts are."""


@dataclass(slots=True)
class Lane:
    """One way and the devices at its ends."""

    way: Way
    source: int
    target: int


class Router:
    """Every link of a lab."""

    def __init__(self, orders: socket.socket) -> None:
        self.orders = orders
        self.unread = b""
        self.lanes: dict[int, Lane] = {}
        self.links: list[tuple[Lane, Lane]] = []
        self.flying: list[tuple[float, int, Lane, bytes]] = []
        self.number = 0
        self.over = False

    def run(self) -> None:
        """Until the orders end."""
        watched = [self.orders.fileno()]
        while not self.over:
            # select and not epoll: it waits for microseconds, epoll for milliseconds.
            readable, _, _ = select.select(watched, (), (), self._wait())
            for descriptor in readable:
                if (lane := self.lanes.get(descriptor)) is not None:
                    self._take(lane)
                else:
                    self._obey()
                    watched = [self.orders.fileno(), *self.lanes]
            self._deliver(time.monotonic())

    def _wait(self) -> float | None:
        """Seconds until the next packet arrives somewhere."""
        return max(0.0, self.flying[0][0] - time.monotonic()) if self.flying else None

    def _take(self, lane: Lane) -> None:
        """What the host at the source has sent."""
        way = lane.way
        for _ in range(BURST):
            try:
                packet = os.read(lane.source, MAX_PACKET)
            except BlockingIOError:
                return
            now = time.monotonic()
            due = way.arrival(len(packet), now)
            if due is None:
                continue
            if due <= now:
                self._write(lane, packet)
            else:
                self.number += 1
                way.flying += 1
                heapq.heappush(self.flying, (due, self.number, lane, packet))

    def _deliver(self, now: float) -> None:
        flying = self.flying
        while flying and flying[0][0] <= now:
            _, _, lane, packet = heapq.heappop(flying)
            lane.way.flying -= 1
            if lane.way.is_cut:
                lane.way.cut += 1
            else:
                self._write(lane, packet)

    def _write(self, lane: Lane, packet: bytes) -> None:
        try:
            os.write(lane.target, packet)
        except OSError:
            lane.way.dropped += 1

    def _obey(self) -> None:
        """Orders that have come in; each is answered."""
        received = self.orders.recv(65_536)
        self.over = not received
        *lines, self.unread = (self.unread + received).split(b"\n")
        for line in lines:
            order = json.loads(line)
            try:
                answer = getattr(self, f"do_{order.pop('do')}")(**order)
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            self.orders.sendall(json.dumps(answer).encode() + b"\n")

    def do_link(self, ends: list[list[str]], weather: dict[str, Any], seed: str) -> int:
        """Join two hosts, each given as namespace and device; the link's number."""
        one, other = (tun(*end) for end in ends)
        made = tuple(
            Lane(Way(Weather(**weather), random.Random(f"{seed}-{way}")), source, target)
            for way, (source, target) in enumerate(((one, other), (other, one)))
        )
        for lane in made:
            self.lanes[lane.source] = lane
        self.links.append((made[0], made[1]))
        return len(self.links) - 1

    def do_change(self, link: int, ways: list[int], weather: dict[str, Any]) -> None:
        """Other weather, for packets that are sent from now on."""
        for way in ways:
            self.links[link][way].way.weather = Weather(**weather)

    def do_cut(self, link: int, ways: list[int], cut: bool) -> None:
        """Let nothing through any more, what is under way included; or let it through again."""
        for way in ways:
            self.links[link][way].way.is_cut = cut

    def do_counts(self, link: int) -> list[dict[str, int]]:
        """What each end has sent."""
        return [asdict(lane.way.counts()) for lane in self.links[link]]


def tun(namespace: str, device: str) -> int:
    """A new TUN device in a namespace; its descriptor, which holds the device alive."""
    with entered(namespace):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    return descriptor


def main() -> None:
    """``python -m netlab.router DESCRIPTOR``"""
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)
    os.nice(NICE)
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        Router(orders).run()


if __name__ == "__main__":
    main()
