"""What relaying costs: our relay and the Rust stack's server in turn, under the same load.

The law: a contender's CPU is what the kernel says of its process, between two words of the load;
a turn that lost anything has no figures, only the share that arrived. It judges no figure.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import click
import jwt
from cases import CASES, USUAL, Case

HERE = Path(__file__).parent
NAMES = ("relay", "moq-rs")
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
LEAST = 10
"""Ticks that a turn must have cost: of less than that the clock knows nothing."""

START = 20.0
"""Seconds a relay may take to come up."""

PATIENCE = 120.0
"""Seconds a load may take beyond its turn before it is ended."""


def cpu(pid: int) -> float:
    """CPU seconds of a process, user and system, with a resolution of one tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def pin(program: subprocess.Popen[str], place: int) -> None:
    """Relay and load keep out of each other's way where there are two cores."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(program.pid, {cores[place]})


def free_port() -> int:
    """A UDP port that is free just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def command(
    name: str, port: int, secret: bytes, folder: Path, more: dict[str, dict[str, str]]
) -> list[str]:
    """How to start a contender. ``more`` is settings of ours by table, as TOML values."""
    if name == "moq-rs":
        return [sys.executable, str(HERE / "rust_relay.py"), str(port), secret.hex()]
    coded = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    key = {"kty": "oct", "alg": "HS256", "kid": "bench", "k": coded, "key_ops": ["verify"]}
    (folder / "bench.jwk").write_text(json.dumps(key))
    tables = {
        "server": {"listen": f'"127.0.0.1:{port}"'},
        "server.tls": {"generate": '["localhost", "127.0.0.1"]'},
        "web.http": {"listen": f'"127.0.0.1:{port}"'},
        "auth": {"key": '"bench.jwk"', "public": '""'},
        "log": {"level": '"warn"'},
    }
    for table, members in more.items():
        tables.setdefault(table, {}).update(members)
    lines = [
        f"[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in members.items())
        for table, members in tables.items()
    ]
    settings = folder / "relay.toml"
    settings.write_text("\n".join(lines))
    return [sys.executable, "-m", "relay", "run", str(settings)]


@contextmanager
def running(words: Sequence[str], folder: Path) -> Iterator[tuple[int, str]]:
    """A contender for the block: its process and its certificate's fingerprint."""
    out, log = folder / "out", folder / "log"
    environment = {**os.environ, "RELAY_READY": "1", "PYTHONUNBUFFERED": "1"}
    with out.open("w") as stdout, log.open("w") as stderr:
        program = subprocess.Popen(words, stdout=stdout, stderr=stderr, env=environment, text=True)
    pin(program, 0)
    try:
        deadline = time.monotonic() + START
        while not (found := [x for x in out.read_text().split("\n")[:-1] if x[:6] == "ready "]):
            if program.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"a relay did not come up:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield program.pid, json.loads(found[0][6:])["fingerprint"]
    finally:
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(5)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def turn(name: str, case: Case, seconds: float, more: dict[str, dict[str, str]]) -> dict[str, Any]:
    """One contender under one load: what arrived and what it cost."""
    secret, port = secrets.token_bytes(32), free_port()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with running(command(name, port, secret, folder, more), folder) as (pid, pin_of):
            url = f"moqt://127.0.0.1:{port}/"
            if case.token:
                claims = {"root": "", "put": [""], "get": [""], "exp": int(time.time()) + 3600}
                token = jwt.encode(claims, secret, "HS256", headers={"kid": "bench"})
                url += f"?jwt={token}"
            return _follow(pid, url, pin_of, {**asdict(case), "seconds": seconds})


def _follow(pid: int, url: str, pin_of: str, case: dict[str, Any]) -> dict[str, Any]:
    """Run the load, and look at the relay whenever the load speaks."""
    looks: dict[str, tuple[float, int]] = {}
    facts: dict[str, Any] = {"expected": 1, "delivered": 0}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, str(HERE / "load.py"), url, pin_of, json.dumps(case)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as load,
    ):
        watchdog = threading.Timer(PATIENCE + case["seconds"], load.kill)
        watchdog.start()
        pin(load, 1)
        assert load.stdin is not None
        assert load.stdout is not None
        for line in load.stdout:
            word, _, said = line.partition(" ")
            looks[word] = (cpu(pid), memory(pid))
            if word == "end":
                facts = json.loads(said)
            load.stdin.write("\n")
            load.stdin.flush()
        watchdog.cancel()
        errors.seek(0)
        trouble = [line for line in errors if "Error" in line]
    facts["share"] = facts["delivered"] / facts["expected"]
    if "end" not in looks:
        facts["trouble"] = trouble[-1].strip(" |\n")[:200] if trouble else "the load ended early"
        return facts
    return facts | _costs(case, facts, looks)


def _costs(
    case: dict[str, Any], facts: dict[str, Any], looks: dict[str, tuple[float, int]]
) -> dict[str, float]:
    spent = looks["end"][0] - looks["begin"][0]
    count = max(facts["delivered"], 1)
    if spent < LEAST * TICK_SECONDS:
        return {"short": 1.0}
    costs = {"us": spent / count * 1e6}
    if case["kind"] == "media":
        costs["s/GB"] = spent / (count * case["size"]) * 1e9
    if case["kind"] == "sessions":
        costs["per core-s"] = count / spent
        costs["KiB each"] = (looks["end"][1] - looks["begin"][1]) / count / 1024
        if "idle" in looks:
            costs["idle %"] = (looks["idle"][0] - looks["end"][0]) / case["seconds"] * 100
    return costs


def compared(rounds: list[dict[str, dict[str, Any]]]) -> list[float]:
    """How many times the Rust stack's CPU ours took, of the rounds in which nothing was lost."""
    return [
        each["relay"]["us"] / each["moq-rs"]["us"]
        for each in rounds
        if all(each[who]["share"] == 1 and "us" in each[who] for who in NAMES)
    ]


def summary(name: str, rounds: list[dict[str, dict[str, Any]]]) -> list[list[str]]:
    """The rows of one case: each contender's medians, and the ratio round by round."""
    rows = []
    for who in NAMES:
        turns = [each[who] for each in rounds]
        good = [each for each in turns if each["share"] == 1]
        if not good:
            worst = min(each["share"] for each in turns)
            why = next((each["trouble"] for each in turns if "trouble" in each), "")
            rows.append([name, who, f"did not sustain: {worst:.0%} delivered {why}", *[""] * 4])
            continue
        counted = [each for each in good if "us" in each]
        kept = "all" if len(good) == len(turns) else f"{len(good)} of {len(turns)} turns"
        if not counted:
            rows.append([name, who, f"{kept}, too short to tell the cost", *[""] * 4])
            continue
        middle = {key: median(each[key] for each in counted) for key in counted[0]}
        other = [
            f"{key} {middle[key]:.4g}"
            for key in ("per core-s", "KiB each", "idle %")
            if key in middle
        ]
        late = f"{middle['p50']:.1f} / {middle['p99']:.1f}" if "s/GB" in middle else ""
        per_gb = f"{middle['s/GB']:.1f}" if "s/GB" in middle else ""
        rows.append([name, who, kept, per_gb, f"{middle['us']:.0f}", late, ", ".join(other)])
    ratios = compared(rounds)
    if ratios:
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        rows.append([name, "ratio", f"{len(ratios)} rounds", "", spread, "", ""])
    return rows


HEADS = ["case", "who", "delivered", "CPU s/GB", "CPU us each", "latency ms p50 / p99", "more"]


def markdown(rows: list[list[str]]) -> str:
    """The table; a ratio is of CPU us each, with its least and greatest."""
    lines = [HEADS, ["---"] * len(HEADS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plot(results: dict[str, list[dict[str, dict[str, Any]]]]) -> str:
    """CPU per thing delivered as times of the Rust stack's, a bar per case, as SVG."""
    bars = []
    for name, rounds in results.items():
        found = compared(rounds)
        bars.append((name, median(found) if found else None))
    top = max([1.0, *(value for _, value in bars if value is not None)])
    parts = []
    for place, (name, value) in enumerate(bars):
        y = 20 + place * 24
        width = (value or 0) / top * 360
        text = f"{value:.2f}" if value is not None else "not sustained"
        parts.append(
            f'<text x="4" y="{y + 13}">{name}</text>'
            f'<rect x="100" y="{y}" width="{width:.0f}" height="16" fill="#4878a8"/>'
            f'<text x="{106 + width:.0f}" y="{y + 13}">{text}</text>'
        )
    one = 100 + 360 / top
    height = 30 + 24 * len(bars)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="580" height="{height}" '
        f'font-family="sans-serif" font-size="12">'
        f'<text x="4" y="12">relay CPU, times moq-rs</text>{"".join(parts)}'
        f'<path d="M{one:.0f} 16V{height - 8}" stroke="#a00"/></svg>\n'
    )


def tables(given: Sequence[str], workers: int | None) -> dict[str, dict[str, str]]:
    """``table.key=value`` as TOML tables. Raises `click.BadParameter`."""
    more: dict[str, dict[str, str]] = {}
    for each in [*given, *([f"server.workers={workers}"] if workers is not None else [])]:
        path, equals, value = each.partition("=")
        table, dot, key = path.rpartition(".")
        if not equals or not dot:
            raise click.BadParameter(f"{each!r} is not table.key=value")
        more.setdefault(table, {})[key] = value
    return more


@click.command()
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)))
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--seconds", default=5.0, type=click.FloatRange(0.5), show_default=True)
@click.option("--workers", type=click.IntRange(1), help="Sets server.workers of our relay.")
@click.option("--set", "given", multiple=True, help="A setting of our relay: table.key=TOML.")
@click.option("--out", default=HERE / "out", type=click.Path(file_okay=False, path_type=Path))
def main(
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    workers: int | None,
    given: tuple[str, ...],
    out: Path,
) -> None:
    """Measure what relaying costs our relay and the Rust stack's, turn by turn."""
    more = tables(given, workers)
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, dict[str, Any]]]] = {}
    rows: list[list[str]] = []
    for name in names or USUAL:
        results[name] = []
        for _ in range(rounds):
            results[name].append({who: turn(who, CASES[name], seconds, more) for who in NAMES})
        rows += summary(name, results[name])
        (out / "results.md").write_text(markdown(rows))
        (out / "results.json").write_text(json.dumps(results, indent=1))
        (out / "results.svg").write_text(plot(results))
    click.echo(markdown(rows))


if __name__ == "__main__":
    main()
