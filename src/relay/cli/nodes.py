"""``relay nodes``: the mesh as one relay sees it. ``relay drain``: have it stop in good order.

Both ask the relay's internal face. This module must not know how the mesh is made.
"""

from __future__ import annotations

import json
import time
from pathlib import Path as File
from typing import Any

import click
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from relay.cli.asking import Closed, ask, shown
from relay.cli.sheet import console
from relay.config import load
from relay.errors import ConfigError, RelayError
from relay.path import on_one_line

TIMEOUT = 5.0
"""Seconds until the relay must have answered."""

POLL = 0.2
"""Seconds between looks at whether the relay has stopped."""

_where = (
    click.option("--url", metavar="URL", help="Its internal face, such as http://127.0.0.1:4441."),
    click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=File),
        help="Take the address from internal.listen of this file.",
    ),
)


def _asking(command: Any) -> Any:
    for option in reversed(_where):
        command = option(command)
    return command


@click.command(short_help="Draw the mesh as a relay sees it.")
@_asking
@click.option("--json", "as_json", is_flag=True, help="The answer of GET /nodes as it is.")
@click.option("--rates", default=1.0, metavar="SECONDS", help="Look twice, for rates; 0: once.")
def nodes(url: str | None, config: File | None, as_json: bool, rates: float) -> None:
    """Draw the mesh as a relay sees it: links, direction, hops, cost, round-trip time, rates."""
    base = _base(url, config)
    before = _ask("GET", f"{base}/nodes")
    if as_json:
        click.echo(json.dumps(before, indent=2))
        return
    took = 0.0
    after = before
    if rates > 0:
        began = time.monotonic()
        time.sleep(min(rates, 60.0))
        after, took = _ask("GET", f"{base}/nodes"), time.monotonic() - began
    try:
        tree = drawn(after, before, took)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _strange(f"{base}/nodes") from None
    console().print(tree)


@click.command(short_help="Have a relay stop in good order.")
@_asking
@click.option("--wait", default=60.0, metavar="SECONDS", help="How long to wait for its end.")
def drain(url: str | None, config: File | None, wait: float) -> None:
    """Have a relay stop in good order: nobody comes in, sessions are sent elsewhere, then it ends.

    The same as SIGTERM or SIGHUP. Waits until nobody takes a connection there any more.
    """
    base = _base(url, config)
    told = _ask("POST", f"{base}/drain")
    if "sessions" not in told:
        raise _strange(f"{base}/drain")
    click.echo(f"draining, {told['sessions']} sessions to go")
    until, trouble = time.monotonic() + wait, ""
    while time.monotonic() < until:
        time.sleep(POLL)
        try:
            _ask("GET", f"{base}/nodes")
        except Closed:
            click.echo("stopped")
            return
        except RelayError as error:  # which may be anybody's, a proxy's or the network's
            trouble = f" ({error})"
        else:
            trouble = ""
    raise RelayError(f"it has not stopped within {wait:g} s{trouble}")


def drawn(mesh: dict[str, Any], before: dict[str, Any], took: float) -> Tree:
    """The mesh as a tree; ``before`` is how it was ``took`` seconds ago."""
    name = mesh["node"] or "this relay"
    tree = Tree(Text.assemble((name, "bold"), f"  origin {mesh['origin_id']}"))
    old = {line["id"]: line for node in before["nodes"] for line in node["connections"]}
    for node in mesh["nodes"]:
        branch = tree.add(_title(node))
        if node["connections"]:
            table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
            for column in ("link", "version", "cost", "rtt", "up", "out", "in", "tracks out/in"):
                table.add_column(column, justify="left" if column == "link" else "right")
            for line in node["connections"]:
                table.add_row(*_row(line, old.get(line["id"]), took))
            branch.add(table)
    for link in mesh["links"]:
        if not link["up"]:
            text = f"down for {link['seconds']:g} s, {link['attempts']} tries: {link['trouble']}"
            told = on_one_line(text)
            tree.add(Text.assemble(("✗ ", "bold red"), (link["peer"], "bold"), f"  {told}"))
    for worker in mesh.get("silent", ()):
        tree.add(Text.assemble(("✗ ", "bold red"), f"worker {worker} does not answer"))
    if not mesh["nodes"] and not mesh["links"]:
        tree.add(Text("no other relay", style="dim"))
    return tree


def _title(node: dict[str, Any]) -> Text:
    announced, linked = node["announced"], bool(node["connections"])
    sign = ("● ", "green") if linked else ("○ ", "yellow")
    far = f"  {announced['hop_count']} hops, cost {announced['cost']}" if announced else ""
    how = "" if linked else "  heard of, not linked"
    return Text.assemble(sign, (on_one_line(node["node"]), "bold"), far, how)


def _row(line: dict[str, Any], old: dict[str, Any] | None, took: float) -> list[str]:
    arrow = "→ dialled" if line["direction"] == "outbound" else "← accepted"
    rates = ["", ""]
    if old is not None and took > 0:
        moved = (line[name] - old[name] for name in ("bytes_sent", "bytes_received"))
        rates = [_rate(8 * each / took) for each in moved]
    return [
        arrow,
        line["version"].removeprefix("moq-"),
        str(line["cost"]),
        f"{line['rtt_ms']:g} ms",
        f"{line['seconds']:g} s",
        *rates,
        f"{line['viewing']}/{line['subscribed']}",
    ]


def _rate(bits: float) -> str:
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits >= size:
            return f"{bits / size:.1f} {unit}"
    return f"{bits:.0f} bit/s"


def _base(url: str | None, config: File | None) -> str:
    """Where the internal face is. Raises `ConfigError`, `click.UsageError`."""
    if url is not None:
        return url.rstrip("/")
    listen = load(config).settings.internal.listen if config is not None else None
    if config is not None and listen is None:
        raise ConfigError("internal.listen is not set, so nobody can be asked")
    if listen is None:
        raise click.UsageError("name the relay's internal face with --url, or its --config")
    return f"http://{listen}"


def _ask(method: str, url: str) -> dict[str, Any]:
    """One request. Raises `RelayError` in plain words."""
    answer = ask(method, url, url, timeout=TIMEOUT, trust_env=False)
    if not answer.is_success:
        raise RelayError(f"no answer from {shown(url)}: it said {answer.status}")
    found = answer.members()
    if found is None:
        raise _strange(url)
    return found


def _strange(url: str) -> RelayError:
    return RelayError(f"{shown(url)} is no relay's internal face")
