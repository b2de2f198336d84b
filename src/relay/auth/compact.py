"""The letters of a token: strict base64url, strict JSON, three parts between two dots.

The law: one token has exactly one spelling. Padding, whitespace, left-over bits, members given
twice, NaN and endless nesting are errors and not variants, so that nothing can be refused under one
spelling and pass under another. This module must not know what a token means (RFC 7515, 3.1).
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any, NamedTuple

MAX_DEPTH = 16
"""Objects and lists inside one another in a header, a payload or a key."""

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")
# A text that does not end is taken to the end of all: looking for others in it takes square time.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


class Parts(NamedTuple):
    """A token taken apart; nothing of it has been believed yet."""

    header: dict[str, Any]
    payload: bytes
    signature: bytes
    signed: bytes
    """The bytes that the signature covers: header and payload as they were written."""


def split(token: str) -> Parts:
    """Take a compact token apart. Raises `ValueError` with a sentence that does not quote it."""
    texts = token.split(".")
    if len(texts) != 3:
        raise ValueError(f"{len(texts)} parts instead of three")
    decoded = []
    for name, text in zip(("header", "payload", "signature"), texts, strict=True):
        if not text:
            raise ValueError(f"the {name} is empty")
        try:
            decoded.append(from_base64url(text))
        except ValueError as error:
            raise ValueError(f"the {name} is {error}") from None
    header, payload, signature = decoded
    try:
        members = parse_object(header)
    except ValueError as error:
        raise ValueError(f"the header is {error}") from None
    return Parts(members, payload, signature, f"{texts[0]}.{texts[1]}".encode())


def from_base64url(text: str) -> bytes:
    """The bytes of unpadded base64url (RFC 7515, 2). Raises `ValueError` for any other spelling."""
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if to_base64url(data) != text:
        raise ValueError("not base64url: bits left over at the end")
    return data


def to_base64url(data: bytes) -> str:
    """Unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def to_json(members: dict[str, Any]) -> bytes:
    """JSON without needless spaces, in UTF-8."""
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_object(data: bytes) -> dict[str, Any]:
    """The members of a JSON object. Raises `ValueError` for anything else, and for bad manners.

    Bad manners are: bytes that are not UTF-8, a byte order mark, a member twice, numbers that are
    not finite, characters that are no text, more than `MAX_DEPTH` levels.
    """
    value = parse_value(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def parse_value(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Any JSON value, with the manners of `parse_object`. Raises `ValueError`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if _depth(text) > max_depth:
        raise ValueError(f"nested more than {max_depth} levels deep")
    try:
        value = json.loads(
            text, object_pairs_hook=_members, parse_float=_finite, parse_constant=_no_constant
        )
    except _BadManners:
        raise
    except json.JSONDecodeError as error:
        said = error.msg.removesuffix(" at")
        raise ValueError(f"not JSON: {said} at character {error.pos}") from None
    except ValueError:  # more than Python makes a number of
        raise ValueError("JSON with a number of too many digits") from None
    if "\\u" in text:
        _require_text(value)
    return value


class _BadManners(ValueError):
    """JSON that a lenient reader would take."""


def _depth(text: str) -> int:
    """An upper bound of the nesting, found without recursion and before the parser runs."""
    deepest = level = 0
    for letter in _STRING.sub("", text):
        if letter in "[{":
            level += 1
            deepest = max(deepest, level)
        elif letter in "]}":
            level -= 1
    return deepest


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _BadManners("JSON with a member twice in one object")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _BadManners("JSON with a number that is not finite")
    return number


def _no_constant(text: str) -> float:
    raise _BadManners(f"JSON with {text}")


def _require_text(value: Any) -> None:
    """Refuse halves of surrogate pairs, which no later writer could encode."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _BadManners("JSON with half a surrogate pair") from None
