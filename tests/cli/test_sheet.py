"""What strangers chose to call things, in what the commands print."""

from __future__ import annotations

import json
import time

import pytest

from called import called
from relay.auth.compact import to_base64url
from relay.cli import admin, audit, complain, records, relay
from relay.cli.nodes import drawn
from relay.cli.sheet import console
from relay.errors import RemoteError
from relay.records.audit import Entry

BRACKETS = ("a[/x]", "[bold]b[/bold]", "c:warning:", "[link=https:x]d[/link]")
"""What would be an error, a style, a picture or a link, if anybody took it for more than text."""


def output(*words: str) -> str:
    return called(relay, *words).output


@pytest.mark.parametrize("name", BRACKETS)
def test_a_name_is_no_markup_to_the_operator(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"number": 1, "target": f"/{name}", "at": time.time()}
    admin._show({"entries": [entry], "cursor": None})
    admin._show({"path": name})
    shown = capsys.readouterr().out
    assert f"/{name} " in shown
    assert f"path: {name}\n" in shown


def test_a_name_does_nothing_to_the_operators_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name, escaped = "a\n\x1b[2Jb\u009b31m\u202e", "a%0A%1B[2Jb%C2%9B31m%E2%80%AE"
    admin._show({"broadcasts": [{"path": name, "viewers": 0}], "cursor": None})
    admin._show({"path": name})
    shown = capsys.readouterr().out
    assert f"{escaped}  0" in shown
    assert f"path: {escaped}\n" in shown
    node = {"node": name, "announced": None, "connections": []}
    down = {"peer": "b", "up": False, "seconds": 1.0, "attempts": 2, "trouble": name}
    mesh = {"node": "me", "origin_id": "1", "nodes": [node], "links": [down]}
    out = console()
    with out.capture() as drawing:
        out.print(drawn(mesh, mesh, 0.0))
    assert drawing.get().count(escaped) == 2


@pytest.mark.parametrize("name", BRACKETS)
def test_a_name_is_no_markup_to_whoever_asks_why(name: str) -> None:
    assert name in output("explain", "/demo", "--publish", name)
    parts = ({"alg": name}, {"root": "demo", "get": ""})
    token = ".".join(to_base64url(json.dumps(each).encode()) for each in parts) + ".AAAA"
    assert name in output("doctor", token)


def test_nor_do_lines_of_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    name, escaped = "b\u009b31m\u202e", "b%C2%9B31m%E2%80%AE"
    texts = dict.fromkeys(("node", "actor", "action", "target", "address", "kid", "jti"), name)
    entry = Entry(number=1, at=0, reason="", detail="", previous="", **texts)
    assert audit._line(entry).count(f'"{escaped}"') == 6
    assert records._line({"subject": name}, False) == f'subject="{escaped}"'
    complain(RemoteError(name))
    assert escaped in capsys.readouterr().err
