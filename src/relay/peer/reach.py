"""How far back a subscription reaches: the oldest group that is young enough to start with.

A group is as old as what its successor begins with, counted back from the newest frame; frames tell
their own time, and only where they have none their arrival counts (moq-lite-06, "Expiration").
This module must not know who subscribes.
"""

from __future__ import annotations

from relay.model.group import Group
from relay.model.track import Track
from relay.session import events
from relay.wire.buffer import scan_varint
from relay.wire.frame import Counted, Encoding

_WIDEST = 8
"""Bytes of the widest varint."""


def oldest_fresh(track: Track, floor: int, max_age: int) -> int | None:
    """The oldest cached group from ``floor`` on that is younger than ``max_age`` milliseconds.

    The latest group always is; what a fetch brought has no successor here that tells its age, and
    does not count. ``None`` when no group from ``floor`` on is cached.
    """
    found: int | None = None
    newest: float | None = None
    reach: float | None = None
    layout: object = None
    for sequence in sorted(track.groups.keys() - track.shelf.fetched, reverse=True):
        group = track.groups[sequence]
        layout = layout or group.encoding
        too_old = newest is not None and reach is not None and newest - reach >= max_age / 1000
        if sequence < floor or too_old or group.encoding != layout:
            break
        found = sequence
        begins = _begins_at(group, track.properties.timescale)
        if begins is not None:
            reach = begins
            if newest is None:
                newest = begins + (group.touched_at - group.opened_at)
    return found


def wants_all(track: Track, event: events.Subscribed | events.SubscribeUpdated) -> bool:
    """Whether everything from a floor on is wanted, as by a relay that has lost its route.

    Nothing that is kept is too old for it then, nor what is still under way or with the publisher:
    the oldest group that happens to be cached here is no beginning.
    """
    return bool(event.start) and event.max_latency >= track.properties.max_latency


def _begins_at(group: Group, timescale: int) -> float | None:
    """Seconds on the clock of its frames at which a group begins; ``None`` without a frame."""
    if not group.size:
        return None
    assert isinstance(group.encoding, Encoding)
    if not group.encoding.is_timed:
        return group.opened_at
    if isinstance(group.encoding, Counted):
        timescale = group.encoding.timescale
    head = b""
    for chunk in group.chunks:
        head += chunk[:_WIDEST]
        if (found := scan_varint(head)) is not None:
            return (found[0] >> 1) / timescale
    return None
