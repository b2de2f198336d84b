"""What was decided for others, counted for Prometheus.

The law: labels are words of ours, so that nobody who asks can make up a line. This module must not
know HTTP nor how anything is decided.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, generate_latest


class Tally:
    """The counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._decided = Counter(
            "relay_sidecar_decisions",
            "Questions answered, by what was asked and what came of it.",
            ("asked", "outcome"),
            registry=self._registry,
        )
        self._refused = Counter(
            "relay_sidecar_refused",
            "Questions answered with no.",
            ("reason",),
            registry=self._registry,
        )

    def count(self, asked: str, outcome: str) -> None:
        """A question was answered: ``connect``, ``revalidate`` or ``lookup``; ``allow`` or
        ``deny``."""
        self._decided.labels(asked, outcome).inc()

    def refuse(self, asked: str, reason: str) -> None:
        """It was answered with no."""
        self.count(asked, "deny")
        self._refused.labels(reason).inc()

    def text(self) -> bytes:
        """All of them in the text format 0.0.4."""
        return generate_latest(self._registry)
