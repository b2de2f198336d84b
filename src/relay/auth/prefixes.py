"""Prefixes as the operator writes them: one, or a list of them.

The law: what is read is the shortest list that contains the same paths; text that is no path is
refused when it is read. This module must not know what the prefixes are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from relay.errors import BadRequest
from relay.path import Path, covering


def texts(value: Any, expected: str) -> Sequence[str]:
    """One text or a list of them, as a list. Raises `ValueError`: it says what was ``expected``."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(item, str) for item in listed):
        raise ValueError(f"expected {expected}")
    return listed


def read_prefixes(value: Any) -> tuple[Path, ...]:
    """One prefix or a list of them, without those under another. Raises `ValueError`."""
    try:
        return covering(map(Path, texts(value, "a prefix or a list of prefixes")))
    except BadRequest as error:
        raise ValueError(str(error)) from error


def read_path(value: Any) -> Path:
    """One path. Raises `ValueError`."""
    if not isinstance(value, str):
        raise ValueError("expected a path")
    try:
        return Path(value)
    except BadRequest as error:
        raise ValueError(str(error)) from error


Prefixes = Annotated[tuple[Path, ...], BeforeValidator(read_prefixes)]
"""A setting that holds prefixes."""

Root = Annotated[Path, BeforeValidator(read_path)]
"""A setting that holds one path."""
