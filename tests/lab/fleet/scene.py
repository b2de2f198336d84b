"""What most scenarios begin and end with: people beside every relay, and who sees what when."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.people import Crowd, Observer, Publisher, until
from fleet.station import Station

DELAY = 0.005
"""Seconds from one relay to the next."""

SIZE = 4000
"""Bytes of a group."""

EVERY = 0.2
"""Seconds from one group to the next."""

LINKED = 15.0
"""Seconds a cluster may take to find together."""

SPREAD = 2.0
"""Seconds an announcement may take everywhere."""


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


def gone(paths: Sequence[str], observers: Sequence[Observer]) -> float:
    """Wait until nobody sees any; seconds."""
    return until(
        lambda: not any(observer.sees(path) for observer in observers for path in paths),
        SPREAD,
        "unannounced everywhere",
    )


def until_linked(crowd: Crowd, station: Station, observers: Sequence[Observer]) -> float:
    """Wait until what is published at one relay is seen at all; seconds."""
    probe = crowd.publish(station.url, "probe")
    took = until(lambda: all(each.sees("probe") for each in observers), LINKED, "linked")
    probe.stop()
    gone(["probe"], observers)
    return took
