"""What ``/metrics`` says, as samples by name."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[str, list[tuple[dict[str, str], float]]]
"""By name: labels and value. Families without a sample are there, too."""


async def scrape(internal: str) -> Samples:
    """Ask an internal face."""
    async with httpx.AsyncClient(timeout=10) as web:
        answer = await web.get(f"{internal}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        found.setdefault(family.name, [])
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def total(found: Samples, name: str, **labels: str) -> float:
    """Of all samples that have these labels. The name must be one."""
    return sum(value for has, value in found[name] if labels.items() <= has.items())
