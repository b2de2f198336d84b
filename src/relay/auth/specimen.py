"""A token laid open: what its letters say, read as leniently as anybody reads them.

The law: nothing here is believed and nothing is decided; what a strict reader would refuse is noted
and read all the same, so that somebody can be told what the token holds. This module must not know
keys, the clock, or which reader is right.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.auth.compact import split

MAX_SPECIMEN = 64 * 1024
"""Characters of a token that is laid open; of a longer one only the length is known."""

_SPACE = re.compile("[\t\n\f\r ]")
_LETTERS = re.compile(r"[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One of the two JSON parts of a token; its representation shows nothing of it."""

    members: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The last one where a member is given twice."""
    twice: frozenset[str] = frozenset()
    """Members of the outermost object that are given more than once."""
    trouble: str | None = None
    """Why there are no members, ``None`` when there are."""
    marked: bool = False
    """Whether a byte order mark stands before the JSON."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """A token, believed in nothing."""

    parts: int
    """How many there are between dots; three, when it is a token."""
    strict: str | None
    """What a strict reader of the form objects to, ``None`` when nothing."""
    letters: str | None
    """What is wrong with the letters alone: padding, blanks, left-over bits; ``None``: nothing."""
    header: Leaf
    claims: Leaf
    signed: bytes = field(default=b"", repr=False)
    """The bytes a signature has to cover."""
    signature: bytes | None = field(default=None, repr=False)
    """``None`` when it cannot be read at all."""

    @property
    def readable(self) -> bool:
        """Whether the lenient reading found a header and claims."""
        return self.parts == 3 and not (self.header.trouble or self.claims.trouble)


def lay_open(token: str) -> Specimen:
    """Read whatever can be read of ``token``. Never raises."""
    if len(token) > MAX_SPECIMEN:
        text = f"{len(token)} characters (at most {MAX_SPECIMEN})"
        nothing = Leaf(trouble="not read")
        return Specimen(0, text, None, nothing, nothing)
    strict = None
    try:
        split(token)
    except ValueError as error:
        strict = str(error)
    texts = token.split(".")
    if len(texts) != 3:
        nothing = Leaf(trouble="there are not three parts")
        return Specimen(len(texts), strict, None, nothing, nothing)
    header, claims = (_leaf(text) for text in texts[:2])
    signature = _bytes(texts[2])
    letters = next((why for text in texts if (why := _oddity(text))), None)
    signed = f"{texts[0]}.{texts[1]}".encode("utf-8", "replace")
    return Specimen(3, strict, letters, header, claims, signed, signature)


def _leaf(text: str) -> Leaf:
    data = _bytes(text)
    if data is None:
        return Leaf(trouble="not base64url")
    outermost: list[tuple[str, Any]] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        outermost[:] = pairs  # the outermost object is finished last
        return dict(pairs)

    try:
        text = data.decode()
        bare = text.removeprefix("\ufeff")
        value = json.loads(bare, object_pairs_hook=members, parse_constant=_no_constant)
    except UnicodeDecodeError:
        return Leaf(trouble="not UTF-8")
    except (ValueError, RecursionError):
        return Leaf(trouble="not JSON")
    if not isinstance(value, dict):
        return Leaf(trouble="not a JSON object")
    counts = Counter(name for name, _ in outermost)
    twice = frozenset(name for name, count in counts.items() if count > 1)
    return Leaf(value, twice, marked=bare != text)


def _no_constant(text: str) -> float:
    raise ValueError(text)


def _bytes(text: str) -> bytes | None:
    """Base64url as browsers read base64: blanks and padding allowed, left-over bits dropped."""
    bare = _SPACE.sub("", text)
    if len(bare) % 4 == 0:
        bare = re.sub("={1,2}$", "", bare)
    if not _LETTERS.fullmatch(bare) or len(bare) % 4 == 1:
        return None
    try:
        return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        return None


def _oddity(text: str) -> str | None:
    if _SPACE.search(text):
        return "a blank inside the token"
    if text.endswith("="):
        return "padding (=)"
    data = _bytes(text)
    if data is not None and base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        return "bits left over at the end of a part"
    return None
