"""Newcomers without room: told once in a while, all of them."""

from __future__ import annotations

from typing import Any

from relay.model.origin import Origin
from relay.net.gate import Gate
from relay.net.settings import ListenSettings
from relay.peer.house import House
from relay.peer.refusing import Refusals
from relay.server.crowd import TOLD_SECONDS, Crowd


def test_many_newcomers_are_one_entry_in_a_while() -> None:
    kept: list[dict[str, Any]] = []
    house = House(
        Origin(1),
        lambda: 0.0,
        audit=lambda action, **facts: kept.append(facts),
    )
    gate, refusals = Gate(ListenSettings()), Refusals(house)
    crowd = Crowd(gate, refusals)
    crowd.tick(10.0)
    assert kept == []
    gate.refused, gate.refused_last = 3, "192.0.2.1"
    crowd.tick(10.1)
    gate.refused, gate.refused_last = 1003, "192.0.2.2"
    crowd.tick(10.2)
    assert [(each["remote"], each["count"]) for each in kept] == [("192.0.2.1", 3)]
    crowd.tick(10.2 + TOLD_SECONDS)
    crowd.tick(10.2 + 3 * TOLD_SECONDS)
    assert [(each["remote"], each["count"]) for each in kept[1:]] == [("192.0.2.2", 1000)]
    assert refusals.counts == {"too_many_connections": 1003}
    for number in range(5):
        crowd.unserved("no room", f"192.0.2.{number}")
        crowd.crowded("no place", f"198.51.100.{number}")
    crowd.tick(100.0)
    assert refusals.counts == {"too_many_connections": 1008, "too_many_requests": 5}
    assert [(each["why"], each["remote"], each["count"]) for each in kept[2:]] == [
        ("no place", "198.51.100.4", 5),
        ("no room", "192.0.2.4", 5),
    ]
