"""What is due later: linger, retention and forgetting, in one heap per origin.

An alarm sits in the heap at most once per date it was moved forward to; moving it back or clearing
it costs nothing, so idle things cost nothing. Those that were cleared are swept when they outnumber
the others: a date may be years away. This module must not know a clock: `tick` is told.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

_FEW = 64
"""Alarms that are not worth a sweep."""


class Alarm:
    """One thing that may become due; created once per owner and set as often as needed."""

    __slots__ = ("_agenda", "due", "queued", "ring")

    def __init__(self, agenda: Agenda, ring: Callable[[float], None]) -> None:
        self._agenda = agenda
        self.ring = ring
        self.due: float | None = None
        self.queued: float | None = None

    def set(self, due: float) -> None:
        """Ring at ``due`` (monotonic seconds) instead of whatever was set before."""
        self.due = due
        if self.queued is None or due < self.queued:
            self.queued = due
            self._agenda.queue(due, self)

    def clear(self) -> None:
        """Do not ring."""
        self.due = None

    def retire(self) -> None:
        """Never ring again: its owner is done, and goes as soon as nobody holds it. Of tens of
        thousands that hold themselves the garbage collector makes a pause of seconds."""
        self.due = None
        self.ring = _unheard


def _unheard(now: float) -> None:
    pass


class Agenda:
    """All alarms of one origin."""

    def __init__(self) -> None:
        self.now = 0.0
        """When `tick` was called last: monotonic seconds, a fraction of one late."""
        self._heap: list[tuple[float, int, Alarm]] = []
        self._serial = count()
        self._sweep_at = _FEW

    def queue(self, due: float, alarm: Alarm) -> None:
        """Look at ``alarm`` when ``due`` has come."""
        heapq.heappush(self._heap, (due, next(self._serial), alarm))
        if len(self._heap) > self._sweep_at:
            self._sweep()

    def tick(self, now: float) -> None:
        """Ring what is due.

        What a ring sets anew waits for the next tick, even if it is due at once; and so do those
        that stand behind one whose ring raised.
        """
        self.now = now
        due = deque(self._take_due(now))
        try:
            while due:
                alarm = due.popleft()
                if alarm.due is not None and alarm.due <= now:
                    alarm.due = None
                    alarm.ring(now)
        finally:
            for alarm in due:
                if alarm.due is not None:
                    alarm.set(alarm.due)

    def _take_due(self, now: float) -> list[Alarm]:
        due: list[Alarm] = []
        while self._heap and self._heap[0][0] <= now:
            when, _, alarm = heapq.heappop(self._heap)
            if alarm.queued != when:
                continue
            alarm.queued = None
            if alarm.due is None:
                continue
            if alarm.due <= now:
                due.append(alarm)
            else:
                alarm.set(alarm.due)
        return due

    def _sweep(self) -> None:
        """Let go of those that were cleared, and of dates that were moved forward."""
        held = [entry for entry in self._heap if entry[2].queued == entry[0]]
        self._heap = [entry for entry in held if entry[2].due is not None]
        for _, _, alarm in held:
            if alarm.due is None:
                alarm.queued = None
        heapq.heapify(self._heap)
        self._sweep_at = 2 * len(self._heap) + _FEW
