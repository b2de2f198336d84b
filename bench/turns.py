"""One contender under one load: what arrived, what it cost, and who is to blame for the rest.

The law: CPU is what the kernel says of the relay's processes between two words of the load; a turn
in which anything was lost has no figures, and a relay is blamed only for what the load and the
machine could have carried. It judges no figure.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from os import sched_setaffinity
from pathlib import Path
from typing import IO, Any, NamedTuple

import jwt
from cases import Case
from contenders import HERE, Running, Tables, command, free_port, running
from processes import busy, cpu, memory, share_out

LEAST = 0.005
"""CPU seconds that a turn must have cost: less says nothing."""

FULL = 0.95
"""Share of the load's cores from which on it cannot be trusted to have kept up."""

CROWDED = 0.2
"""Share of a core that others may take; beyond, a loss says nothing of relay or load."""

BEHIND = 0.1
"""Seconds by which the last frame may leave late."""

LATE = 1000.0
"""Milliseconds above which a hundredth of the frames came too late to be called delivered."""

PATIENCE = 120.0
"""Seconds a load may take beyond its turn before it is ended."""


class Look(NamedTuple):
    """What was seen when all of the load had said a word."""

    at: float
    relay: float
    """CPU seconds of the relay so far."""
    memory: int
    load: float
    relay_cores: float
    """Seconds the relay's cores were busy so far."""
    load_cores: float


@dataclass(frozen=True, slots=True)
class Shares:
    """How busy it was between two looks, 1 = all the time."""

    load: float
    """The load's processes, of its cores."""
    load_cores: float
    """The load's cores, with whatever."""
    others: float
    """What was neither relay nor load, on the cores of either, where it was worse."""

    @classmethod
    def between(
        cls, first: Look, last: Look, mine: frozenset[int], theirs: frozenset[int]
    ) -> Shares:
        """Of a relay on the cores ``mine`` and a load on ``theirs``, none or all in common."""
        took = max(last.at - first.at, 1e-9)
        relay, load = last.relay - first.relay, last.load - first.load
        load_cores = last.load_cores - first.load_cores
        if mine == theirs:
            others = (load_cores - relay - load) / len(mine)
        else:
            beside_relay = (last.relay_cores - first.relay_cores - relay) / len(mine)
            others = max(beside_relay, (load_cores - load) / len(theirs))
        return cls(load / took / len(theirs), load_cores / took / len(theirs), others / took)


@dataclass(slots=True)
class Turn:
    """What came of one turn."""

    expected: int = 0
    delivered: int = 0
    behind: float = 0.0
    trouble: str = ""
    """Why there are no figures; empty if there are."""
    figures: dict[str, float] = field(default_factory=dict)
    waits: Counter[int] = field(default_factory=Counter, repr=False)

    @property
    def share(self) -> float:
        """What arrived of what was sent."""
        return self.delivered / self.expected if self.expected else 0.0

    def hear(self, facts: dict[str, Any]) -> None:
        """Add what one process of the load reported."""
        self.expected += facts.get("expected", 0)
        self.delivered += facts.get("delivered", 0)
        self.behind = max(self.behind, facts.get("behind", 0.0))
        self.waits.update({int(wait): n for wait, n in facts.get("waits", {}).items()})

    def members(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "expected": self.expected,
            "delivered": self.delivered,
            "behind_seconds": self.behind,
            "trouble": self.trouble,
            "figures": self.figures,
        }


def late(waits: Counter[int], share: float) -> float:
    """Milliseconds within which that share of the frames was there; 0 if there are none."""
    left = share * waits.total()
    for wait in sorted(waits):
        left -= waits[wait]
        if left <= 0:
            return wait / 10
    return 0.0


def blame(turn: Turn, shares: Shares) -> str:
    """Why a turn does not count; empty if it does."""
    p99 = late(turn.waits, 0.99)
    if turn.delivered == turn.expected and p99 <= LATE and turn.behind <= BEHIND:
        return ""
    what = f"{turn.share:.1%} delivered, p99 {p99:.0f} ms, last frame sent {turn.behind:.1f} s late"
    if shares.load < FULL and shares.others > CROWDED:
        return f"machine too busy: {what}, others took {shares.others:.0%} of a core"
    if shares.load_cores >= FULL or turn.behind > BEHIND:
        return f"load could not keep up: {what}"
    return f"relay did not sustain: {what}"


def parts(case: Case) -> list[tuple[str, Case]]:
    """The processes of a load: its script and its share of the case."""
    listening = min(case.processes, case.viewers)
    made = [("publisher.py", case)] if case.kind != "sessions" else []
    for each in range(listening):
        mine = case.viewers // listening + (each < case.viewers % listening)
        pages = case.browsers // listening + (each < case.browsers % listening)
        made.append(("viewers.py", replace(case, viewers=mine, browsers=pages)))
    return made


Watch = Callable[[Running, str], None]
"""Told of every word, after the relay was looked at."""


def take_turn(
    name: str,
    case: Case,
    seconds: float,
    more: Tables,
    workers: int = 1,
    watch: Watch = lambda relay, word: None,
) -> Turn:
    """Start a contender, put the load on it, and look at both."""
    secret, port = secrets.token_bytes(32), free_port()
    mine, theirs = share_out(workers)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        words = command(name, port, secret, folder, more)
        with running(words, folder, mine) as relay:
            url = f"moqt://127.0.0.1:{port}/"
            if case.token:
                claims = {"root": "", "put": [""], "get": [""], "exp": int(time.time()) + 3600}
                token = jwt.encode(claims, secret, "HS256", headers={"kid": "bench"})
                url += f"?jwt={token}"
            turn, looks, lag = _follow(relay, url, case, seconds, (mine, theirs), watch)
    if not turn.trouble:
        shares = Shares.between(looks["begin"], looks["end"], mine, theirs)
        turn.trouble = blame(turn, shares)
        turn.figures |= {"load %": shares.load * 100, "others %": shares.others * 100}
        if not turn.trouble:
            turn.figures |= costs(case, turn, looks)
        if lag is not None:
            turn.figures["lag ms"] = lag * 1000
    return turn


def _follow(
    relay: Running,
    url: str,
    case: Case,
    seconds: float,
    cores: tuple[frozenset[int], frozenset[int]],
    watch: Watch,
) -> tuple[Turn, dict[str, Look], float | None]:
    """Run the load, and look at the relay whenever all of it has said a word."""
    turn, looks, lag = Turn(), {}, None
    with ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))
        loads = []
        for script, part in parts(case):
            told = json.dumps({**asdict(part), "seconds": seconds})
            load = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(HERE / script), url, relay.fingerprint, told],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
            )
            stack.callback(load.kill)
            sched_setaffinity(load.pid, cores[1])
            loads.append(load)
        watchdog = threading.Timer(PATIENCE + seconds, lambda: [load.kill() for load in loads])
        watchdog.start()
        stack.callback(watchdog.cancel)
        while word := _meet(loads, turn):
            if word == "begin":
                relay.lag()
            looks[word] = Look(
                time.monotonic(),
                cpu(relay.pid),
                memory(relay.pid),
                sum(cpu(load.pid) for load in loads),
                busy(cores[0]),
                busy(cores[1]),
            )
            if word == "end":
                lag = relay.lag()
            watch(relay, word)
            for load in loads:
                assert load.stdin is not None
                load.stdin.write("\n")
                load.stdin.flush()
        for load in loads:
            assert load.stdin is not None
            load.stdin.close()
        if not {"begin", "end"} <= looks.keys() or any([load.wait() for load in loads]):
            turn.trouble = turn.trouble or f"the load ended early {_trouble(errors)}"
    return turn, looks, lag


def _meet(loads: list[subprocess.Popen[str]], turn: Turn) -> str:
    """The next word, when all have said it; empty at the end, or when one has gone."""
    words = set()
    for load in loads:
        assert load.stdout is not None
        word, _, said = load.stdout.readline().partition(" ")
        words.add(word)
        if word:
            turn.hear(json.loads(said))
    return words.pop() if len(words) == 1 else ""


def _trouble(errors: IO[str]) -> str:
    errors.seek(0)
    found = [line.strip(" |\n") for line in errors if "Error" in line]
    return found[-1][:200] if found else ""


def costs(case: Case, turn: Turn, looks: dict[str, Look]) -> dict[str, float]:
    """The figures of a turn in which everything arrived."""
    first, last = looks["begin"], looks["end"]
    spent, count = last.relay - first.relay, max(turn.delivered, 1)
    if spent < LEAST:
        return {}
    found = {"us": spent / count * 1e6}
    if case.kind == "media":
        found["s/GB"] = spent / (count * case.size) * 1e9
        found["p50"], found["p99"] = late(turn.waits, 0.5), late(turn.waits, 0.99)
    if case.kind == "sessions":
        found["per core-s"] = count / spent
    if "settled" in looks:
        found["KiB each"] = (looks["settled"].memory - first.memory) / count / 1024
    if "idle" in looks:
        settled, idle = looks["settled"], looks["idle"]
        found["idle %"] = (idle.relay - settled.relay) / (idle.at - settled.at) * 100
    return found
