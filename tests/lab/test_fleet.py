"""The fleet's own test: one relay, a publisher and viewers a network apart."""

from __future__ import annotations

import pytest
from fleet import Crowd, Fleet, Station, Viewer, until
from fleet.station import IDLE
from netlab import Clock

SIZE = 4000


def alone(fleet: Fleet, clock: Clock | None = None) -> Station:
    station = fleet.station(fleet.lab.host("r"), clock)
    station.configure(idle=IDLE)
    fleet.start()
    return station


def guest(fleet: Fleet, station: Station, name: str, **weather: float) -> Crowd:
    host = fleet.lab.host(name)
    fleet.lab.link(host, station.host, **weather)
    return fleet.crowd(host)


def test_each_group_once_through_loss_and_delay(fleet):
    station = alone(fleet)
    here = guest(fleet, station, "p", delay=0.02, loss=0.01)
    there = guest(fleet, station, "v", delay=0.01, loss=0.01, reorder=0.02)
    viewers = [there.watch(station.url, path="cam") for _ in range(2)]
    observer = there.observe(station.url)
    publisher = here.publish(station.url, "cam", size=SIZE)
    until(lambda: all(len(viewer.arrivals) >= 40 for viewer in viewers), 20, "40 groups")
    had = publisher.serial

    def due(viewer: Viewer) -> set[int]:
        """What is missing still: the newest leave first, so it need not be the last."""
        return {*range(min(viewer.groups), had)} - {*viewer.groups}

    until(lambda: not any(map(due, viewers)), 20, "each group before these")
    publisher.stop()
    until(lambda: not observer.sees("cam"), 5, "unannounced")
    for viewer in viewers:
        assert len(viewer.groups) == len(set(viewer.groups))
        assert min(arrival.late for arrival in viewer.arrivals) >= 0.03
        assert viewer.lost == []
    into, out = fleet.lab.links
    assert out.bytes(station.host) > 1.8 * into.bytes(here.host)  # one copy for each viewer
    assert into.bytes(here.host) > SIZE * 40


def test_a_killed_relay_is_noticed_and_comes_back(fleet):
    station = alone(fleet)
    here = guest(fleet, station, "p")
    publisher = here.publish(station.url, "cam")
    viewer = here.watch(station.url, path="cam")
    until(lambda: len(viewer.arrivals) > 3, 10, "groups")
    station.kill()
    assert not station.is_alive()
    seen = len(viewer.arrivals)
    fleet.start()
    until(lambda: viewer.lost and publisher.lost, 15, "lost sessions")
    until(lambda: len(viewer.arrivals) > seen + 3, 15, "groups again")


@pytest.mark.usefixtures("faketime")
def test_a_relay_lives_by_the_clock_it_is_given(fleet, tmp_path):
    clock = Clock(tmp_path / "clock")
    station = alone(fleet, clock)
    crowd = station.crowd()
    crowd.publish(station.url, "cam")
    assert station.ask("/health") == "ok\n"
    first = crowd.watch(station.url, path="cam")
    until(lambda: len(first.arrivals) > 3, 10, "groups")
    clock.step(20 * 86_400)  # beyond the end of every token
    until(lambda: first.lost, 10, "its token ended")
    assert "401" in first.lost[-1][1] or "expired" in first.lost[-1][1]
