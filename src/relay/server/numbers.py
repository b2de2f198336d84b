"""The numbers of all workers as one relay's, under the names that one process has.

The law: what was counted is added up and never goes back, whoever dies or hangs; what cannot be
added is told by worker, or as the worst of them, and how many answered is among the numbers. This
module must not know what is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from relay.quota.ledger import MAX_PAST
from relay.server.metrics import MAX_TENANTS, Families, busiest, grown

if TYPE_CHECKING:
    from relay.server.relay import Relay

Family = list[Any]
"""A family as colleagues say it: name, text, kind, and samples of name, labels and value."""

Key = tuple[str, tuple[tuple[str, str], ...]]
"""Names a sample: its name, and its labels in order."""

COUNTER = "counter"
"""The kind of what only grows."""

TENANT = "tenant"
"""The label whose values strangers can make up: such a sample goes with whom it is of."""

MAX_LINES = 2 * MAX_PAST
"""Samples of tenants that are gone which are remembered: one for each direction."""

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


class Part(NamedTuple):
    """What one worker tells."""

    life: str
    """Names the worker until it ends."""
    began: float
    """When that was, in monotonic seconds, which are the same for all processes."""
    families: list[Family]


@dataclass(slots=True)
class _Heard:
    """What one worker had counted when it was heard last."""

    life: str
    counts: dict[Key, float]


class Tally:
    """What all workers have counted. It only grows, or whoever takes rates of it would take a
    worker's silence or death for a new start, and all that the others have counted for new."""

    def __init__(self, began: float) -> None:
        """``began`` is when the worker did whose tally it is: others may have been counting
        before, in the time of another tally."""
        self._began = began
        self._heard: dict[int, _Heard] = {}
        self._whole: dict[Key, float] = {}
        self._past: dict[Key, float] = {}
        """Of tenants that nobody tells of, who left last at the end: with a worker that dies go
        those who were there only, and when they are back their line must not begin anew."""

    def take(self, parts: Mapping[int, Part]) -> dict[Key, float]:
        """All that was counted until now; ``parts`` are from those that answer."""
        for worker, part in parts.items():
            counts = _counts(part.families)
            known = self._heard.get(worker)
            if known is not None:
                before = known.counts if known.life == part.life else {}
            else:
                before = counts if part.began < self._began else {}
            self._heard[worker] = _Heard(part.life, counts)
            for key, count in counts.items():
                if key not in self._whole:
                    self._whole[key] = self._past.pop(key, 0.0)
                self._whole[key] += grown(count, before.get(key, 0.0))
        told = {key for each in self._heard.values() for key in each.counts}
        for key in self._whole.keys() - told:
            if any(name == TENANT for name, _ in key[1]):
                self._past[key] = self._whole.pop(key)
        for key in tuple(islice(self._past, max(0, len(self._past) - MAX_LINES))):
            del self._past[key]
        return dict(self._whole)


def numbers(relay: Relay, shown: Iterable[str]) -> Part:
    """This worker's families, with lines for the tenants named."""
    families = [
        [
            family.name,
            family.documentation,
            family.type,
            [[sample.name, sample.labels, sample.value] for sample in family.samples],
        ]
        for family in Families(relay, frozenset(shown)).collect()
    ]
    return Part(relay.shares.life, relay.began, families)


async def scrape(relay: Relay, tally: Tally) -> bytes:
    """The numbers of all workers in the text format 0.0.4; one at a time with one tally."""
    colleagues = relay.colleagues
    tenants = Counter(busiest(relay))
    for part in await colleagues.ask_all("busiest"):
        tenants.update(part)
    shown = [name for name, _ in tenants.most_common(MAX_TENANTS)]
    own = {colleagues.share.index: numbers(relay, shown)}
    answers = await colleagues.ask_all("numbers", shown)
    parts = own | {worker: Part(*said) for worker, said in answers.by_worker.items()}
    whole = together(parts, colleagues.share.count, tally.take(parts))
    registry = CollectorRegistry()
    registry.register(_Fixed(whole))
    return generate_latest(registry)


def together(parts: Mapping[int, Part], count: int, counted: Mapping[Key, float]) -> list[Metric]:
    """The relay's families, from those of the workers that answered, of ``count``; ``counted`` is
    what all have."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[Key, float]] = {}
    for worker, part in sorted(parts.items()):
        for name, text, kind, samples in part.families:
            families.setdefault(name, Metric(name, text, kind))
            merged = values.setdefault(name, {})
            for sample, labels, value in samples if kind != COUNTER else ():
                if name in BY_WORKER and count > 1:
                    labels = labels | {"worker": str(worker)}
                key = _key(sample, labels)
                choose = WORST.get(name, _sum)
                merged[key] = choose(merged[key], value) if key in merged else value
    for key, value in sorted(counted.items()):
        values[key[0].removesuffix("_total")][key] = value
    for name, merged in values.items():
        for (sample, pairs), value in merged.items():
            families[name].add_sample(sample, dict(pairs), value)
    return [*families.values(), *_workers(len(parts), count)]


def _counts(families: Iterable[Family]) -> dict[Key, float]:
    return {
        _key(sample, labels): value
        for _, _, kind, samples in families
        for sample, labels, value in samples
        if kind == COUNTER
    }


def _key(sample: str, labels: Mapping[str, str]) -> Key:
    return sample, tuple(sorted(labels.items()))


def _workers(answered: int, count: int) -> Iterator[Metric]:
    silent = "Those that did not answer, whose part is missing but for what they had counted."
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
