"""Reading members of foreign JSON: each with its type and its ceiling, or a sentence about it.

The law: a member of the wrong type makes the whole message malformed, ``null`` is absent where
absence is allowed, and unknown members mean nothing. This module must not know any message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_TEXT = 512
"""Characters of a name, an address or a reason."""

MAX_NUMBER = 2**63 - 1
"""Largest whole number, as the other implementations keep them."""

MAX_LIST = 256
"""Entries of one list or mapping."""

Members = Mapping[str, Any]


def text(members: Members, name: str, limit: int = MAX_TEXT) -> str:
    """A string. Raises `ValueError` when it is absent, no string, or longer than ``limit``."""
    found = maybe_text(members, name, limit)
    if found is None:
        raise ValueError(f"{name} is missing")
    return found


def maybe_text(members: Members, name: str, limit: int = MAX_TEXT) -> str | None:
    """A string or ``None``. Raises `ValueError` when it is no string or longer than ``limit``."""
    found = members.get(name)
    if found is None:
        return None
    if not isinstance(found, str):
        raise ValueError(f"{name} is not a string")
    if len(found) > limit:
        raise ValueError(f"{name} is longer than {limit} characters")
    return found


def whole(members: Members, name: str) -> int:
    """A whole number, zero or more. Raises `ValueError`."""
    found = maybe_whole(members, name)
    if found is None:
        raise ValueError(f"{name} is missing")
    if found < 0:
        raise ValueError(f"{name} is below zero")
    return found


def maybe_whole(members: Members, name: str) -> int | None:
    """A whole number or ``None``. Raises `ValueError`."""
    found = members.get(name)
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool):
        raise ValueError(f"{name} is not a whole number")
    if abs(found) > MAX_NUMBER:
        raise ValueError(f"{name} is too large")
    return found


def seconds(members: Members, name: str) -> float:
    """A span in seconds, fractions allowed. Raises `ValueError`."""
    found = members.get(name)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise ValueError(f"{name} is not a number")
    if not 0 <= found <= MAX_NUMBER:
        raise ValueError(f"{name} is no span of time")
    return float(found)


def flag(members: Members, name: str) -> bool:
    """True or false; absent is false. Raises `ValueError`."""
    found = members.get(name, False)
    if not isinstance(found, bool):
        raise ValueError(f"{name} is not true or false")
    return found


def texts(members: Members, name: str, limit: int = MAX_TEXT) -> tuple[str, ...]:
    """A list of strings; absent is empty, ``null`` is not allowed. Raises `ValueError`."""
    found = members.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError(f"{name} is not a list of strings")
    if len(found) > MAX_LIST:
        raise ValueError(f"{name} has more than {MAX_LIST} entries")
    if any(len(item) > limit for item in found):
        raise ValueError(f"{name} has an entry longer than {limit} characters")
    return tuple(found)


def maybe_object(members: Members, name: str) -> Members | None:
    """An object or ``None``. Raises `ValueError`."""
    found = members.get(name)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")
    return found
