"""Names: a namespace of moq-transport is a path of the house, one part of it a segment. Slashes
within a part are escaped, and so is what would be read as one; nothing else is. This module must
not know who means what by it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qs, quote, urlsplit

from relay.moqt.messages import USE_VALUE, Namespace, Token

OUT_OF_BAND = 0
"""The type of a token that both sides know from elsewhere: here, a JWT."""

MAX_NAME = 4_096
"""Bytes of a namespace and the name of a track (draft-16, 2.4.1). Who says more is left."""

_BESIDE = re.compile("/|%(?=(?:25)*2F)")
"""What is escaped: a slash, and the beginning of what stands for one, however often."""

_ESCAPED = re.compile("%(?:2F|25(?=(?:25)*2F))")


def is_short(namespace: Namespace, track: bytes = b"") -> bool:
    """Whether it can be said to a peer, and heard of one."""
    return sum(map(len, namespace)) + len(track) <= MAX_NAME


def path_of(namespace: Namespace) -> str | None:
    """A namespace as the house writes it, ``None`` for one that has no such form: its parts are
    text, not empty and not too long."""
    try:
        path = "/".join([_BESIDE.sub(_escape, part.decode()) for part in namespace])
    except UnicodeDecodeError:
        return None
    return path if all(namespace) and len(path) <= MAX_NAME else None


def namespace_of(path: str) -> Namespace:
    """The reverse."""
    return tuple(_ESCAPED.sub(_plain, part).encode() for part in path.split("/")) if path else ()


def _escape(found: re.Match[str]) -> str:
    return "%2F" if found[0] == "/" else "%25"


def _plain(found: re.Match[str]) -> str:
    return "/" if found[0] == "%2F" else "%"


def with_token(path: str | None, tokens: Sequence[Token]) -> str | None:
    """The path and query of a setup, with its token where the query has none: ``?jwt=`` is how the
    house hears of it."""
    said = (t for t in tokens if t.alias_type == USE_VALUE and t.type == OUT_OF_BAND)
    token = next(said, None)
    if token is None or "jwt" in parse_qs(urlsplit(path or "").query):
        return path
    path = path or "/"
    joint = "&" if "?" in path else "?"
    return f"{path}{joint}jwt={quote(token.value)}"
