from __future__ import annotations

from typing import Any

import pytest

from relay.cluster.gossip import FORGET, ORIGINS, Gossip, Nothing
from relay.cluster.roster import Roster, Wish
from relay.model.demand import Demand
from relay.model.origin import Origin


class Place:
    """A relay ``https://m/`` that listens; others are announced with a chain of one."""

    def __init__(self) -> None:
        self.now = 100.0
        self.origin = Origin(1)
        self.roster = Roster("https://m/")
        self.follows = 0
        self.said: list[str] = []
        self.gossip = Gossip(self.origin, self.roster, self.follow, lambda: self.now, self.log)
        self.gossip.begin("https://m/?x=1")

    def follow(self) -> None:
        self.follows += 1

    def log(self, event: str, **facts: Any) -> None:
        self.said.append(event)

    def hear(self, name: str, id: int = 2) -> Any:
        return self.origin.announce(ORIGINS.join(name), Nothing(), (id,), self.now)

    def wanted(self) -> list[str]:
        return sorted(self.roster.wanted())


def test_it_tells_its_own_name_and_dials_those_after_it() -> None:
    place = Place()
    assert place.origin.find(ORIGINS.join("https://m/")) is not None
    place.hear("https://z/", 7)
    place.hear("https://a/", 8)
    assert place.wanted() == ["https://z/"]
    assert place.gossip.nodes == {"https://z/": 7, "https://a/": 8}


def test_a_name_that_vanishes_is_forgotten_late_and_may_come_back() -> None:
    place = Place()
    route = place.hear("https://z/")
    route.withdraw(place.now)
    assert place.gossip.nodes == {}
    place.now += FORGET - 1
    place.gossip.tick(place.now)
    assert place.wanted() == ["https://z/"]
    route = place.hear("https://z/")
    place.now += FORGET
    place.gossip.tick(place.now)
    assert place.wanted() == ["https://z/"]
    route.withdraw(place.now)
    place.now += FORGET
    place.follows = 0
    for _ in range(2):
        place.gossip.tick(place.now)
        assert (place.wanted(), place.follows) == ([], 1)


@pytest.mark.parametrize(
    "name",
    [
        "ftp://z/",
        "z:0",
        "https://z:0/",
        "https://z/?cost=" + "9" * 4000,
        "\ud800",
        "https://[z",
    ],
)
def test_names_that_make_no_sense_cost_nothing(name: str) -> None:
    place = Place()
    place.hear(name).withdraw(place.now)
    assert place.wanted() == []
    assert place.said.count("node ignored") == 2


def test_a_relay_of_our_own_name_is_not_dialled() -> None:
    place = Place()
    place.roster.want(Wish.LISTED, {})
    place.hear("https://M:443/", 9)
    assert place.wanted() == []


def test_a_name_has_no_tracks() -> None:
    place = Place()
    broadcast = place.origin.find(ORIGINS.join("https://m/"))
    assert broadcast is not None
    ended: list[Any] = []

    class Viewer:
        demand = Demand()

        def track_accepted(self, info: Any) -> None:
            raise AssertionError

        def track_ended(self, error: Any) -> None:
            ended.append(type(error).__name__)

    broadcast.track("t").watch(Viewer(), place.now)  # type: ignore[arg-type]
    assert ended == ["NotFound"]
