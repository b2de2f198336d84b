"""Programs and modules that are not of ours, and may not be on this machine."""

from __future__ import annotations

import importlib
import os
from typing import Any, NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """A foreign program is not there: skip, but never in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and in CI nothing may be skipped for that")
    pytest.skip(f"{what} is missing", allow_module_level=True)


def module(name: str) -> Any:
    """A foreign module; where it is missing as above, unlike `pytest.importorskip`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"the module {name}")
