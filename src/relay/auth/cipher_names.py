"""Names of cipher keys as somebody writes them down who gives the right to decrypt.

The law: a name that no cipher key can have is refused where it is written, so that a right that was
misspelt is an error and not silence. This module must not know which keys there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator

from relay.auth.claims import MAX_PREFIXES
from relay.auth.reason import quoted
from relay.errors import BadRequest

CIPHER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What a cipher key may be called: it stands in every field that it encrypts."""

MAX_NAMES = MAX_PREFIXES
"""Names in one list, as many as a token may hold."""


def cipher_names(listed: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in their order. Raises `BadRequest`."""
    names = tuple(dict.fromkeys(listed))
    for name in names:
        if not CIPHER_NAME.fullmatch(name):
            said = "a cipher key is called by 1 to 64 of the characters A-Za-z0-9_.-"
            raise BadRequest(f"{said}, not {quoted(name)}")
    if len(names) > MAX_NAMES:
        raise BadRequest(f"more than {MAX_NAMES} names of cipher keys")
    return names


def read_names(value: Any) -> tuple[str, ...]:
    """The names that a setting holds. Raises `ValueError`."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of names of cipher keys")
    try:
        return cipher_names(value)
    except BadRequest as error:
        raise ValueError(str(error)) from error


CipherNames = Annotated[tuple[str, ...], BeforeValidator(read_names)]
"""A setting that holds names of cipher keys."""
