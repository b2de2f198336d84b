"""The numbers of all workers as one relay's, under the names that one process has.

The law: what was counted is added up; what cannot be is told by worker, or as the worst of them,
and how many answered is among the numbers. This module must not know what is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from relay.server.metrics import MAX_TENANTS, Families, busiest

if TYPE_CHECKING:
    from relay.server.relay import Relay

Family = list[Any]
"""A family as colleagues say it: name, text, kind, and samples of name, labels and value."""

BY_WORKER = frozenset(
    {"relay_uptime_seconds", "relay_loop_lag_seconds", "relay_loop_lag_seconds_max"}
)
"""What each worker has for itself: with the label ``worker``, where there are several."""

WORST: Mapping[str, Callable[[float, float], float]] = {
    "relay_build_info": max,
    "relay_draining": max,
    "relay_revocations": max,
    "relay_revocations_age_seconds": max,
    "relay_keys": min,
    "relay_keys_age_seconds": max,
    "relay_link_up": min,
    "relay_peer_rtt_seconds": min,
}
"""What all of them know alike, so that one number says it."""


def numbers(relay: Relay, shown: Iterable[str]) -> list[Family]:
    """This worker's families, with lines for the tenants named."""
    return [
        [
            family.name,
            family.documentation,
            family.type,
            [[sample.name, sample.labels, sample.value] for sample in family.samples],
        ]
        for family in Families(relay, frozenset(shown)).collect()
    ]


async def scrape(relay: Relay) -> bytes:
    """The numbers of all workers in the text format 0.0.4."""
    colleagues = relay.colleagues
    tenants = Counter(busiest(relay))
    for part in await colleagues.ask_all("busiest"):
        tenants.update(part)
    shown = [name for name, _ in tenants.most_common(MAX_TENANTS)]
    own = {colleagues.share.index: numbers(relay, shown)}
    answers = await colleagues.ask_all("numbers", shown)
    whole = together(own | answers.by_worker, colleagues.share.count)
    registry = CollectorRegistry()
    registry.register(_Fixed(whole))
    return generate_latest(registry)


def together(parts: Mapping[int, list[Family]], count: int) -> list[Metric]:
    """The relay's families, from those of the workers that answered, of ``count``."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for worker, part in sorted(parts.items()):
        for name, text, kind, samples in part:
            families.setdefault(name, Metric(name, text, kind))
            merged = values.setdefault(name, {})
            for sample, labels, value in samples:
                if name in BY_WORKER and count > 1:
                    labels = labels | {"worker": str(worker)}
                key = sample, tuple(sorted(labels.items()))
                choose = WORST.get(name, _sum)
                merged[key] = choose(merged[key], value) if key in merged else value
    for name, merged in values.items():
        for (sample, pairs), value in merged.items():
            families[name].add_sample(sample, dict(pairs), value)
    return [*families.values(), *_workers(len(parts), count)]


def _workers(answered: int, count: int) -> Iterator[Metric]:
    silent = "Those that did not answer, whose part is missing."
    for name, text, value in (
        ("relay_workers", "Workers of this relay that these numbers are from.", answered),
        ("relay_workers_silent", silent, count - answered),
    ):
        family = Metric(name, text, "gauge")
        family.add_sample(name, {}, value)
        yield family


def _sum(one: float, other: float) -> float:
    return one + other


class _Fixed(Collector):
    """Families that are made already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
