"""What ``relay doctor`` says of npm's ``@moq/token``, held against the package itself."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from doctored import TABLE, key_file_of, token_of
from relay.auth.doctor import Bench, Case, diagnose
from relay.auth.specimen import lay_open

pytestmark = pytest.mark.interop

Program = subprocess.Popen[str]


def accepted(moq_token: Program, key: str, token: str, path: str) -> bool:
    """Whether the package takes the token at that path."""
    assert moq_token.stdin is not None
    assert moq_token.stdout is not None
    request = {"do": "verify", "key": key, "token": token, "root": path}
    moq_token.stdin.write(json.dumps(request) + "\n")
    moq_token.stdin.flush()
    return "value" in json.loads(moq_token.stdout.readline())


@pytest.mark.parametrize(
    "row", [row for row in TABLE["rows"] if row["verdicts"][2] != "-"], ids=lambda row: row["name"]
)
def test_the_package_does_what_we_say(row: dict[str, Any], moq_token: Program) -> None:
    now = time.time()
    key, token = key_file_of(row), token_of(row, now)
    specimen = lay_open(token)
    case = Case(specimen, Bench.load(key, "k.jwk"), now, row.get("path"))
    path = case.root if case.path is None else case.path
    said = next(each for each in diagnose(case, token).opinions if each.name == "@moq/token")
    assert accepted(moq_token, key.decode(), token, path) is said.accepts, said
    assert said.accepts is (row["verdicts"][2] == "A")
