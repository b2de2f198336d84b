"""What several commands say in the same way: times, limits, facts, warnings, what a group was told.

The law: what cannot be read is a usage error. This module must not know what a value is for.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from relay.cli import complain
from relay.cli.moment import read_time
from relay.errors import RelayError

if TYPE_CHECKING:
    from relay.config import Settings

MAX_INPUT = 64 * 1024
"""Bytes read in search of a token."""


def time_option(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Callback of options that take a time: unix seconds."""
    return _read(ctx, param, value, time.time())


def past_option(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """The same of what was before: ``now`` is the end of this second. Tokens tell whole seconds
    only, and what was issued in this one must not be taken for later."""
    return _read(ctx, param, value, math.ceil(time.time()))


def _read(ctx: click.Context, param: click.Parameter, value: str | None, now: float) -> int | None:
    try:
        return None if value is None else read_time(value, now)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def asked_time(text: str | None) -> float:
    """Unix seconds that ``--at`` names, or now. Raises `click.UsageError`."""
    now = time.time()
    try:
        return now if text is None else float(read_time(text, now))
    except ValueError as error:
        raise click.UsageError(f"--at: {error}") from None


def read_limits(said: tuple[str, ...]) -> dict[str, int]:
    """Limits by their names, from ``NAME=NUMBER`` each. Raises `click.UsageError`."""
    members: dict[str, int] = {}
    for each in said:
        name, _, value = each.partition("=")
        if not value.isascii() or not value.isdecimal() or len(value) > 16:
            raise click.UsageError(f"expected NAME=NUMBER, not {each!r}")
        members[name] = int(value)
    return members


def named_facts(facts: Mapping[str, Any]) -> list[str]:
    """``name="value"`` of each fact that is there, for a person."""
    there = {name: value for name, value in facts.items() if value not in (None, "", [])}
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in there.items()]


def warn(settings: Settings, warnings: Iterable[str]) -> None:
    """Tell what the operator should hear before the start, for whoever reads the log after it."""
    for warning in warnings:
        text = f"relay: warning: {warning}"
        if settings.log.format == "json":
            text = _as_object("warning", "warning", warning)
        with contextlib.suppress(OSError):  # it has no room, as the log will have none
            click.echo(text, err=True)


@contextlib.contextmanager
def complaining(settings: Settings) -> Iterator[None]:
    """Have why a relay did not start, or ended, stand in its log as one object a line, where the
    log is for collectors."""
    try:
        yield
    except (RelayError, BaseExceptionGroup) as error:
        if settings.log.format != "json":
            raise
        raise click.exceptions.Exit(complain(error, _fail_as_object)) from error


def _fail_as_object(detail: str) -> None:
    click.echo(_as_object("failed", "error", detail), err=True)


def _as_object(event: str, level: str, detail: str) -> str:
    """A line as those of the log are for collectors."""
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"detail": detail, "event": event, "level": level, "timestamp": stamp})


def of_group() -> Any:
    """What the group of the running command was told, wherever in the chain of commands it stands;
    ``None`` outside of one."""
    ctx: click.Context | None = click.get_current_context()
    while ctx is not None and ctx.obj is None:
        ctx = ctx.parent
    return None if ctx is None else ctx.obj
