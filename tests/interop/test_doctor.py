"""What ``relay doctor`` says of npm's ``@moq/token``, held against the package itself."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from relay.auth.compact import to_base64url
from relay.auth.doctor import Bench, Case, diagnose
from relay.auth.keys import read_jwk
from relay.auth.specimen import lay_open

pytestmark = pytest.mark.interop

HERE = pathlib.Path(__file__).parent
NODE = HERE / "node"
ROWS = json.loads((HERE.parent / "vectors" / "doctor.json").read_text(encoding="utf-8"))["rows"]
JWK = {
    "kty": "oct",
    "alg": "HS256",
    "kid": "k1",
    "k": to_base64url(bytes(range(32))),
    "key_ops": ["sign", "verify"],
}
KEYS: dict[str, dict[str, Any]] = {
    "plain": JWK,
    "encoded": JWK,
    "no_ops": {name: value for name, value in JWK.items() if name != "key_ops"},
    "no_kty": {name: value for name, value in JWK.items() if name != "kty"},
    "sign_only": JWK | {"key_ops": ["sign"]},
    "short": JWK | {"k": to_base64url(bytes(16))},
    "scoped": JWK | {"scope": {"root": "demo", "put": ["a"], "get": ["w"]}},
    "other": JWK | {"k": to_base64url(bytes(32))},
}


@pytest.fixture(scope="module")
def foreign() -> Iterator[subprocess.Popen[str]]:
    if shutil.which("node") is None or not (NODE / "node_modules" / "@moq" / "token").is_dir():
        reason = "node or @moq/token is not there (make test installs the package)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with subprocess.Popen(
        ["node", "token.mjs"], cwd=NODE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


def accepted(foreign: subprocess.Popen[str], key: str, token: str, path: str) -> bool:
    """Whether the package takes the token at that path."""
    assert foreign.stdin is not None
    assert foreign.stdout is not None
    request = {"do": "verify", "key": key, "token": token, "root": path}
    foreign.stdin.write(json.dumps(request) + "\n")
    foreign.stdin.flush()
    return "value" in json.loads(foreign.stdout.readline())


def resolved(value: Any, now: float) -> Any:
    """The table's own words made values."""
    if isinstance(value, dict):
        if "$now" in value:
            return now + value["$now"] if value["$now"] % 1 else int(now) + int(value["$now"])
        if "$now_ms" in value:
            return int((now + value["$now_ms"]) * 1000)
        return {name: resolved(each, now) for name, each in value.items() if each != "$absent"}
    return [resolved(each, now) for each in value] if isinstance(value, list) else value


def token_of(row: dict[str, Any], now: float) -> str:
    header = resolved({"alg": "HS256", "typ": "JWT", "kid": "k1"} | row.get("header", {}), now)
    payload = row.get("payload") or json.dumps(resolved(row["claims"], now))
    signed = f"{to_base64url(json.dumps(header).encode())}.{to_base64url(payload.encode())}"
    made = to_base64url(read_jwk(JWK).sign(signed.encode()))
    return f"{signed}.{made}{row.get('suffix', '')}"


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["verdicts"][2] != "-"], ids=lambda row: row["name"]
)
def test_the_package_does_what_we_say(row: dict[str, Any], foreign: subprocess.Popen[str]) -> None:
    now = time.time()
    name = row.get("key", "plain")
    key = json.dumps(KEYS[name])
    if name == "encoded":
        key = to_base64url(key.encode())
    token = token_of(row, now)
    specimen = lay_open(token)
    case = Case(specimen, Bench.load(key.encode(), "k.jwk"), now, row.get("path"))
    path = case.root if case.path is None else case.path
    said = next(each for each in diagnose(case, token).opinions if each.name == "@moq/token")
    assert accepted(foreign, key, token, path) is said.accepts, said
    assert said.accepts is (row["verdicts"][2] == "A")
