"""What the commands that explain have in common: marks, rows, and where a token is read from.

Rendering is for people, with colours only on a terminal, and whole lines when it is piped; every
mark is told by its letter as well as by its colour. This module must not know what is explained.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relay.auth.specimen import lay_open
from relay.cli.options import MAX_INPUT

PIPED = 1000
"""Columns of a line that nobody's terminal breaks."""

DENIED = 1
"""Exit status of a no."""


class Mark(NamedTuple):
    """How a result looks."""

    sign: str
    style: str


MARKS = {
    "passed": Mark("✓", "green"),
    "warned": Mark("!", "yellow"),
    "failed": Mark("✗", "bold red"),
    "skipped": Mark("·", "dim"),
    "unchecked": Mark("?", "yellow"),
    "error": Mark("✗", "bold red"),
    "warning": Mark("!", "yellow"),
    "note": Mark("i", "cyan"),
}


def console() -> Console:
    """Standard output as wide as the terminal; piped, no line is ever broken.

    Text is text: paths, names and tokens are strangers', so nothing in brackets or between colons
    means anything.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED
    return Console(markup=False, emoji=False, highlight=False, width=width, soft_wrap=False)


def grid(*columns: str) -> Table:
    """A table without lines; columns named ``-`` are kept whole, the others fold."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(no_wrap=column == "-", overflow="fold")
    return table


def marked(result: str, text: str) -> tuple[Text, Text]:
    """The sign and the text of a result in its colour."""
    mark = MARKS[result]
    return Text(mark.sign, style=mark.style), Text(text, style=mark.style)


def say(parts: Iterable[Any]) -> None:
    """Print parts one below the other, without trailing blanks when piped."""
    out = console()
    if out.is_terminal:
        for part in parts:
            out.print(part)
        return
    with out.capture() as captured:
        for part in parts:
            out.print(part)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def say_json(value: Any) -> None:
    """Print JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def read_token(token: str | None, file: Path | None) -> str | None:
    """The token of the options: given, from a file, or from standard input (``-``)."""
    if token is not None and file is not None:
        raise click.UsageError("give the token once: --token or --token-file")
    if token == "-" or (file is not None and str(file) == "-"):
        return _text(sys.stdin.buffer.read(MAX_INPUT))
    if file is not None:
        try:
            with file.open("rb") as opened:
                return _text(opened.read(MAX_INPUT))
        except OSError as error:
            raise click.UsageError(f"{file}: {error.strerror}") from None
    if token is not None and _is_file_name(token):
        hint = "give the token itself, or - in its place and the file as standard input"
        raise click.UsageError(f"expected a token, and {token!r:.80} is a file's name: {hint}")
    return token


def _is_file_name(text: str) -> bool:
    """Whether what should be a token says where one is: no credential has a slash, and a JWT begins
    with a header."""
    if lay_open(text).header.members:
        return False
    return "/" in text or text.endswith((".jwt", ".jwk", ".txt")) or os.path.lexists(text)


def _text(data: bytes) -> str:
    """The letters without the line's end; anything else is part of the token."""
    return data.decode("utf-8", "replace").rstrip("\r\n")
