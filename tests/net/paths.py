"""Paths with a rate, a delay, a buffer and losses, and flows that share them; time is the test's.

A flow is recovery with congestion control and its pacer, without a connection: what it sends are
numbers, and who receives acknowledges every second packet, as RFC 9000 has it.
"""

from __future__ import annotations

import heapq
import random
from itertools import count
from math import ceil
from typing import Any

from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace

from relay.net.byrate import kind_of
from relay.net.mtu import SAFE, PathMtu
from relay.net.recovery import Recovery, Space, Train

SIZE = SAFE
"""Bytes of every packet."""

STEP = 1e-6
"""Seconds that pass at least between two looks."""


def begun(kind: type[QuicPacketRecovery], algorithm: str, size: int) -> tuple[Any, QuicPacketSpace]:
    """Recovery once the handshake is done, with its space; packets have ``size`` bytes."""
    recovery: Any = kind(
        **({"mtu": PathMtu(SAFE)} if issubclass(kind, Recovery) else {}),
        congestion_control_algorithm=algorithm,
        initial_rtt=0.1,
        max_datagram_size=size,
        peer_completed_address_validation=True,
        send_probe=lambda: None,
    )
    recovery.handshake_confirmed = True
    space = (Space if issubclass(kind, Recovery) else QuicPacketSpace)(is_application_data=True)
    recovery.spaces = [space]
    return recovery, space


class Path:
    """From all flows to their receivers over one bottleneck, and back."""

    def __init__(
        self,
        rate: float = 1e6,
        rtt: float = 0.04,
        buffer: float = 1e6,
        loss: float = 0.0,
        late: float = 0.0,
        late_by: tuple[float, float] = (0.003, 0.013),
    ) -> None:
        """``rate`` in bytes per second, ``buffer`` in bytes, ``loss`` and ``late`` are shares."""
        self.rate, self.rtt, self.buffer = rate, rtt, buffer
        self.loss, self.late, self.late_by = loss, late, late_by
        self.now = 100.0
        self.flows: list[Flow] = []
        self.waits: list[float] = []
        """Seconds that each packet waited in the buffer."""
        self.dropped = 0
        self._dice = random.Random(1)
        self._free_at = 0.0
        self._order = count()
        self._events: list[tuple[float, int, Any, tuple[Any, ...]]] = []

    def at(self, when: float, what: Any, *arguments: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), what, arguments))

    def carry(self, flow: Flow, number: int) -> None:
        """A packet leaves."""
        begin = max(self.now, self._free_at)
        if self._dice.random() < self.loss or (begin - self.now) * self.rate > self.buffer:
            self.dropped += 1
            return
        self.waits.append(begin - self.now)
        self._free_at = begin + SIZE / self.rate
        late = self._dice.uniform(*self.late_by) if self._dice.random() < self.late else 0.0
        self.at(self._free_at + self.rtt / 2 + late, flow.receive, number)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            for flow in self.flows:
                flow.pump()
            due = [each for flow in self.flows if (each := flow.due()) is not None]
            if self._events:
                due.append(self._events[0][0])
            soon = max(min(due, default=end), self.now + STEP)
            if soon >= end:
                self.now = end
                return
            self.now = soon
            while self._events and self._events[0][0] <= soon:
                _, _, what, arguments = heapq.heappop(self._events)
                what(*arguments)
            for flow in self.flows:
                flow.wake()


class Flow:
    """One sender and its receiver. It sends all the time unless it is ``frugal``: then `write` says
    what there is to send."""

    def __init__(self, path: Path, algorithm: str = "bbr", frugal: bool = False) -> None:
        self.path, self.frugal = path, frugal
        path.flows.append(self)
        self.recovery, self.space = begun(kind_of(algorithm, True), algorithm, SIZE)
        self.control: Any = self.recovery._cc
        self.got = 0
        """Bytes received."""
        self.waiting = 0
        """Packets that there are to send."""
        self._number = 0
        self._paced_at: float | None = None
        self._received = RangeSet()
        self._owed = 0
        self.latencies: list[float] = []
        """Seconds until the last packet of each frame written was there, or a later one."""
        self._frames: list[tuple[int, float]] = []

    def write(self, size: int) -> None:
        self.waiting += ceil(size / SIZE)
        self._frames.append((self._number + self.waiting, self.path.now))

    def every(self, seconds: float, size: int) -> None:
        """Write a frame of so many bytes now, and another one each time."""
        self.write(size)
        self.path.at(self.path.now + seconds, self.every, seconds, size)

    def pump(self) -> None:
        control, pacer, now = self.control, self.recovery._pacer, self.path.now
        self._paced_at = None
        while self.waiting or not self.frugal:
            room = (control.congestion_window - control.bytes_in_flight) // SIZE
            if room <= 0:
                break
            if pacer.packet_time is not None:
                pacer.update_bucket(now)
                if pacer.bucket_time <= 0:
                    self._paced_at = now + pacer.packet_time
                    break
                room = min(room, ceil(pacer.bucket_time / pacer.packet_time))
            if self.frugal:
                room = min(room, self.waiting)
            self.waiting -= room
            first, last = self._number, self._number + room - 1
            self._number += room
            self.recovery.enter(Train(first, last, SIZE * room, now, SIZE), self.space)
            if pacer.packet_time is not None:
                pacer.bucket_time = max(pacer.bucket_time - room * pacer.packet_time, pacer.least)
            for number in range(first, last + 1):
                self.path.carry(self, number)
        if self.frugal and not self.waiting and hasattr(control, "starved"):
            control.starved()

    def receive(self, number: int) -> None:
        self.got += SIZE
        self._received.add(number, number + 1)
        self._owed += 1
        if self._owed >= 2 or len(self._received) > 1:
            self._acknowledge()
        elif self._owed == 1:
            self.path.at(self.path.now + 0.025, self._acknowledge)
        while self._frames and self._frames[0][0] <= number + 1:
            self.latencies.append(self.path.now - self._frames.pop(0)[1])

    def _acknowledge(self) -> None:
        if self._owed:
            self._owed = 0
            while len(self._received) > 32:
                self._received.shift()
            ranges = [(each.start, each.stop - 1) for each in self._received]
            self.path.at(self.path.now + self.path.rtt / 2, self.acknowledge, ranges)

    def acknowledge(self, ranges: list[tuple[int, int]]) -> None:
        if len(ranges) == 1:
            self.recovery.acknowledge(self.space, *ranges[0], 0.0, self.path.now)
        else:
            self.recovery.acknowledge_all(self.space, ranges, 0.0, self.path.now)

    def due(self) -> float | None:
        times = (self.recovery.due(self.space), self._paced_at)
        return min((each for each in times if each is not None), default=None)

    def wake(self) -> None:
        due = self.recovery.due(self.space)
        if due is not None and due <= self.path.now:
            self.recovery.on_loss_detection_timeout(now=self.path.now)
