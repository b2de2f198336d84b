"""What is published and what arrived: frames, plans, and records that can be waited for.

A plan is what a test hands to a publisher, a `Frame` is what a watcher hands back. The law: a
record only grows and keeps what it was given, gaps and failures included. This module must not
know any client.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

Group = Sequence[tuple[int, bytes]]
"""The frames of one group: timestamp in microseconds and payload."""

Plan = Sequence[Group]
"""The groups of one track in the order in which they are published."""

KEEP_MS = 120_000
"""How old a group may grow before anybody may skip it: longer than any test."""

DEADLINE = 30.0
"""Seconds that any single wait of a test may last."""


@dataclass(frozen=True)
class Frame:
    """One frame as it arrived."""

    group: int
    index: int
    timestamp_us: int | None
    payload: bytes

    def __repr__(self) -> str:
        body = self.payload.hex() if len(self.payload) <= 16 else _digest(self.payload)
        return f"<{self.group}/{self.index} @{self.timestamp_us} {len(self.payload)}B {body}>"


class Refused(Exception):
    """The far side said no: to a session, or to a subscription. The text is the client's own."""


def _digest(payload: bytes) -> str:
    return "sha256:" + hashlib.sha256(payload).hexdigest()[:16]


def noise(size: int, seed: int) -> bytes:
    """``size`` bytes that look random, hold every byte value and are the same for a seed."""
    return hashlib.shake_256(f"{seed}/{size}".encode()).digest(size)


BINARY: Plan = (
    ((0, b"first"), (33_333, b""), (66_667, b"\x00")),
    ((1_000_000, noise(70 << 10, 1)), (1_033_333, bytes(range(256)))),
    ((2_000_000, noise(300 << 10, 2)),),
    ((3_000_000, b"key"), (3_100_000, b"ahead"), (3_050_001, b"back in time"), (3_050_001, b"=")),
    ((4_000_000, b""),),
)
"""Every shape of frame: empty, one byte, all byte values, 70 KiB, 300 KiB, time going backwards."""

SMALL: Plan = (
    ((0, b"one"), (20_000, b""), (40_000, noise(3000, 3))),
    ((1_000_000, b"\xff"),),
    ((2_000_000, b"last group"), (2_020_000, noise(1200, 4))),
)
"""A short plan for tests whose subject is not the payload."""

TEXT: Plan = tuple(((0, f"line {number}: käse\t".encode()),) for number in range(5))
"""Lines of text, one frame to a group: what a command reading standard input can publish."""


def expected(plan: Plan) -> list[Frame]:
    """What arrives of a plan that was published from its first group on."""
    return [
        Frame(sequence, index, timestamp, payload)
        for sequence, group in enumerate(plan)
        for index, (timestamp, payload) in enumerate(group)
    ]


def comparable(frames: list[Frame], timestamps: bool) -> list[Frame]:
    """The frames without what is not carried."""
    return frames if timestamps else [replace(frame, timestamp_us=None) for frame in frames]


class Record:
    """The frames of one track as they come in, and whether it is over."""

    def __init__(self) -> None:
        self._groups: dict[int, list[Frame]] = {}
        self._complete: set[int] = set()
        self._outcome: str | None = None
        self._failed = False
        self._changed = asyncio.Event()

    def add(self, frame: Frame) -> None:
        """A frame arrived."""
        self._groups.setdefault(frame.group, []).append(frame)
        self._changed.set()

    def complete(self, group: int) -> None:
        """A group ended as its publisher meant it to."""
        self._groups.setdefault(group, [])
        self._complete.add(group)
        self._changed.set()

    def end(self, outcome: str, *, failed: bool) -> None:
        """Nothing more will come."""
        self._outcome, self._failed = outcome, failed
        self._changed.set()

    def arrived(self) -> list[Frame]:
        """Everything so far, by group and in the order of arrival within a group."""
        return [frame for group in sorted(self._groups) for frame in self._groups[group]]

    async def collect(self, groups: int, frames: int, within: float) -> list[Frame]:
        """Wait for that many complete groups and that many frames, and answer all that is there.

        Raises `Refused` when the track ends too early, `TimeoutError` after ``within`` seconds.
        """
        await self._until(lambda: self._has(groups, frames) or self._failed, within)
        if not self._has(groups, frames):
            raise Refused(self._state())
        return self.arrived()

    async def over(self, within: float) -> str:
        """Wait for the end of the track and answer how it ended."""
        await self._until(lambda: self._outcome is not None, within)
        return str(self._outcome)

    def _has(self, groups: int, frames: int) -> bool:
        return len(self._complete) >= groups and len(self.arrived()) >= frames

    async def _until(self, check: Callable[[], bool], within: float) -> None:
        try:
            async with asyncio.timeout(within):
                while not check():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"after {within} s: {self._state()}") from None

    def _state(self) -> str:
        groups = [
            f"{sequence}:{len(frames)}{'' if sequence in self._complete else '+'}"
            for sequence, frames in sorted(self._groups.items())
        ]
        return f"groups {' '.join(groups) or 'none'}, {self._outcome or 'open'}"


class Hearsay:
    """Announcements as they come in."""

    def __init__(self) -> None:
        self._heard: list[tuple[str, bool]] = []
        self._changed = asyncio.Event()

    def add(self, path: str, active: bool) -> None:
        """A broadcast came or went."""
        self._heard.append((path, active))
        self._changed.set()

    def heard(self) -> list[tuple[str, bool]]:
        """Everything so far, oldest first."""
        return list(self._heard)

    async def until(self, path: str, active: bool, within: float) -> None:
        """Wait until the last word about ``path`` is this one; nothing heard means not active."""
        try:
            async with asyncio.timeout(within):
                while dict(self._heard).get(path, False) is not active:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"no {path!r} {active=} among {self._heard}") from None
