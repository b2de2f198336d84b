"""``relay access``: who may publish or watch a path, and which rule says so.

The law: the answer is read from the settings, the keys and the store, nobody is asked to connect;
keys are named and never shown. This module must not know any rule; it asks `relay.auth` and draws
the answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

import click
from rich.text import Text

from relay.auth.access import PUBLISH, SUBSCRIBE, Way, ways
from relay.auth.keys import Key
from relay.auth.revocation import Holder, Revocations
from relay.auth.settings import AuthSettings
from relay.cli.evidence import trusted
from relay.cli.sheet import grid, say, say_json
from relay.cli.stored import good_tokens
from relay.config import load
from relay.errors import BadRequest
from relay.path import Path


@click.command(short_help="List who may publish or watch a path.")
@click.argument("path")
@click.option("--config", required=True, type=click.Path(path_type=File), help="The relay.toml.")
@click.option("--offline", is_flag=True, help="Do not ask the servers that keys come from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def access(path: str, config: File, offline: bool, as_json: bool) -> None:
    """List who could publish or watch PATH, by which rule of the configuration or which API
    token of the store it names."""
    try:
        wanted = Path(path)
    except BadRequest as error:
        raise click.UsageError(str(error)) from None
    settings = load(config).settings
    found = trusted(settings, ask=not offline)
    now = time.time()
    (tokens, struck), unread = good_tokens(settings)
    keys = [named for source in found.read for named in source.named]
    good = [named for named in keys if _vouches(named[1], struck, now)]
    reserve = settings.stats.reserve
    listed = ways(wanted, _current(settings.auth, struck, now), good, tokens, reserve)
    barred = {verb: reserve.bars(verb, wanted) for verb in (PUBLISH, SUBSCRIBE)}
    troubles = (*found.troubles, *unread)
    if as_json:
        say_json(_members(wanted, listed, barred, troubles))
    else:
        say(_sheet(wanted, listed, barred, troubles))


def _vouches(key: Key, struck: Revocations, now: float) -> bool:
    """Whether not all tokens by that key are revoked, whenever they are issued."""
    return struck.check(Holder(kid=key.kid, issued=math.inf), now) is None


def _current(settings: AuthSettings, struck: Revocations, now: float) -> AuthSettings:
    """The settings without API keys that have ended or are revoked: they let nobody in, as little
    as such tokens of the store."""
    api_keys = {
        name: each
        for name, each in settings.api_keys.items()
        if (each.expires is None or now < each.expires)
        and struck.check(Holder(sub=name, tenant=each.root.first), now) is None
    }
    return settings.model_copy(update={"api_keys": api_keys})


def _members(
    path: Path, listed: tuple[Way, ...], barred: dict[str, str], troubles: tuple[str, ...]
) -> dict[str, Any]:
    said: dict[str, Any] = {"path": path}
    for verb in (PUBLISH, SUBSCRIBE):
        said[verb] = [
            {"who": way.who, "rule": way.rule, "prefix": way.prefix, "whole": way.whole}
            for way in listed
            if way.verb == verb
        ]
    only = [verb for verb, why in barred.items() if why]
    return said | {"relays_only": only, "troubles": list(troubles)}


def _sheet(
    path: Path, listed: tuple[Way, ...], barred: dict[str, str], troubles: tuple[str, ...]
) -> Iterator[Any]:
    for trouble in troubles:
        yield Text("! ", style="yellow").append(trouble)
    for verb, title in ((PUBLISH, "publish"), (SUBSCRIBE, "watch")):
        of_verb = [way for way in listed if way.verb == verb]
        yield Text(f"who may {title} /{path}", style="bold")
        if barred[verb]:
            yield Text(f"  {barred[verb]}", style="yellow")
        if not of_verb:
            yield Text("  nobody", style="dim")
            continue
        table = grid("-", "fold", "fold")
        for way in of_verb:
            reach = Text("" if way.whole else f"only /{way.prefix}", style="yellow")
            style = "bold red" if way.rule.startswith("auth.public") else ""
            table.add_row(Text(f"  {way.who}", style=style), Text(way.rule, style="dim"), reach)
        yield table
