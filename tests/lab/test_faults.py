"""What a cluster does when a relay dies, the network parts, or a clock is wrong."""

from __future__ import annotations

import itertools
import time

import pytest
from fleet import Station, Viewer, shapes, until
from fleet.scene import DELAY, EVERY, SIZE, SPREAD, check_once, leave, until_linked, watch_all
from fleet.station import IDLE
from netlab import Clock

pytestmark = pytest.mark.slow

NOTICED = 3 * IDLE
"""Seconds within which a dead neighbour must have been noticed and gone round: a sign of life that
nobody answers begins the time of silence anew, and then its broadcasts linger."""

HEALED = 20.0
"""Seconds until a link that can be made again has been."""

HOUR = 3600.0


def carrier(fleet, publisher, ways: list[Station], source: Station) -> Station:
    """Through which of these relays the stream goes."""
    before, serial = shapes.tally(fleet.lab.links), publisher.serial
    until(lambda: publisher.serial >= serial + 10, 10, "ten groups")
    crossed = shapes.between(before, shapes.tally(fleet.lab.links))
    return max(ways, key=lambda way: crossed.sent[source.host.name, way.host.name])


def gap(viewer: Viewer) -> float:
    """The longest time without a group."""
    pairs = itertools.pairwise(viewer.arrivals)
    return max(later.when - sooner.when for sooner, later in pairs)


def test_viewers_go_on_when_the_relay_between_is_killed(fleet, figures):
    stations, _ = fleet.build(4, shapes.ring(4), idle=IDLE, delay=DELAY)
    source, far = stations[0], stations[2]
    crowds, observers = watch_all(stations)
    until_linked(crowds[0], source, observers)
    publisher = crowds[0].publish(source.url, "cam", size=SIZE, every=EVERY / 2)
    viewers = [crowds[2].watch(far.url, path="cam") for _ in range(2)]
    until(lambda: all(len(viewer.arrivals) >= 3 for viewer in viewers), 10, "groups")
    middle = carrier(fleet, publisher, [stations[1], stations[3]], source)
    mover = crowds[stations.index(middle)].watch(middle.url, far.url, path="cam")
    until(lambda: mover.arrivals, 5, "a group beside the one that will die")

    middle.kill()
    killed, seen = time.monotonic(), [len(viewer.arrivals) for viewer in (*viewers, mover)]
    until(
        lambda: all(
            any(arrival.when > killed + 1 for arrival in viewer.arrivals[had:])
            for viewer, had in zip((*viewers, mover), seen, strict=True)
        ),
        NOTICED,
        "groups over the other way",
    )
    time.sleep(1.0)
    figures["gap_s"] = max(gap(viewer) for viewer in viewers)
    figures["moved_gap_s"] = gap(mover)
    assert [viewer.lost for viewer in viewers] == [[], []]  # their relay lives
    assert len(mover.lost) == 1
    for viewer in (*viewers, mover):
        before = [arrival.group for arrival in viewer.arrivals if arrival.when <= killed]
        after = viewer.groups[len(before) :]  # the newest first, where many are due at once
        assert min(after) > max(before)
        assert len(set(after)) == len(after), "none twice"
    figures["missed"] = [
        max(viewer.groups) - min(viewer.groups) + 1 - len(viewer.groups)
        for viewer in (*viewers, mover)
    ]

    fleet.start()  # the dead one comes back and is one of them again
    again = middle.crowd().observe(middle.url)
    figures["rejoined_s"] = until(lambda: again.sees("cam"), HEALED, "seen at the one that died")


def test_a_partition_heals(fleet, figures):
    stations, links = fleet.build(2, shapes.chain(2), idle=IDLE, delay=DELAY)
    (link,) = links.values()
    crowds, observers = watch_all(stations)
    until_linked(crowds[0], stations[0], observers)
    publisher = crowds[0].publish(stations[0].url, "cam", size=SIZE, every=EVERY / 2)
    viewer = crowds[1].watch(stations[1].url, path="cam")
    until(lambda: len(viewer.arrivals) >= 3, 10, "groups")

    link.cut()  # shorter than anybody's patience: nothing is lost
    time.sleep(IDLE / 5)
    link.heal()
    serial = publisher.serial
    until(lambda: max(viewer.groups) >= serial, 10, "groups after a short cut")
    check_once([viewer])

    link.cut()
    figures["noticed_s"] = until(
        lambda: not observers[1].sees("cam"), NOTICED, "the far side knows it is gone"
    )
    link.heal()
    healed, serial = time.monotonic(), publisher.serial
    until(lambda: observers[1].sees("cam"), HEALED, "announced again")
    figures["announced_s"] = time.monotonic() - healed
    until(lambda: viewer.arrivals[-1].serial > serial, HEALED, "groups again")
    figures["groups_s"] = time.monotonic() - healed
    assert viewer.lost == []
    assert len(set(viewer.groups)) == len(viewer.groups)


def test_after_a_partition_all_agree_on_one_publisher(fleet, figures):
    stations, links = fleet.build(3, shapes.chain(3), idle=IDLE, delay=DELAY)
    crowds, observers = watch_all(stations)
    until_linked(crowds[0], stations[0], observers)
    links[0, 1].cut()
    for number in (0, 2):
        crowds[number].publish(stations[number].url, "cam", name=f"at {number}", every=EVERY)

    def watch() -> list[Viewer]:
        return [
            crowd.watch(station.url, path="cam", resume=False)
            for crowd, station in zip(crowds, stations, strict=True)
        ]

    viewers = watch()
    until(lambda: all(viewer.arrivals for viewer in viewers), NOTICED, "somebody at each relay")
    assert [viewer.arrivals[-1].publisher for viewer in viewers] == ["at 0", "at 2", "at 2"]
    time.sleep(IDLE)  # until both sides have given the link up
    links[0, 1].heal()
    healed = time.monotonic()

    def chosen() -> set[str]:
        """Whom a newcomer at each relay gets to see."""
        newcomers = watch()
        until(lambda: all(viewer.arrivals for viewer in newcomers), 10, "somebody at each relay")
        for viewer in newcomers:
            viewer.stop()
        return {viewer.arrivals[-1].publisher for viewer in newcomers}

    until(lambda: len(chosen()) == 1, HEALED, "all relays agree")
    figures["agreed_s"] = time.monotonic() - healed
    one = chosen()
    assert len(one) == 1
    until(
        lambda: {viewer.arrivals[-1].publisher for viewer in viewers} == one,
        SPREAD,
        "who watched already sees the same",
    )


@pytest.mark.usefixtures("faketime")
def test_a_step_of_a_clock_disturbs_nobody(fleet, figures, tmp_path):
    clock = Clock(tmp_path / "clock")
    stations, _ = fleet.build(3, shapes.chain(3), {1: clock}, delay=DELAY)
    crowds, observers = watch_all(stations)
    until_linked(crowds[0], stations[0], observers)
    publisher = crowds[0].publish(stations[0].url, "cam", size=SIZE, every=EVERY / 2)
    viewers = [
        crowd.watch(station.url, path="cam")
        for crowd, station in zip(crowds, stations, strict=True)
    ]
    until(lambda: all(len(viewer.arrivals) >= 3 for viewer in viewers), 10, "groups")
    for step in (HOUR, -2 * HOUR, HOUR):
        clock.step(step)
        time.sleep(1.0)
        late = crowds[1].watch(stations[1].url, path="cam")
        until(lambda late=late: late.arrivals, 5, "who comes now is let in")
        viewers.append(late)
    serial = publisher.serial
    until(lambda: all(viewer.arrivals[-1].serial > serial for viewer in viewers), 5, "groups go on")
    check_once(viewers)
    figures["unannounced_s"] = leave([publisher], observers)
