"""What a token says of itself, for people: a closed list of members, believed or not.

The law: members that are not on the list are named and never shown, so neither a signature nor a
secret somebody put into a claim can leave here; every text is cut. This module must not know
whether any of it is true.
"""

from __future__ import annotations

import math
from typing import Any

from relay.auth.reason import quoted
from relay.auth.specimen import Specimen

MAX_SAID = 64
"""Items of one list, and names of other claims, that are shown."""

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
}


def sayings(specimen: Specimen) -> dict[str, Any] | None:
    """What a token says of itself, by names for people; of other claims only the names.

    Nothing of it is believed; ``None`` when it cannot be read.
    """
    if not specimen.readable:
        return None
    said: dict[str, Any] = {}
    for leaf, names in ((specimen.header, _SHOWN_HEADERS), (specimen.claims, _SHOWN_CLAIMS)):
        for name, label in names.items():
            if name in leaf.members:
                said[label] = _bounded(leaf.members[name])
    others = sorted(set(specimen.claims.members) - set(_SHOWN_CLAIMS))[:MAX_SAID]
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
