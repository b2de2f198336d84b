"""Fixtures of the conversation tests."""

from __future__ import annotations

from typing import Any

import pytest

import dialogue


@pytest.fixture(params=["moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03", "moql"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Every way to agree on a version."""
    return str(request.param)


@pytest.fixture(params=[0, 1], ids=["whole", "bytewise"])
def cut(request: pytest.FixtureRequest) -> int:
    """Bytes per delivery; 0 = as sent."""
    return int(request.param)


@pytest.fixture
def talk(protocol: str, cut: int) -> Any:
    """A client and a server that have introduced themselves."""
    return dialogue.Talk(protocol, cut)
