"""Stores to test with: memory, an SQLite file, and a PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relay.auth.facts import StoredToken
from relay.path import Path as Place


@pytest.fixture(params=["sqlite", "postgres"])
def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store that outlives whoever opens it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/relay.db"
    fresh: Callable[[], str] = request.getfixturevalue("postgres")
    return fresh()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """What ``records.url`` says, for each kind of store."""
    if request.param == "memory":
        return None
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/relay.db"
    fresh: Callable[[], str] = request.getfixturevalue("postgres")
    return fresh()


@pytest.fixture
def token() -> StoredToken:
    return StoredToken(
        prefix="abcdefABCDEF",
        digest="0" * 64,
        name="cam é",
        root=Place("plant"),
        publish=(Place("a"), Place("b/c")),
        subscribe=(Place(""),),
        expires=2000.5,
        created=1000.25,
        decrypt=("pii", "card.no"),
    )
