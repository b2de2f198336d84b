"""Where our relay's time goes while a case runs: py-spy looks at it from outside.

The law: only what the relay does between ``begin`` and ``end`` is looked at, and the table leaves
waiting out. It shows no costs: being looked at costs time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
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

LOOKING = "Sampling process"
"""What py-spy says when it has begun."""

TOP = 30
"""Functions in a table."""


class Spy:
    """One recording of one turn, from the first moment of the load to its last."""

    def __init__(self, kind: str, file: Path, rate: int) -> None:
        """``kind`` is what py-spy is to write: a ``flamegraph``, or ``raw`` stacks to count."""
        self._options = ["--format", kind, "--output", str(file), "--rate", str(rate)]
        self._spy: subprocess.Popen[str] | None = None
        self._said = self.trouble = ""

    def watch(self, relay: Running, word: str) -> None:
        """Look while the load works: it does not begin before this is looking, and a storm may be
        over within a second."""
        if word == "begin":
            words = [str(SPY), "record", "--pid", str(relay.pid), "--subprocesses", "--function"]
            self._spy = subprocess.Popen(
                words + self._options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert self._spy.stdout is not None
            while (line := self._spy.stdout.readline()) and LOOKING not in line:
                self._said += line
        elif word == "end" and self._spy is not None:
            self._spy.send_signal(signal.SIGINT)
            self._said += self._spy.communicate()[0]
            if self._spy.returncode:
                self.trouble = self._said.strip()[-500:]


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
    for kind, file in (("flamegraph", picture), ("raw", stacks)):
        file.unlink(missing_ok=True)  # what an earlier run left is not this one's
        spy = Spy(kind, file, rate)
        turn = take_turn(OURS, CASES[name], seconds, tables(given, workers), workers, spy.watch)
        if spy.trouble or turn.trouble:
            click.echo(spy.trouble or turn.trouble, err=True)
        if not file.is_file():
            raise click.ClickException("nothing was recorded")
    text = table(stacks.read_text().splitlines())
    (out / f"{name}.txt").write_text(text)
    click.echo(f"{text}{picture}")


if __name__ == "__main__":
    main()
