"""What strangers chose to call things, in what the commands print."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

from relay.auth.compact import to_base64url
from relay.cli import admin, relay

BRACKETS = ("a[/x]", "[bold]b[/bold]", "c:warning:", "[link=https://x]d[/link]")
"""What would be an error, a style, a picture or a link, if anybody took it for more than text."""


def output(*words: str) -> str:
    done = CliRunner().invoke(relay, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


@pytest.mark.parametrize("name", BRACKETS)
def test_a_name_is_no_markup_to_the_operator(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"number": 1, "target": f"/{name}", "at": time.time()}
    admin._show({"entries": [entry], "cursor": None})
    admin._show({"path": name})
    shown = capsys.readouterr().out
    assert f"/{name} " in shown
    assert f"path: {name}\n" in shown


@pytest.mark.parametrize("name", BRACKETS)
def test_a_name_is_no_markup_to_whoever_asks_why(name: str) -> None:
    assert name in output("explain", "/demo", "--publish", name)
    parts = ({"alg": name}, {"root": "demo", "get": ""})
    token = ".".join(to_base64url(json.dumps(each).encode()) for each in parts) + ".AAAA"
    assert name in output("doctor", token)
