"""How an answer says that the part of some workers is missing, where it has no member for that.

This module must not know what was asked.
"""

from __future__ import annotations

from collections.abc import Iterable

SILENT = "relay-silent-workers"
"""The header that names them."""


def named(silent: Iterable[int]) -> dict[str, str]:
    """The header, where anybody did not answer."""
    workers = ",".join(map(str, silent))
    return {SILENT: workers} if workers else {}
