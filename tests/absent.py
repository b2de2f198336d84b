"""Programs that are not of ours, and may not be on this machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """A foreign program is not there: skip, but never in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and in CI nothing may be skipped for that")
    pytest.skip(f"{what} is missing")
