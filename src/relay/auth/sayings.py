"""What a token says of itself, for people: a closed list of members, believed or not.

The law: members that are not on the list are named and never shown, so neither a signature nor a
secret somebody put into a claim can leave here; every text is cut. This module must not know
whether any of it is true.
"""

from __future__ import annotations

import math
from typing import Any

from relay.auth.claims import member_of
from relay.auth.reason import quoted
from relay.auth.specimen import Specimen
from relay.auth.trust import ClaimNames

MAX_SAID = 64
"""Items of one list, and names of other claims, that are shown."""

_PLAIN = ClaimNames()
_ABSENT = object()
_SHOWN_HEADERS = {"alg": "algorithm", "kid": "key id", "typ": "type"}
_SHOWN_CLAIMS = {
    "root": "root",
    "put": "publish",
    "get": "subscribe",
    "exp": "expires",
    "nbf": "not before",
    "iat": "issued",
    "iss": "issuer",
    "aud": "audience",
    "sub": "subject",
    "jti": "token id",
    "cluster": "cluster",
    "tenant": "tenant",
}


def sayings(specimen: Specimen, names: ClaimNames = _PLAIN) -> dict[str, Any] | None:
    """What a token says of itself, by names for people; of other claims only the names. Its rights
    go by ``names``.

    Nothing of it is believed; ``None`` when it cannot be read.
    """
    if not specimen.readable:
        return None
    said: dict[str, Any] = {}
    header, claims = specimen.header.members, specimen.claims.members
    for name, label in _SHOWN_HEADERS.items():
        if name in header:
            said[label] = _bounded(header[name])
    rights = {"root": names.root, "put": names.put, "get": names.get, "tenant": names.tenant}
    # Several may share a claim.
    shown = [(rights.get(name, name), label) for name, label in _SHOWN_CLAIMS.items()]
    for called, label in shown:
        if called and (value := member_of(claims, called, _ABSENT)) is not _ABSENT:
            said[label] = _bounded(value)
    within = {part for called, _ in shown if called for part in (called, called.split(".")[0])}
    others = sorted(set(claims) - within)[:MAX_SAID]
    if others:
        said["other claims"] = [_bare(name) for name in others]
    return said


def _bounded(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return _bare(value)  # 1e400: what we say is read as JSON, which has no word for it
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, list):
        return [_bare(item) for item in value[:MAX_SAID]]
    return _bare(value)


def _bare(value: object) -> str:
    """A stranger's text, escaped and cut, without quotation marks."""
    return quoted(value if isinstance(value, str) else str(value))[1:-1]


def shown(value: object) -> str:
    """A stranger's JSON value in a few letters."""
    if isinstance(value, str):
        return quoted(value)
    text = quoted(str(value))
    return text[1:-1] if isinstance(value, bool | int | float) else text


def algorithm(specimen: Specimen) -> str:
    """The ``alg`` of the header in a few letters."""
    return shown(specimen.header.members.get("alg")).strip("'")
