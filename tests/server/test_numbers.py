"""The numbers of several workers: added up, told by worker, or the worst of them."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from relay.server.numbers import BY_WORKER, WORST, _Fixed, together


def family(name: str, kind: str, *samples: tuple[str, dict[str, str], float]) -> list[Any]:
    return [name, "Text.", kind, [list(sample) for sample in samples]]


def shown(parts: dict[int, list[Any]], count: int) -> dict[tuple[str, tuple[Any, ...]], float]:
    registry = CollectorRegistry()
    registry.register(_Fixed(together(parts, count)))
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
