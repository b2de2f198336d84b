"""``relay explain``: why somebody is let in or not, step by step, without connecting.

The law: the verdict is that of the relay's own decision with the configured keys; the token is
never printed. This module must not know any rule; it asks `relay.auth` and draws the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
from rich.text import Text

from relay.auth.decide import decide
from relay.auth.dialling import TRANSPORTS, dialled
from relay.auth.explain import ELSEWHERE, Explanation, explain
from relay.auth.facts import NO_FACTS, Facts
from relay.auth.keys import KeySet
from relay.auth.needs import needs
from relay.auth.request import Request
from relay.auth.settings import AuthSettings
from relay.cli.moment import show_time
from relay.cli.options import asked_time
from relay.cli.sheet import DENIED, grid, marked, read_token, say, say_json
from relay.errors import BadRequest
from relay.reserve import NOTHING_MORE, Reserve

if TYPE_CHECKING:
    from relay.config import Settings

_TIMES = ("expires", "not before", "issued")


@click.command("explain", short_help="Say why somebody would be let in or not.")
@click.argument("url")
@click.option("--token", metavar="TOKEN", help="The token, if not in the URL ('-' = stdin).")
@click.option("--token-file", type=click.Path(path_type=Path), help="The same from a file.")
@click.option("--publish", multiple=True, metavar="PATH", help="May this be published? Repeatable.")
@click.option("--subscribe", multiple=True, metavar="PATH", help="May this be watched? Repeatable.")
@click.option("--config", type=click.Path(path_type=Path), help="The relay's relay.toml.")
@click.option("--at", metavar="TIME", help="Decide as of then: a date, unix seconds, +1h.")
@click.option(
    "--transport",
    type=click.Choice(TRANSPORTS),
    help="How it comes; default by the scheme.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def explain_command(
    ctx: click.Context,
    url: str,
    token: str | None,
    token_file: Path | None,
    publish: tuple[str, ...],
    subscribe: tuple[str, ...],
    config: Path | None,
    at: str | None,
    transport: str | None,
    as_json: bool,
) -> None:
    """Say whether a relay would admit URL (https://…/demo?jwt=…, moqt://…, or /demo), and why.

    PATHs are relative to the path of URL. Without --config no signature can be checked, and what
    can be said without it is said. Exit status: 0 allowed and every PATH covered, 1 not, 2 usage.
    """
    settings = None if config is None else _loaded(config)
    domains = () if settings is None else settings.auth.domains
    request = _request(url, transport, read_token(token, token_file), domains)
    now = asked_time(at)
    known = _Known() if settings is None else _configured(settings, request)
    told = explain(
        request,
        known.keys,
        known.settings,
        now,
        publish=publish,
        subscribe=subscribe,
        checked=config is not None,
        judge=partial(decide, facts=known.facts),
        reserve=known.reserve,
    )
    if as_json:
        say_json(told.members() | {"troubles": list(known.troubles)})
    else:
        say(_sheet(told, known.troubles, config is not None))
    uncovered = told.verdict != "denied" and any(not wish.covered for wish in told.wishes)
    ctx.exit(DENIED if told.verdict == "denied" or uncovered else 0)


def _request(url: str, transport: str | None, token: str | None, domains: Sequence[str]) -> Request:
    """What a client that dials ``url`` would say."""
    try:
        request = dialled(url, transport, domains)
    except BadRequest as error:
        raise click.UsageError(str(error)) from None
    return request if token is None else replace(request, query=f"jwt={quote(token, safe='')}")


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known beside the request."""

    settings: AuthSettings = field(default_factory=AuthSettings)
    keys: KeySet = field(default_factory=KeySet)
    facts: Facts = NO_FACTS
    reserve: Reserve = NOTHING_MORE
    troubles: tuple[str, ...] = ()


def _loaded(config: Path) -> Settings:
    from relay.config import load

    return load(config).settings


def _configured(settings: Settings, request: Request) -> _Known:
    """The settings, the keys and records now, and what is wrong with their sources."""
    from relay.cli.evidence import trusted
    from relay.cli.stored import own_keys, stored

    own, unread = own_keys(settings)
    wanted = needs(request, settings.auth)
    found = trusted(settings, own.origin(wanted.kid, wanted.parents))
    keys = KeySet.gather(found.keys, own) if own else found.keys
    facts, troubles = stored(settings, request)
    facts = replace(facts, silence=found.silence or next(iter(unread), ""))
    together = (found.together,) if found.together else ()
    elsewhere = () if settings.auth.url is None else (ELSEWHERE,)
    said = (*elsewhere, *found.troubles, *together, *unread, *troubles)
    return _Known(settings.auth, keys, facts, settings.stats.reserve, said)


# -- drawing ---------------------------------------------------------------------------------------


def _sheet(told: Explanation, troubles: tuple[str, ...], configured: bool) -> Iterator[Any]:
    yield _headline(told)
    for trouble in troubles:
        yield Text("! ", style="yellow").append(trouble)
    yield ""
    if told.says is not None:
        genuine = any(row.name == "signature" and row.result == "passed" for row in told.rows)
        doubt = "" if genuine else " (nobody vouches for it)"
        yield Text(f"the token says{doubt}", style="bold")
        yield _says(told.says)
        yield ""
    yield Text("steps", style="bold")
    yield _steps(told)
    if told.mend:
        yield ""
        yield Text("to mend it  ", style="bold").append(Text(told.mend, style="not bold"))
    if told.otherwise:
        yield Text("            " if told.mend else "").append(told.otherwise)
    if told.wishes:
        yield ""
        yield Text("paths" if told.verdict == "allowed" else "paths, then", style="bold")
        yield _paths(told)
    if not configured:
        yield ""
        yield Text("Without --config no key is known: the signature was not checked.", style="dim")


def _headline(told: Explanation) -> Text:
    if told.verdict == "allowed":
        return Text("✓ allowed", style="bold green")
    if told.verdict == "unchecked":
        left = told.rows[-1].detail if told.says is None else "signature not checked"
        return Text(f"? nothing wrong, {left}", style="bold yellow")
    reason = told.decision.reason
    headline = Text(f"✗ denied ({told.decision.status} {reason.code})", style="bold red")
    return headline.append(Text(f"  {reason.text}", style="not bold"))


def _says(says: dict[str, Any]) -> Any:
    table = grid("-", "fold")
    for name, value in says.items():
        table.add_row(Text(f"  {name}", style="dim"), Text(_said(name, value)))
    return table


def _said(name: str, value: Any) -> str:
    if name in _TIMES and isinstance(value, int | float) and abs(value) < 1e15:
        return show_time(int(value))
    if name in ("publish", "subscribe"):
        prefixes = value if isinstance(value, list) else [value]
        return ", ".join(str(prefix) or "everything" for prefix in prefixes) or "nothing"
    if name == "root":
        return f"/{value}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _steps(told: Explanation) -> Any:
    table = grid("-", "-", "fold")
    for row in told.rows:
        sign, name = marked(row.result, row.name)
        style = "dim" if row.result == "skipped" else ""
        table.add_row(Text("  ").append(sign), name, Text(row.detail, style=style))
    return table


def _paths(told: Explanation) -> Any:
    table = grid("-", "-", "-", "fold")
    for wish in told.wishes:
        sign, verb = marked("passed" if wish.covered else "failed", wish.verb)
        table.add_row(Text("  ").append(sign), verb, f"/{wish.absolute}", wish.why)
    return table
