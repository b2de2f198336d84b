"""Fixtures of the conversation tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

spec = importlib.util.spec_from_file_location("dialogue", Path(__file__).parents[1] / "dialogue.py")
assert spec is not None
assert spec.loader is not None
dialogue = importlib.util.module_from_spec(spec)
sys.modules.setdefault("dialogue", dialogue)
spec.loader.exec_module(dialogue)


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
