"""The numbers of several workers: added up, told by worker, or the worst of them."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from relay.server import numbers
from relay.server.metrics import OTHERS, TenantBytes
from relay.server.numbers import BY_WORKER, TENANT, WORST, Part, Tally, _Fixed, together

DIRECTION = (("direction", "in"),)


def family(name: str, kind: str, *samples: tuple[str, dict[str, str], float]) -> list[Any]:
    return [name, "Text.", kind, [list(sample) for sample in samples]]


def shown(
    told: dict[int, list[Any]], count: int, tally: Tally | None = None, life: str = "a"
) -> dict[tuple[str, tuple[Any, ...]], float]:
    parts = {worker: Part(life, 0.0, families) for worker, families in told.items()}
    registry = CollectorRegistry()
    registry.register(_Fixed(together(parts, count, (tally or Tally(0.0)).take(parts))))
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for found in text_string_to_metric_families(text)
        for sample in found.samples
    }


def part(uptime: float, udp: float, draining: float, tenant: str) -> list[Any]:
    return [
        family("relay_uptime_seconds", "gauge", ("relay_uptime_seconds", {}, uptime)),
        family("relay_udp_bytes", "counter", ("relay_udp_bytes_total", {"direction": "in"}, udp)),
        family("relay_draining", "gauge", ("relay_draining", {}, draining)),
        family("relay_sessions", "gauge", ("relay_sessions", {"tenant": tenant}, 2)),
        family("relay_link_up", "gauge"),
    ]


def test_what_was_counted_is_added_up() -> None:
    found = shown({0: part(9, 10, 0, "a"), 2: part(5, 32, 1, "a"), 1: part(7, 0, 0, "b")}, 4)
    assert found == {
        ("relay_uptime_seconds", (("worker", "0"),)): 9,
        ("relay_uptime_seconds", (("worker", "1"),)): 7,
        ("relay_uptime_seconds", (("worker", "2"),)): 5,
        ("relay_udp_bytes_total", (("direction", "in"),)): 42,
        ("relay_draining", ()): 1,
        ("relay_sessions", (("tenant", "a"),)): 4,
        ("relay_sessions", (("tenant", "b"),)): 2,
        ("relay_workers", ()): 3,
        ("relay_workers_silent", ()): 1,
    }


def test_one_worker_has_no_label() -> None:
    found = shown({0: part(9, 10, 0, "a")}, 1)
    assert found["relay_uptime_seconds", ()] == 9
    assert found["relay_workers", ()] == 1


def test_the_rules_do_not_contradict_each_other() -> None:
    assert not BY_WORKER & WORST.keys()


def counted(udp: float, *tenants: tuple[str, float]) -> list[Any]:
    name = "relay_tenant_bytes"
    return [
        family("relay_udp_bytes", "counter", ("relay_udp_bytes_total", {"direction": "in"}, udp)),
        family(name, "counter", *((f"{name}_total", {"tenant": t}, n) for t, n in tenants)),
    ]


def test_what_a_worker_has_counted_stays_counted_when_it_is_silent_or_dies() -> None:
    tally = Tally(began=0.0)
    udp = "relay_udp_bytes_total", DIRECTION

    def take(first: float, second: float | None, life: str) -> float:
        parts = {0: Part("first", 0.0, counted(first))}
        if second is not None:
            parts[1] = Part(life, 1.0, counted(second))
        return tally.take(parts)[udp]

    assert take(10, 5, "a") == 15
    assert take(11, None, "") == 16  # silent
    assert take(12, 8, "a") == 20
    assert take(12, None, "") == 20  # dead
    assert take(12, 2, "b") == 22  # another in its place
    assert take(13, 9, "b") == 30


def test_the_first_worker_begins_anew_whatever_others_had_counted_before() -> None:
    tally = Tally(began=100.0)
    old, new = Part("old", 1.0, counted(1000)), Part("new", 101.0, counted(5))
    first = Part("first", 100.0, counted(7))
    assert tally.take({0: first, 1: old, 2: new})["relay_udp_bytes_total", DIRECTION] == 12
    old = old._replace(families=counted(1003))
    assert tally.take({0: first, 1: old, 2: new})["relay_udp_bytes_total", DIRECTION] == 15


def test_a_tenants_line_goes_with_it_and_grows_while_anybody_tells_of_it() -> None:
    tally = Tally(began=0.0)
    line = "relay_tenant_bytes_total", (("tenant", "plant"),)

    def take(first: float | None, second: float | None) -> float | None:
        told = {0: first, 1: second}
        parts = {
            worker: Part("a", 0.0, counted(0, *(() if count is None else (("plant", count),))))
            for worker, count in told.items()
        }
        return tally.take(parts).get(line)

    assert take(10, 20) == 30
    assert take(11, None) == 31  # no session of theirs is on the second any more
    assert take(11, 4) == 35
    assert take(None, None) is None
    assert take(3, None) == 38  # and begins where it was


@pytest.mark.parametrize(("room", "back"), [(2, {"a": 2, "b": 13}), (1, {"a": 1, "b": 13})])
def test_a_tenant_of_a_worker_that_died_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, room: int, back: dict[str, float]
) -> None:
    monkeypatch.setattr(numbers, "MAX_LINES", room)
    tally = Tally(began=0.0)

    def take(life: str, **counts: float) -> dict[str, float]:
        parts = {0: Part("first", 0.0, counted(0)), 1: Part(life, 1.0, counted(0, *counts.items()))}
        found = {dict(labels).get(TENANT, ""): n for (_, labels), n in tally.take(parts).items()}
        return {tenant: count for tenant, count in found.items() if tenant}

    assert take("x", a=1, b=10) == {"a": 1, "b": 10}
    assert take("y", b=1) == {"b": 11}
    assert take("z") == {}
    assert take("z", a=1, b=2) == back


def test_what_tenants_without_a_line_have_moved_stays_counted() -> None:
    moved = TenantBytes()

    def take(shown: str, **usage: int) -> dict[str, int]:
        counts = {name: (count, 0) for name, count in usage.items()}
        lines = moved.take(counts, lambda name: name if name in shown else OTHERS)
        return {name: line["in"] for name, line in lines.items()}

    assert take("a", a=1, b=10, c=100) == {"a": 1, OTHERS: 110}
    assert take("a", a=2, c=101) == {"a": 2, OTHERS: 111}  # b has gone
    assert take("ac", a=2, c=111) == {"a": 2, "c": 10, OTHERS: 111}  # c has its own line
    assert take("c", a=3, b=5, c=111) == {"c": 10, OTHERS: 117}  # b is back
