"""``relay admin``: the operator's counter of a running relay, from a shell.

The law: commands are made from the counter's own table, so that there is one for everything it
offers; the operator's key comes from ``--token`` or MOQ_ADMIN_TOKEN and is never printed. This
module must not know what an operation does.
"""

from __future__ import annotations

import json
import os
import re
from copy import copy
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import click
from rich.table import Table

from relay.auth.credentials import OPERATOR
from relay.cli.asking import ask, one_word, shown
from relay.cli.moment import show_time
from relay.cli.options import of_group, past_option, read_limits, time_option
from relay.cli.sheet import console, say_json
from relay.control.admin.counter import BASE, OPERATIONS, Operation
from relay.errors import BadRequest, ConfigError, NotFound, RelayError, Unauthorized
from relay.path import on_one_line

NOWHERE = ("", ".", "..")
"""Names that lead elsewhere in an address, however they are written there (RFC 3986, 6.2.2)."""

TIMEOUT = 30.0
"""Seconds until the relay must have answered."""

TIMES = frozenset(
    {"at", "created", "expires", "issued_before", "activated", "ends", "last_used", "revoked"}
)
"""Members that are unix seconds, shown as dates; of a question also read as ``+1h``."""

VERBS = {"show_jwks": "jwks", "reset_quota": "clear"}
"""Commands that are not called by the first word of their operation."""

EARLIER = {"clear": "reset"}
"""What commands were called, and still are where somebody has written it down."""

LINE = 60
"""Letters that the list of commands has for one on a narrow screen; more would be cut off."""


class Where(NamedTuple):
    """The relay that is asked."""

    url: str
    token: str


@click.group(short_help="Look at a running relay and change it.")
@click.option("--url", metavar="URL", help="The relay's HTTP face, such as https://relay.example.")
@click.option(
    "--token", metavar="KEY", help=f"The operator's key; better: {OPERATOR} in the environment."
)
@click.pass_context
def admin(ctx: click.Context, url: str | None, token: str | None) -> None:
    """Look at a running relay and change it, as whoever holds the operator's key."""
    ctx.obj = (url, token)


def _where() -> Where:
    """Raises `click.UsageError`, `ConfigError`."""
    url, token = of_group() or (None, None)
    if not url:
        raise click.UsageError("--url is missing: which relay? Such as http://127.0.0.1:4443")
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise click.UsageError("--url: expected a URL with http or https and a host")
    token = (token or os.environ.get(OPERATOR, "")).strip()
    if not token:
        raise ConfigError(f"no operator's key: give --token or set {OPERATOR}")
    return Where(url.rstrip("/"), one_word(token, "the operator's key"))


def _ask(operation: Operation, said: dict[str, Any]) -> Any:
    """One question. Raises what the relay answered, in its words."""
    where = _where()
    place = operation.place
    for name in operation.in_place:
        text = str(said.pop(name))
        if text in NOWHERE:
            raise BadRequest(f"{name}: {text!r} has no address at the relay's counter")
        place = place.replace(f"{{{name}}}", quote(text, safe=""))
    options: dict[str, Any] = {}
    if operation.takes_body:
        options["json"] = said
    else:
        options["params"] = {name: _texted(value) for name, value in said.items()}
    answer = ask(
        operation.method,
        f"{where.url}{BASE}{place}",
        where.url,
        headers={"authorization": f"Bearer {where.token}"},
        timeout=TIMEOUT,
        trust_env=False,
        **options,
    )
    found = answer.members()
    if found is None:
        raise RelayError(f"{shown(where.url)} answered {answer.status}, and not as a relay does")
    if answer.is_success:
        return found
    raise _failure(answer.status, found, answer.headers.get("retry-after"))


def _failure(status: int, found: dict[str, Any], wait: str | None) -> RelayError:
    detail = found.get("detail")
    if status == 401:
        return Unauthorized("the relay does not take this key, or has none (admin.api_key)")
    if status == 429 and wait:
        return RelayError(f"wrong keys came too often: try again in {wait} s")
    kind = {400: BadRequest, 404: NotFound}.get(status, RelayError)
    return kind(str(detail or f"the relay answered {status}"))


def _texted(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


# -- commands from the table -----------------------------------------------------------------------


def _command(operation: Operation) -> click.Command:
    """The command of one operation: its path's members, or all that it is asked, as arguments, the
    others as options."""
    schema = operation.asked.model_json_schema()
    properties, required = schema.get("properties", {}), schema.get("required", [])
    limits = operation.name == "set_quota"
    params: list[click.Parameter] = []
    arguments = tuple(required) if len(properties) == 1 else operation.in_place
    for name in arguments:
        params.append(click.Argument([name]))
    for name, member in properties.items():
        if name not in arguments and not limits:
            is_required = name in required
            params.append(_option(name, operation.kinds[name], member, is_required))
    if limits:
        params.append(click.Argument(["limits"], nargs=-1, metavar="NAME=NUMBER..."))
    params.append(click.Option(["--json", "as_json"], is_flag=True, help="The answer as it is."))

    def run(as_json: bool, limits: tuple[str, ...] = (), **given: Any) -> None:
        # What is not given; 0 is.
        said = {n: v for n, v in given.items() if v is not None and v is not False and v != ()}
        said = {name: list(v) if isinstance(v, tuple) else v for name, v in said.items()}
        members = {("from" if name == "from_" else name): value for name, value in said.items()}
        answer = _ask(operation, members | read_limits(limits))
        if as_json:
            say_json(answer)
        else:
            _show(answer)

    summary = operation.summary
    brief = summary if len(summary) <= LINE else re.split("[,;]", summary)[0] + "."
    return click.Command(
        _verb(operation), params=params, callback=run, help=summary, short_help=brief
    )


def _verb(operation: Operation) -> str:
    return VERBS.get(operation.name, operation.name.partition("_")[0])


def _option(
    name: str, kinds: frozenset[str], member: dict[str, Any], is_required: bool
) -> click.Option:
    names = [f"--{name.replace('_', '-')}", "from_" if name == "from" else name]
    text = member.get("description", "").replace("``", "").replace("\n", " ")
    if "array" in kinds:
        metavar = "NAME" if name == "decrypt" else "PREFIX"
        return click.Option(names, multiple=True, metavar=metavar, help=f"{text} Repeatable.")
    if "boolean" in kinds:
        return click.Option(names, is_flag=True, help=text)
    if "integer" in kinds:
        return click.Option(names, type=int, help=text)
    if name in TIMES:
        text = text or "+1h, 7d, a date, unix seconds."
        callback = past_option if name == "issued_before" else time_option
        return click.Option(names, metavar="TIME", callback=callback, help=text)
    words = "|".join(member["enum"]) if "enum" in member else None
    return click.Option(names, required=is_required, metavar=words, help=text)


# -- answers for people ----------------------------------------------------------------------------


def _show(answer: Any) -> None:
    """An answer as tables: a list of rows as one, other members as lines. That there are none of
    something is worth a line where there is nothing else in tables."""
    out = console()
    tables = [each for name, each in answer.items() if isinstance(each, list) and name != "silent"]
    for name, value in answer.items():
        if name == "silent":
            if value:
                workers = ", ".join(map(str, value))
                click.echo(f"without workers that did not answer: {workers}", err=True)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            out.print(_table(value))
        elif isinstance(value, list) and not value:
            if not any(tables):
                out.print(f"no {name}")
        elif value not in (None, "", {}):
            out.print(f"{name}: {on_one_line(_cell(name, value))}")


def _table(rows: list[dict[str, Any]]) -> Table:
    """Columns in which any row has something."""
    empty: tuple[Any, ...] = (None, "", [], {})
    used = [name for name in rows[0] if any(row.get(name) not in empty for row in rows)]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in used:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(on_one_line(_cell(name, row.get(name))) for name in used))
    return table


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in TIMES and isinstance(value, int | float):
        return show_time(int(value))
    if isinstance(value, dict):
        return " ".join(
            f"{k}={_cell(k, each)}" for k, each in value.items() if each not in (None, "")
        )
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return "; ".join(_cell(name, each) for each in value)
        return ", ".join(json.dumps(each, ensure_ascii=False) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _add(group: click.Group, operation: Operation) -> None:
    noun = operation.place.split("/")[1]
    command = _command(operation)
    if noun == command.name:
        group.add_command(command)
        return
    inner = group.commands.get(noun)
    if not isinstance(inner, click.Group):
        inner = click.Group(noun)
        group.add_command(inner)
    inner.add_command(command)
    inner.help = f"{', '.join(inner.commands).capitalize()}."
    if earlier := EARLIER.get(command.name or ""):
        hidden = copy(command)
        hidden.hidden = True
        inner.add_command(hidden, earlier)


for _each in OPERATIONS:
    _add(admin, _each)
