"""What is asked of a relay: the cases of the bench, by name. It must not know who is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

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
    token: bool = False
    """Whether every session brings a JWT."""
    browsers: int = 0
    """Viewers that come over WebTransport with an empty connection id, as Chromium does."""
    processes: int = 1
    """Processes that the viewers are spread over."""
    note: str = ""
    """What the case leaves out, and why."""


CASES = {
    **{f"fan-{count}": Case(viewers=count) for count in (1, 4, 16)},
    "fan-64": Case(viewers=64, processes=2),
    "large": Case(viewers=8, size=32768),
    "small": Case(viewers=16, rate=500, size=1024, group=500, processes=2),
    "audio": Case(tracks=16, rate=50, size=160, group=1),
    "groups": Case(viewers=8, size=4096, group=1),
    "broadcasts": Case(broadcasts=200, viewers=3, rate=30, size=1024, processes=3),
    "browser-4": Case(viewers=4, browsers=4),
    "browser-16": Case(viewers=16, browsers=16, processes=2),
    "join": Case("sessions", viewers=200, token=True),
    "idle": Case("sessions", viewers=500),
    "subscriptions": Case("subscriptions", viewers=20, tracks=50),
    "announce": Case("announcements", viewers=50, broadcasts=2000),
    "tiny": Case(viewers=2, rate=20, size=1024, processes=2),
    "tiny-browser": Case(viewers=2, browsers=1, rate=20, size=1024),
    "tiny-join": Case("sessions", viewers=4, token=True),
}
"""The tiny ones only show that the bench works."""

USUAL = tuple(name for name in CASES if not name.startswith("tiny"))
