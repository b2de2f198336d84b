"""``relay check``: what in a configuration is wrong, unsafe, or seldom meant.

The law: the settings are read as ``relay run`` reads them, everything they name is looked at, and
nothing is changed. This module must not know any lint; it gathers, asks and draws.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from relay.cli.sheet import DENIED, grid, marked, say, say_json
from relay.config import load
from relay.config.findings import SEVERITIES, Finding, Inspection, from_line
from relay.config.lint import lint
from relay.errors import ConfigError

SAID_BETTER = {"auth.key_dir": "unreachable_keys", "server.tls": "generated_certificate"}
"""Settings whose warning at the start a lint, where there is one, says with more to do about it."""


@click.command(short_help="Look for what is wrong or unsafe in a configuration.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Notes count as findings, too.")
@click.option("--offline", is_flag=True, help="Do not ask the servers that keys come from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, file: Path, strict: bool, offline: bool, as_json: bool) -> None:
    """Look for what is wrong, unsafe or seldom meant in FILE and in what it names.

    The environment (MOQ_SECTION__NAME) counts, as for relay run. Exit status: 0 nothing, or only
    notes; 1 findings; 2 usage.
    """
    if not _is_there(file):
        raise click.UsageError(f"no such file: {file}")
    found = sorted(_findings(file, ask=not offline), key=_order)
    if as_json:
        say_json({"findings": [asdict(finding) for finding in found]})
    else:
        say(_sheet(file, found))
    grave = [finding for finding in found if strict or finding.severity != "note"]
    ctx.exit(DENIED if grave else 0)


def _is_there(file: Path) -> bool:
    """Whether there is something to read, though it may not be allowed to."""
    try:
        file.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _order(finding: Finding) -> tuple[int, int]:
    """The gravest first, then as they stand in the file."""
    return SEVERITIES.index(finding.severity), finding.line or 0


def _findings(file: Path, ask: bool) -> Iterator[Finding]:
    try:
        loaded = load(file)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield from_line("refused", "error", line, str(file))
        return
    from relay.cli.evidence import gather

    evidence = gather(loaded.settings, ask)
    found = lint(Inspection(loaded.settings, loaded.entries, evidence, time.time()))
    yield from found
    for line in loaded.warnings:
        finding = from_line("start", "warning", line)
        if not any(each.rule == SAID_BETTER.get(finding.setting) for each in found):
            yield finding


def _sheet(file: Path, found: list[Finding]) -> Iterator[Any]:
    if not found:
        yield Text(f"✓ {file}: nothing found", style="bold green")
        return
    for finding in found:
        table = grid("-", "fold")
        sign, name = marked(finding.severity, finding.severity)
        where = ":".join(str(part) for part in (finding.file, finding.line) if part)
        title = Text().append(name).append(f"  {where}  " if where else "  ", style="dim")
        title.append(finding.setting, style="bold").append(f"  [{finding.rule}]", style="dim")
        table.add_row(sign, title)
        table.add_row("", finding.text)
        if finding.mend:
            table.add_row("", Text(finding.mend, style="italic"))
        yield table
    counts = [(severity, sum(f.severity == severity for f in found)) for severity in SEVERITIES]
    yield ""
    yield ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts if count)
