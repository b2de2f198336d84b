"""Relays in a chain, a ring, a star and a mesh: everybody sees everything, once, at the least cost.

Each relay has a publisher and viewers of every publisher beside it, so that any pair is met.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from fleet import Fleet, Publisher, Viewer, shapes, until
from fleet.scene import (
    DELAY,
    EVERY,
    SIZE,
    SPREAD,
    check_once,
    leave,
    spread,
    until_linked,
    watch_all,
)

pytestmark = pytest.mark.slow

VIEWERS = 2
"""Beside each relay, of each publisher."""

STRETCH = 3.0
"""Seconds over which bytes are counted."""

DIRECT = 15.0
"""Seconds until relays that were not named to each other are linked."""

LATE = 5.0
"""Seconds that a group may take when the machine has other things to do."""

OVERHEAD = 1.5
"""What QUIC, acknowledgements and signs of life may add to a stream."""

SHAPES = {
    "chain of three": (3, shapes.chain(3)),
    "ring of three": (3, shapes.ring(3)),
    "star of five": (5, shapes.star(5)),
    "mesh of five": (5, shapes.mesh(5)),
}


def count(
    fleet: Fleet,
    publishers: list[Publisher],
    viewers: Sequence[Viewer] = (),
    stretch: float = STRETCH,
) -> tuple[shapes.Crossing, float, float]:
    """What crosses the links meanwhile, and how many bytes one publisher sent in that time, at
    least and at most: others go on while those ``viewers`` are waited for who are late."""

    def sent() -> list[int]:
        return [each.serial for each in publishers]

    def arrive(serials: list[int]) -> None:
        wanted = {each.path: serial for each, serial in zip(publishers, serials, strict=True)}

        def has_come() -> bool:
            newest = ((each, max(arrival.serial for arrival in each.arrivals)) for each in viewers)
            return all(serial + 1 >= wanted[each.path] for each, serial in newest)

        until(has_come, LATE, "what was sent everywhere")

    earliest = sent()
    arrive(earliest)
    before, begun = shapes.tally(fleet.lab.links), sent()
    time.sleep(stretch)
    ended = sent()
    arrive(ended)
    crossed, latest = shapes.between(before, shapes.tally(fleet.lab.links)), sent()
    size = SIZE / len(publishers)
    return crossed, (sum(ended) - sum(begun)) * size, (sum(latest) - sum(earliest)) * size


@pytest.mark.parametrize("shape", SHAPES)
def test_everybody_sees_everything_once(fleet, shape, figures):
    count_of, pairs = SHAPES[shape]
    stations, _ = fleet.build(count_of, pairs, delay=DELAY)
    crowds, observers = watch_all(stations)
    figures["linked_s"] = until_linked(crowds[0], stations[0], observers)

    publishers = [
        crowd.publish(station.url, f"cam{number}", size=SIZE, every=EVERY)
        for number, (crowd, station) in enumerate(zip(crowds, stations, strict=True))
    ]
    figures["announced_s"] = spread(publishers, observers, SPREAD)
    quiet, _, most = count(fleet, publishers, stretch=STRETCH / 2)
    figures["unwatched"] = quiet.told(most)
    assert max(quiet.sent.values()) < most / 4  # nobody watches, nothing crosses

    viewers = [
        crowd.watch(station.url, path=publisher.path)
        for publisher in publishers
        for crowd, station in zip(crowds, stations, strict=True)
        for _ in range(VIEWERS)
    ]
    until(lambda: all(len(viewer.arrivals) >= 3 for viewer in viewers), 15, "groups everywhere")
    crossed, least, most = count(fleet, publishers, viewers)
    figures["crossed"] = crossed.told(most)
    times = count_of * (count_of - 1)  # each publisher's stream enters each other relay
    figures["total"] = round(crossed.total / (most * times), 3)
    assert 0.9 * least * times < crossed.total < OVERHEAD * most * times
    figures["late_s"] = max(arrival.late for viewer in viewers for arrival in viewer.arrivals[2:])
    check_once(viewers)
    figures["unannounced_s"] = leave(publishers, observers)


def test_one_stream_crosses_each_link_however_many_watch(fleet, figures):
    stations, links = fleet.build(3, shapes.chain(3), delay=DELAY)
    crowds, observers = watch_all(stations)
    until_linked(crowds[0], stations[0], observers)
    publisher = crowds[0].publish(stations[0].url, "cam", size=SIZE, every=EVERY / 2)
    spread([publisher], observers, SPREAD)
    viewers = [
        crowd.watch(station.url, path="cam")
        for crowd, station in zip(crowds[1:], stations[1:], strict=True)
        for _ in range(4)
    ]
    until(lambda: all(len(viewer.arrivals) >= 3 for viewer in viewers), 10, "groups everywhere")
    crossed, least, most = count(fleet, [publisher], viewers)
    figures["crossed"] = crossed.told(most)
    for one, other in links:
        there, back = (f"r{one}", f"r{other}"), (f"r{other}", f"r{one}")
        assert 0.9 * least < crossed.sent[there] < 1.3 * most
        assert crossed.sent[back] < most / 4
    for viewer in viewers[4:]:  # all at the far end leave
        viewer.stop()
    time.sleep(3.0)
    crossed, least, most = count(fleet, [publisher], viewers[:4])
    assert crossed.sent["r1", "r2"] < most / 4
    assert crossed.sent["r0", "r1"] > 0.9 * least
    check_once(viewers)


def test_each_group_once_in_bad_weather(fleet, figures):
    weather = {"delay": 0.02, "jitter": 0.01, "loss": 0.02, "reorder": 0.02}
    stations, _ = fleet.build(3, shapes.chain(3), **weather)
    crowds, observers = watch_all(stations)
    until_linked(crowds[0], stations[0], observers)
    publisher = crowds[0].publish(stations[0].url, "cam", size=SIZE, every=EVERY / 4)
    viewers = [crowds[2].watch(stations[2].url, path="cam") for _ in range(VIEWERS)]
    until(lambda: all(len(viewer.arrivals) >= 80 for viewer in viewers), 15, "groups")
    serial = publisher.serial
    until(lambda: all(max(viewer.groups) > serial for viewer in viewers), 5, "the latest")
    check_once(viewers)
    late = sorted(arrival.late for viewer in viewers for arrival in viewer.arrivals)
    figures["late_s"] = {"least": late[0], "median": late[len(late) // 2], "most": late[-1]}
    assert late[0] >= 2 * (weather["delay"] - weather["jitter"])
    assert fleet.lab.links[0].counts(stations[0].host).lost > 0
    check_once(viewers)


def test_relays_find_each_other(fleet, figures):
    """Only the first is named to the others; all links of the mesh come up, and are used."""
    stations = [fleet.station(fleet.lab.host(f"r{number}")) for number in range(4)]
    for one, other in shapes.mesh(4):
        fleet.lab.link(stations[one].host, stations[other].host, delay=DELAY)
    for number, station in enumerate(stations):
        station.configure([stations[0].url] if number else [], cluster="mesh = true")
    fleet.start()
    crowds, observers = watch_all(stations)
    figures["linked_s"] = until_linked(crowds[1], stations[1], observers)
    publisher = crowds[1].publish(stations[1].url, "cam", size=SIZE, every=EVERY / 2)
    spread([publisher], observers, SPREAD)
    viewer = crowds[3].watch(stations[3].url, path="cam")

    def is_direct() -> bool:
        crossed, least, most = count(fleet, [publisher])
        figures["crossed"] = crossed.told(most)
        return crossed.sent["r1", "r3"] > 0.9 * least and crossed.sent["r1", "r0"] < most / 4

    figures["direct_s"] = until(is_direct, DIRECT, "the stream takes the direct way")
    publisher.stop()
    assert len(set(viewer.groups)) == len(viewer.groups)
    assert viewer.lost == []
