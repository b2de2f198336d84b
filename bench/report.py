"""What turns have shown: ratios with their spread, as a table and as a plot.

The law: a ratio is taken within a round, of turns in which nothing was lost. It judges no figure.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from cases import CASES
from contenders import NAMES, OTHER
from turns import Turn

LEGEND = """
`ratio` is ours divided by the Rust stack's within a round, median (least–greatest); under latency
stands what ours adds. `lag`: how late the loop of ours was at most. `load`, `others`: CPU of the
load, and of whatever else was on a core of the relay or of the load.
"""

Round = dict[str, Turn]
"""A turn of each contender."""

HEADS = (
    "case",
    "who",
    "turns that count",
    "CPU s/GB",
    "CPU µs each",
    "latency ms p50 / p99",
    "more",
)
MORE = ("per core-s", "KiB each", "idle %", "lag ms", "load %", "others %")
COMPARED = {"us": "CPU", "KiB each": "memory", "idle %": "CPU at rest"}
"""Figures of which there is a ratio, and what they are called."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of several rounds."""

    low: float
    middle: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f}–{self.high:.2f})"


def spread(values: Sequence[float]) -> Spread | None:
    """The median between the least and the greatest; ``None`` of nothing."""
    return Spread(min(values), median(values), max(values)) if values else None


def both(rounds: Sequence[Round], key: str) -> list[tuple[float, float]]:
    """A figure of ours and the other's, of the rounds in which both have it."""
    pairs = [[each[who].figures.get(key) for who in NAMES] for each in rounds if counts(each)]
    return [(ours, other) for ours, other in pairs if ours is not None and other is not None]


def counts(each: Round) -> bool:
    """Whether nothing went wrong in either turn."""
    return not any(each[who].trouble for who in NAMES)


def ratios(rounds: Sequence[Round], key: str = "us") -> list[float]:
    """How many times the Rust stack's figure ours is, round by round."""
    return [ours / other for ours, other in both(rounds, key) if other > 0]


def added(rounds: Sequence[Round], key: str) -> float | None:
    """By how much ours is above the Rust stack's within a round, in the middle."""
    found = [ours - other for ours, other in both(rounds, key)]
    return median(found) if found else None


def rows(name: str, rounds: Sequence[Round]) -> list[list[str]]:
    """One case: each contender's medians, and how they compare."""
    made = [[name, who, *_medians([each[who] for each in rounds])] for who in NAMES]
    found = spread(ratios(rounds))
    if found is not None:
        late = [added(rounds, key) for key in ("p50", "p99")]
        more = [
            f"{label} {each}"
            for key, label in COMPARED.items()
            if key != "us" and (each := spread(ratios(rounds, key)))
        ]
        of = f"{sum(map(counts, rounds))} rounds"
        between = " / ".join(f"{each:+.1f}" for each in late if each is not None)
        made.append([name, "ratio", of, "", str(found), between, ", ".join(more)])
    return made


def _medians(turns: Sequence[Turn]) -> list[str]:
    good = [turn.figures for turn in turns if not turn.trouble]
    if not good:
        return [turns[-1].trouble, "", "", "", _more([turn.figures for turn in turns])]
    kept = f"{len(good)} of {len(turns)}"
    if len(good) < len(turns):
        kept += f" ({next(turn.trouble for turn in turns if turn.trouble)})"
    if not any("us" in figures for figures in good):
        return [f"{kept}, too short to tell the cost", "", "", "", _more(good)]
    late = f"{_middle(good, 'p50'):.1f} / {_middle(good, 'p99'):.1f}" if "p50" in good[0] else ""
    per_gb = f"{_middle(good, 's/GB'):.1f}" if "s/GB" in good[0] else ""
    return [kept, per_gb, f"{_middle(good, 'us'):.0f}", late, _more(good)]


def _middle(found: Sequence[dict[str, float]], key: str) -> float:
    return median(each[key] for each in found if key in each)


def _more(found: Sequence[dict[str, float]]) -> str:
    present = [key for key in MORE if any(key in each for each in found)]
    return ", ".join(f"{key} {_middle(found, key):.3g}" for key in present)


def setting(workers: int, seconds: float, loop: str) -> dict[str, Any]:
    """On what it was measured, without which the figures say nothing."""
    told = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": cores,
        "relay_cores": min(workers, cores),
        "load_cores": cores - workers if cores > workers else cores,
        "shared_cores": cores <= workers,
        "workers": workers,
        "python": platform.python_version(),
        "loop": f"uvloop {version('uvloop')}" if loop in ("auto", "uvloop") else loop,
        "moq-rs": version("moq-rs"),
        "turn_seconds": seconds,
        "busy_before": os.getloadavg()[0],
    }


def markdown(results: dict[str, list[Round]], found: dict[str, Any]) -> str:
    """The table, and below it on what it was measured and what the cases leave out."""
    cells = [HEADS, ["---"] * len(HEADS)]
    cells += [row for name, rounds in results.items() for row in rows(name, rounds)]
    lines = [f"| {' | '.join(line)} |\n" for line in cells]
    shared = " (the same ones)" if found["shared_cores"] else ""
    lines.append(
        f"\n{found['cpu']}; cores of the relay: {found['relay_cores']} ({found['workers']} workers "
        f"of ours), of the load: {found['load_cores']}{shared}; Python {found['python']}, "
        f"{found['loop']}, moq-rs {found['moq-rs']}, turns of {found['turn_seconds']:g} s.\n"
        f"{LEGEND}\n"
    )
    for name in results:
        note = f" ({CASES[name].note})" if CASES[name].note else ""
        lines.append(f"- `{name}`: {CASES[name].title}{note}\n")
    return "".join(lines)


WIDTH, LEFT, RIGHT, STEP, TOP = 960, 350, 170, 26, 78
COLORS = {"us": "#3b6ea5", "KiB each": "#6a9c5b", "idle %": "#b98a3a"}


def plot(results: dict[str, list[Round]], found: dict[str, Any]) -> str:
    """Every ratio as a bar with its least and greatest, as SVG."""
    bars = []
    for name, rounds in results.items():
        title = CASES[name].title
        bars.append((title, "us", spread(ratios(rounds))))
        for key in COMPARED:
            if key != "us" and (each := spread(ratios(rounds, key))):
                bars.append((f"{title}: {COMPARED[key]}", key, each))
    most = max([1.2, *(each.high for _, _, each in bars if each)])
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + STEP * len(bars) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="16" y="26" font-size="16" font-weight="bold" fill="#222">'
        f"CPU and memory of this relay, as times of what {OTHER} takes</text>",
        '<text x="16" y="46" fill="#666">the same load in turn; median of the rounds '
        "(least–greatest); shorter is better</text>",
    ]
    bottom = TOP + STEP * len(bars)
    step = next(each for each in (0.25, 0.5, 1, 2, 5, 10, 20) if most / each <= 10 or each == 20)
    for number in range(int(most / step) + 1):
        x = LEFT + number * step * scale
        parts.append(
            f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="#e4e4e4"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" fill="#666" text-anchor="middle">'
            f"{number * step:g}</text>"
        )
    one = LEFT + scale
    parts.append(
        f'<path d="M{one:.1f} {TOP - 4}V{bottom}" stroke="#b03030" stroke-width="1.5"/>'
        f'<text x="{one:.1f}" y="{TOP - 8}" fill="#b03030" text-anchor="middle">{OTHER}</text>'
    )
    for place, (label, key, each) in enumerate(bars):
        parts.append(_bar(label, COLORS[key], each, TOP + place * STEP, scale))
    foot = f"{found['cpu']}, Python {found['python']}, moq-rs {found['moq-rs']}"
    parts.append(
        f'<text x="{WIDTH - 16}" y="{height - 2}" fill="#888" font-size="11" text-anchor="end" '
        f'dy="-3">{escape(foot)}</text></svg>\n'
    )
    return "".join(parts)


def _bar(label: str, color: str, each: Spread | None, y: float, scale: float) -> str:
    middle = y + STEP / 2
    name = (
        f'<text x="{LEFT - 10}" y="{middle + 4:.1f}" fill="#222" text-anchor="end">{label}</text>'
    )
    if each is None:
        return f'{name}<text x="{LEFT + 8}" y="{middle + 4:.1f}" fill="#888">no figure</text>'
    low, high = LEFT + each.low * scale, LEFT + each.high * scale
    return (
        f'{name}<rect x="{LEFT}" y="{y + 5}" width="{each.middle * scale:.1f}" '
        f'height="{STEP - 10}" rx="2" fill="{color}"/>'
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8'
        f'M{high:.1f} {middle - 4}v8" stroke="#222" fill="none"/>'
        f'<text x="{high + 8:.1f}" y="{middle + 4:.1f}" fill="#222" stroke="#fff" '
        f'stroke-width="4" paint-order="stroke">{each}</text>'
    )
