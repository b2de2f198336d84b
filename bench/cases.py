"""What is asked of a relay: the cases of the bench, by name. It must not know who is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

    title: str
    kind: str = "media"
    """What the load does: media, sessions, subscriptions or announcements."""
    viewers: int = 1
    rate: float = 60
    """Frames per second of every track."""
    size: int = 8192
    """Bytes of a frame."""
    group: int = 30
    """Frames of a group."""
    broadcasts: int = 1
    tracks: int = 1
    rest: bool = False
    """Whether memory and CPU are looked at when nothing happens any more."""
    token: bool = False
    """Whether every session brings a JWT."""
    browsers: int = 0
    """Viewers that come over WebTransport with an empty connection id, as Chromium does."""
    processes: int = 1
    """Processes that the viewers are spread over."""
    note: str = ""
    """What the case leaves out, and why."""


CASES = {
    "fan-1": Case("1 viewer × 60/s of 8 KiB"),
    **{
        f"fan-{count}": Case(f"{count} viewers × 60/s of 8 KiB", viewers=count) for count in (4, 16)
    },
    "fan-64": Case("64 viewers × 60/s of 8 KiB", viewers=64, processes=2),
    "busy": Case("16 viewers × 240/s of 8 KiB", viewers=16, rate=240, group=120, processes=2),
    "large": Case("8 viewers × 60/s of 32 KiB", viewers=8, size=32768),
    "small": Case(
        "16 viewers × 500/s of 1 KiB", viewers=16, rate=500, size=1024, group=500, processes=2
    ),
    "audio": Case("16 tracks × 50/s of 160 B, a group each", tracks=16, rate=50, size=160, group=1),
    "groups": Case("8 viewers × 60/s of 4 KiB, a group each", viewers=8, size=4096, group=1),
    "broadcasts": Case(
        "200 broadcasts × 3 viewers × 10/s of 1 KiB",
        broadcasts=200,
        viewers=3,
        rate=10,
        size=1024,
        processes=3,
        note="at 30/s the load itself, on one core, can neither send nor read in time",
    ),
    "browser-4": Case("4 browsers × 60/s of 8 KiB", viewers=4, browsers=4),
    "browser-16": Case("16 browsers × 60/s of 8 KiB", viewers=16, browsers=16, processes=2),
    "join": Case("200 sessions at once, with a JWT", "sessions", viewers=200, token=True),
    "idle": Case("500 sessions", "sessions", viewers=500, rest=True),
    "subscriptions": Case(
        "20 sessions × 50 silent tracks", "subscriptions", viewers=20, tracks=50, rest=True
    ),
    "announce": Case(
        "2,000 broadcasts before 50 listeners", "announcements", viewers=50, broadcasts=2000
    ),
    "tiny": Case("a viewer and a browser", viewers=2, browsers=1, rate=20, size=1024, processes=2),
    "tiny-join": Case("4 sessions", "sessions", viewers=4, token=True),
    "tiny-subscriptions": Case("2 sessions × 3 tracks", "subscriptions", viewers=2, tracks=3),
    "tiny-announce": Case("4 broadcasts", "announcements", viewers=2, broadcasts=4),
}
"""The tiny ones only show that the bench works."""

USUAL = tuple(name for name in CASES if not name.startswith("tiny"))
