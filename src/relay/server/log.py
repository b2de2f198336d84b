"""The log: where it goes and how important its events are.

For the whole process, as ``[log]`` says. The law: no credential is written, wherever it was put and
whoever quotes it. This module must not know what the events are about.
"""

from __future__ import annotations

import contextlib
import re
import sys
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict

from relay.config import Settings

HIDDEN = "(credential)"

_WHOLE = re.compile(
    # A JWS has three parts, a JWE five. Looked for where letters begin only, and never a second
    # time, or long texts take square time.
    r"(?<![\w-])(?=[\w-]*eyJ)[\w-]++(?:\.[\w-]*+){2,}"
    r"|mq_[A-Za-z0-9]{12}_[A-Za-z0-9]{43}",
    re.ASCII,
)
"""What is a credential by its form alone, a token. An API key, ``secret.salt``, is not: a broadcast
may be called like that."""

_GIVEN = re.compile(r"(?i)((?:jwt|ticket|token)(?:=|%3d))[^&\s…]+")
"""What is one because it was given as one, even where no query is, as in ``/demo&jwt=``."""

LEVELS = {
    "over quota": "warning",
    "refused": "warning",
    "link refused": "warning",
    "link down": "warning",
    "relay list not usable": "error",
    "node ignored": "warning",
    "publish denied": "warning",
    "warning": "warning",
    "subscribe refused": "debug",
    "link waits": "debug",
    "internal error": "error",
    "certificate of HTTP not reloaded, the old one stays": "error",
    "key file ignored": "warning",
    "key file not usable": "error",
    "key folder full": "error",
    "key folder not readable": "error",
    "key not used": "warning",
    "keys forgotten": "error",
    "keys not fetched": "error",
}
"""How important the events of guests and keys are; the others are ``info``."""


def write_log(settings: Settings) -> None:
    """Send the log to standard error, as ``[log]`` says. For the whole process."""
    level = {"trace": "debug", "warn": "warning"}.get(settings.log.level, settings.log.level)
    last: Any = structlog.processors.JSONRenderer()
    if settings.log.format == "text":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_credentials,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # A line in one write: several workers have the same standard error.
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Standing(sys.stderr))),
    )


class _Standing:
    """A stream that fails nobody: when a terminal is closed, or a disk full, lines are lost, and
    the relay goes on or ends in good order."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        """Write it if that can be done."""
        with contextlib.suppress(OSError):
            self._stream.write(line)

    def flush(self) -> None:
        """Write what is held back, if that can be done."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def hide_credentials(logger: Any, method: str, facts: EventDict) -> EventDict:
    """The facts of one line without credentials: a slip of a guest's puts its token in the path,
    and an authorization server may quote it. Changes ``facts``."""
    for name, value in facts.items():
        facts[name] = _without(value)
    return facts


def _without(value: Any) -> Any:
    """``value`` without credentials, in whatever lists and tables they are."""
    if isinstance(value, str):
        if "=" in value or "%3" in value:
            value = _GIVEN.sub(rf"\1{HIDDEN}", value)
        return _WHOLE.sub(HIDDEN, value) if "eyJ" in value or "mq_" in value else value
    if isinstance(value, list | tuple):
        return [_without(each) for each in value]
    if isinstance(value, dict):
        return {name: _without(each) for name, each in value.items()}
    return value
