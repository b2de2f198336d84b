"""How long an answer may be believed by what its own headers say (RFC 9111, 4.2 and 5.2.2).

The law: what cannot be read does not count, and the answer is bounded by the operator whatever the
server says. This module must not know the clock, sources, or what was fetched.
"""

from __future__ import annotations

import re

MAX_HEADER = 4096
"""Characters of a header that are looked at."""

UNKEPT = 60.0
"""Seconds between fetches of what its server does not want kept; many do not, for no reason."""

_DIRECTIVE = re.compile(r"\s*([a-z0-9!#$%&'*+.^_`|~-]+)\s*(?:=\s*(?:\"([^\"]*)\"|([^,\s]*)))?\s*")
_SECONDS = re.compile(r"[0-9]{1,12}")


def lifetime(cache_control: str, age: str, *, default: float, least: float, most: float) -> float:
    """Seconds for which an answer is fresh, between ``least`` and ``most``.

    ``default`` counts when nothing is said; ``no-store``, ``no-cache`` and ``max-age=0`` mean at
    most `UNKEPT`: keys have to be kept until they are asked for again. Of several ``max-age`` the
    smallest counts.
    """
    directives = _directives(cache_control)
    ages = [int(value) for name, value in directives if name == "max-age" and _is_number(value)]
    if 0 in ages or any(name in ("no-store", "no-cache") for name, _ in directives):
        said = min(UNKEPT, default)
    elif ages:
        said = float(min(ages) - (int(age) if _is_number(age) else 0))
    else:
        said = default
    return max(least, min(said, most))


def _directives(text: str) -> list[tuple[str, str]]:
    found = []
    for part in text[:MAX_HEADER].lower().split(","):
        if match := _DIRECTIVE.fullmatch(part):
            found.append((match[1], match[2] or match[3] or ""))
    return found


def _is_number(text: str) -> bool:
    return _SECONDS.fullmatch(text) is not None
