"""The front door: ``relay run | publish | subscribe | token``, and upstream's two names for parts.

Its law: a command is loaded when it is called, so that making a token needs no network code, and
every failure of ours becomes one line on standard error and an exit status, here and only here.
This room must not know how anything works; it asks the rooms below.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from relay.errors import (
    ConfigError,
    Dropped,
    Lagged,
    NotFound,
    Refused,
    RelayError,
    RemoteError,
    Unroutable,
    first_of,
)
from relay.path import on_one_line

FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit statuses: it did not work | the command or a setting cannot be obeyed | Ctrl-C."""

UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT)
"""Why what we print is not written: nobody reads it | no room."""

COMMANDS = {
    "run": "relay.cli.run:run",
    "publish": "relay.cli.publish:publish",
    "subscribe": "relay.cli.subscribe:subscribe",
    "token": "relay.cli.token:token",
    "explain": "relay.cli.explain:explain_command",
    "access": "relay.cli.access:access",
    "check": "relay.cli.check:check",
    "doctor": "relay.cli.doctor:doctor",
    "hash-token": "relay.cli.hash_token:hash_token",
    "records": "relay.cli.records:records",
    "nodes": "relay.cli.nodes:nodes",
    "drain": "relay.cli.nodes:drain",
    "keys": "relay.cli.keys:keys",
    "quotas": "relay.cli.quotas:quotas",
    "audit": "relay.cli.audit:audit",
    "admin": "relay.cli.admin:admin",
    "routes": "relay.cli.routes:routes",
    "sidecar": "relay.cli.sidecar:sidecar",
    "worker": "relay.cli.run:worker",
}

SAID = {
    Refused.code: "not permitted",
    NotFound.code: "no such track or group",
    Dropped.code: "the publisher is gone",
    Lagged.code: "too slow for what is published",
    Unroutable.code: "no such broadcast",
}
"""What a peer means by its numbers."""

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
PACKAGE = "moq-relay"


class _Commands(click.Group):
    """The commands, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, if there is one."""
        return _load(cmd_name) if cmd_name in COMMANDS else None


@click.command(cls=_Commands, context_settings=SETTINGS)
@click.version_option(package_name=PACKAGE, prog_name="relay")
def relay() -> None:
    """A Media over QUIC relay with its authorization built in."""


def main() -> None:
    """``relay``: all commands. Exits the process."""
    _enter(relay, "relay")


def moq_relay() -> None:
    """``moq-relay relay.toml``: the same as ``relay run``. Exits the process."""
    _enter(_alone("run"), "moq-relay")


def moq_token() -> None:
    """``moq-token``: the same as ``relay token``. Exits the process."""
    _enter(_alone("token"), "moq-token")


def _load(name: str) -> click.Command:
    module, _, attribute = COMMANDS[name].partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command


def _alone(name: str) -> click.Command:
    """A command that is a program of its own, with a version."""
    return click.version_option(package_name=PACKAGE)(_load(name))


def _enter(command: click.Command, program: str) -> None:
    """Run a command and leave the process with its status."""
    # What the QUIC library says about a connection the rooms below say in words of ours.
    logging.getLogger("quic").setLevel(logging.CRITICAL)
    _fill_gaps()
    try:
        _require_text(sys.argv[1:])
        status = command.main(prog_name=program, standalone_mode=False, **SETTINGS)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except (RelayError, BaseExceptionGroup) as error:
        status = complain(error)
    except OSError as error:
        if not is_of_output(error):
            raise
        status = _complain_of_output(error)
    sys.exit(status if isinstance(status, int) else 0)


def _fill_gaps() -> None:
    """Open nothing in place of what was closed before the start: a socket would get its number. And
    have everything written, whatever the locale."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A letter that the locale has not is written as its number, as on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")


def _require_text(arguments: list[str]) -> None:
    """Raises `ConfigError` for bytes that are no UTF-8: no name, path or claim can hold them."""
    for number, argument in enumerate(arguments, 1):
        if not argument.isascii() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise ConfigError(f"argument {number} is not UTF-8 text")


def _say(line: str) -> None:
    click.echo(f"relay: {line}", err=True)


def complain(error: BaseException, say: Callable[[str], None] = _say) -> int:
    """Say what failed, line by line; answers the exit status. Of several failures that is the
    first; any that is none of ours is a bug and is raised."""
    if isinstance(error, BaseExceptionGroup):
        if error.split(lambda each: isinstance(each, RelayError) or is_of_output(each))[1]:
            raise error
        error = first_of(error)
        if isinstance(error, OSError):
            return _complain_of_output(error)
    for line in str(error).splitlines() or [type(error).__name__]:
        say(f"{on_one_line(line)}{_meaning(error)}")
    return USAGE if isinstance(error, ConfigError) else FAILED


def _meaning(error: BaseException) -> str:
    """What a number of the peer's stands for, where that is known."""
    meaning = SAID.get(error.code) if isinstance(error, RemoteError) else None
    return f" ({meaning})" if meaning else ""


def is_of_output(error: BaseException) -> bool:
    """Whether nobody reads what we print, or it has no room."""
    return isinstance(error, OSError) and error.errno in UNWRITTEN and error.filename is None


@contextlib.contextmanager
def unless_unwritten() -> Iterator[None]:
    """Go on although nobody reads what is printed, or it has no room: whoever serves others is
    needed then as well."""
    try:
        yield
    except OSError as error:
        if not is_of_output(error):
            raise
        _forget_output()


def _forget_output() -> None:
    """What is left over goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain_of_output(error: OSError) -> int:
    """Say that it has no room; who stopped reading knows."""
    _forget_output()
    if error.errno != errno.EPIPE:
        click.echo(f"relay: standard output: {error.strerror}", err=True)
    return FAILED
