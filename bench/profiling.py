"""Where our relay's time goes while a case runs: py-spy looks at it from outside.

The law: only what the relay does between ``begin`` and ``end`` is looked at, and the table leaves
waiting out. It shows no costs: being looked at costs time.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click
from cases import CASES
from contenders import HERE, OURS, Running
from relaying import tables
from turns import take_turn

SPY = Path(sys.executable).with_name("py-spy")

WAITING = ("EpollSelector.select ", "Runner.run ")
"""py-spy takes the end of a wait for work: asyncio's, or uvloop's, which has no frame."""

TOP = 30
"""Functions in a table."""


class Spy:
    """Two recordings in one turn: a picture in its first half, stacks to count in its second."""

    def __init__(self, picture: Path, stacks: Path, seconds: float, rate: int) -> None:
        self.outputs = (("flamegraph", picture), ("raw", stacks))
        self.seconds, self.rate = seconds, rate
        self.trouble = ""
        self._thread: threading.Thread | None = None

    def watch(self, relay: Running, word: str) -> None:
        """Begin when the load does, and be done when it is."""
        if word == "begin":
            self._thread = threading.Thread(target=self._record, args=(relay.pid,))
            self._thread.start()
        elif word == "end" and self._thread is not None:
            self._thread.join()

    def _record(self, pid: int) -> None:
        half = max(1, int(self.seconds / 2))
        for kind, file in self.outputs:
            words = [str(SPY), "record", "--pid", str(pid), "--subprocesses", "--function"]
            words += ["--format", kind, "--duration", str(half), "--rate", str(self.rate)]
            words += ["--output", str(file)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                self.trouble = done.stderr.strip()[-500:]


def counted(lines: Iterable[str]) -> tuple[Counter[str], Counter[str], int]:
    """Samples by function: on top of the stack, anywhere in it, and all of them."""
    own: Counter[str] = Counter()
    all_in: Counter[str] = Counter()
    total = 0
    for line in lines:
        stack, _, number = line.rpartition(" ")
        if not stack:
            continue
        functions = stack.split(";")
        if functions[-1].startswith(WAITING):
            continue
        total += int(number)
        own[functions[-1]] += int(number)
        for each in set(functions):
            all_in[each] += int(number)
    return own, all_in, total


def table(lines: Iterable[str]) -> str:
    """The functions that took most, as text: by their own time, and with what they call."""
    own, all_in, total = counted(lines)
    shown = [f"{total} samples"]
    for title, order in (("by what they do themselves", own), ("by what they call", all_in)):
        shown += ["", title, f"{'self':>7} {'total':>7}"]
        shown += [
            f"{own[each] / total:7.1%} {all_in[each] / total:7.1%}  {each}"
            for each, _ in order.most_common(TOP)
        ]
    return "\n".join(shown) + "\n"


@click.command()
@click.option("--case", "name", default="fan-16", type=click.Choice(list(CASES)))
@click.option("--seconds", default=10.0, type=click.FloatRange(2), show_default=True)
@click.option("--rate", default=500, show_default=True, help="Looks per second.")
@click.option("--workers", default=1, type=click.IntRange(1), show_default=True)
@click.option("--set", "given", multiple=True, help="A setting of our relay: table.key=TOML.")
@click.option("--out", default=HERE / "out", type=click.Path(file_okay=False, path_type=Path))
def main(
    name: str, seconds: float, rate: int, workers: int, given: tuple[str, ...], out: Path
) -> None:
    """Record our relay under one case: a flame graph, and the functions that take most."""
    out.mkdir(parents=True, exist_ok=True)
    picture, stacks = out / f"{name}.svg", out / f"{name}.stacks"
    # what an earlier run left is not this one's
    for file in (picture, stacks):
        file.unlink(missing_ok=True)
    spy = Spy(picture, stacks, seconds, rate)
    turn = take_turn(OURS, CASES[name], seconds, tables(given, workers), workers, spy.watch)
    if spy.trouble or turn.trouble:
        click.echo(spy.trouble or turn.trouble, err=True)
    if not stacks.is_file():
        raise click.ClickException("nothing was recorded")
    text = table(stacks.read_text().splitlines())
    (out / f"{name}.txt").write_text(text)
    click.echo(f"{text}{picture}")


if __name__ == "__main__":
    main()
