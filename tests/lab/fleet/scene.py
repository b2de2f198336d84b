"""What most scenarios begin and end with: people beside every relay, and who sees what when."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fleet.people import Crowd, Observer, Publisher, Viewer, until
from fleet.shapes import is_each_once
from fleet.station import LINKED, Station

DELAY = 0.005
"""Seconds from one relay to the next."""

SIZE = 4000
"""Bytes of a group."""

EVERY = 0.2
"""Seconds from one group to the next."""

SPREAD = 5.0
"""Seconds an announcement may take everywhere."""

STRAGGLING = 8.0
"""Seconds for which older groups may be under way still when the newest has come."""


def watch_all(stations: Sequence[Station]) -> tuple[list[Crowd], list[Observer]]:
    """People beside every relay, and one of them at each who sees what is announced."""
    crowds = [station.crowd() for station in stations]
    pairs = zip(crowds, stations, strict=True)
    return crowds, [crowd.observe(station.url) for crowd, station in pairs]


def spread(
    publishers: Sequence[Publisher], observers: Sequence[Observer], patience: float
) -> float:
    """Wait until all see all; the seconds the slowest announcement took."""
    paths = [publisher.path for publisher in publishers]
    until(
        lambda: all(observer.sees(path) for observer in observers for path in paths),
        patience,
        f"all see {paths}",
    )
    return max(
        (observer.when(publisher.path) or 0) - (publisher.announced or 0)
        for publisher in publishers
        for observer in observers
    )


def check_once(viewers: Sequence[Viewer]) -> None:
    """All have had each group once, in one session."""
    until(lambda: all(is_each_once(each.groups) for each in viewers), STRAGGLING, "late ones")
    assert not any(viewer.lost or viewer.breaks for viewer in viewers)


def leave(publishers: Sequence[Publisher], observers: Sequence[Observer]) -> float:
    """Have publishers leave in good order; the seconds until the last observer knew of all."""
    start = time.monotonic()
    for publisher in publishers:
        publisher.dismiss()
    for publisher in publishers:
        publisher.stop()
    paths = [publisher.path for publisher in publishers]
    until(
        lambda: not any(observer.sees(path) for observer in observers for path in paths),
        SPREAD,
        f"{paths} are gone",
    )
    known = (observer.when(path, False) for observer in observers for path in paths)
    return max(when or start for when in known) - start


def until_linked(crowd: Crowd, station: Station, observers: Sequence[Observer]) -> float:
    """Wait until what is published at one relay is seen at all; seconds."""
    probe = crowd.publish(station.url, "probe")
    took = until(lambda: all(each.sees("probe") for each in observers), LINKED, "linked")
    leave([probe], observers)
    return took
