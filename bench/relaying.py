"""What relaying costs: our relay and the Rust stack's server in turn, under the same load.

The law: who was first in a round is last in the next, so that neither always finds the machine as
the other left it. It judges no figure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from cases import CASES, USUAL
from contenders import HERE, NAMES, Tables
from report import Round, markdown, plot, setting
from turns import take_turn


def order(number: int) -> tuple[str, ...]:
    """Who takes turns in this round: A B, B A, A B, …"""
    return NAMES if number % 2 == 0 else NAMES[::-1]


def tables(given: Sequence[str], workers: int) -> Tables:
    """``table.key=value`` as TOML tables. Raises `click.BadParameter`."""
    more: Tables = {}
    for each in [f"server.workers={workers}", *given]:
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
@click.option(
    "--workers",
    default=1,
    type=click.IntRange(1),
    show_default=True,
    help="Workers of our relay, and cores for either relay.",
)
@click.option("--set", "given", multiple=True, help="A setting of our relay: table.key=TOML.")
@click.option("--out", default=HERE / "out", type=click.Path(file_okay=False, path_type=Path))
def main(
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    workers: int,
    given: tuple[str, ...],
    out: Path,
) -> None:
    """Measure what relaying costs our relay and the Rust stack's, turn by turn."""
    more = tables(given, workers)
    loop = str(more["server"].get("loop", "auto")).strip("'\"")
    found = setting(workers, seconds, loop)
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Round]] = {}
    for name in names or USUAL:
        click.echo(f"{name}: {CASES[name].title}", err=True)
        results[name] = []
        for number in range(rounds):
            taken = {
                who: take_turn(who, CASES[name], seconds, more, workers) for who in order(number)
            }
            results[name].append(taken)
        written = {
            case: [{who: turn.members() for who, turn in each.items()} for each in done]
            for case, done in results.items()
        }
        (out / "results.json").write_text(
            json.dumps({"setting": found, "results": written}, indent=1) + "\n"
        )
        (out / "results.md").write_text(markdown(results, found))
        (out / "results.svg").write_text(plot(results, found))
    click.echo(markdown(results, found))


if __name__ == "__main__":
    main()
