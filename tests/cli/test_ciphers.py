"""``relay keys cipher`` beside a store."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest

from called import called
from relay.cli import relay
from relay.errors import BadRequest, ConfigError, NotFound


@pytest.fixture
def run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOQ_RECORDS__URL", "sqlite:///relay.db")
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())

    def invoke(*words: str) -> str:
        done = called(relay, *words)
        assert done.exit_code == 0, done.output
        return done.stdout

    return invoke


def test_keys_are_made_rotated_listed_and_written_down(run: Any) -> None:
    assert run("keys", "cipher", "create", "pii").startswith("name=pii  version=1  created=")
    run("keys", "cipher", "rotate", "pii")
    lines = list(map(json.loads, run("keys", "cipher", "list", "--json").splitlines()))
    assert [(each["name"], each["version"]) for each in lines] == [("pii", 1), ("pii", 2)]
    entries = map(json.loads, run("audit", "list", "--json").splitlines())
    assert [each["action"] for each in entries] == ["cipher.rotate", "cipher.create"]
    with pytest.raises(BadRequest, match="already"):
        run("keys", "cipher", "create", "pii")
    with pytest.raises(NotFound):
        run("keys", "cipher", "rotate", "other")


@pytest.mark.parametrize("words", [("create", "new"), ("rotate", "pii")])
def test_without_the_root_key_nothing_is_made(
    run: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    run("keys", "cipher", "create", "pii")
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())
    with pytest.raises(ConfigError, match="MOQ_MASTER_KEY: it is the key"):
        run("keys", "cipher", *words)
    monkeypatch.delenv("MOQ_MASTER_KEY")
    with pytest.raises(ConfigError, match="MOQ_MASTER_KEY: not set"):
        run("keys", "cipher", *words)
    assert run("keys", "cipher", "list").count("\n") == 1
