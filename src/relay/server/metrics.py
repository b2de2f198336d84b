"""One worker's numbers, as Prometheus reads them: counters that rooms keep anyway, read on scrape.

The law: a scrape costs the hot path nothing, and labels that strangers can make up (tenants) are
bounded: those named to it have a line of their own, the others one together. This module must not
know HTTP, nor how the numbers of several workers become the relay's.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from importlib import metadata
from itertools import islice
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from relay.auth.grant import Grant
from relay.net.short_way import packets_by
from relay.reserve import INTERNAL
from relay.server import loop
from relay.server.inner import Inner

if TYPE_CHECKING:
    from relay.server.relay import Relay

MAX_TENANTS = 100
"""Tenants with lines of their own."""

OTHERS = "(others)"
"""The name of all other tenants, and of one who is called like that, or as relays are."""

RELAYS = "(relays)"
"""The name of other relays, which are no tenants."""


def busiest(relay: Relay) -> dict[str, int]:
    """The tenants that have most sessions here, with how many; then those who left last."""
    ledger = relay.house.ledger
    tenants = Counter({name: a.sessions for name, a in ledger.accounts.items()})
    tenants.update(dict.fromkeys(islice(reversed(ledger.past), MAX_TENANTS), 0))
    return dict(tenants.most_common(MAX_TENANTS))


def grown(count: float, before: float) -> float:
    """By how much a count has grown; less than before is of one that began anew since."""
    return count - before if count >= before else count


class TenantBytes:
    """Bytes that tenants have moved, by the names under which they are shown: what some of those
    without a line of their own have moved stays counted when they go, or get one."""

    def __init__(self) -> None:
        self._before: dict[str, dict[str, int]] = {}
        self._lines: dict[str, Counter[str]] = {}

    def take(
        self, moved: Mapping[str, tuple[int, int]], named: Callable[[str], str]
    ) -> dict[str, Counter[str]]:
        """All until now, by name and direction; ``moved`` is what came in and went out of each."""
        lines: dict[str, Counter[str]] = {}
        if OTHERS in self._lines:
            lines[OTHERS] = self._lines[OTHERS]
        now = {tenant: {"in": came, "out": went} for tenant, (came, went) in moved.items()}
        for tenant, counts in now.items():
            name = named(tenant)
            line = lines.setdefault(name, self._lines.get(name, Counter()))
            before = self._before.get(tenant, {})
            for direction, count in counts.items():
                line[direction] += int(grown(count, before.get(direction, 0)))
        self._before, self._lines = now, lines
        return lines


class Families:
    """Every family of metrics, made anew for each scrape."""

    def __init__(self, relay: Relay, shown: Collection[str]) -> None:
        """``shown`` are tenants that have lines of their own."""
        self.relay = relay
        self.shown = shown
        self.inner = Inner(relay.door.links.values())

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield from self._process()
        yield from self._sessions()
        yield from self._traffic()
        yield from self._content()
        yield from self._tenants()
        yield from self._records()
        yield from self._keys()
        yield from self._links()
        yield from self._sinks()

    def _process(self) -> Iterator[Metric]:
        relay = self.relay
        info = GaugeMetricFamily(
            "relay_build_info",
            "Always 1; who seals QUIC packets (c, python, or the library in its general way), and"
            " whose event loop runs.",
            labels=("version", "node", "packets", "loop"),
        )
        made_by = _version(), relay.settings.cluster.node or ""
        info.add_metric((*made_by, packets_by(relay.settings.quic), loop.running()), 1)
        yield info
        yield _gauge("relay_uptime_seconds", "Since the start.", relay.house.clock() - relay.began)
        yield _gauge("relay_draining", "1 while it is about to stop.", relay.draining.is_set())
        yield _gauge(
            "relay_loop_lag_seconds", "How late the loop did what was due, at last.", relay.lag.last
        )
        yield _gauge(
            "relay_loop_lag_seconds_max", "The most since the last scrape.", relay.lag.take_most()
        )

    def _sessions(self) -> Iterator[Metric]:
        door, endpoint, gate = self.relay.door, self.relay.endpoint, self.relay.serving.gate
        sessions = GaugeMetricFamily(
            "relay_sessions", "Sessions now.", labels=("transport", "version", "tenant")
        )
        counts = Counter(
            (guest.via, guest.session.version, self._whose(guest.grant))
            for guest in door.guests.values()
        )
        for labels, count in sorted(counts.items()):
            sessions.add_metric(labels, count)
        yield sessions
        yield _counter("relay_sessions_admitted", "Sessions let in.", door.admitted)
        refused = self.relay.judge.refusals.counts
        yield _counters("relay_sessions_refused", "Guests turned away.", "reason", refused)
        yield _gauge("relay_connections", "QUIC connections now.", endpoint.connections)
        yield _gauge("relay_handshakes", "Handshakes in flight.", gate.handshakes)
        yield _counter(
            "relay_handshakes_failed", "Handshakes that failed.", endpoint.handshakes_failed
        )
        yield _counter(
            "relay_operator_refused",
            "Requests at the operator's counter without the right key.",
            self.relay.guard.refused,
        )

    def _traffic(self) -> Iterator[Metric]:
        endpoint, door = self.relay.endpoint, self.relay.door
        sent = endpoint.outbox
        moved = {"in": endpoint.bytes_in, "out": sent.bytes}
        yield _counters("relay_udp_bytes", "Bytes of UDP payload.", "direction", moved)
        moved = {"in": endpoint.datagrams_in, "out": sent.datagrams}
        yield _counters("relay_udp_datagrams", "UDP datagrams.", "direction", moved)
        yield _counter(
            "relay_udp_datagrams_dropped",
            "Datagrams the system did not take in time.",
            sent.dropped,
        )
        live = (*door.guests.values(), *door.links.values())
        dropped = door.dropped + sum(guest.watching.queue.dropped for guest in live)
        yield _counter("relay_groups_dropped", "Groups that viewers were too slow for.", dropped)

    def _content(self) -> Iterator[Metric]:
        origin, inner = self.relay.house.origin, self.inner
        broadcasts = tracks = viewers = 0
        announces = origin.routes - inner.announces
        for broadcast in origin.on_air():
            if broadcast.path.is_under(INTERNAL):  # what relays and workers tell each other
                announces -= len(inner.routes(broadcast))
                continue
            is_home = inner.is_home(broadcast)
            broadcasts += is_home
            for track in broadcast.all_tracks:
                tracks += is_home
                viewers += inner.viewers(track)
        yield _gauge("relay_broadcasts", "Broadcasts on air.", broadcasts)
        yield _gauge("relay_tracks", "Tracks that are known here.", tracks)
        yield _gauge("relay_subscriptions", "Subscriptions to them.", viewers)
        yield _gauge("relay_announces", "Announcements in force.", announces)
        yield _gauge("relay_cache_bytes", "Bytes of cached groups.", origin.stock.cache.used)
        yield _gauge("relay_cache_groups", "Groups that are cached.", len(origin.stock.cache))

    def _tenants(self) -> Iterator[Metric]:
        ledger = self.relay.house.ledger
        usage = ledger.usage()
        sums: dict[str, Counter[str]] = {}
        for tenant, used in usage.items():
            sums.setdefault(self._named(tenant), Counter()).update(used)
        now = GaugeMetricFamily(
            "relay_tenant_usage", "What tenants use now.", labels=("tenant", "quota")
        )
        moved = CounterMetricFamily(
            "relay_tenant_bytes",
            "Bytes of groups, since the start.",
            labels=("tenant", "direction"),
        )
        for tenant, used_by in sorted(sums.items()):
            for name, value in sorted(used_by.items()):
                if not name.endswith("_bytes"):
                    now.add_metric((tenant, name), value)
        for tenant, line in sorted(self.relay.moved.take(ledger.moved(), self._named).items()):
            for direction, count in sorted(line.items()):
                moved.add_metric((tenant, direction), count)
        yield now
        yield moved
        yield _counters("relay_quota_breaches", "Limits that were hit.", "quota", ledger.breached)

    def _records(self) -> Iterator[Metric]:
        desk = self.relay.desk
        yield _gauge("relay_audit_backlog", "Entries not written yet.", desk.scribe.waiting)
        yield _counter("relay_audit_written", "Entries written.", desk.scribe.written)
        yield _counter("relay_audit_missed", "Entries there was no room for.", desk.scribe.missed)
        yield _gauge("relay_revocations", "Revocations in force.", len(desk.feed.index))
        yield _gauge(
            "relay_revocations_age_seconds",
            "Since the store last said who is revoked.",
            desk.feed.behind(),
        )

    def _keys(self) -> Iterator[Metric]:
        labels = ("source",)
        keys = GaugeMetricFamily("relay_keys", "Keys that are believed.", labels=labels)
        age = GaugeMetricFamily(
            "relay_keys_age_seconds", "Since they were last known to be right.", labels=labels
        )
        fetches = CounterMetricFamily(
            "relay_key_fetches", "Times a source was read.", labels=labels
        )
        failures = CounterMetricFamily(
            "relay_key_fetch_failures", "Times nothing usable came of it.", labels=labels
        )
        for source in self.relay.keyring.sources:
            name = (source.name.partition("?")[0],)
            keys.add_metric(name, len(source.keys))
            if source.confirmed is not None:
                age.add_metric(name, time.monotonic() - source.confirmed)
            fetches.add_metric(name, source.fetches)
            failures.add_metric(name, source.failures)
        yield from (keys, age, fetches, failures)

    def _links(self) -> Iterator[Metric]:
        mesh = self.relay.cluster.nodes(is_whole=False)
        up = GaugeMetricFamily("relay_link_up", "1 while the link is up.", labels=("peer",))
        for link in mesh["links"]:
            up.add_metric((link["peer"],), link["up"])
        yield up
        rtt = GaugeMetricFamily(
            "relay_peer_rtt_seconds", "Round trip to another relay.", labels=("peer", "direction")
        )
        for node in mesh["nodes"]:
            best: dict[str, float] = {}
            for line in node["connections"]:
                seconds = line["rtt_ms"] / 1000
                direction = line["direction"]
                best[direction] = min(best.get(direction, seconds), seconds)
            for direction, seconds in best.items():
                rtt.add_metric((node["node"], direction), seconds)
        yield rtt

    def _sinks(self) -> Iterator[Metric]:
        records = CounterMetricFamily(
            "relay_sink_records",
            "Frames for a sink: delivered, dropped for want of room, failed where the brokers"
            " refused, unsent when the relay stopped.",
            labels=("sink", "outcome"),
        )
        waiting = GaugeMetricFamily(
            "relay_sink_waiting", "Frames that no broker has confirmed yet.", labels=("sink",)
        )
        for name, sink in sorted(self.relay.sinks.items()):
            for outcome, count in sink.outlet.counts.items():
                records.add_metric((name, outcome), count)
            waiting.add_metric((name,), sink.outlet.waiting)
        yield from (records, waiting)

    def _whose(self, grant: Grant | None) -> str:
        if grant is not None and grant.cluster:
            return RELAYS
        return self._named((grant.tenant if grant is not None else None) or "")

    def _named(self, tenant: str) -> str:
        return tenant if tenant in self.shown and tenant != RELAYS else OTHERS


class Lag:
    """How late the loop is: seconds beyond what a sleep should have taken."""

    def __init__(self) -> None:
        self.last = 0.0
        self._most = 0.0

    def note(self, seconds: float) -> None:
        """It was late by so much, now."""
        self.last = max(0.0, seconds)
        self._most = max(self._most, self.last)

    def take_most(self) -> float:
        """The most since this was asked last."""
        most, self._most = self._most, self.last
        return most


@cache
def _version() -> str:
    """The relay's, which takes reading a file to find out."""
    return metadata.version("moq-relay")


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counters(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    """A counter for each value of a label."""
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((value,), count)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))
