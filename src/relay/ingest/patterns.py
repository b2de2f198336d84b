"""Patterns of schemas, looked for in time that grows with the text and no faster.

The library looks with `re`, which takes years for some patterns and a few dozen letters, and
minutes for innocent ones and a long text; meanwhile nothing else in the process moves. The law:
whatever word of a schema looks for a pattern does so by RE2, and what RE2 does not know stops the
start. This module must not know records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import re2  # type: ignore[import-untyped]
from jsonschema import _keywords, _legacy_keywords, _utils

from relay.errors import ConfigError

MAX_SAID = 100
"""Characters of a pattern that are repeated."""

_QUIET = re2.Options()
_QUIET.log_errors = False

_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|.)", re.DOTALL)


@cache
def _compiled(pattern: str) -> Any:
    """Raises `re2.error`. There are as many as the operator's schemas have."""
    written = _ESCAPE.sub(lambda each: rf"\x{{{each[1]}}}" if each[1] else each[0], pattern)
    return re2.compile(written, _QUIET)


class Linear:
    """What the library asks of `re`."""

    @staticmethod
    def search(pattern: str, text: str) -> bool:
        """Whether there is such a thing anywhere in the text (JSON Schema validation, 6.3.3)."""
        return _compiled(pattern).search(text) is not None


# All of its words by this alone: some look for the patterns of their neighbours.
for _module in (_keywords, _legacy_keywords, _utils):
    vars(_module)["re"] = Linear


def require_linear(contents: Any) -> None:
    """Raises `ConfigError` for a schema whose own patterns RE2 does not take."""
    for pattern in _patterns(contents):
        try:
            _compiled(pattern)
        except (re2.error, UnicodeEncodeError) as error:
            why = error.args[0].decode() if isinstance(error, re2.error) else "no text"
            said = f"pattern {pattern[:MAX_SAID]!r} is not one of RE2: {why}"
            raise ConfigError(said) from None


def _patterns(contents: Any) -> Iterator[str]:
    members = contents if isinstance(contents, dict) else {}
    if isinstance(pattern := members.get("pattern"), str):
        yield pattern
    if isinstance(named := members.get("patternProperties"), dict):
        yield from named
