"""The page of the README does what the README says, as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rig.chromium import Browser
from rig.frames import DEADLINE
from rig.house import Relay

pytestmark = [pytest.mark.interop, pytest.mark.browser]

README = Path(__file__).resolve().parents[2] / "README.md"


def test_one_page_publishes_and_watches(
    relay: Relay, browser: Browser, run: Callable[..., Any]
) -> None:
    if not relay.http_url:
        pytest.skip("the Rust development relay has no HTTP face")
    (code,) = re.findall(r"```js\n(.*?)```", README.read_text(), re.DOTALL)
    code = code.replace("http://localhost:4443", relay.http_url)
    logged = run(browser.ask("example", code=code, timeout=DEADLINE * 1000))
    assert re.search(r"\d\d:\d\d:\d\d", logged)
