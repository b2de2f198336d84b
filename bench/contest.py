"""Contenders that take turns, what each of them cost, and how that is shown.

The law: everybody in a contest is measured round by round in one process, so that whatever slows
the machine down slows all of them; a ratio is taken within a round. This module must not know what
is measured, and it judges no figure.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, NamedTuple

from rich.table import Table

MIN_ROUNDS = 2
"""Fewer have no spread."""


class Pace(NamedTuple):
    """How long is measured."""

    rounds: int
    """Turns of each contender, at least `MIN_ROUNDS`."""
    turn: float
    """CPU seconds that one turn should take, at least."""


FULL = Pace(rounds=21, turn=0.04)
QUICK = Pace(rounds=3, turn=0.002)


@dataclass(frozen=True, slots=True)
class Contender:
    """One thing that is measured: a call, made with each of its questions in turn."""

    name: str
    judge: Callable[[Any], object]
    questions: Sequence[object]


@dataclass(frozen=True, slots=True)
class Contest:
    """Contenders that take turns; the last one is what the others are compared with."""

    title: str
    contenders: tuple[Contender, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Many measurements of one thing: the median, and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of `MIN_ROUNDS` values or more."""
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(low, median(values), high)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one contender cost."""

    contest: str
    name: str
    seconds: tuple[float, ...]
    """CPU seconds of one call, a value per round."""
    ratios: tuple[float, ...]
    """How many times the cost of the contest's last contender in the same round."""

    def members(self) -> dict[str, Any]:
        """As JSON: times in microseconds of CPU, rates per second of CPU."""
        cost, ratio = Spread.of(self.seconds), Spread.of(self.ratios)
        return {
            "contest": self.contest,
            "name": self.name,
            "per_second": 1 / cost.median,
            "microseconds": _quartiles(cost, 1e6),
            "ratio": _quartiles(ratio),
            "rounds_microseconds": [each * 1e6 for each in self.seconds],
        }


def _quartiles(spread: Spread, unit: float = 1.0) -> dict[str, float]:
    return {
        "low": spread.low * unit,
        "median": spread.median * unit,
        "high": spread.high * unit,
    }


def measure(
    contest: Contest, pace: Pace, clock: Callable[[], float] = time.process_time
) -> list[Figures]:
    """Let the contenders take turns, A B A B; ``clock`` tells CPU seconds."""
    passes = [_calibrated(each, pace.turn, clock) for each in contest.contenders]
    taken: list[list[float]] = [[] for _ in contest.contenders]
    gc.collect()
    for _ in range(pace.rounds):
        for place, contender in enumerate(contest.contenders):
            calls = passes[place] * len(contender.questions)
            taken[place].append(_spent(contender, passes[place], clock) / calls)
    reference = taken[-1]
    return [
        Figures(
            contest.title,
            contender.name,
            tuple(seconds),
            tuple(mine / other for mine, other in zip(seconds, reference, strict=True)),
        )
        for contender, seconds in zip(contest.contenders, taken, strict=True)
    ]


def _calibrated(contender: Contender, turn: float, clock: Callable[[], float]) -> int:
    """Passes over the questions that take at least ``turn`` seconds; warms up on the way."""
    passes = 1
    while _spent(contender, passes, clock) < turn:
        passes *= 2
    return passes


def _spent(contender: Contender, passes: int, clock: Callable[[], float]) -> float:
    judge, questions = contender.judge, contender.questions
    begun = clock()
    for _ in range(passes):
        for question in questions:
            judge(question)
    return clock() - begun


def table(figures: Sequence[Figures]) -> Table:
    """For people. The quartiles stand beside each median."""
    drawn = Table("", "", title="CPU time of one call; rate of one core kept busy")
    for column in ("per second", "µs", "quartiles", "ratio to last", "quartiles"):
        drawn.add_column(column, justify="right")
    shown = ""
    for each in figures:
        cost, ratio = Spread.of(each.seconds), Spread.of(each.ratios)
        if shown and each.contest != shown:
            drawn.add_section()
        drawn.add_row(
            "" if each.contest == shown else each.contest,
            each.name,
            f"{1 / cost.median:,.0f}",
            f"{cost.median * 1e6:.1f}",
            f"{cost.low * 1e6:.1f} – {cost.high * 1e6:.1f}",
            f"{ratio.median:.2f}",
            f"{ratio.low:.2f} – {ratio.high:.2f}",
        )
        shown = each.contest
    return drawn
