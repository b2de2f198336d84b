"""Values as rows and rows as values.

The law: what was written reads back as the same value, and a row that cannot be read is an error of
the store, never a right. This module must not know how rows are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from relay.auth.cipher_names import read_names
from relay.auth.facts import StoredToken
from relay.auth.grant import Grant
from relay.auth.revocation import Revocation
from relay.errors import BadRequest
from relay.path import Path
from relay.records.store import Change, StoreError

_PATHS = ("publish", "subscribe")


def token_row(token: StoredToken) -> dict[str, Any]:
    """An API token for the table."""
    return asdict(token) | {"root": str(token.root)} | _texts(token)


def read_token_row(row: Mapping[str, Any]) -> StoredToken:
    """An API token from the table. Raises `StoreError`."""
    try:
        read = {"root": Path(row["root"]), "decrypt": read_names(json.loads(row["decrypt"]))}
        return StoredToken(**dict(row) | read | _paths(row))
    except (TypeError, ValueError, KeyError, BadRequest):
        raise StoreError("an API token in the store cannot be read") from None


def revocation_row(entry: Revocation) -> dict[str, Any]:
    """A revocation for the table."""
    return asdict(entry)


def read_change(row: Mapping[str, Any]) -> Change:
    """A revocation from the table, with its latest change."""
    members = dict(row)
    number, withdrawn = members.pop("changed"), bool(members.pop("withdrawn"))
    return Change(number, Revocation(**members), withdrawn)


def grant_text(grant: Grant) -> str:
    """A grant as text."""
    return json.dumps(asdict(grant))


def read_grant(text: str) -> Grant:
    """A grant from its text. Raises `StoreError`."""
    try:
        members = json.loads(text)
        paths = {name: tuple(Path(path) for path in members[name]) for name in _PATHS}
        opened = {name: tuple(members.get(name, ())) for name in ("decrypt", "parent_kids")}
        return Grant(**members | paths | opened | {"root": Path(members["root"])})
    except (TypeError, ValueError, KeyError, BadRequest):
        raise StoreError("a ticket in the store cannot be read") from None


def _texts(token: StoredToken) -> dict[str, str]:
    return {name: json.dumps(getattr(token, name)) for name in (*_PATHS, "decrypt")}


def _paths(row: Mapping[str, Any]) -> dict[str, tuple[Path, ...]]:
    return {name: tuple(Path(path) for path in json.loads(row[name])) for name in _PATHS}
