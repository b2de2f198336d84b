"""The keys that ``vectors/decisions.json`` names, made for the occasion."""

from __future__ import annotations

from dataclasses import replace

from relay.auth.keys import Key, generate
from relay.auth.scope import Scope
from relay.path import Path


def named_keys() -> dict[str, Key]:
    """Each by its name there."""
    scope = Scope(Path("project"), (Path("live"),), (Path("watch"),))
    made = {
        "k1": generate("HS256", "k1"),
        "r1": generate("RS256", "r1"),
        "e1": generate("ES256", "e1"),
        "d1": generate("EdDSA", "d1"),
        "s1": generate("HS256", "s1", scope),
    }
    made["nameless"] = replace(generate("HS256"), kid=None)
    made["signonly"] = replace(generate("HS256", "signonly"), operations=("sign",))
    return made
