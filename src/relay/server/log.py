"""The log: where it goes and how important its events are.

For the whole process, as ``[log]`` says. The law: no credential is written, wherever it was put and
whoever quotes it, and nothing that a stranger said does anything to a terminal. This module must
not know what the events are about.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict

from relay.config import Settings
from relay.path import on_one_line
from relay.server.lines import Lines

HIDDEN = "(credential)"

MAX_TEXT = 2048
"""Letters of one fact that are written; a path may have 4,096, the name of a track 65,536."""

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
    "requests wait": "warning",
    "warning": "warning",
    "subscribe refused": "debug",
    "link waits": "debug",
    "internal error": "error",
    "certificate of HTTP not reloaded, the old one stays": "error",
    "client.tls not reloaded, the old one stays": "error",
    "key file ignored": "warning",
    "key file not usable": "error",
    "key folder full": "error",
    "key folder not readable": "error",
    "key not used": "warning",
    "keys forgotten": "error",
    "keys not fetched": "error",
}
"""How important the events of guests and keys are; the others are ``info``."""


def write_log(settings: Settings) -> Lines:
    """Send the log to standard error, as ``[log]`` says. For the whole process, whose work is
    done inside ``with write_log(settings):``."""
    level = {"trace": "debug", "warn": "warning"}.get(settings.log.level, settings.log.level)
    last: tuple[Any, ...] = (structlog.processors.JSONRenderer(),)
    if settings.log.format == "text":
        last = (keep_lines, structlog.dev.ConsoleRenderer(colors=_is_coloured(sys.stderr)))
    lines = Lines(sys.stderr, _lost)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_credentials,
            clip_texts,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *names: _Writer(lines),
    )
    root = logging.getLogger()
    if not any(isinstance(each, _Elsewhere) for each in root.handlers):
        root.addHandler(_Elsewhere(logging.WARNING))
    return lines


def _is_coloured(stream: TextIO) -> bool:
    """Whether colours are seen there, and wanted: as what the commands print has them."""
    is_dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return stream.isatty() and not is_dumb and not os.environ.get("NO_COLOR")


class _Writer:
    """The logger below structlog's. A line in one write: several workers have the same standard
    error. Those of structlog's own hold a lock that whoever writes within a line would wait for."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def _write(self, line: str) -> None:
        self._lines.write(f"{line}\n")

    debug = info = warning = error = critical = _write


def _lost(lines: int) -> None:
    structlog.get_logger().warning("log lines lost, nobody read them in time", lines=lines)


class _Elsewhere(logging.Handler):
    """What libraries have to say, asyncio first of all: it goes the way of all else."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        structlog.get_logger(library=record.name).log(
            record.levelno, record.getMessage().rstrip(), exc_info=record.exc_info
        )


def hide_credentials(logger: Any, method: str, facts: EventDict) -> EventDict:
    """The facts of one line without credentials: a slip of a guest's puts its token in the path,
    and an authorization server may quote it. Changes ``facts``."""
    for name, value in facts.items():
        facts[name] = _in_texts(value, _without)
    return facts


def clip_texts(logger: Any, method: str, facts: EventDict) -> EventDict:
    """The facts of one line no longer than somebody reads, whoever said them; a traceback is as
    long as it is. For after credentials are hidden: of a part nobody knows that it is one. Changes
    ``facts``."""
    for name, value in facts.items():
        if name != "exception":
            facts[name] = _in_texts(value, _clipped)
    return facts


def keep_lines(logger: Any, method: str, facts: EventDict) -> EventDict:
    """The facts of one line without characters that would end it, or that a terminal obeys; a
    traceback keeps its lines. JSON has escapes of its own. Changes ``facts``."""
    for name, value in facts.items():
        if isinstance(value, str):  # lists and tables are written with escapes
            lines = value.split("\n") if name == "exception" else [value]
            facts[name] = "\n".join(map(on_one_line, lines))
    return facts


def _in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """``value`` with its texts changed, in whatever lists and tables they are."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_in_texts(each, change) for each in value]
    if isinstance(value, dict):
        return {name: _in_texts(each, change) for name, each in value.items()}
    return value


def _without(text: str) -> str:
    """``text`` without credentials."""
    if "=" in text or "%3" in text:
        text = _GIVEN.sub(rf"\1{HIDDEN}", text)
    return _WHOLE.sub(HIDDEN, text) if "eyJ" in text or "mq_" in text else text


def _clipped(text: str) -> str:
    """The beginning of a long ``text``, or all of it."""
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
