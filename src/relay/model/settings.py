"""Ceilings of the shared state: how much is remembered, and for how long.

Every field names its unit, its default and what happens when it is hit. This module must not know
where the values come from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What an origin may hold. All defaults suit a relay of one process."""

    cache_bytes: int = 256 * 1024 * 1024
    """Bytes of all cached groups together, 256 MiB, bookkeeping included. Over it the oldest groups
    that are not the latest of their track are evicted, then any group that has ended."""

    live_bytes: int = 1024 * 1024 * 1024
    """Bytes of cached groups, 1 GiB, when nothing is left that `cache_bytes` may evict. Over it the
    largest unfinished group is aborted with `Lagged`, whoever publishes it."""

    cache_duration: float | None = None
    """Seconds; a ceiling on the retention a publisher asks for with its ``max_latency``. ``None``
    (the default) sets none; the latest group of a track is kept in any case."""

    max_group_bytes: int = 32 * 1024 * 1024
    """Bytes of one group as it was written, 32 MiB. A write past it aborts the group with
    `Lagged`."""

    max_groups_per_track: int = 4096
    """Cached groups of one track, 4096: as many as a publisher may have under way at a time
    (`quic.max_streams`). The one that arrived first is evicted, of those that are complete if there
    are any, never the latest."""

    max_tracks_per_broadcast: int = 1024
    """Tracks of one broadcast, 1024. Those that nobody watches are forgotten first, then
    `LimitExceeded` is raised."""

    max_tracks_below: int = 4096
    """Tracks of broadcasts below one that is announced and not announced themselves, all together,
    4096. Beyond as with `max_tracks_per_broadcast`."""

    max_broadcasts: int = 100_000
    """Routes (announcements in force, parked and standby ones included), 100 000. What is
    announced beyond waits until there is room. What relays tell each other takes none."""

    linger: float = 5.0
    """Seconds, 5, that a broadcast stays announced after its last route was lost abruptly. Then
    it is unannounced and its viewers end with `Dropped`."""

    track_linger: float = 30.0
    """Seconds, 30, that a track without viewers keeps its properties and complete groups. Then it
    is forgotten."""
