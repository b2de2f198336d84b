"""A command called in this process."""

from __future__ import annotations

from typing import Any

import click
from click.testing import CliRunner, Result


def called(command: click.Command, *words: str, **more: Any) -> Result:
    """What it said, and its status. Raises what it made neither of."""
    done = CliRunner().invoke(command, words, **more)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done
