"""What is asked of a relay: the cases of the bench, by name. It must not know who is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

    kind: str = "media"
    """Which of the load's routines: media, sessions or announcements."""
    viewers: int = 1
    rate: float = 60
    """Frames per second of every track."""
    size: int = 8192
    """Bytes of a frame."""
    group: int = 30
    """Frames of a group."""
    broadcasts: int = 1
    tracks: int = 1
    token: bool = False
    """Whether every session brings a JWT."""


CASES = {
    **{f"fan-{count}": Case(viewers=count) for count in (1, 4, 16, 64)},
    "large": Case(viewers=8, size=32768),
    "small": Case(viewers=16, rate=500, size=1024, group=500),
    "audio": Case(tracks=16, rate=50, size=160, group=1),
    "groups": Case(viewers=8, size=4096, group=1),
    "broadcasts": Case(broadcasts=200, viewers=3, rate=30, size=1024),
    "join": Case("sessions", viewers=200, token=True),
    "idle": Case("sessions", viewers=500),
    "announce": Case("announcements", viewers=50, broadcasts=2000),
    "tiny": Case(viewers=2, rate=20, size=1024),
    "tiny-join": Case("sessions", viewers=4, token=True),
}
"""The tiny ones only show that the bench works."""

USUAL = tuple(name for name in CASES if not name.startswith("tiny"))
