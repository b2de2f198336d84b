"""The log: where it goes and how important its events are.

For the whole process, as ``[log]`` says. This module must not know what the events are about.
"""

from __future__ import annotations

import sys
from typing import Any

import structlog

from relay.config import Settings

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
    "internal error": "error",
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
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
