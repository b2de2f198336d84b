"""Names: a namespace of moq-transport is a path of the house. This module must not know who means
what by it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, quote, urlsplit

from relay.moqt.messages import USE_VALUE, Namespace, Token

OUT_OF_BAND = 0
"""The type of a token that both sides know from elsewhere: here, a JWT."""

MAX_NAME = 4_096
"""Bytes of a namespace and the name of a track (draft-16, 2.4.1). Who says more is left."""


def is_short(namespace: Namespace, track: bytes = b"") -> bool:
    """Whether it can be said to a peer, and heard of one."""
    return sum(map(len, namespace)) + len(track) <= MAX_NAME


def path_of(namespace: Namespace) -> str | None:
    """A namespace as the house writes it, ``None`` for one that has no such form: its parts are
    the path's, not empty and without slashes."""
    try:
        parts = [part.decode() for part in namespace]
    except UnicodeDecodeError:
        return None
    return None if any(not part or "/" in part for part in parts) else "/".join(parts)


def namespace_of(path: str) -> Namespace:
    """The reverse."""
    return tuple(part.encode() for part in path.split("/")) if path else ()


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
